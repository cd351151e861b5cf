"""The calibration monitor: a promise that is not kept shows, chance does not."""

import math

import numpy as np
import pytest
from scipy import stats

from policies.learner.calibration import CalibrationMonitor
from policies.learner.networks import Float32s
from tests.policies.learner.kit import fill, new_agent


def floats(*values: float) -> Float32s:
    return np.array(values, dtype=np.float32)


def test_mean_and_lower_bound_are_student_s() -> None:
    promised, achieved = floats(0.9, 0.8, 0.7, 0.9, 0.6, 0.5), floats(0, 1, 0, 0, 1, 0)
    found = CalibrationMonitor().judge(promised, achieved)
    excess = promised - achieved
    assert found.mean == pytest.approx(0.4)
    test = stats.ttest_1samp(excess, 0.0, alternative="greater")
    assert found.low == pytest.approx(test.confidence_interval(0.95).low)
    assert found.episodes == 6


def test_few_episodes_accuse_nobody() -> None:
    monitor = CalibrationMonitor()
    assert math.isnan(monitor.judge(floats(), floats()).mean)
    found = monitor.judge(floats(1, 1, 1, 1), floats(0, 0, 0, 0))
    assert found.mean == 1.0
    assert found.low == -math.inf


def test_it_seldom_accuses_an_honest_critic_and_finds_one_that_promises_too_much() -> None:
    rng = np.random.default_rng(0)
    accused = {}
    for promise in (0.5, 0.9):
        lows = [
            CalibrationMonitor()
            .judge(np.full(20, promise, np.float32), (rng.random(20) < 0.5).astype(np.float32))
            .low
            for _ in range(400)
        ]
        accused[promise] = np.mean(np.array(lows) > 0.0)
    assert accused[0.5] < 0.1
    assert accused[0.9] > 0.9


def test_an_agent_compares_promises_at_starts_with_returns() -> None:
    agent = fill(new_agent(n_step=1), episodes=12, length=5)
    agent._state.critic.zero_()
    # the last three numbers are the critics' output biases: they promise 2 everywhere
    agent._state.critic[-3:] = 2.0
    found = agent.calibration(8)
    # every other episode succeeds after five steps, discounted by .9 each
    assert found.mean == pytest.approx(2.0 - 0.5 * 0.9**4, rel=1e-5)
    assert found.episodes == 8
    assert found.low > 1.0
    assert new_agent().calibration(8).episodes == 0
