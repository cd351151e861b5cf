"""A policy trained to break the envelope: the cross-entropy method over swings and a push.

R. Y. Rubinstein, "The cross-entropy method for combinatorial and continuous optimization",
Methodology and Computing in Applied Probability 1, 1999. What is learned is one open-loop attack:
the period of square waves, phase, centre and reach of every joint, when, how often, where and in
which direction to push, and how the drive is disturbed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.envelope.envelope import Envelope
from runtime.layout import Floats
from tests.benchmarks.adversary_arena import (
    HIGH,
    JOINTS,
    LOW,
    Demand,
    Disturbance,
    Push,
    push_at,
)

SIZE = 1 + 3 * JOINTS + 4 + 3 + 3
# a first population is large where what the others refine must be found by chance
_FIRST_POPULATION = 36
_POPULATION = 12
_ELITE = 3
_KEEP = 0.2
# added to the spread after a population, less and less: few bouts would else settle too early
_FRESH = 0.3
_FADES = 0.7
_SPREAD = 1.0
# of the centres of swings: from end to end of the ranges
_ANYWHERE = 2.0
# far swings from the first: a speed limit is not reached in short ones
_FAR = 2.0
_FASTEST_TICKS = 40.0
_SLOWEST_TICKS = 1500.0
PUSH_TICKS = 100


@dataclass(frozen=True)
class Attack:
    """One set of parameters, made into what a bout needs."""

    start: Floats
    period_ticks: float
    phase: Floats
    reach: Floats
    pushes: list[Push]
    disturbance: Disturbance

    def demand(self) -> Demand:
        """Return the swings, from the beginning."""
        tick = -1

        def ask(_: Envelope) -> list[float]:
            nonlocal tick
            tick += 1
            side = np.where((tick / self.period_ticks + self.phase) % 1.0 < 0.5, 1.0, -1.0)
            asked: list[float] = (self.start + self.reach * side).tolist()
            return asked

        return ask


def attack(
    values: Floats,
    ticks: int,
    pushable: Sequence[tuple[str, Floats, Floats]],
    worst: Sequence[Disturbance],
    push_n: float,
) -> Attack:
    """Read parameters, [SIZE], any real numbers, as an attack of `ticks`."""
    share = 1.0 / (1.0 + np.exp(-values))
    joints = share[1 : 1 + 3 * JOINTS].reshape(3, JOINTS)
    when, pause, where, which = share[1 + 3 * JOINTS :][:4]
    direction, place = values[-6:-3], np.tanh(values[-3:])
    shape = pushable[min(int(where * len(pushable)), len(pushable) - 1)]
    first, apart = int(when * (ticks - PUSH_TICKS)), PUSH_TICKS + int(pause * 2 * PUSH_TICKS)
    begins = range(first % apart, ticks, apart)
    slower = math.log(_SLOWEST_TICKS / _FASTEST_TICKS)
    return Attack(
        start=LOW + (HIGH - LOW) * joints[1],
        period_ticks=_FASTEST_TICKS * math.exp(slower * float(share[0])),
        phase=joints[0],
        reach=1.2 * (HIGH - LOW) * joints[2],
        pushes=[push_at(shape, direction, place, push_n, at, PUSH_TICKS) for at in begins],
        disturbance=worst[min(int(which * len(worst)), len(worst) - 1)],
    )


def swing_trainer(rng: np.random.Generator, *, anywhere: bool) -> "Trainer":
    """Return who learns to swing. `anywhere`: look from end to end of the ranges first, for what
    breaks only there."""
    mean, spread = np.zeros(SIZE), np.full(SIZE, _SPREAD)
    mean[1 + 2 * JOINTS : 1 + 3 * JOINTS] = _FAR
    if anywhere:
        spread[1 + JOINTS : 1 + 2 * JOINTS] = _ANYWHERE
    return Trainer(rng, mean, spread)


class Trainer:
    """Learns from one bout after the other: `ask` for parameters, `tell` what they were worth.

    `mean` and `spread` [parameters] say where to look first.
    """

    def __init__(self, rng: np.random.Generator, mean: Floats, spread: Floats) -> None:
        self._rng = rng
        self._mean, self._spread = mean, spread
        self._population = _FIRST_POPULATION
        self._fresh = _FRESH
        self._tried: list[tuple[float, Floats]] = []
        self._asked = mean
        self.best: Floats | None = None
        self.best_reward = -math.inf

    def ask(self) -> Floats:
        """Return the next parameters, [parameters]."""
        self._asked = self._mean + self._spread * self._rng.normal(size=len(self._mean))
        return self._asked

    def tell(self, reward: float) -> None:
        """Say what the last ones were worth; after a population, learn from its best."""
        self._tried.append((reward, self._asked))
        if reward > self.best_reward:
            self.best_reward, self.best = reward, self._asked
        if len(self._tried) < self._population:
            return
        self._population = _POPULATION
        self._tried.sort(key=lambda pair: -pair[0])
        elite = np.array([values for _, values in self._tried[:_ELITE]])
        self._mean = _KEEP * self._mean + (1.0 - _KEEP) * elite.mean(axis=0)
        self._spread = _KEEP * self._spread + (1.0 - _KEEP) * elite.std(axis=0)
        self._spread += self._fresh
        self._fresh *= _FADES
        # the best of all stays in the race
        self._tried = [] if self.best is None else [(self.best_reward, self.best)]
