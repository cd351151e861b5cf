"""Plans whose samples stay inside the limits as finite differences, judged independently."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruckig import RuckigError

from runtime.robot_spec import JointLimits
from runtime.trajectory import PlanState, Trajectory
from tests.runtime.invariant_checker import JointInvariants, check

DT_S = 0.002
NUMBERS = [(2.0, 15.0, 7000.0), (1.0, 7.0, 3500.0), (2.5, 19.0, 9000.0)]
LIMITS = tuple(
    JointLimits(
        name=f"j{i}",
        position_min_rad=-3.0,
        position_max_rad=3.0,
        velocity_max_rad_s=v,
        acceleration_max_rad_s2=a,
        jerk_max_rad_s3=j,
    )
    for i, (v, a, j) in enumerate(NUMBERS)
)


def shares(share: float) -> list[JointInvariants]:
    # positions are the caller's: a plan may swing past its target when it is told late
    return [JointInvariants(-9.0, 9.0, share * v, share * a, share * j) for v, a, j in NUMBERS]


def make(share: float = 0.9, at: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Trajectory:
    trajectory = Trajectory(LIMITS, DT_S, share)
    trajectory.start_at(at, [0.0] * 3, [0.0] * 3)
    return trajectory


ANGLE = st.floats(-2.5, 2.5)
MOVES = st.lists(
    st.tuples(st.tuples(ANGLE, ANGLE, ANGLE), st.integers(1, 80), st.sampled_from([0.0, 0.1, 0.4])),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(MOVES)
def test_samples_keep_every_limit_through_random_targets_and_replans(
    moves: list[tuple[tuple[float, float, float], int, float]],
) -> None:
    trajectory = make()
    rows = [[0.0, 0.0, 0.0]]
    for target, ticks, duration_s in moves:
        trajectory.move_to(target, duration_s)
        rows.extend(trajectory.next() for _ in range(ticks))
    while not trajectory.done:
        rows.append(trajectory.next())
    rows.extend(trajectory.next() for _ in range(3))
    verdict = check(np.array(rows), DT_S, shares(0.9))
    assert not verdict.violations, verdict.violations[:3]
    assert rows[-1] == pytest.approx(moves[-1][0], abs=1e-9)
    assert rows[-1] == pytest.approx(rows[-2], abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(MOVES, st.integers(1, 60))
def test_a_plan_taken_over_from_finite_differences_goes_on_inside_the_full_limits(
    moves: list[tuple[tuple[float, float, float], int, float]], cut: int
) -> None:
    trajectory = make()
    rows = [[0.0, 0.0, 0.0]] * 4
    trajectory.move_to(moves[0][0], 0.0)
    rows.extend(trajectory.next() for _ in range(cut))
    last = np.array(rows[-4:])
    v = np.diff(last, axis=0) / DT_S
    a = np.diff(v, axis=0) / DT_S
    trajectory.go_on_from(rows[-1], v[-1].tolist(), a[-1].tolist())
    rows.extend(trajectory.next() for _ in range(1500))
    assert rows[-1] == pytest.approx(moves[0][0], abs=1e-9)
    verdict = check(np.array(rows), DT_S, [JointInvariants(-9, 9, v, a, j) for v, a, j in NUMBERS])
    assert not verdict.violations, verdict.violations[:3]


@settings(max_examples=30, deadline=None)
@given(MOVES, st.integers(0, 40))
def test_a_saved_plan_goes_on_bit_for_bit(
    moves: list[tuple[tuple[float, float, float], int, float]], ticks: int
) -> None:
    trajectory = make()
    for target, count, duration_s in moves:
        trajectory.move_to(target, duration_s, 0.7)
        for _ in range(count):
            trajectory.next()
    saved = msgspec.msgpack.encode(trajectory.state)
    twin = make(at=(1.0, 1.0, 1.0))
    twin.restore(msgspec.msgpack.decode(saved, type=PlanState))
    for _ in range(ticks):
        assert twin.next() == trajectory.next()
    trajectory.move_to((0.0, 0.0, 0.0), 0.1)
    twin.move_to((0.0, 0.0, 0.0), 0.1)
    for _ in range(50):
        assert twin.next() == trajectory.next()


def test_a_move_takes_its_least_duration_and_its_share_of_the_speed() -> None:
    trajectory = make()
    trajectory.move_to((0.001, 0.0, 0.0), 0.1)
    ticks = 0
    while not trajectory.done:
        trajectory.next()
        ticks += 1
    assert ticks * DT_S >= 0.1
    trajectory.move_to((2.0, 0.0, 0.0), 0.1, 0.35)
    q = np.array([trajectory.next() for _ in range(2000)])
    fastest = np.abs(np.diff(q[:, 0])).max() / DT_S
    assert fastest == pytest.approx(0.35 * 0.9 * 2.0, rel=1e-6)


def test_going_on_keeps_target_and_pace() -> None:
    trajectory = make()
    trajectory.move_to((1.0, 0.0, 0.0), 0.25, 0.35)
    q = trajectory.next()
    trajectory.go_on_from(q, [0.0] * 3, [0.0] * 3)
    state = trajectory.state
    assert (state.target, state.duration_s, state.speed_share) == ([1.0, 0.0, 0.0], 0.25, 0.35)


def test_it_is_done_where_it_starts_and_stays_where_it_ends() -> None:
    trajectory = make(at=(0.5, 0.5, 0.5))
    assert trajectory.done
    assert trajectory.next() == [0.5, 0.5, 0.5]
    trajectory.move_to((0.6, 0.5, 0.4), 0.0)
    ends = [trajectory.done]
    for _ in range(3000):
        q = trajectory.next()
    ends.append(trajectory.done)
    assert ends == [False, True]
    assert q == pytest.approx([0.6, 0.5, 0.4], abs=1e-12)


def test_a_target_that_is_no_number_is_refused() -> None:
    with pytest.raises(RuckigError, match="target position nan"):
        make().move_to((float("nan"), 0.0, 0.0), 0.1)
