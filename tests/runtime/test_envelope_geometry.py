"""The envelope among obstacles: nothing that it sends comes nearer than the margin."""

from collections.abc import Callable

import daqp
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.envelope import choice as choice_file
from runtime.envelope.anchors import Anchoring, Extents
from runtime.envelope.choice import Choice
from runtime.envelope.envelope import Envelope, EnvelopeState
from runtime.envelope.joint import JointAdmission, Reference
from runtime.geometry_spec import BoxSpec, KeepOut, PlaneSpec
from runtime.messages import Limit
from tests.runtime.geometry_kit import (
    CROWD,
    MARGIN_M,
    OPEN,
    TABLE,
    TIP,
    Judge,
    Machine,
    glide,
    invariants,
    moved,
    panda,
    planar,
    step,
)
from tests.runtime.invariant_checker import check

SEED = 11
TOLERANCE_M = 1e-7
PLANAR_CROWD: tuple[KeepOut, ...] = (
    TABLE,
    BoxSpec(
        shape="box",
        name="crate",
        center_m=(0.1, 0.55, 0.1),
        half_size_m=(0.1, 0.1, 0.1),
        yaw_rad=0.5,
    ),
    PlaneSpec(shape="plane", name="wall", point_m=(0.0, -0.6, 0.0), normal=(0.0, 1.0, 0.0)),
)
Array = NDArray[np.float64]


