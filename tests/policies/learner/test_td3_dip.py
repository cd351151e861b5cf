"""TD3-C (arXiv 2303.17396): from offline TD3+BC to online TD3 performance first collapses, and a
limit on how far the policy moves per update prevents that.

A dense reward on a double integrator; the guard is a reconstruction: no code of the authors exists.
Of ten seeds plain TD3 dipped in seven, in five by more than its whole return (1 to 5.7 times it),
the guarded one by a tenth at most. Three of those five seeds are repeated here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from policies.learner.agent import Agent, Problem
from policies.learner.networks import Float32s
from policies.learner.replay import Step
from policies.learner.settings import LearnerSettings, UpdateGuardSettings
from runtime.snapshot import forward
from tests.policies.learner.toys import Dock

DOCK = Dock(axes=2)
SEEDS = (1, 2, 5)
OFFLINE_EPISODES, OFFLINE_UPDATES, ONLINE_STEPS, FIRST = 80, 3000, 600, 500
EPSILON = 3e-4
SETTINGS = LearnerSettings(
    algorithm="td3", critics=2, actor_std_weight=0.0, layer_norm=False, n_step=1, actor_delay=2,
    learning_rate=1e-3, warm_up_updates=0, prefill_steps=0, force_cost=None, action_cost=0.0,
    target_low=-100.0, target_high=100.0,
)  # fmt: skip
NO_BASE = np.zeros(DOCK.axes, dtype=np.float32)
Layers = list[tuple[Float32s, Float32s]]


def reward(state: Float32s, action: Float32s) -> float:
    return -0.1 * float((state[:2] ** 2).sum() + 0.1 * (action**2).sum())


def biased(state: Float32s, rng: np.random.Generator) -> Float32s:
    """A PD controller to a goal .3 beside the right one, nearly without noise."""
    action = 0.3 - state[:2] - 1.5 * state[2:] + 0.05 * rng.standard_normal(2)
    return np.clip(action, -1.0, 1.0).astype(np.float32)


def running(agent: Agent) -> Layers:
    """Return the layers of the actor itself: plain TD3 executes that one."""
    parts = [part.numpy() for part in agent._networks.actor.split(agent._state.actor)]
    return [(w.T, b) for w, b in zip(parts[::2], parts[1::2], strict=True)]


def score(layers: Layers) -> float:
    """Return the mean return of 32 fixed starts."""
    states = np.array([DOCK.start(np.random.default_rng(k)) for k in range(32)])
    total = 0.0
    for _ in range(DOCK.horizon):
        actions = forward(layers, np.concatenate((states, 0.0 * states[:, :2]), axis=1))[0]
        total += float(np.mean([reward(s, a) for s, a in zip(states, actions, strict=True)]))
        states = np.array([DOCK.step(s, a) for s, a in zip(states, actions, strict=True)])
    return total


def new_agent(settings: LearnerSettings) -> Agent:
    """Return an agent whose replay holds the offline log."""
    agent = Agent(Problem(4, (1.0, 1.0), 0.97), settings)
    rng = np.random.default_rng(0)
    for number in range(OFFLINE_EPISODES):
        agent.replay.begin_episode(number, offline=True)
        state = DOCK.start(rng)
        for _ in range(DOCK.horizon):
            action = biased(state, rng)
            after = DOCK.step(state, action)
            agent.replay.add_step(
                Step(state, NO_BASE, action, after, NO_BASE, reward(state, action))
            )
            state = after
        agent.replay.end_episode(0.0, terminal=False)
    return agent


def work(agent: Agent) -> Iterator[int]:
    """Run online episodes; yield after every step."""
    rng = np.random.default_rng(50)
    done = 0
    while True:
        agent.replay.begin_episode(1000 + done)
        state = DOCK.start(rng)
        for _ in range(DOCK.horizon):
            inputs = np.concatenate((state, NO_BASE))[None]
            noisy = forward(running(agent), inputs)[0][0] + 0.1 * rng.standard_normal(2)
            action = np.clip(noisy, -1.0, 1.0).astype(np.float32)
            after = DOCK.step(state, action)
            agent.replay.add_step(
                Step(state, NO_BASE, action, after, NO_BASE, reward(state, action))
            )
            state = after
            done += 1
            yield done
        agent.replay.end_episode(0.0, terminal=False)


@dataclass(frozen=True)
class Course:
    """Return before, the lowest within the first steps, and at the end."""

    before: float
    lowest: float
    after: float

    @property
    def dip(self) -> float:
        return (self.before - self.lowest) / abs(self.before)


def cloned(seed: int) -> Agent:
    """Return an agent after TD3+BC on the log alone."""
    torch.set_num_threads(1)
    agent = new_agent(SETTINGS.model_copy(update={"behaviour_cloning": 2.5, "seed": seed}))
    agent.update(OFFLINE_UPDATES)
    return agent


def go_online(before: Agent, guard: UpdateGuardSettings | None) -> Course:
    """Go on with plain TD3 from another agent's networks, with or without a guard."""
    seed = before.settings.seed
    agent = new_agent(SETTINGS.model_copy(update={"update_guard": guard, "seed": seed}))
    agent.go_back(before.networks())
    scores = {}
    for done in work(agent):
        agent.update(1)
        if done % 25 == 0:
            scores[done] = score(running(agent))
        if done == ONLINE_STEPS:
            break
    lowest = min(value for done, value in scores.items() if done <= FIRST)
    return Course(score(before.actor_arrays()), lowest, scores[ONLINE_STEPS])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_guard_prevents_the_dip_and_one_that_allows_everything_does_not() -> None:
    starts = [cloned(seed) for seed in SEEDS]
    free = [go_online(start, None) for start in starts]
    guarded = [go_online(start, UpdateGuardSettings(epsilon=EPSILON)) for start in starts]
    loose = [go_online(start, UpdateGuardSettings(epsilon=1.0)) for start in starts]
    mean = {
        name: float(np.mean([course.dip for course in courses]))
        for name, courses in (("free", free), ("guarded", guarded), ("loose", loose))
    }
    assert mean["free"] > 0.5
    assert mean["free"] >= 3.0 * mean["guarded"]
    assert mean["loose"] >= 3.0 * mean["guarded"]
    assert max(course.dip for course in guarded) < 0.25
    assert np.mean([course.after - course.before for course in guarded]) > 0.0
