"""Scripted motion: homing and resets, as waypoints of the set-point or of the joints."""

from collections.abc import Sequence

import msgspec

from runtime.setpoints import Setpoints
from runtime.trajectory import Trajectory


class Leg(msgspec.Struct):
    """One waypoint: a set-point to approach, or joint positions (rad) to move to."""

    goal: list[float]
    joints: bool


class ScriptState(msgspec.Struct):
    """Legs still to go; `begun`: the last plan of the first leg was made. `ticks`: since the
    script began."""

    legs: list[Leg] = []
    begun: bool = False
    ticks: int = 0


class ScriptedMotion:
    """Moves set-point and trajectory leg by leg, at the policy's pace.

    Args:
        home: joint positions (rad).
        retract_to_m: the tool rises to this height before it moves sideways, if given.
        step_m: how far the set-point moves per policy period.
        ticks_per_step: servo ticks per policy period.
        blend_s: shortest duration of a plan.
        speed_share: share of the joint speed limits for joint legs.
    """

    def __init__(
        self,
        home: Sequence[float],
        retract_to_m: float | None,
        step_m: float,
        ticks_per_step: int,
        blend_s: float,
        speed_share: float,
    ) -> None:
        self._home = list(home)
        self._retract_to_m = retract_to_m
        self._step_m = step_m
        self._ticks_per_step = ticks_per_step
        self._blend_s = blend_s
        self._speed_share = speed_share
        self.state = ScriptState()

    @property
    def moving(self) -> bool:
        """True while a leg is left."""
        return bool(self.state.legs)

    def home(self, setpoints: Setpoints) -> None:
        """Begin homing: retract, then move the joints home."""
        self._start([*self._retract(setpoints), Leg(self._home, joints=True)])

    def reset(self, setpoints: Setpoints, target: Sequence[float]) -> None:
        """Begin a reset to the set-point `target` (home if empty): retract, over, down."""
        if not target:
            self.home(setpoints)
            return
        legs = self._retract(setpoints)
        if self._retract_to_m is not None:
            legs.append(Leg(setpoints.over(target, self._retract_to_m), joints=False))
        legs.append(Leg(list(target), joints=False))
        self._start(legs)

    def cancel(self) -> None:
        """Forget what is left."""
        self._start([])

    def step(self, setpoints: Setpoints, trajectory: Trajectory) -> None:
        """Advance one servo tick."""
        state = self.state
        if not state.legs:
            return
        if state.legs[0].joints:
            self._joint_leg(state.legs[0], setpoints, trajectory)
        elif state.begun:
            # the set-point alone would cut the corner: the arm is up before it moves sideways
            if trajectory.remaining_s <= self._blend_s:
                self._next()
        elif state.ticks % self._ticks_per_step == 0:
            self._setpoint_leg(state.legs[0], setpoints, trajectory)
        state.ticks += 1

    def _start(self, legs: list[Leg]) -> None:
        self.state = ScriptState(legs=legs)

    def _retract(self, setpoints: Setpoints) -> list[Leg]:
        if self._retract_to_m is None:
            return []
        return [Leg(setpoints.rise(self._retract_to_m), joints=False)]

    def _joint_leg(self, leg: Leg, setpoints: Setpoints, trajectory: Trajectory) -> None:
        state = self.state
        if not state.begun:
            trajectory.move_to(leg.goal, self._blend_s, self._speed_share)
            state.begun = True
        elif trajectory.done:
            setpoints.start_at(leg.goal)
            self._next()

    def _setpoint_leg(self, leg: Leg, setpoints: Setpoints, trajectory: Trajectory) -> None:
        self.state.begun = setpoints.approach(leg.goal, self._step_m)
        trajectory.move_to(setpoints.state.q_target, self._blend_s, self._speed_share)

    def _next(self) -> None:
        self.state.legs.pop(0)
        self.state.begun = False
