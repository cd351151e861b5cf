"""Double integrators with a biased base policy: small enough to learn in seconds."""

from dataclasses import dataclass

import numpy as np

from policies.learner.agent import Agent
from policies.learner.networks import LOG_STD_HIGH, LOG_STD_LOW, Float32s
from policies.learner.replay import Source, Step
from runtime.snapshot import forward

DT_S = 0.1


@dataclass(frozen=True)
class Dock:
    """Points that must come to rest at the origin, base: a PD controller to a wrong goal.

    State: position and velocity of `axes` axes; action: accelerations in [-1, 1]. Success ends an
    episode: |p| < .2 and |v| < .1.
    """

    axes: int = 6
    horizon: int = 50
    stiffness: float = 2.0
    damping: float = 1.5
    wrong_by: float = 0.1

    def start(self, rng: np.random.Generator) -> Float32s:
        place = rng.uniform(-1.0, 1.0, self.axes)
        return np.concatenate((place, np.zeros(self.axes))).astype(np.float32)

    def base(self, state: Float32s) -> Float32s:
        signs = np.where(np.arange(self.axes) % 2 == 0, 1.0, -1.0)
        wanted = self.stiffness * (self.wrong_by * signs - state[: self.axes])
        action = wanted - self.damping * state[self.axes :]
        return np.clip(action, -1.0, 1.0).astype(np.float32)

    def step(self, state: Float32s, action: Float32s) -> Float32s:
        velocity = state[self.axes :] + DT_S * np.clip(action, -1.0, 1.0)
        return np.concatenate((state[: self.axes] + DT_S * velocity, velocity)).astype(np.float32)

    def done(self, state: Float32s) -> bool:
        place, speed = np.linalg.norm(state[: self.axes]), np.linalg.norm(state[self.axes :])
        return bool(place < 0.2 and speed < 0.1)


def explore(agent: Agent, inputs: Float32s, rng: np.random.Generator) -> Float32s:
    """Return a drawn action of the averaged actor, [d]."""
    mean_action, log_std = forward(agent.actor_arrays(), inputs[None])
    spread = np.exp(np.clip(log_std[0], LOG_STD_LOW, LOG_STD_HIGH))
    mean = np.arctanh(np.clip(mean_action[0], -0.999999, 0.999999))
    action: Float32s = np.tanh(mean + spread * rng.standard_normal(len(mean)))
    return action.astype(np.float32)


def success_rate(agent: Agent, dock: Dock, bound: float, episodes: int, seed: int) -> float:
    """Return the share of fresh episodes that the averaged actor's mean action ends in success."""
    rng = np.random.default_rng(seed)
    states = np.array([dock.start(rng) for _ in range(episodes)])
    alive = np.ones(episodes, dtype=bool)
    layers = agent.actor_arrays()
    for _ in range(dock.horizon):
        base = np.array([dock.base(state) for state in states])
        residual = forward(layers, np.concatenate((states, base), axis=1))[0]
        states = np.array([
            dock.step(s, b + bound * u) for s, b, u in zip(states, base, residual, strict=True)
        ])  # fmt: skip
        alive &= ~np.array([dock.done(state) for state in states])
    return float(1.0 - alive.mean())


@dataclass
class Online:
    """Policy Decorator's loop on a dock: progressive exploration drawn at every decision."""

    dock: Dock
    agent: Agent
    bound: float
    grow_over: int
    seed: int

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.decisions = 0
        self.episode = 0

    def run(self, decisions: int) -> None:
        """Work until `decisions` were made in all; learn as the settings say."""
        while self.decisions < decisions:
            self._one_episode()
            if self.agent.ready:
                begun = self.decisions - self.agent.settings.prefill_steps
                self.agent.update(self.agent.due(begun))

    def _one_episode(self) -> None:
        replay, dock = self.agent.replay, self.dock
        replay.begin_episode(self.episode)
        self.episode += 1
        state = dock.start(self.rng)
        base = dock.base(state)
        done = False
        for _ in range(dock.horizon):
            residual = np.zeros(dock.axes, dtype=np.float32)
            if self.rng.random() < self.decisions / self.grow_over:
                residual = explore(self.agent, np.concatenate((state, base)), self.rng)
            after = dock.step(state, base + self.bound * residual)
            base_after = dock.base(after)
            done = dock.done(after)
            replay.add_step(
                Step(state, base, residual, after, base_after, 0.0 if done else -1.0, 0.0,
                     Source.EXPLORING)
            )  # fmt: skip
            state, base = after, base_after
            self.decisions += 1
            if done:
                break
        replay.end_episode(0.0, terminal=done)
