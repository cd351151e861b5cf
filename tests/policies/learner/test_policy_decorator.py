"""Policy Decorator's toy (arXiv 2412.13630): a bounded residual docks where its base cannot, and
one whose bound is smaller than the correction that is needed does not.

The paper's own convention: -1 a decision, 0 on success, bootstrapping through the time limit.
State of six numbers, three axes; with six axes the same learner docks too, but does not hold it.
"""

import numpy as np
import pytest
import torch

from policies.learner.agent import Agent, Problem
from policies.learner.settings import LearnerSettings
from tests.policies.learner.toys import Dock, Online, success_rate

DOCK = Dock(axes=3, wrong_by=0.15)
GROW_OVER, JUDGED_AFTER = 2_000, (4_000, 5_000, 6_000)
# the base comes to rest .15 beside the goal on every axis, and .2 / sqrt(3) is allowed
NEEDED = DOCK.stiffness * (DOCK.wrong_by - 0.2 / np.sqrt(DOCK.axes))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("bound", "low", "high"),
    [pytest.param(0.3, 0.75, 1.0, id="wide"), pytest.param(0.02, 0.0, 0.25, id="too narrow")],
)
def test_the_bound_decides_what_a_residual_can_repair(
    bound: float, low: float, high: float
) -> None:
    assert (bound > NEEDED) == (low > 0.25)
    torch.set_num_threads(1)
    settings = LearnerSettings(
        layer_norm=True, critics=2, actor_std_weight=1.0, n_step=3, updates_per_step=1.0,
        target_rate=0.01, ema_rate=0.01, initial_temperature=0.2, action_cost=0.0,
        target_low=-300.0, target_high=300.0, warm_up_updates=0, prefill_steps=500,
        force_cost=None,
    )  # fmt: skip
    agent = Agent(Problem(2 * DOCK.axes, (bound,) * DOCK.axes, 0.97), settings)
    assert success_rate(agent, DOCK, 0.0, episodes=200, seed=9) < 0.2
    work = Online(DOCK, agent, bound, GROW_OVER, seed=0)
    found = []
    for decisions in JUDGED_AFTER:
        work.run(decisions)
        found.append(success_rate(agent, DOCK, bound, episodes=100, seed=decisions))
    assert low <= np.mean(found) <= high
