"""The replay against numbers written out by hand."""

import numpy as np
import pytest

from policies.learner.networks import Float32s
from policies.learner.replay import (
    Columns,
    ForceCost,
    Pool,
    Replay,
    Source,
    Step,
    returns_to_go,
)
from runtime.errors import LearnerError

COLUMNS = Columns(observation=1, action=1)
DISCOUNT = 0.5


def new_replay(capacity: int = 100, n_step: int = 3) -> Replay:
    return Replay(COLUMNS, capacity, DISCOUNT, n_step, ForceCost(cost=0.05))


def one(value: float) -> Float32s:
    return np.array([value], dtype=np.float32)


def step(t: float, reward: float = 0.0, force_n: float = 0.0, residual: float = 0.5) -> Step:
    """A step that can be told from its numbers: o = t, b = 10 + t, o' = t + 1, b' = 11 + t."""
    return Step(
        one(t), one(10 + t), one(residual), one(t + 1), one(11 + t), reward, force_n,
        Source.RESIDUAL,
    )  # fmt: skip


def add(
    replay: Replay,
    number: int,
    length: int,
    outcome: float | None,
    *,
    terminal: bool = True,
    offline: bool = False,
    force_n: float = 0.0,
) -> None:
    replay.begin_episode(number, offline=offline)
    for t in range(length):
        replay.add_step(step(100.0 * number + t, force_n=force_n))
    replay.end_episode(outcome, terminal=terminal)


def rows(replay: Replay) -> Float32s:
    """All that can be sampled, in the ring's order."""
    return replay._rows[replay.ready(Pool.NONE)]


def test_a_row_holds_what_was_seen_and_done() -> None:
    replay = new_replay(n_step=1)
    add(replay, 0, 2, 1.0)
    # o, b, u, R, discount, o', b', G
    np.testing.assert_array_equal(
        rows(replay), [[0, 10, 0.5, 0, 0.5, 1, 11, 0.5], [1, 11, 0.5, 1, 0, 2, 12, 1]]
    )


def test_a_window_of_three_steps_stops_at_the_episode_s_end() -> None:
    replay = new_replay(n_step=3)
    add(replay, 0, 4, 1.0)
    add(replay, 1, 4, 0.0)
    found = rows(replay)
    # R: the outcome is 3, 2, 1, 0 steps away; within three steps of t = 1, 2, 3
    np.testing.assert_array_equal(found[:4, 3], [0, 0.25, 0.5, 1])
    # the window of t = 0 ends before the outcome and bootstraps at o_3
    np.testing.assert_array_equal(found[:4, 4], [0.125, 0, 0, 0])
    np.testing.assert_array_equal(found[:4, 5], [3, 4, 4, 4])
    np.testing.assert_array_equal(found[:4, 7], [0.125, 0.25, 0.5, 1])
    np.testing.assert_array_equal(found[4:, 5], [103, 104, 104, 104])
    assert not found[4:, 3].any()


def test_a_time_limit_may_be_bootstrapped_through() -> None:
    replay = new_replay(n_step=3)
    add(replay, 0, 4, 0.0, terminal=False)
    np.testing.assert_array_equal(rows(replay)[:, 4], [0.125, 0.125, 0.25, 0.5])


def test_an_unknown_outcome_stays_out_until_it_is_known() -> None:
    replay = new_replay()
    add(replay, 0, 3, None)
    with pytest.raises(LearnerError, match="known outcome"):
        replay.sample(4, np.random.default_rng(0))
    assert replay.correct(0, 1.0)
    np.testing.assert_array_equal(rows(replay)[:, 7], [0.25, 0.5, 1])
    assert replay.outcomes(9) == [1.0]


def test_a_correction_rewrites_rewards_and_returns_in_place() -> None:
    replay = new_replay()
    add(replay, 0, 3, 1.0)
    add(replay, 1, 3, 1.0)
    before = rows(replay).copy()
    assert replay.correct(0, 0.0)
    after = rows(replay)
    assert not after[:3, [3, 7]].any()
    np.testing.assert_array_equal(after[3:], before[3:])
    assert replay.correct(0, None)
    assert len(replay.ready(Pool.NONE)) == 3
    assert replay.correct(0, 1.0)
    np.testing.assert_array_equal(rows(replay), before)


def test_corrections_name_episodes_that_ended() -> None:
    replay = new_replay()
    replay.begin_episode(5)
    replay.add_step(step(0))
    with pytest.raises(LearnerError, match="episode 5 still runs"):
        replay.correct(5, 1.0)
    replay.end_episode(1.0)
    assert not replay.correct(6, 1.0)
    with pytest.raises(LearnerError, match="nan"):
        replay.correct(5, float("nan"))


