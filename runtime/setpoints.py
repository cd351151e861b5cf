"""What a policy's actions move: a set-point, kept near the measured robot, and its joint target.

One class per action kind of the contract. The set-point is remembered as it was before the
current policy step, so that a changed sum of base and residual replaces the step instead of
adding to it.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import msgspec

from runtime.kinematics import DifferentialIk, Kinematics
from runtime.policy_contract import ActionSpec


class SetpointState(msgspec.Struct):
    """`origin`: the set-point before the current policy step; `q_target`: its joint target."""

    value: list[float]
    origin: list[float]
    measured: list[float]
    q_target: list[float]


class Setpoints(Protocol):
    """The set-point of one action kind."""

    state: SetpointState

    def measure(self, q: Sequence[float]) -> None:
        """Update the measured value from joint positions (rad)."""
        ...

    def start_at(self, q: Sequence[float]) -> None:
        """Put the set-point where the reference is (rad)."""
        ...

    def begin_step(self) -> None:
        """A new policy step begins: what was set becomes the origin of the next action."""
        ...

    def act(self, action: Sequence[float]) -> list[float]:
        """Set the set-point by `action` (action units) from the origin; return the joint target."""
        ...

    def executed(self) -> list[float]:
        """Return what `act` made of its action after every limit, in action units."""
        ...

    def approach(self, goal: Sequence[float], step: float) -> bool:
        """Move at most `step` (m, where it is a tool) towards `goal`; True once it is there."""
        ...

    def rise(self, height_m: float) -> list[float]:
        """Return the present set-point raised to `height_m`, where there is a height to raise."""
        ...

    def over(self, goal: Sequence[float], height_m: float) -> list[float]:
        """Return `goal` at `height_m` or its own height, whichever is higher."""
        ...


def limited_action(spec: ActionSpec, action: Sequence[float]) -> list[float]:
    """Return the action inside the contract's [low, high]."""
    return [
        min(max(a, low), high) for a, low, high in zip(action, spec.low, spec.high, strict=True)
    ]


class JointSetpoints:
    """kind `joint_target`: the action is the joint target itself."""

    def __init__(self, spec: ActionSpec) -> None:
        self._spec = spec
        zeros = [0.0] * len(spec.names)
        self.state = SetpointState(list(zeros), list(zeros), list(zeros), list(zeros))

    def measure(self, q: Sequence[float]) -> None:
        """Update the measured joint positions (rad)."""
        self.state.measured = list(q)

    def start_at(self, q: Sequence[float]) -> None:
        """Put the set-point at joint positions q (rad)."""
        state = self.state
        state.value, state.origin, state.q_target = list(q), list(q), list(q)

    def begin_step(self) -> None:
        """Remember the set-point before the step."""
        self.state.origin = self.state.value

    def act(self, action: Sequence[float]) -> list[float]:
        """Return action * scale + offset, within `reach` of the measured pose (rad)."""
        spec, state = self._spec, self.state
        state.value = [
            min(max(a * scale + offset, at - reach), at + reach)
            for a, scale, offset, at, reach in zip(
                limited_action(spec, action),
                spec.scale,
                spec.offset,
                state.measured,
                spec.reach,
                strict=True,
            )
        ]
        state.q_target = state.value
        return state.q_target

    def executed(self) -> list[float]:
        """Return (set-point - offset) / scale."""
        spec = self._spec
        return [
            _in_units(value - offset, scale)
            for value, offset, scale in zip(self.state.value, spec.offset, spec.scale, strict=True)
        ]

    def approach(self, goal: Sequence[float], step: float) -> bool:
        """Set the target at once: in joint space the trajectory generator paces the motion."""
        state = self.state
        state.value, state.q_target = list(goal), list(goal)
        return True

    def rise(self, height_m: float) -> list[float]:
        """Joint targets have no height: the present set-point."""
        return list(self.state.value)

    def over(self, goal: Sequence[float], height_m: float) -> list[float]:
        """Joint targets have no height: the goal itself."""
        return list(goal)


class ToolSetpoints:
    """kind `tool_delta`: the action moves x, y, z (m) and yaw (rad) of the tool in base."""

    def __init__(self, spec: ActionSpec, kinematics: Kinematics, ik: DifferentialIk) -> None:
        self._spec = spec
        self._kinematics = kinematics
        self._ik = ik
        self.state = SetpointState([0.0] * 4, [0.0] * 4, [0.0] * 4, ik.home)

    def measure(self, q: Sequence[float]) -> None:
        """Update the measured tool pose from joint positions (rad)."""
        self.state.measured = self._kinematics.setpoint(q)
        # the turn that is measured nearest to the one that was asked for, not half a turn's jump
        self.state.measured[3] += _whole_turns(self.state.value[3] - self.state.measured[3])

    def start_at(self, q: Sequence[float]) -> None:
        """Put the set-point at the tool pose of joint positions q (rad)."""
        state = self.state
        state.value = self._kinematics.setpoint(q)
        state.origin = state.value
        state.q_target = list(q)

    def begin_step(self) -> None:
        """Remember the set-point before the step."""
        self.state.origin = self.state.value

    def act(self, action: Sequence[float]) -> list[float]:
        """Move the set-point by action * scale + offset within `reach` of the measured pose.

        The reach is anti-wind-up, and it bounds how hard a compliant drive can push.
        """
        spec, state = self._spec, self.state
        value = []
        for start, a, scale, offset, at, reach in zip(
            state.origin,
            limited_action(spec, action),
            spec.scale,
            spec.offset,
            state.measured,
            spec.reach,
            strict=True,
        ):
            value.append(min(max(start + a * scale + offset, at - reach), at + reach))
        state.value = value
        state.q_target = self._ik.solve(state.q_target, value)
        return state.q_target

    def executed(self) -> list[float]:
        """Return (set-point - origin - offset) / scale."""
        spec, state = self._spec, self.state
        return [
            _in_units(value - origin - offset, scale)
            for value, origin, offset, scale in zip(
                state.value, state.origin, spec.offset, spec.scale, strict=True
            )
        ]

    def approach(self, goal: Sequence[float], step: float) -> bool:
        """Move the set-point along the straight line to `goal`, at most `step` metres."""
        state = self.state
        gap = [g - v for g, v in zip(goal, state.value, strict=True)]
        gap[3] -= _whole_turns(gap[3])
        distance = max(sum(d * d for d in gap[:3]) ** 0.5, abs(gap[3]) * _METRES_PER_RADIAN)
        arrived = not (distance > step)
        share = 1.0 if arrived else step / distance
        state.value = [v + d * share for v, d in zip(state.value, gap, strict=True)]
        state.q_target = self._ik.solve(state.q_target, state.value)
        return arrived

    def rise(self, height_m: float) -> list[float]:
        """Return the present tool pose raised to `height_m` (never lowered)."""
        x, y, z, yaw = self.state.value
        return [x, y, max(z, height_m), yaw]

    def over(self, goal: Sequence[float], height_m: float) -> list[float]:
        """Return the pose above `goal`."""
        x, y, z, yaw = goal
        return [x, y, max(z, height_m), yaw]


def _in_units(moved: float, scale: float) -> float:
    """Return the action that moves so far; one without a scale moves nothing."""
    return moved / scale if scale else 0.0


def _whole_turns(angle: float) -> float:
    """Return the whole turns in `angle` (rad), so that the rest is at most half a turn."""
    return round(angle / math.tau) * math.tau


# turning by a radian takes as long as moving the tool by this distance
_METRES_PER_RADIAN = 0.3
