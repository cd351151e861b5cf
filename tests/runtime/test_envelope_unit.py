"""The envelope's own part: what it shows, asks of the geometry, keeps, certifies once, restores."""

import math
from pathlib import Path

import msgspec
import pytest

from runtime.envelope.envelope import Envelope, EnvelopeState
from runtime.envelope.geometry import Geometry
from runtime.envelope.joint import Reference
from runtime.geometry_spec import GeometryConfig, PlaneSpec
from runtime.messages import Command, Limit
from tests.runtime.envelope_kit import DT_S, TWO_JOINTS, WIDE, answer, written

MARGIN_M = 0.01
SHELF_M = -0.2
# two bars of half a metre in the x-z plane, level at 0; both joints lower what is beyond them
ARM = """
<body name="upper">
  <joint name="shoulder" axis="0 1 0"/>
  <geom name="upper" type="sphere" size=".02"/>
  <body name="lower" pos=".5 0 0">
    <joint name="elbow" axis="0 1 0"/>
    <geom name="ball" type="sphere" size=".05" pos=".5 0 0"/>
    <site name="tip" pos=".5 0 0"/>
  </body>
</body>
"""
SHELF = PlaneSpec(shape="plane", name="shelf", point_m=(0.0, 0.0, SHELF_M), normal=(0.0, 0.0, 1.0))
# the volume is listed for both shapes, the base's first
BALL = 1
LOW = 0.13
INSIDE = 0.15


def beyond_margin_m(q: list[float]) -> float:
    """What the shelf leaves to the ball beyond the margin."""
    height_m = -0.5 * math.sin(q[0]) - 0.5 * math.sin(q[0] + q[1])
    return height_m - SHELF_M - 0.05 - MARGIN_M


@pytest.fixture
def geometry(tmp_path: Path) -> Geometry:
    config = GeometryConfig(margin_m=MARGIN_M, self_collision=False, keep_out=(SHELF,))
    path = written(tmp_path, ARM)
    return answer(Geometry.load, path, "tip", TWO_JOINTS, [0.0, 0.0], config, WIDE)


def plain() -> Envelope:
    return answer(Envelope, TWO_JOINTS, DT_S)


def beside(geometry: Geometry) -> Envelope:
    return answer(Envelope, TWO_JOINTS, DT_S, geometry)


Shown = tuple[list[float], list[float], list[float], list[int], list[float], bool, bool]


def shown(envelope: Envelope) -> Shown:
    """All that it shows of the joints: q, v, a, limited_by, margin, finite, at_rest."""
    e = envelope
    return answer(lambda: (e.q, e.v, e.a, e.limited_by, e.margin, e.finite, e.at_rest))


def rested(envelope: Envelope, *q: float) -> Envelope:
    answer(envelope.rest_at, q)
    return envelope


def ask(envelope: Envelope, *q: float) -> Command:
    """One tick that asks for q."""
    answer(envelope.admit, q)
    return certified(envelope)


def certified(envelope: Envelope) -> Command:
    return answer(envelope.certify, 1, 2, 3, 4, 5).command


def reference(v: float = 0.0, a: float = 0.0) -> Reference:
    return Reference(0.1, v, a, 0.0, 0.1, 0.1, 0, 0.5)


def state(first: Reference, second: Reference) -> EnvelopeState:
    both = (first, second)
    return EnvelopeState(both, both, finite=True, pending=False)


# -- before the first rest, and at rest -----------------------------------------------------------


def test_before_the_first_rest_it_shows_zeros_and_certifies_nothing(geometry: Geometry) -> None:
    zeros = [0.0, 0.0]
    for envelope in (plain(), beside(geometry)):
        assert shown(envelope) == (zeros, zeros, zeros, [0, 0], [1.0, 1.0], True, False)
        assert (envelope.clearance_m, envelope.nearest_barrier) == (0.0, -1)
        with pytest.raises(RuntimeError, match="calls admit or brake first"):
            envelope.certify(1, 2, 3, 4, 5)
        for act in (lambda e: e.admit([0.0, 0.0]), Envelope.brake, Envelope.emergency):
            with pytest.raises(RuntimeError, match="call rest_at before"):
                act(envelope)


def test_at_rest_it_shows_the_pose() -> None:
    envelope = rested(plain(), 0.5, -0.75)
    zeros = [0.0, 0.0]
    assert shown(envelope) == ([0.5, -0.75], zeros, zeros, [0, 0], [0.5, 1.0], True, True)
    assert (envelope.clearance_m, envelope.nearest_barrier) == (0.0, -1)


