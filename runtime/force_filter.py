"""The low-pass that the contact force is judged behind, and what it costs in time.

First order, so it never overshoots: the filtered magnitude is never above the largest that was
measured, and a force that stays above the guard always passes it. The discretisation is exact for
a force that is held from one look to the next, however much time lies between.
"""

import math
from collections.abc import Sequence

import msgspec

from runtime.clock import NS_PER_S

_AXES = 3


class ForceState(msgspec.Struct):
    """The filtered force (N, frame of its group) and when it was looked at; 0: never yet."""

    force_n: list[float]
    looked_ns: int = 0


class ForceFilter:
    """y' = (x - y) / time_constant, so that y(t + h) = y + (1 - exp(-h / time_constant)) (x - y).

    Args:
        group: the observation group whose first three numbers are the force (N).
        cutoff_hz: where a steady oscillation is weakened to 1/sqrt(2).
    """

    def __init__(self, group: str, cutoff_hz: float) -> None:
        self.group = group
        self._time_constant_ns = NS_PER_S / (2.0 * math.pi * cutoff_hz)
        self.state = ForceState([0.0] * _AXES)

    @property
    def delay_s(self) -> float:
        """How far the filtered force is behind one that grows steadily: the time constant."""
        return self._time_constant_ns / NS_PER_S

    def step(self, values: Sequence[float], now_ns: int) -> float:
        """Take in the last finite sample (N) and return the filtered magnitude (N).

        The first sample is taken as it is: nobody knows what was before it.
        """
        state = self.state
        share = 1.0
        if state.looked_ns:
            elapsed_ns = now_ns - state.looked_ns
            share = -math.expm1(-elapsed_ns / self._time_constant_ns)
        state.looked_ns = now_ns
        x, y, z = state.force_n
        x += share * (values[0] - x)
        y += share * (values[1] - y)
        z += share * (values[2] - z)
        state.force_n = [x, y, z]
        return math.hypot(x, y, z)
