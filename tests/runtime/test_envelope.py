"""The envelope as the tick uses it: rest, admit, brake, certify, save and restore."""

import math
import random
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest

from runtime.envelope.certificate import Certificate
from runtime.envelope.envelope import Envelope, EnvelopeState
from runtime.envelope.joint import RECOVERABLE_RAD
from runtime.messages import Command, Limit
from runtime.robot_spec import JointLimits
from tests.runtime.invariant_checker import JointInvariants, check

DT_S = 0.002
SHOULDER = JointInvariants(-1.0, 1.0, 2.0, 10.0, 4000.0)
ELBOW = JointInvariants(-2.0, 0.5, 1.0, 8.0, 3000.0)


def as_limits(name: str, row: JointInvariants) -> JointLimits:
    return JointLimits(
        name=name,
        position_min_rad=row.q_min,
        position_max_rad=row.q_max,
        velocity_max_rad_s=row.v_max,
        acceleration_max_rad_s2=row.a_max,
        jerk_max_rad_s3=row.j_max,
    )


LIMITS = (as_limits("shoulder", SHOULDER), as_limits("elbow", ELBOW))


def at(q: tuple[float, float] = (0.0, 0.0)) -> Envelope:
    envelope = Envelope(LIMITS, DT_S)
    envelope.rest_at(q)
    return envelope


def send(envelope: Envelope, sequence: int = 1) -> Command:
    return envelope.certify(2, sequence, 7, 8, 9).command


def moving() -> Envelope:
    envelope = at()
    for _ in range(60):
        envelope.admit([1.0, -1.0])
        send(envelope)
    assert not envelope.at_rest
    return envelope


# -- certificate ----------------------------------------------------------------------------------


def test_a_certificate_is_the_envelopes_alone() -> None:
    command = send(admitted())
    with pytest.raises(TypeError, match=r"only Envelope\.certify"):
        Certificate(command, object())  # type: ignore[arg-type]


def admitted() -> Envelope:
    envelope = at()
    envelope.admit([0.0, 0.0])
    return envelope


def test_a_certificate_carries_the_command_and_its_answers() -> None:
    envelope = at((0.1, 0.2))
    envelope.admit([0.1, 0.2 + 1e-6])
    certified = envelope.certify(2, 3, 7, 8, 9)
    assert isinstance(certified, Certificate)
    assert certified.command == Command(2, 3, 7, 8, 9, [0.1, 0.2 + 1e-6], envelope.v)
    assert certified.command.dq[1] == (0.2 + 1e-6 - 0.2) / DT_S
    with pytest.raises(AttributeError):
        certified.command = certified.command  # type: ignore[misc]


def test_one_command_is_certified_once() -> None:
    envelope = admitted()
    send(envelope)
    with pytest.raises(RuntimeError, match="calls admit or brake first"):
        send(envelope)
    with pytest.raises(RuntimeError, match="calls admit or brake first"):
        send(at())


# -- rest -----------------------------------------------------------------------------------------


def test_before_the_first_rest_nothing_can_be_asked() -> None:
    envelope = Envelope(LIMITS, DT_S)
    assert not envelope.at_rest
    assert envelope.finite
    assert (envelope.q, envelope.v, envelope.limited_by) == ([0.0, 0.0], [0.0, 0.0], [0, 0])
    with pytest.raises(RuntimeError, match="call rest_at before"):
        envelope.admit([0.0, 0.0])
    with pytest.raises(RuntimeError, match="call rest_at before"):
        envelope.brake()
    with pytest.raises(RuntimeError, match="call rest_at before"):
        envelope.emergency()


