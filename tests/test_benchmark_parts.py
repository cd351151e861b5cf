"""Benchmarks rest on a few numbers of their own; these are right."""

from collections import Counter

import numpy as np
import pytest

from runtime.wiring import load_deployment
from tests.benchmarks.conservatism import Arm, Comparison, Episode, compare, matched_interval
from tests.benchmarks.cost_loop import Timed, fresh_envelope
from tests.benchmarks.cost_scenes import GAP_M, close_volumes, surrounded
from tests.benchmarks.kit import CONFIG_FILE
from tests.benchmarks.qp_problems import Problem, cost, exact, problems, violation
from tests.benchmarks.qp_solvers import ascent, daqp_cold


def arm(successes: list[bool], cycle_s: float) -> Arm:
    episodes = [Episode(success, cycle_s, cycle_s) for success in successes]
    return Arm(episodes, Counter(), 0, 0.0)


def compared(on: list[bool], off: list[bool], ratio: float = 1.0) -> Comparison:
    return compare(arm(on, 2.0 * ratio), arm(off, 2.0))


def test_the_interval_of_matched_pairs_is_that_of_agresti_and_min() -> None:
    # their adjusted counts: 8.5 and 2.5 of 102
    low, high = matched_interval(8, 2, 100)
    assert (low + high) / 2 == pytest.approx(6 / 102)
    assert high - low == pytest.approx(2 * 1.959964 * np.sqrt(11.0 - 36.0 / 102) / 102)


def test_no_loss_in_500_starts_is_shown_and_none_in_100_is_not() -> None:
    assert compared([True] * 500, [True] * 500).passed
    assert not compared([True] * 100, [True] * 100).passed


def test_lost_episodes_and_longer_cycles_are_found() -> None:
    good = [True] * 500
    assert not compared([False] * 10 + good[10:], good).passed
    assert not compared(good, good, ratio=1.06).passed
    assert compared(good, good, ratio=1.04).passed


def test_the_exact_answer_is_the_nearest_point() -> None:
    # s_0 + s_1 may be at most 1; the second share is four times as dear
    problem = Problem(np.array([1.0, 4.0]), np.array([[-1.0, -1.0]]), np.array([-1.0]))
    assert exact(problem) == pytest.approx([0.2, 0.8])
    assert violation(problem, np.array([0.5, 1.0])) == pytest.approx(0.25)
    assert cost(problem, np.array([0.0, 0.0])) == 1.0


def test_the_chosen_solver_finds_it_too() -> None:
    solve, fallback = daqp_cold(), ascent()
    for problem in problems(sequences=5, seed=3):
        wanted, (share, _), (other, _) = exact(problem), solve(problem), fallback(problem)
        if violation(problem, wanted) > 1e-7:
            continue
        assert share is not None and other is not None
        assert violation(problem, share) <= 1e-6 and violation(problem, other) <= 1e-12
        assert cost(problem, share) == pytest.approx(cost(problem, wanted), abs=1e-3)


def test_ten_volumes_stand_close_to_the_arm_and_yet_it_may_start() -> None:
    deployment = load_deployment(CONFIG_FILE)
    assert len(close_volumes(deployment)) == 10
    geometry = fresh_envelope(surrounded(deployment, close=True), Timed).geometry
    assert geometry is not None
    home = [joint.home_rad for joint in deployment.robot.joints]
    distance = geometry.distances_m(home)
    near = {
        name.split(" | ")[1]
        for name, apart in zip(geometry.names, distance, strict=True)
        if apart <= 2.0 * GAP_M
    }
    assert len([name for name in near if ": by " in name]) >= 8
