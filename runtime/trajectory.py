"""Jerk-limited motion of the reference between set-points, sampled on the servo tick.

Time-optimal third-order profiles (ruckig), stretched to a minimum duration so that a stream of
set-points flows instead of stopping at each. The samples of a curve with bounded derivatives have
bounded finite differences, so the envelope stays silent while the plan is followed.
"""

from collections.abc import Sequence

import msgspec
from ruckig import InputParameter, Result, Ruckig
from ruckig import Trajectory as RuckigTrajectory

from runtime.robot_spec import JointLimits


class PlanState(msgspec.Struct):
    """A plan: start state, target and pace; the curve follows from it. `ticks` have passed."""

    q: list[float]
    dq: list[float]
    ddq: list[float]
    target: list[float]
    speed_share: float = 1.0
    duration_s: float = 0.0
    ticks: int = 0


class Trajectory:
    """Plans from the current state to rest at a joint target and samples the curve.

    limits: command limits; `share` of them is used, so that honest motion never meets them.
    """

    def __init__(self, limits: Sequence[JointLimits], dt_s: float, share: float) -> None:
        count = len(limits)
        self._dt_s = dt_s
        self._velocity = [limit.velocity_max_rad_s * share for limit in limits]
        self._acceleration = [limit.acceleration_max_rad_s2 * share for limit in limits]
        self._otg = Ruckig(count, dt_s)
        self._curve = RuckigTrajectory(count)
        self._request = InputParameter(count)
        self._request.max_jerk = [limit.jerk_max_rad_s3 * share for limit in limits]
        zeros = [0.0] * count
        self.state = PlanState(list(zeros), list(zeros), list(zeros), list(zeros))
        self._plan()

    def start_at(self, q: Sequence[float], dq: Sequence[float], ddq: Sequence[float]) -> None:
        """Take over a reference whose finite differences are q, dq (rad/s), ddq (rad/s^2).

        A finite-difference velocity belongs to the middle of the last tick; half a tick of
        acceleration brings it to the tick itself.
        """
        half = self._dt_s / 2
        state = self.state
        state.q = list(q)
        state.dq = [v + a * half for v, a in zip(dq, ddq, strict=True)]
        state.ddq = list(ddq)
        state.ticks = 0
        state.target = list(q)
        self._plan()

    def go_on_from(
        self, q: Sequence[float], dq: Sequence[float], ddq: Sequence[float]
    ) -> None:
        """Take over a reference as `start_at` does, and plan on to the same target at the same
        pace."""
        target, duration_s, speed_share = (
            self.state.target,
            self.state.duration_s,
            self.state.speed_share,
        )
        self.start_at(q, dq, ddq)
        self.move_to(target, duration_s, speed_share)

    def move_to(self, target: Sequence[float], duration_s: float, speed_share: float = 1.0) -> None:
        """Replan from the present point of the curve to rest at `target` (rad), in no less than
        `duration_s`, at `speed_share` of the velocity limits."""
        state = self.state
        if state.ticks:
            state.q, state.dq, state.ddq = self._curve.at_time(state.ticks * self._dt_s)
            state.ticks = 0
        state.target = list(target)
        state.duration_s = duration_s
        state.speed_share = speed_share
        self._plan()

    def next(self) -> list[float]:
        """Advance one tick and return the joint positions (rad) there."""
        self.state.ticks += 1
        if self.done:
            # the curve's own end creeps on with the rounding error of its last velocity
            return list(self.state.target)
        q: list[float] = self._curve.at_time(self.state.ticks * self._dt_s)[0]
        return q

    @property
    def done(self) -> bool:
        """True when the curve has ended."""
        return bool(self.state.ticks * self._dt_s >= self._curve.duration)

    @property
    def remaining_s(self) -> float:
        """How much of the curve is left; 0 or less when it has ended."""
        return float(self._curve.duration) - self.state.ticks * self._dt_s

    def restore(self, state: PlanState) -> None:
        """Take up a saved plan."""
        self.state = state
        self._plan()

    def _plan(self) -> None:
        state, request = self.state, self._request
        request.current_position = state.q
        request.current_velocity = state.dq
        # a hand-over may carry a rounding error more acceleration than ruckig accepts
        request.current_acceleration = [
            min(max(a, -limit), limit)
            for a, limit in zip(state.ddq, self._acceleration, strict=True)
        ]
        request.target_position = state.target
        request.max_velocity = [v * state.speed_share for v in self._velocity]
        request.max_acceleration = self._acceleration
        request.minimum_duration = state.duration_s or None
        result = self._otg.calculate(request, self._curve)
        if result not in (Result.Working, Result.Finished):
            raise ArithmeticError(f"no trajectory from {state.q} to {state.target}: {result}")