def test_rest_takes_every_place_in_the_range_and_says_what_is_outside() -> None:
    envelope = Envelope(LIMITS, DT_S)
    places: list[Iterable[float]] = [[-1.0, 0.5], [1.0, -2.0], np.array([0.3, 0.1])]
    for q in places:
        assert envelope.refusal(q) == ""
        envelope.rest_at(q)
        assert envelope.at_rest
        assert envelope.q == list(q)
        assert envelope.finite
    # a little outside is a place to move back in from
    for q in ([1.0 + 0.19, 0.0], [-1.19, 0.69]):
        assert envelope.refusal(q) == ""
    above = 1.0 + RECOVERABLE_RAD + 1e-9
    assert "shoulder is at 1.200000 rad" in envelope.refusal([above, 0.0])
    text = envelope.refusal([-1.25, 0.75])
    assert "joint shoulder is at -1.250000 rad, 0.250000 rad outside" in text
    assert "joint elbow is at 0.750000 rad, 0.250000 rad outside" in text
    assert "no position" in envelope.refusal([math.nan, 0.0])
    with pytest.raises(ValueError, match=r"elbow is at 0\.75"):
        envelope.rest_at([0.0, 0.75])
    # a refused rest changes nothing
    assert envelope.q == [0.3, 0.1]


def test_margin_at_rest_is_the_share_of_half_the_range() -> None:
    assert at((0.0, -0.75)).margin == [1.0, 1.0]
    assert at((1.0, -2.0)).margin == [0.0, 0.0]
    assert at((0.5, 0.1875)).margin == pytest.approx([0.5, 0.25])
    assert at((-0.5, -1.6875)).margin == pytest.approx([0.5, 0.25])
    assert at((0.5, 0.1875)).limited_by == [0, 0]


def test_margin_is_the_smallest_share_left() -> None:
    step = 4000.0 * DT_S**3
    envelope = at((0.0, -0.75))
    envelope.admit([0.25 * step, -0.75])
    assert envelope.margin == pytest.approx([0.75, 1.0], abs=1e-6)
    send(envelope)
    # the same acceleration again: no jerk, and 2 of 10 rad/s^2
    envelope.admit([envelope.q[0] + (envelope.v[0] + envelope.a[0] * DT_S) * DT_S, -0.75])
    assert envelope.a[0] == pytest.approx(2.0, rel=1e-6)
    assert envelope.margin == pytest.approx([0.8, 1.0], abs=1e-6)
    fast = at_full_speed()
    fast.admit([0.0, fast.q[1] + 0.75 * DT_S])
    assert fast.margin[1] == 0.0
    fast = at((0.0, -0.75))
    for tick in range(1, 400):
        fast.admit([0.0, -0.75 + 1e-7 * tick * (tick + 1) / 2])
        send(fast)
    assert fast.limited_by == [0, 0]
    assert fast.margin[1] == pytest.approx(1.0 - fast.v[1], abs=1e-4)


# -- admit ----------------------------------------------------------------------------------------


def test_a_place_at_the_end_of_the_range_can_be_held() -> None:
    envelope = at((1.0, -2.0))
    envelope.admit([1.0, -2.0])
    assert envelope.limited_by == [0, 0]
    assert envelope.q == [1.0, -2.0]
    assert envelope.at_rest


def test_a_place_beyond_the_end_is_limited_by_position_alone() -> None:
    envelope = at((1.0, -2.0))
    envelope.admit([1.0 + 1e-12, -9.0])
    assert envelope.limited_by == [Limit.POSITION, Limit.POSITION]
    assert envelope.q == [1.0, -2.0]


def test_each_limit_is_named_when_it_acts() -> None:
    jerk = 4000.0
    step = jerk * DT_S**3
    envelope = at()
    envelope.admit([step * (1 - 1e-6), 0.0])
    assert envelope.limited_by == [0, 0]
    envelope = at()
    envelope.admit([step * (1 + 1e-6), -5.0])
    assert envelope.limited_by == [Limit.JERK, Limit.JERK]
    assert envelope.margin == [0.0, 0.0]
    seen = set()
    for _ in range(400):
        envelope.admit([5.0, -5.0])
        seen.update(envelope.limited_by)
        send(envelope)
    assert seen >= {Limit.JERK, Limit.ACCELERATION, Limit.VELOCITY, Limit.POSITION}
    assert not any(bits & Limit.FINITE for bits in seen)


def push_until(envelope: Envelope, ask: list[float], joint: int, limit: Limit) -> None:
    """Ask for the same place until `limit` acts on `joint`."""
    for _ in range(400):
        envelope.admit(ask)
        send(envelope)
        if envelope.limited_by[joint] & limit:
            return
    pytest.fail(f"{limit.name} never acted")


