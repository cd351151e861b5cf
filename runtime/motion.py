"""Which reference the envelope is asked for: policy, scripted motion, or fallback; one at a time.

Every hand-over starts from the last applied command: whoever takes over plans from the envelope's
own state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from runtime.envelope.envelope import Envelope
from runtime.fallback import Fallback
from runtime.messages import Mode
from runtime.modes import ACTIVE
from runtime.scripted import ScriptedMotion
from runtime.setpoints import Setpoints
from runtime.trajectory import Trajectory


class MotionState(msgspec.Struct):
    """The action that the set-point follows now, and the sequence of its base action.

    `executed`: what is left of it after the contract's limits and reach, in action units.
    """

    action: list[float]
    executed: list[float]
    base_sequence: int = 0
    homed: bool = False


@dataclass(frozen=True)
class MotionParts:
    """What Motion is made of."""

    envelope: Envelope
    trajectory: Trajectory
    setpoints: Setpoints
    scripted: ScriptedMotion
    fallback: Fallback


class Motion:
    """Moves the reference by one tick, whatever the mode."""

    def __init__(self, parts: MotionParts, action_size: int, blend_s: float) -> None:
        self.parts = parts
        self._blend_s = blend_s
        self.state = MotionState(action=[0.0] * action_size, executed=[0.0] * action_size)

    def arm(self, q: Sequence[float]) -> None:
        """Set the reference once to the measured pose (rad), at rest, and begin homing."""
        self.take_up(q)
        self.parts.scripted.home(self.parts.setpoints)
        self.state.homed = False

    def take_up(self, q: Sequence[float]) -> None:
        """Set the reference once to the measured pose (rad), at rest; whatever moved is over."""
        parts = self.parts
        parts.envelope.rest_at(q)
        parts.setpoints.start_at(q)
        zeros = [0.0] * len(q)
        parts.trajectory.start_at(q, zeros, zeros)
        parts.scripted.cancel()
        parts.fallback.begin()

    def hand_over(self, old: Mode, new: Mode) -> None:
        """Prepare for another mode: plans restart from the applied reference."""
        parts = self.parts
        if new in (Mode.HOLD, Mode.STOPPED):
            # out of a hold too: a stop ends the giving way that the hold may be at
            parts.fallback.begin()
            parts.scripted.cancel()
            return
        if old in (Mode.HOLD, Mode.STOPPED):
            parts.setpoints.start_at(parts.envelope.q)
            envelope = parts.envelope
            parts.trajectory.start_at(envelope.q, envelope.v, envelope.a)
            parts.trajectory.move_to(envelope.q, self._blend_s)
            if new is Mode.HOMING and not self.state.homed:
                parts.scripted.home(parts.setpoints)

    def reset(self, target: Sequence[float]) -> None:
        """Begin the scripted reset to the set-point `target` (home, if empty)."""
        self.parts.scripted.reset(self.parts.setpoints, target)

    def begin_episode(self, base_sequence: int) -> None:
        """The policy takes over; base actions up to `base_sequence` belong to the past."""
        self.parts.scripted.cancel()
        self.parts.setpoints.start_at(self.parts.envelope.q)
        self.state.action = self.state.executed = [0.0] * len(self.state.action)
        self.state.base_sequence = base_sequence

    def act(self, action: list[float], base_sequence: int) -> bool:
        """Follow `action`; True when it begins a new policy step.

        The same base action with another sum replaces the step that it began.
        """
        state, parts = self.state, self.parts
        new_step = base_sequence > state.base_sequence
        if not new_step and action == state.action:
            return False
        if new_step:
            parts.setpoints.begin_step()
        state.action, state.base_sequence = action, base_sequence
        parts.trajectory.move_to(parts.setpoints.act(action), self._blend_s)
        state.executed = parts.setpoints.executed()
        return new_step

    @property
    def moving(self) -> bool:
        """True while scripted motion is under way."""
        return self.parts.scripted.moving or not self.parts.trajectory.done

    def step(
        self, mode: Mode, q_measured: Sequence[float], tau_estimate_nm: Sequence[float]
    ) -> list[float]:
        """Advance the reference one tick; return the joint positions that were asked for (rad)."""
        parts = self.parts
        desired: list[float] | None
        if mode in ACTIVE or mode is Mode.HOMING:
            if mode is Mode.HOMING:
                self._script()
            desired = parts.trajectory.next()
        else:
            envelope = parts.envelope
            desired = parts.fallback.step(
                envelope.at_rest, envelope.q, q_measured, tau_estimate_nm, parts.trajectory
            )
        if desired is None:
            parts.envelope.brake()
            return list(parts.envelope.q)
        parts.envelope.admit(desired)
        if any(parts.envelope.limited_by):
            envelope = parts.envelope
            parts.trajectory.go_on_from(envelope.q, envelope.v, envelope.a)
        return desired

    def _script(self) -> None:
        parts = self.parts
        moved = parts.scripted.moving
        parts.scripted.step(parts.setpoints, parts.trajectory)
        if moved and not parts.scripted.moving:
            self.state.homed = True