def test_force_costs_once_its_scale_rises_and_never_less() -> None:
    replay = new_replay(n_step=1)
    add(replay, 0, 2, 1.0, force_n=80.0)
    add(replay, 1, 1, None, force_n=200.0)
    replay.raise_force_scale(0.5)
    # .5 * .05 * (80 - 40) / 80 = .0125 a step
    np.testing.assert_allclose(rows(replay)[:, 3], [-0.0125, 0.9875])
    np.testing.assert_allclose(rows(replay)[:, 7], [-0.0125 + 0.5 * 0.9875, 0.9875])
    replay.raise_force_scale(0.2)
    np.testing.assert_allclose(rows(replay)[:, 3], [-0.0125, 0.9875])
    replay.correct(1, 0.0)
    np.testing.assert_allclose(rows(replay)[2, 3], -0.025)
    with pytest.raises(LearnerError, match="force scale nan"):
        replay.raise_force_scale(float("nan"))


def test_force_below_the_free_one_costs_nothing() -> None:
    force = np.array([0, 40, 60, 120, 500], dtype=np.float32)
    np.testing.assert_allclose(ForceCost().of(force), [0, 0, 0.0125, 0.05, 0.05])


def test_the_ring_drops_whole_episodes_oldest_first() -> None:
    replay = new_replay(capacity=10)
    for number in range(3):
        add(replay, number, 4, float(number))
    assert not replay.correct(0, 1.0)
    assert replay.correct(1, 1.0)
    assert sorted(rows(replay)[:, 0]) == [100, 101, 102, 103, 200, 201, 202, 203]
    # episode 2 goes round the end of the ring
    np.testing.assert_array_equal(rows(replay)[:2, 0], [202, 203])
    np.testing.assert_array_equal(replay.starts(5)[:, 0], [100, 200])


def test_the_latest_rows_come_in_order_around_the_ring() -> None:
    replay = new_replay(capacity=10)
    for number in range(3):
        add(replay, number, 4, 0.0)
    np.testing.assert_array_equal(replay.latest(3)[:, 0], [201, 202, 203])
    np.testing.assert_array_equal(replay.latest(3)[:, 0], [201, 202, 203])
    assert len(replay.latest(99)) == 8


def test_half_of_a_mixed_batch_is_the_base_s() -> None:
    replay = new_replay()
    add(replay, 0, 20, 0.0, offline=True)
    rng = np.random.default_rng(0)
    assert (replay.sample(10, rng, offline_share=0.5)[0, :, 0] < 100).all()
    add(replay, 1, 2, 0.0)
    mixed = replay.sample(10, rng, offline_share=0.5, batches=3)
    np.testing.assert_array_equal((mixed[:, :, 0] < 100).sum(1), [5, 5, 5])
    even = replay.sample(1000, rng)
    assert (even[0, :, 0] >= 100).mean() == pytest.approx(2 / 22, abs=0.03)


def test_the_same_seed_samples_the_same() -> None:
    replays = [new_replay(), new_replay()]
    for replay in replays:
        add(replay, 0, 20, 1.0)
    one_sample, other = (r.sample(64, np.random.default_rng(4)) for r in replays)
    np.testing.assert_array_equal(one_sample, other)
    assert len(np.unique(one_sample[0, :, 0])) > 10


def test_what_cannot_be_learned_from_is_refused() -> None:
    replay = new_replay(capacity=5)
    with pytest.raises(LearnerError, match="no episode is open"):
        replay.add_step(step(0))
    replay.begin_episode(0)
    with pytest.raises(LearnerError, match="1 begins while 0 is open"):
        replay.begin_episode(1)
    for bad in (step(float("nan")), step(0, reward=float("inf")), step(0, force_n=float("nan"))):
        with pytest.raises(LearnerError, match="finite"):
            replay.add_step(bad)
    for residual in (1.01, -1.01):
        with pytest.raises(LearnerError, match="residual"):
            replay.add_step(step(0, residual=residual))
    wide = np.zeros(2, dtype=np.float32)
    with pytest.raises(LearnerError, match="8 numbers"):
        replay.add_step(Step(wide, one(0), one(0), one(0), one(0)))
    replay.end_episode(1.0)
    assert len(replay.ready(Pool.NONE)) == 0
    replay.begin_episode(0)
    for t in range(4):
        replay.add_step(step(t))
    with pytest.raises(LearnerError, match="capacity"):
        replay.add_step(step(5))
    replay.end_episode(1.0)
    assert len(replay.ready(Pool.NONE)) == 4
    with pytest.raises(LearnerError, match="unique"):
        replay.begin_episode(0)


def test_returns_are_discounted_sums() -> None:
    rewards = np.array([1, 2, 4], dtype=np.float32)
    np.testing.assert_array_equal(returns_to_go(rewards, 0.5), [3, 4, 4])
