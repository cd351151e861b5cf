"""Which command a simulated drive executes, how long it goes on without one, and what it refuses.

Section 6 of the protocol: the newest valid command in the next period, coasting for three, braking.
"""

import numpy as np

from runtime.layout import Floats
from runtime.robot_codes import DropCode
from runtime.robot_wire import Command
from sims.robot_motion import COAST_PERIODS, JointBounds, Motion
from sims.robot_sessions import RobotFacts

NS_PER_S = 1_000_000_000
JUMP_RAD = 0.05


class Follower:
    """Turns commands into the drive's target. `executed` and `withdrawn` count what became of those
    that were offered: every one is either executed, or replaced or taken back before it was."""

    def __init__(self, facts: RobotFacts, bounds: JointBounds, start_rad: Floats) -> None:
        self._facts = facts
        self._bounds = bounds
        self._period_s = facts.period_ns / NS_PER_S
        self._pending: Command | None = None
        self._last: Command | None = None
        self._first = True
        self._silent_periods = 0
        self._armed_ns = 0
        self.motion = Motion(start_rad, bounds, self._period_s)
        self.offered = 0
        self.executed = 0
        self.withdrawn = 0

    @property
    def executed_count(self) -> int:
        """`count` of the command that was executed last in this lease, 0 before the first."""
        return self._last.count if self._last is not None else 0

    def arm(self, now_ns: int) -> None:
        """Wait for a first command, which must begin where the robot stands."""
        self._first = True
        self._armed_ns = now_ns

    def offer(self, command: Command) -> None:
        """Take a command that was not refused for the next period, in the stead of any other."""
        self.withdraw()
        self.offered += 1
        self._pending = command

    def withdraw(self) -> None:
        """Execute nothing that was offered."""
        self.withdrawn += self._pending is not None
        self._pending = None

    def forget(self) -> None:
        """Forget what was executed: the next commander counts anew."""
        self._last = None

    def refusal(self, command: Command, measured_rad: Floats) -> tuple[DropCode, str] | None:
        """Return why these joints cannot be moved so, or None. `measured_rad`: where they are."""
        joints = len(self.motion.target_rad)
        if not (len(command.q) == len(command.dq) == joints):
            return DropCode.LENGTH, f"allowed: {joints} joints"
        q_rad, dq_rad_s = np.array(command.q), np.array(command.dq)
        if not (np.all(np.isfinite(q_rad)) and np.all(np.isfinite(dq_rad_s))):
            return DropCode.NOT_FINITE, "a joint's place or speed is not finite"
        beyond = self._bounds.refusal(q_rad, dq_rad_s, self._period_s)
        if beyond is not None:
            return DropCode.LIMITS, beyond
        if not self._first and self._last is not None:
            return self._leap(command, q_rad, self._last)
        if not np.all(np.abs(q_rad - measured_rad) <= JUMP_RAD):
            return DropCode.JUMP, f"the first command must begin within {JUMP_RAD} rad"
        return None

    def _leap(self, command: Command, q_rad: Floats, last: Command) -> tuple[DropCode, str] | None:
        """Refuse a place further from the last one than the joints get in the time between the two,
        by the client's own clock, and one period more for the rounding of its ticks."""
        between_ns = min(max(command.stamp_ns - last.stamp_ns, 0), self._facts.watchdog_ns)
        allowed_rad = self._bounds.speed_max_rad_s * (between_ns / NS_PER_S + self._period_s)
        if not np.all(np.abs(q_rad - np.array(last.q)) <= allowed_rad):
            return DropCode.LIMITS, "a joint is to go further than it can since the last command"
        return None

    def follow(self, now_ns: int, skipped: int) -> str | None:
        """Execute the newest command (or coast, or wait for the first) and say so; None if none of
        these may be done any longer. `skipped`: periods that passed unused before this one."""
        if self._pending is not None:
            self._last, self._pending = self._pending, None
            self._first = False
            self._silent_periods = 0
            self.executed += 1
            self.motion.follow(np.array(self._last.q), np.array(self._last.dq))
            return "command"
        if self._first or self._last is None:
            return "hold" if now_ns - self._armed_ns <= self._facts.lease_ns else None
        self._silent_periods += 1 + skipped
        in_time = now_ns <= self._last.answers_stamp_ns + self._facts.watchdog_ns
        if not (self._silent_periods <= COAST_PERIODS and in_time):
            return None
        self.motion.coast()
        return "coast"

    def brake(self) -> str:
        """Brake, or hold what stands."""
        if self.motion.stands:
            return "hold"
        self.motion.brake()
        return "brake"
