"""Policy Decorator's toy (arXiv 2412.13630): a bounded residual docks where its base cannot, and
one whose bound is smaller than the correction that is needed does not.

The paper's own convention: -1 a decision, 0 on success, bootstrapping through the time limit.
"""

import numpy as np
import pytest
import torch

from policies.learner.agent import Agent, Problem
from policies.learner.settings import LearnerSettings
from tests.policies.learner.toys import Dock, Online, success_rate

DECISIONS, GROW_OVER = 10_000, 4_000
# the base is .1 a axis beside the goal, .0184 more than allowed, times its stiffness
NEEDED = 2.0 * (0.1 - 0.2 / np.sqrt(6))


def trained(bound: float) -> tuple[float, float]:
    """Return the success rates of base and of base with residual."""
    torch.set_num_threads(1)
    dock = Dock()
    settings = LearnerSettings(
        layer_norm=False, critics=2, actor_std_weight=1.0, n_step=1, updates_per_step=1.0,
        target_rate=0.01, ema_rate=0.01, initial_temperature=1.0, action_cost=0.0,
        target_low=-300.0, target_high=300.0, warm_up_updates=0, prefill_steps=500,
        force_cost=None,
    )  # fmt: skip
    agent = Agent(Problem(2 * dock.axes, (bound,) * dock.axes, 0.97), settings)
    before = success_rate(agent, dock, 0.0, episodes=200, seed=9)
    Online(dock, agent, bound, GROW_OVER, seed=0).run(DECISIONS)
    return before, success_rate(agent, dock, bound, episodes=200, seed=10)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("bound", "low", "high"),
    [pytest.param(0.3, 0.9, 1.0, id="wide"), pytest.param(0.02, 0.0, 0.25, id="too narrow")],
)
def test_the_bound_decides_what_a_residual_can_repair(
    bound: float, low: float, high: float
) -> None:
    assert (bound > NEEDED) == (low > 0.25)
    before, after = trained(bound)
    assert before < 0.1
    assert low <= after <= high