def demands(which: Machine, ticks: int, seed: int = SEED) -> list[Array]:
    """Square waves of all joints, noise and long pulls to far places, in turn."""
    rng = np.random.default_rng(seed)
    low, high = which.low, which.high
    asked, target = [], np.array(which.home)
    for tick in range(ticks):
        kind = (tick // 250) % 3
        if kind == 0 and tick % 125 == 0:
            target = rng.uniform(low, high)
        elif kind == 1 and tick % 12 == 0:
            target = np.where(rng.random(len(low)) < 0.5, low, high)
        elif kind == 2:
            target = target + rng.normal(0.0, 0.3, len(low))
        asked.append(target.copy())
    return asked


SCENES = [(panda, CROWD, True), (planar, PLANAR_CROWD, False)]


@pytest.mark.parametrize(("which", "volumes", "own"), SCENES)
def test_nothing_that_is_asked_brings_the_robot_nearer_than_the_margin(
    which: Callable[[], Machine], volumes: tuple[KeepOut, ...], own: bool
) -> None:
    robot = which()
    geometry = robot.geometry(volumes, own=own)
    judge = Judge(robot, geometry.names, volumes)
    envelope = robot.envelope(geometry)
    sent, limited, nearest = [robot.home], 0, np.inf
    for tick, desired in enumerate(demands(robot, 4500)):
        sent.append(step(envelope, desired))
        limited += any(bits & Limit.GEOMETRY for bits in envelope.limited_by)
        assert envelope.clearance_m >= 0.0
        if tick % 9 == 0:
            distance, _ = judge.nearest(sent[-1])
            nearest = min(nearest, distance)
            # the certified bound is never larger than the distance
            assert envelope.clearance_m <= distance - MARGIN_M + TOLERANCE_M
    assert nearest >= MARGIN_M - TOLERANCE_M
    # and it was in danger: the demands lead right through everything
    assert nearest < MARGIN_M + 0.01
    assert limited > 300
    assert not check(np.array(sent), robot.dt_s, invariants(robot)).violations


@pytest.mark.parametrize(("which", "volumes", "own"), SCENES)
def test_cut_off_anywhere_the_stop_passes_no_limit(
    which: Callable[[], Machine], volumes: tuple[KeepOut, ...], own: bool
) -> None:
    robot = which()
    geometry = robot.geometry(volumes, own=own)
    judge = Judge(robot, geometry.names, volumes)
    envelope = robot.envelope(geometry)
    cut = Envelope(robot.limits, robot.dt_s, robot.geometry(volumes, own=own))
    for tick, desired in enumerate(demands(robot, 3000, seed=SEED + 1)):
        step(envelope, desired)
        if tick % 60 == 0:
            cut.restore(envelope.save())
            path = [step(cut, None) for _ in range(2000) if not cut.at_rest]
            assert cut.at_rest
            for q in path[::5] + path[-1:]:
                assert judge.nearest(q)[0] >= MARGIN_M - TOLERANCE_M


def test_far_from_everything_geometry_changes_no_bit() -> None:
    robot = panda()
    free, bound = robot.envelope(None), robot.envelope(robot.geometry())
    rng = np.random.default_rng(SEED)
    target = np.array(robot.home)
    for tick in range(2000):
        if tick % 100 == 0:
            target = np.array(robot.home) + rng.uniform(-0.06, 0.06, 7)
        assert step(free, target) == step(bound, target)
        assert not any(bits & Limit.GEOMETRY for bits in bound.limited_by)
    # half of what there is, at least
    assert bound.clearance_m > 0.0025


def test_it_gets_near_and_slides_along() -> None:
    """Pressed onto the table while it turns: the tip's capsule stays just above the margin."""
    robot = panda()
    geometry = robot.geometry((TABLE,), workspace=OPEN)
    judge = Judge(robot, [TIP], (TABLE,))
    envelope = robot.envelope(geometry)

    def height() -> float:
        return judge.distances(envelope.q)[TIP]

    for _ in glide(envelope, moved(robot, joint2=0.6), 2000):
        assert height() >= MARGIN_M
    assert envelope.at_rest
    assert geometry.names[envelope.nearest_barrier] == TIP
    # of the peg, a box, a capsule is watched that stands out by 7 mm
    assert height() < MARGIN_M + 0.008
    assert 0.0 <= envelope.clearance_m < 5e-4
    for _ in glide(envelope, moved(robot, joint1=0.8, joint2=0.6), 2500):
        assert MARGIN_M <= height() < MARGIN_M + 0.012
    assert envelope.q[0] == pytest.approx(0.8, abs=1e-3)
    for _ in glide(envelope, robot.home, 2500):
        pass
    assert envelope.q == pytest.approx(robot.home, abs=1e-6)


def test_one_joint_gives_way_so_that_others_may_go_on() -> None:
    """Least change: joint 1, which brings nothing nearer to the table, keeps all of its wish."""
    robot = panda()
    envelope = robot.envelope(robot.geometry((TABLE,), workspace=OPEN))
    free = robot.envelope(None)
    wish = moved(robot, joint1=0.6, joint2=0.6, joint6=0.4)
    gave_way = 0
    for here, there in zip(glide(envelope, wish, 1500), glide(free, wish, 1500), strict=True):
        gave_way += bool(envelope.limited_by[1] & Limit.GEOMETRY)
        assert here[0] == pytest.approx(there[0], abs=2e-4)
    assert gave_way > 100
    assert envelope.q[1] < wish[1] - 0.05


# -- state ------------------------------------------------------------------------------------


def test_a_restored_envelope_goes_on_bit_for_bit() -> None:
    robot = panda()
    first = robot.envelope(robot.geometry())
    second = Envelope(robot.limits, robot.dt_s, robot.geometry())
    asked = demands(robot, 1500)
    for tick, desired in enumerate(asked[:700]):
        step(first, desired)
        if tick == 400:
            saved = msgspec.msgpack.encode(first.save())
            second.restore(msgspec.msgpack.decode(saved, type=EnvelopeState))
            assert second.clearance_m == first.clearance_m
            assert second.nearest_barrier == first.nearest_barrier
    for desired in asked[401:700]:
        step(second, desired)
    assert second.save() == first.save()
    for desired in asked[700:]:
        assert step(first, desired) == step(second, desired)
        assert second.clearance_m == first.clearance_m


@pytest.mark.parametrize("volumes", [(TABLE,), CROWD])
def test_a_state_of_other_barriers_begins_anew(volumes: tuple[KeepOut, ...]) -> None:
    """As in a replay with another config: where the arm was it may be, and from there move out."""
    robot = panda()
    other = robot.envelope(robot.geometry((TABLE,), workspace=OPEN))
    for _ in glide(other, moved(robot, joint1=0.7, joint2=0.6), 700):
        pass
    assert not other.at_rest
    geometry = robot.geometry(volumes)
    envelope = Envelope(robot.limits, robot.dt_s, geometry)
    envelope.restore(other.save())
    assert step(envelope, None) == step(other, None)
    judge = Judge(robot, geometry.names, volumes)
    least = min(judge.nearest(other.q)[0], MARGIN_M)
    for tick, desired in enumerate(demands(robot, 1000)):
        q = step(envelope, desired)
        if tick % 10 == 0:
            assert judge.nearest(q)[0] >= least - 0.01
    saved = envelope.save()
    envelope.restore(saved)
    assert envelope.save() == saved


def test_braking_and_an_emergency_need_no_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    robot = panda()
    envelope = robot.envelope(robot.geometry())
    for desired in demands(robot, 100):
        step(envelope, desired)
    clearance = envelope.clearance_m

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Choice, "of", broken)
    with pytest.raises(RuntimeError, match="broken"):
        envelope.admit(robot.home)
    envelope.emergency()
    envelope.certify(1, 2, 0, 0, 1)
    assert envelope.clearance_m == clearance
    assert not any(envelope.limited_by)


