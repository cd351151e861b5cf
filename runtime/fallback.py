"""What the arm does in HOLD and STOPPED: brake inside the limits, then hold without pushing.

Zeros are no safe action for a position-controlled arm. At rest the reference relaxes towards the
measured pose until no joint is held by more than its holding torque, so that a hold never keeps
pressing on what it hit.
"""

from collections.abc import Sequence

import msgspec

from runtime.trajectory import Trajectory


class FallbackState(msgspec.Struct):
    """`braking`: the kept stop manoeuvre runs. `ticks`: since the last look at the torques."""

    braking: bool = True
    ticks: int = 0


class Fallback:
    """Decides whether to brake, to stand, or where to relax to.

    Args:
        holding_torque_nm: per joint; above it at rest, the joint gives way.
        relax_every_ticks: how often the relaxation target is renewed.
        relax_s: shortest duration of a relaxing motion.
        speed_share: share of the speed limits that relaxing may use.
    """

    def __init__(
        self,
        holding_torque_nm: Sequence[float],
        relax_every_ticks: int,
        relax_s: float,
        speed_share: float,
    ) -> None:
        self._holding_torque_nm = tuple(holding_torque_nm)
        self._relax_every_ticks = relax_every_ticks
        self._relax_s = relax_s
        self._speed_share = speed_share
        self.state = FallbackState()

    def begin(self) -> None:
        """A fallback takes over: brake first."""
        self.state.braking = True

    def step(
        self,
        at_rest: bool,
        q_applied: Sequence[float],
        q_measured: Sequence[float],
        tau_estimate_nm: Sequence[float],
        trajectory: Trajectory,
    ) -> list[float] | None:
        """Return the joint positions to ask for (rad), or None for the next step of the stop.

        `tau_estimate_nm`: what the drive presses with because of the reference, per joint.
        """
        state = self.state
        if state.braking:
            if not at_rest:
                return None
            state.braking, state.ticks = False, 0
            zeros = [0.0] * len(q_applied)
            trajectory.start_at(q_applied, zeros, zeros)
        look, state.ticks = state.ticks % self._relax_every_ticks == 0, state.ticks + 1
        if look and not self._relax(q_applied, q_measured, tau_estimate_nm, trajectory):
            # enough was given way: end here instead of going on to where it was aimed
            state.braking = not trajectory.done
        return None if state.braking else trajectory.next()

    def _relax(
        self,
        q_applied: Sequence[float],
        q_measured: Sequence[float],
        tau_estimate_nm: Sequence[float],
        trajectory: Trajectory,
    ) -> bool:
        """Let the joints that press give way; return whether any does."""
        pressing = [
            not (abs(tau) <= limit)
            for tau, limit in zip(tau_estimate_nm, self._holding_torque_nm, strict=True)
        ]
        if any(pressing):
            target = [
                measured if presses else applied
                for applied, measured, presses in zip(
                    q_applied, q_measured, pressing, strict=True
                )
            ]
            trajectory.move_to(target, self._relax_s, self._speed_share)
        return any(pressing)