def brake_to_rest(envelope: Envelope) -> list[list[float]]:
    """Brake until at rest; return the commands."""
    sent: list[list[float]] = []
    for _ in range(1000):
        if envelope.at_rest:
            return sent
        envelope.brake()
        assert envelope.limited_by == [0, 0]
        sent.append(send(envelope).q)
    pytest.fail("the stop does not end")


def at_full_speed() -> Envelope:
    """The elbow cruises at its speed limit, to a part in a billion."""
    envelope = at((0.0, -1.5))
    for _ in range(400):
        envelope.admit([0.0, 0.4])
        send(envelope)
    assert envelope.v[1] == pytest.approx(1.0, rel=1e-9)
    assert envelope.a[1] == pytest.approx(0.0, abs=1e-6)
    return envelope


@pytest.mark.parametrize(("share", "limited"), [(1.0 - 1e-6, 0), (1.0 + 1e-6, Limit.VELOCITY)])
def test_speed_is_limited_at_its_limit_and_not_before(share: float, limited: int) -> None:
    envelope = at_full_speed()
    envelope.admit([0.0, envelope.q[1] + share * DT_S])
    assert envelope.limited_by[1] == limited
    assert envelope.v[1] == pytest.approx(min(share, 1.0), rel=1e-8)


def test_a_speed_that_only_the_next_ticks_would_break_is_limited_now() -> None:
    """Ramping the acceleration down takes ticks; the speed they still add counts already."""
    gentle = JointInvariants(-2.0, 2.0, 1.0, 8.0, 200.0)
    envelope = Envelope((as_limits("j", gentle),), DT_S)
    envelope.rest_at([-1.5])
    push_until(envelope, [1.5], 0, Limit.VELOCITY)
    assert envelope.v[0] < 0.9
    assert envelope.a[0] > 5.0


@pytest.mark.parametrize(("share", "limited"), [(1.0 - 1e-6, 0), (1.0 + 1e-6, Limit.ACCELERATION)])
def test_acceleration_is_limited_at_its_limit_and_not_before(share: float, limited: int) -> None:
    envelope = at()
    push_until(envelope, [1.0, 0.0], 0, Limit.ACCELERATION)
    assert envelope.a[0] == pytest.approx(10.0, rel=1e-9)
    envelope.admit([envelope.q[0] + (envelope.v[0] + share * 10.0 * DT_S) * DT_S, 0.0])
    assert envelope.limited_by[0] == limited
    assert envelope.a[0] == pytest.approx(10.0, rel=2e-6)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_every_limit_holds_on_both_sides(side: float) -> None:
    low = JointInvariants(-1.0, 1.0, 1.0, 8.0, 3000.0)
    envelope = Envelope((as_limits("j", low),), DT_S)
    envelope.rest_at([-side])
    seen, sent = set(), [envelope.q]
    for _ in range(2000):
        envelope.admit([9.0 * side])
        seen.add(envelope.limited_by[0])
        sent.append(send(envelope).q)
    assert seen == {Limit.JERK, Limit.ACCELERATION, Limit.VELOCITY, Limit.POSITION}
    verdict = check(np.array(sent), DT_S, (low,), tolerance=0.0)
    assert verdict.violations == ()
    assert min(verdict.largest_share.values()) > 0.9999
    assert envelope.q == [pytest.approx(side, abs=1e-9)]


def test_what_is_not_finite_brakes_every_joint_and_names_the_joint() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        envelope, twin = moving(), moving()
        envelope.admit([bad, 0.1])
        twin.brake()
        assert not envelope.finite
        assert envelope.limited_by == [Limit.FINITE, 0]
        assert (envelope.q, envelope.v, envelope.a) == (twin.q, twin.v, twin.a)
        send(envelope)
        envelope.admit(envelope.q)
        assert envelope.finite


def test_the_number_of_joints_must_match() -> None:
    envelope = at()
    for wrong in ([0.0], [0.0, 0.0, 0.0]):
        with pytest.raises(ValueError, match="zip"):
            envelope.admit(wrong)
        with pytest.raises(ValueError, match="zip"):
            envelope.refusal(wrong)


def test_arrays_become_plain_floats() -> None:
    envelope = at()
    envelope.admit(np.array([1e-9, 0.0]))
    assert all(type(value) is float for value in envelope.q + envelope.v + envelope.a)