def test_what_is_not_finite_brakes_all_joints() -> None:
    robot = panda()
    envelope = robot.envelope(robot.geometry())
    for desired in demands(robot, 100):
        step(envelope, desired)
    twin = Envelope(robot.limits, robot.dt_s, robot.geometry())
    twin.restore(envelope.save())
    step(envelope, [np.nan, *robot.home[1:]])
    step(twin, None)
    assert not envelope.finite
    assert envelope.limited_by == [int(Limit.FINITE), *[0] * 6]
    assert envelope.q == twin.q


# -- the program is not the guarantee ---------------------------------------------------------


@pytest.mark.parametrize("answer", ["all", "nothing", "nan", "wild", "failed"])
def test_whatever_the_solver_says_nothing_comes_nearer(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: tuple[Array, float, int, dict[str, float]] = {
        "all": (np.ones(7), 0.0, 1, {}),
        "nothing": (np.zeros(7), 0.0, 1, {}),
        "nan": (np.full(7, np.nan), 0.0, 1, {}),
        "wild": (np.array([5.0, -3.0, 1.0, 0.5, 1e300, 0.0, 1.0]), 0.0, 1, {}),
        "failed": (np.ones(7), 0.0, -1, {}),
    }[answer]
    monkeypatch.setattr(daqp, "solve", lambda *_, **__: said)
    robot = panda()
    geometry = robot.geometry()
    judge = Judge(robot, geometry.names)
    envelope = robot.envelope(geometry)
    sent, limited = [robot.home], 0
    for tick, desired in enumerate(demands(robot, 1500)):
        sent.append(step(envelope, desired))
        limited += any(bits & Limit.GEOMETRY for bits in envelope.limited_by)
        if tick % 10 == 0:
            assert judge.nearest(sent[-1])[0] >= MARGIN_M - TOLERANCE_M
    assert limited
    assert not check(np.array(sent), robot.dt_s, invariants(robot)).violations


def nearest_of_a_run(seed: int) -> float:
    robot = panda()
    geometry = robot.geometry()
    judge = Judge(robot, geometry.names)
    envelope = robot.envelope(geometry)
    nearest = np.inf
    for tick, desired in enumerate(demands(robot, 1500, seed)):
        q = step(envelope, desired)
        if tick % 5 == 0:
            nearest = min(nearest, judge.nearest(q)[0])
    return float(nearest)


def test_more_barriers_than_the_program_looks_at_are_kept_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice_file, "_BARRIERS", 1)
    assert nearest_of_a_run(SEED) >= MARGIN_M - TOLERANCE_M


def test_a_part_of_a_wish_passes_the_joints_limits_again() -> None:
    """A wish that no joint would admit comes to nothing: the step of the kept stop."""
    joint = JointAdmission(panda().limits[0], 0.002)
    last = joint.admit(joint.rest(0.0), 1e-6)
    wild = Reference(9.0, 9e3, 1e6, 0.0, 0.0, 9.0, 0, 0.0)
    kept = joint.brake(last, int(Limit.GEOMETRY))
    assert joint.part_way(last, wild, 0.5, int(Limit.GEOMETRY)) == kept
    assert joint.part_way(last, wild, 0.0, int(Limit.GEOMETRY)) == kept


# -- planted holes: what the judge is worth ------------------------------------------------------


def only_now(last: tuple[Reference, ...], to: tuple[Reference, ...]) -> Extents:
    q = np.array([[at.q for at in stop] for stop in (last, to, to)])
    return Extents(q, np.zeros_like(q))


def test_the_judge_finds_an_envelope_that_looks_only_at_the_present(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice_file, "_boxes", only_now)
    assert nearest_of_a_run(SEED) < MARGIN_M - 5e-4


def test_the_judge_finds_slopes_with_the_wrong_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    slope = Anchoring._slope
    monkeypatch.setattr(Anchoring, "_slope", lambda *args: -slope(*args))
    assert nearest_of_a_run(SEED) < MARGIN_M - 5e-4


def test_height_of_home() -> None:
    """The oracle's own kinematics agree with the robot spec's words: the tip is 0.25 m high."""
    robot = panda()
    height = robot.oracle().robot.site(robot.site, robot.home)[2]
    assert height == pytest.approx(0.25, abs=1e-3)
