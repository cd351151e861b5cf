"""What the adversary that is trained to come near to barriers does: lean on one and slide along.

Learned are a pose, towards which every joint leans, how far, how fast and out of step with the
others each one swings while it does, and, where that is allowed, how near to begin. Commands do not
depend on what the arm does, so pushes and disturbances are drawn, not learned.
"""

import math
from dataclasses import dataclass

import numpy as np

from runtime.envelope.envelope import Envelope
from runtime.layout import Floats
from tests.benchmarks.adversary_arena import AROUND_HOME_RAD, HOME, JOINTS, Arena, Demand, Scene
from tests.benchmarks.adversary_trained import Trainer

NEAR_SIZE = 4 * JOINTS + 2
# an approach begins at least so far beyond the margin: what is nearer then was come nearer to
APPROACH_FROM_M = 0.005
# where nothing says how near a bout may begin
_NEAREST_START_M, _FURTHEST_START_M = 1e-9, 1e-3
_LEAN_RAD = 0.5
_SHORTEST_RAD, _LONGEST_RAD = 1e-3, 1.0
_FASTEST_TICKS, _SLOWEST_TICKS = 40.0, 1500.0


@dataclass(frozen=True)
class Lean:
    """One set of parameters, made into what a bout needs."""

    start: Floats
    middle: Floats
    reach: Floats
    phase: Floats
    period_ticks: float

    def demand(self) -> Demand:
        """Return the sliding, from the beginning."""
        tick = -1

        def ask(_: Envelope) -> list[float]:
            nonlocal tick
            tick += 1
            turn = 2.0 * math.pi * (tick / self.period_ticks + self.phase)
            asked: list[float] = (self.middle + self.reach * np.sin(turn)).tolist()
            return asked

        return ask


def lean(values: Floats, arena: Arena, scene: Scene, *, approach: bool) -> Lean:
    """Read parameters, [NEAR_SIZE], any real numbers. An `approach` begins APPROACH_FROM_M away."""
    pose, way, reach, phase = values[:-2].reshape(4, JOINTS)
    room_m = float(_between(_NEAREST_START_M, _FURTHEST_START_M, values[-1]))
    if approach:
        room_m = APPROACH_FROM_M
    start = arena.towards(scene, HOME + AROUND_HOME_RAD * np.tanh(pose), room_m)
    return Lean(
        start=start,
        middle=start + _LEAN_RAD * way,
        reach=_between(_SHORTEST_RAD, _LONGEST_RAD, reach),
        phase=phase,
        period_ticks=float(_between(_FASTEST_TICKS, _SLOWEST_TICKS, values[-2])),
    )


def near_trainer(rng: np.random.Generator) -> Trainer:
    """Return who learns to lean."""
    return Trainer(rng, np.zeros(NEAR_SIZE), np.ones(NEAR_SIZE))


def _between(low: float, high: float, value: Floats) -> Floats:
    """Return what any real number means between two positive ones, by their logarithms."""
    between: Floats = low * (high / low) ** (1.0 / (1.0 + np.exp(-value)))
    return between