# -- stop -----------------------------------------------------------------------------------------


def test_the_kept_stop_ends_at_exact_rest_inside_everything() -> None:
    envelope = moving()
    assert len(brake_to_rest(envelope)) > 10
    assert envelope.v == envelope.a == [0.0, 0.0]
    here = envelope.q
    envelope.brake()
    assert send(envelope).q == here


def test_from_every_state_the_kept_stop_ends_inside() -> None:
    rng = random.Random(11)
    envelope = at()
    sent = [envelope.q]
    for tick in range(3000):
        if tick % 40 == 0:
            target = [rng.uniform(-1.5, 1.5), rng.uniform(-2.5, 1.0)]
        envelope.admit([q + rng.gauss(0.0, 1e-3) for q in target])
        sent.append(send(envelope).q)
        if tick % 15 == 0:
            twin = at()
            twin.restore(envelope.save())
            stop = sent + brake_to_rest(twin)
            q = np.array(stop[-400:])
            # the first rows only begin the finite differences
            verdict = check(q, DT_S, (SHOULDER, ELBOW), tolerance=1e-9)
            begun = 0 if len(stop) <= 400 else 3
            assert [v for v in verdict.violations if v.tick >= begun] == []


def test_a_tick_that_raised_continues_from_what_was_sent() -> None:
    rng = random.Random(1)
    envelope = at()
    sent = [envelope.q]
    for tick in range(4000):
        if rng.random() < 0.2:
            # the exception comes before or after the admission; both leave the last command
            if rng.random() < 0.5:
                envelope.admit([rng.uniform(-3, 3), rng.uniform(-3, 3)])
            envelope.emergency()
        else:
            envelope.admit([rng.uniform(-3, 3), rng.uniform(-3, 3)])
            envelope.admit([math.sin(tick / 300), math.cos(tick / 200)])
        sent.append(send(envelope, tick).q)
    assert check(np.array(sent), DT_S, (SHOULDER, ELBOW), tolerance=1e-9).violations == ()


def test_an_emergency_is_the_kept_stop() -> None:
    envelope, twin = moving(), moving()
    envelope.admit([-1.0, 1.0])
    envelope.emergency()
    twin.brake()
    assert send(envelope) == send(twin)


# -- save and restore -----------------------------------------------------------------------------


def test_a_restored_envelope_continues_bit_for_bit() -> None:
    rng = random.Random(5)
    envelope = moving()
    for pending in (False, True):
        if pending:
            envelope.admit([0.3, 0.3])
        packed = msgspec.msgpack.encode(envelope.save())
        twin = Envelope(LIMITS, DT_S)
        twin.restore(msgspec.msgpack.decode(packed, type=EnvelopeState))
        assert twin.save() == envelope.save()
        assert (twin.q, twin.margin) == (envelope.q, envelope.margin)
    send(envelope)
    send(twin)
    for _ in range(500):
        ask = [rng.uniform(-2, 2), rng.choice([math.nan, 0.1, -0.4, 9.0])]
        envelope.admit(ask)
        twin.admit(ask)
        assert send(envelope) == send(twin)
        assert twin.save() == envelope.save()


def test_the_state_before_the_first_rest_can_be_saved() -> None:
    twin = Envelope(LIMITS, DT_S)
    twin.restore(Envelope(LIMITS, DT_S).save())
    assert twin.q == [0.0, 0.0]
    assert not twin.at_rest


def test_a_state_of_another_robot_is_refused() -> None:
    state = at().save()
    with pytest.raises(ValueError, match="has 2 joints, this robot has 1"):
        Envelope(LIMITS[:1], DT_S).restore(state)
    torn = EnvelopeState(state.issued[:1], state.current, finite=True, pending=False)
    with pytest.raises(ValueError, match="has 2 joints, this robot has 2"):
        at().restore(torn)


def test_a_limit_that_cannot_be_kept_refuses_by_name() -> None:
    bad = LIMITS[1].model_copy(update={"jerk_max_rad_s3": 1e-8})
    with pytest.raises(ValueError, match="joint elbow: jerk_max_rad_s3 is 1e-08"):
        Envelope((LIMITS[0], bad), DT_S)