def test_a_new_rest_forgets_what_was_admitted_and_what_was_not_finite() -> None:
    envelope = rested(plain(), 0.0, 0.0)
    answer(envelope.admit, [math.nan, 0.0])
    assert shown(envelope)[3:] == ([Limit.FINITE, 0], [1.0, 0.4], False, True)
    rested(envelope, 0.0, 0.0)
    assert shown(envelope)[3:] == ([0, 0], [1.0, 0.4], True, True)
    with pytest.raises(RuntimeError, match="calls admit or brake first"):
        envelope.certify(1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("first", "second", "rests"),
    [
        (reference(), reference(), True),
        (reference(v=1e-300), reference(), False),
        (reference(), reference(v=-1.0), False),
        (reference(a=1e-300), reference(), False),
        (reference(), reference(a=-1.0), False),
        (reference(v=1.0, a=1.0), reference(v=1.0, a=1.0), False),
    ],
)
def test_rest_is_neither_speed_nor_acceleration_of_any_joint(
    first: Reference, second: Reference, rests: bool
) -> None:
    envelope = plain()
    answer(envelope.restore, state(first, second))
    assert envelope.at_rest is rests


# -- ticks ----------------------------------------------------------------------------------------


def test_a_tick_moves_on_only_with_its_certificate() -> None:
    """Asking again begins where the last certificate left it."""
    envelope = rested(plain(), 0.0, 0.0)
    for _ in range(3):
        answer(envelope.admit, [1e-6, -1e-6])
        assert envelope.q == [1e-6, -1e-6]
    command = certified(envelope)
    speed = 1e-6 / DT_S
    assert command == Command(1, 2, 3, 4, 5, [1e-6, -1e-6], [speed, -speed])
    with pytest.raises(RuntimeError, match="calls admit or brake first"):
        envelope.certify(1, 2, 3, 4, 5)
    assert ask(envelope, 2e-6, -2e-6).q == [2e-6, -2e-6]


def test_the_number_of_joints_must_match() -> None:
    envelope = rested(plain(), 0.0, 0.0)
    for wrong in ([0.0], [0.0, 0.0, 0.0]):
        for act in (envelope.admit, envelope.refusal, envelope.rest_at):
            with pytest.raises(ValueError, match="zip"):
                act(wrong)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_not_finite_brakes_all(bad: float) -> None:
    for asked in ([bad, 1e-5], [1e-5, bad]):
        envelope, twin = rested(plain(), 0.0, 0.0), rested(plain(), 0.0, 0.0)
        for each in (envelope, twin):
            ask(each, 1e-5, 1e-5)
        answer(envelope.admit, asked)
        answer(twin.brake)
        assert shown(envelope)[:3] == shown(twin)[:3]
        assert envelope.limited_by == [0 if math.isfinite(q) else Limit.FINITE for q in asked]
        assert (envelope.finite, twin.finite) == (False, True)
        assert certified(envelope) == certified(twin)
        # what is finite again is finite, and so is braking
        answer(envelope.admit, [0.0, 0.0])
        assert envelope.finite
        for brake in (envelope.brake, envelope.emergency):
            answer(envelope.admit, asked)
            answer(brake)
            assert envelope.finite
            assert envelope.limited_by == [0, 0]


# -- beside geometry ------------------------------------------------------------------------------


def assert_measured(envelope: Envelope, least: float = 0.5) -> None:
    """Within what is really left, and no less than the cover may leave out."""
    left_m = beyond_margin_m(envelope.q)
    assert least * left_m - 1e-5 <= envelope.clearance_m <= left_m + 1e-9
    assert envelope.nearest_barrier == BALL


def test_where_it_rests_it_measures_the_nearest_barrier(geometry: Geometry) -> None:
    assert geometry.names[BALL] == "ball | keep-out shelf"
    envelope = beside(geometry)
    for q in ((0.0, 0.0), (LOW, 0.0), (0.0, 0.25), (-0.02, 0.0)):
        assert answer(envelope.refusal, q) == ""
        assert_measured(rested(envelope, *q))


def test_inside_the_margin_it_rests_and_deeper_it_is_refused(geometry: Geometry) -> None:
    envelope = beside(geometry)
    a_little = [INSIDE, 0.0]
    assert -0.02 < beyond_margin_m(a_little) < -0.009
    rested(envelope, *a_little)
    # its margin is now where it began, less the tenth of a millimetre that moving out takes
    assert envelope.clearance_m == pytest.approx(1e-4, abs=1e-6)
    # it may stay and go up, not further down
    assert ask(envelope, *a_little).q == a_little
    assert envelope.limited_by == [0, 0]
    ask(envelope, INSIDE + 1e-5, 0.0)
    assert envelope.limited_by[0] & Limit.GEOMETRY
    assert ask(envelope, INSIDE - 1e-6, 0.0).q == [INSIDE - 1e-6, 0.0]
    deep = [0.3, 0.0]
    assert beyond_margin_m(deep) < -0.1
    assert "ball | keep-out shelf" in answer(envelope.refusal, deep)
    with pytest.raises(ValueError, match=r"ball \| keep-out shelf"):
        envelope.rest_at(deep)
    # joints come first: geometry is not asked about a pose that no joint can have
    assert "keep-out" not in answer(envelope.refusal, [1.5, 0.0])
    assert "shoulder" in answer(envelope.refusal, [1.5, 0.0])
    assert answer(plain().refusal, deep) == ""


