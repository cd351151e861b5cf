"""What a simulated drive does with its joint target: follow, coast for a while, brake, hold.

Plain kinematics of the set-point on the drive's own grid; nothing here knows who commanded it.
"""

from dataclasses import dataclass

import numpy as np

from runtime.layout import Floats
from runtime.robot_spec import RobotSpec

COAST_PERIODS = 3
REST_RAD_S = 0.01
REST_NS = 100_000_000


@dataclass(frozen=True)
class JointBounds:
    """The drive's own numbers, one per joint: ends of the range (rad), speed (rad/s), and the
    deceleration it brakes with (rad/s^2)."""

    position_min_rad: Floats
    position_max_rad: Floats
    speed_max_rad_s: Floats
    deceleration_rad_s2: Floats

    def refusal(self, q_rad: Floats, dq_rad_s: Floats, period_s: float) -> str | None:
        """Return why a drive must not go to `q_rad` with `dq_rad_s`, or None.

        Inside means: the place, and the place where it stands if nothing else ever comes, after
        coasting for COAST_PERIODS and braking over v^2 / 2a.
        """
        if not np.all(np.abs(dq_rad_s) <= self.speed_max_rad_s):
            return "a joint is to move faster than it may"
        coast = q_rad + dq_rad_s * (COAST_PERIODS * period_s)
        end = coast + dq_rad_s * np.abs(dq_rad_s) / (2.0 * self.deceleration_rad_s2)
        for place, said in ((q_rad, "is to go"), (end, "could not be stopped before it goes")):
            if not np.all((self.position_min_rad <= place) & (place <= self.position_max_rad)):
                return f"a joint {said} beyond its range"
        return None


def bounds_of(robot: RobotSpec) -> JointBounds:
    """Return the manufacturer's limits of a robot as its drives keep them."""
    joints = robot.joints
    return JointBounds(
        np.array([joint.position_min_rad for joint in joints]),
        np.array([joint.position_max_rad for joint in joints]),
        np.array([joint.velocity_max_rad_s for joint in joints]),
        np.array([joint.acceleration_max_rad_s2 for joint in joints]),
    )


class Motion:
    """The drive's target: `target_rad` and `speed_rad_s` [n], renewed once a period."""

    def __init__(self, start_rad: Floats, bounds: JointBounds, period_s: float) -> None:
        self.target_rad = start_rad.copy()
        self.speed_rad_s = np.zeros_like(start_rad)
        self._step_rad_s = bounds.deceleration_rad_s2 * period_s
        self._period_s = period_s

    @property
    def stands(self) -> bool:
        """True while the target does not move."""
        return not np.any(self.speed_rad_s)

    def follow(self, q_rad: Floats, dq_rad_s: Floats) -> None:
        """Go to a commanded place."""
        self.target_rad = q_rad.copy()
        self.speed_rad_s = dq_rad_s.copy()

    def coast(self) -> None:
        """Go on for one period as the last command said."""
        self.target_rad = self.target_rad + self.speed_rad_s * self._period_s

    def brake(self) -> None:
        """Go on for one period, every joint slower by what it may decelerate."""
        slower = np.maximum(np.abs(self.speed_rad_s) - self._step_rad_s, 0.0)
        self.speed_rad_s = np.copysign(slower, self.speed_rad_s)
        self.target_rad = self.target_rad + self.speed_rad_s * self._period_s

    def rest_at(self, q_rad: Floats) -> None:
        """Hold a place at once: for a robot that stands and whose drive did not follow."""
        self.follow(q_rad, np.zeros_like(q_rad))


class RestWatch:
    """Judges whether a robot stands: for REST_NS neither measured to move nor told to."""

    def __init__(self) -> None:
        self._moved_ns: int | None = None
        self.at_rest = False

    def look(self, now_ns: int, dq_rad_s: Floats, *, told: bool) -> None:
        """Look once a period. `told`: the target moves, so that the joints will."""
        if told or self._moved_ns is None or not np.all(np.abs(dq_rad_s) <= REST_RAD_S):
            self._moved_ns = now_ns
        self.at_rest = now_ns - self._moved_ns >= REST_NS
