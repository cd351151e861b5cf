"""Demands as smooth as an honest plan's, but for one limit that they overstep, often by little.

Noise never comes near to a command that passes untouched; these do, until the limit stops them.
"""

import numpy as np

from runtime.envelope.envelope import Envelope
from tests.benchmarks.adversary_arena import JOINTS
from tests.benchmarks.invariants import COMMANDS, DT_S

_SPEED = np.array([joint.v_max for joint in COMMANDS])
_ACCELERATION = np.array([joint.a_max for joint in COMMANDS])
_JERK = np.array([joint.j_max for joint in COMMANDS])
_OVER = (1.0, 1.001, 1.02, 1.3)
_SETTLE_S = 0.04
_AGAIN_TICKS = (60, 300)


class SmoothDemand:
    """Goes on from where the reference is towards some speed of every joint, and takes up the
    reference anew every few hundred ticks."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._left = 0
        self._q, self._v, self._a = np.zeros((3, JOINTS))
        self._goal, self._a_max, self._step = np.zeros((3, JOINTS))

    def __call__(self, envelope: Envelope) -> list[float]:
        if self._left == 0:
            self._begin(envelope)
        self._left -= 1
        wanted = np.clip((self._goal - self._v) / _SETTLE_S, -self._a_max, self._a_max)
        self._a = self._a + np.clip(wanted - self._a, -self._step, self._step)
        self._v = self._v + self._a * DT_S
        self._q = self._q + self._v * DT_S
        asked: list[float] = self._q.tolist()
        return asked

    def _begin(self, envelope: Envelope) -> None:
        rng = self._rng
        self._left = int(rng.integers(*_AGAIN_TICKS))
        self._q, self._v = np.array(envelope.q), np.array(envelope.v)
        self._a = np.array(envelope.a)
        over = np.ones(3)
        over[rng.integers(3)] = rng.choice(_OVER)
        self._goal = over[0] * _SPEED * rng.choice((-1.0, -0.3, 0.0, 0.3, 1.0), JOINTS)
        self._a_max = over[1] * _ACCELERATION
        self._step = over[2] * _JERK * DT_S