def lowered(geometry: Geometry) -> Envelope:
    """On its way down, before the shelf."""
    envelope = rested(beside(geometry), 0.0, 0.0)
    for _ in range(90):
        ask(envelope, 0.8, 0.0)
    assert envelope.v[0] > 0.1
    return envelope


def test_what_is_asked_beyond_a_barrier_is_not_sent(geometry: Geometry) -> None:
    envelope = lowered(geometry)
    seen = 0
    for _ in range(400):
        ask(envelope, 0.8, 0.0)
        seen |= envelope.limited_by[0]
        left_m = beyond_margin_m(envelope.q)
        assert left_m >= 0.0
        assert -1e-12 <= envelope.clearance_m <= left_m + 1e-9
        assert envelope.nearest_barrier == BALL
    assert seen & Limit.GEOMETRY
    assert beyond_margin_m(envelope.q) < 0.01


def test_braking_measures_and_an_emergency_does_not(geometry: Geometry) -> None:
    """What failed in a tick has no part in its emergency."""
    envelope, twin = lowered(geometry), lowered(geometry)
    for each in (envelope, twin):
        each.clearance_m, each.nearest_barrier = 99.0, 77
    answer(envelope.emergency)
    assert (envelope.clearance_m, envelope.nearest_barrier) == (99.0, 77)
    answer(twin.brake)
    assert 0.0 <= twin.clearance_m <= beyond_margin_m(twin.q)
    assert twin.nearest_barrier == BALL
    assert certified(envelope) == certified(twin)


# -- save and restore -----------------------------------------------------------------------------


def copied(envelope: Envelope) -> EnvelopeState:
    """The state as a record keeps it."""
    packed = msgspec.msgpack.encode(answer(envelope.save))
    return msgspec.msgpack.decode(packed, type=EnvelopeState)


def test_a_state_that_says_nothing_of_barriers_has_none() -> None:
    bare = state(reference(), reference())
    assert (bare.clearance_m, bare.nearest_barrier, bare.geometry) == (0.0, -1, b"")


def test_what_has_not_rested_saves_no_geometry(geometry: Geometry) -> None:
    assert copied(rested(plain(), 0.0, 0.0)).geometry == b""
    fresh = copied(beside(geometry))
    assert fresh == EnvelopeState((), (), finite=True, pending=False)
    # and one that had rested forgets it with such a state
    twin = rested(beside(geometry), 0.0, 0.0)
    answer(twin.restore, fresh)
    assert not twin.at_rest
    assert copied(twin).geometry == b""
    with pytest.raises(RuntimeError, match="call rest_at before"):
        twin.brake()


@pytest.mark.parametrize("asked", [None, (0.8, 0.0), (0.8, math.nan)])
def test_a_restored_one_goes_on_the_same(
    geometry: Geometry, tmp_path: Path, asked: tuple[float, float] | None
) -> None:
    """Whether the tick was certified, admitted, or asked for what is not finite."""
    envelope = lowered(geometry)
    if asked is not None:
        answer(envelope.admit, asked)
    kept = copied(envelope)
    assert kept.geometry
    config = GeometryConfig(margin_m=MARGIN_M, self_collision=False, keep_out=(SHELF,))
    path = written(tmp_path, ARM)
    again = Geometry.load(path, "tip", TWO_JOINTS, [0.0, 0.0], config, WIDE)
    twin = rested(beside(again), -0.5, -0.5)
    answer(twin.restore, kept)
    assert copied(twin) == kept
    assert shown(twin) == shown(envelope)
    nearness = (envelope.clearance_m, envelope.nearest_barrier)
    assert (twin.clearance_m, twin.nearest_barrier) == nearness
    if asked is not None:
        assert certified(twin) == certified(envelope)
    for tick in range(200):
        for each in (envelope, twin):
            answer(each.brake) if tick % 50 == 49 else answer(each.admit, [0.8, 0.1])
        assert certified(twin) == certified(envelope)
        assert copied(twin) == copied(envelope)


@pytest.mark.parametrize(("issued", "current"), [(1, 1), (2, 1), (1, 2), (0, 2), (2, 0), (3, 3)])
def test_a_state_of_other_joints_is_refused(issued: int, current: int) -> None:
    envelope = rested(plain(), 0.3, 0.3)
    one = reference()
    other = EnvelopeState((one,) * issued, (one,) * current, finite=True, pending=False)
    with pytest.raises(ValueError, match=f"has {current} joints, this robot has 2"):
        envelope.restore(other)
    assert envelope.q == [0.3, 0.3]
