"""How much of the residual reaches the sum: what is granted, ramped up, and only inside a region.

Pure. The way down is immediate (a fault that drops the residual, a smaller grant, another mode),
the way up takes `ramp_s` from 0 to 1. The region bounds the place that a relative action, whose
own bound limits a rate, can drift to.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from runtime.faults import Response
from runtime.messages import Mode, Stage

# Authority between nothing and what is granted moves in so many steps to 1: each change of the sum
# in the middle of a policy step costs an inverse kinematics.
_STEPS = 32

# the mode in which an episode runs at each stage, by the stage's number
MODE_OF_STAGE = (Mode.BASE, Mode.BASE, Mode.ADAPTIVE, Mode.SHADOW, Mode.ADAPTIVE)
_EARNED = (int(Stage.EXPLORE), int(Stage.ADAPTIVE))
_DROP = int(Response.DROP_RESIDUAL)


@dataclass(frozen=True)
class Region:
    """Box of measured tool positions in base (m); over `edge_m` inside it authority falls to 0."""

    low_m: Sequence[float]
    high_m: Sequence[float]
    edge_m: float

    def share(self, tool_position_in_base_m: Sequence[float]) -> float:
        """Return 1 in the box, 0 outside and where the position is not finite, linear between."""
        edge_m = self.edge_m
        for at, low, high in zip(tool_position_in_base_m, self.low_m, self.high_m, strict=True):
            if not (low + edge_m <= at <= high - edge_m):
                return self._edge_share(tool_position_in_base_m)
        return 1.0

    def _edge_share(self, position_m: Sequence[float]) -> float:
        inside_m = math.inf
        for at, low, high in zip(position_m, self.low_m, self.high_m, strict=True):
            # NaN is in no box
            if not (low < at < high):
                return 0.0
            inside_m = min(inside_m, at - low, high - at)
        return inside_m / self.edge_m


@dataclass(frozen=True)
class AuthorityLimits:
    """`rise_per_tick`: what a ramp gains in one tick."""

    region: Region
    rise_per_tick: float


class AuthorityState(msgspec.Struct):
    """`level`: how far each action's ramp has come, at most what is granted. `used`: the authority
    that the sum in use was made with."""

    level: list[float]
    used: list[float]


class Authority:
    """Works out the authority of each action, tick by tick; without limits it is always 0."""

    def __init__(self, actions: int, limits: AuthorityLimits | None) -> None:
        self._none = [0.0] * actions
        self._granted = self._goal = self._none
        self._limits = limits
        self.value = self._none
        self.region_share = 0.0
        self.state = AuthorityState(self._none, self._none)

    def sum(self, base: list[float], residual: Sequence[float]) -> list[float]:
        """Return base + value * residual; without authority not even a NaN spoils the sum."""
        self.state.used = self.value
        if not any(self.value):
            return base
        return [
            b + share * r if share else b
            for b, share, r in zip(base, self.value, residual, strict=True)
        ]

    def changed(self) -> bool:
        """Return True when the sum in use was made with another authority."""
        return self.value != self.state.used

    def update(
        self,
        mode: Mode,
        response: Response,
        stage: int,
        granted: list[float],
        tool_position_in_base_m: Sequence[float],
    ) -> None:
        """Set `value` and `region_share` for this tick.

        `granted`: authority per action, in [0, 1]; what is not finite or outside counts as 0.
        Between episodes (HOMING) the ramp keeps its level, though nothing has authority there.
        """
        limits, state = self._limits, self.state
        if limits is None:
            return
        self.region_share = share = limits.region.share(tool_position_in_base_m)
        may = mode is Mode.ADAPTIVE or mode is Mode.HOMING
        if not (may and stage in _EARNED and response < _DROP):
            state.level = self.value = self._none
            return
        goals, rise = self._goals(granted), limits.rise_per_tick
        if mode is Mode.HOMING:
            state.level = list(map(min, state.level, goals))
            self.value = self._none
            return
        if state.level != goals:
            state.level = [
                min(goal, level + rise) for level, goal in zip(state.level, goals, strict=True)
            ]
        self.value = self._stepped(state.level, goals, share)

    def _goals(self, granted: list[float]) -> list[float]:
        """Return what may be reached; worked out anew when the grant changes."""
        if granted != self._granted:
            self._granted = granted
            self._goal = [g if 0.0 <= g <= 1.0 else 0.0 for g in granted]
        return self._goal

    @staticmethod
    def _stepped(level: list[float], goals: list[float], share: float) -> list[float]:
        if share == 1.0 and level == goals:
            return goals
        return [
            goal
            if reached == goal and share == 1.0
            else math.floor(reached * share * _STEPS) / _STEPS
            for reached, goal in zip(level, goals, strict=True)
        ]


def authority_limits(
    low_m: Sequence[float], high_m: Sequence[float], edge_m: float, ramp_s: float, servo_hz: float
) -> AuthorityLimits:
    """Return the limits for a ramp of `ramp_s` from 0 to 1 at a servo rate."""
    return AuthorityLimits(Region(tuple(low_m), tuple(high_m), edge_m), 1.0 / (ramp_s * servo_hz))
