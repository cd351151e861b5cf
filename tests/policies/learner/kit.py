"""Small learners with something to sample, which the tests of policies/learner share."""

from typing import Any

import numpy as np

from policies.learner.agent import Agent, Problem
from policies.learner.networks import Float32s
from policies.learner.replay import Source, Step
from policies.learner.settings import LearnerSettings

OBSERVATION, BOUND = 5, (0.4, 0.2)
SMALL: dict[str, Any] = {
    "hidden": (8, 8),
    "critics": 3,
    "batch": 16,
    "warm_up_updates": 0,
    "prefill_steps": 0,
}


def new_agent(**settings: Any) -> Agent:
    return Agent(Problem(OBSERVATION, BOUND, 0.9), LearnerSettings(**(SMALL | settings)))


def numbers(rng: np.random.Generator, *shape: int) -> Float32s:
    return rng.normal(size=shape).astype(np.float32)


def fill(agent: Agent, episodes: int = 4, length: int = 10, seed: int = 0) -> Agent:
    """Give the agent random episodes, every other one a success."""
    rng = np.random.default_rng(seed)
    d = len(BOUND)
    for number in range(episodes):
        agent.replay.begin_episode(1000 * seed + number)
        for _ in range(length):
            agent.replay.add_step(
                Step(
                    numbers(rng, OBSERVATION),
                    numbers(rng, d),
                    np.tanh(numbers(rng, d)),
                    numbers(rng, OBSERVATION),
                    numbers(rng, d),
                    source=Source.RESIDUAL,
                )
            )
        agent.replay.end_episode(float(number % 2))
    return agent
