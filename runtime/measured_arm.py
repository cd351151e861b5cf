"""What the arm does now, worked out from the last usable observation: speeds, torques, force.

Two torques with two names: `drive_nm` is what the drives press with because the reference is
elsewhere, and `motor_nm` is what the motors give, gravity included. Against a simulated arm with
the spec's drives, free and pushed, `motor_nm` is right to 1 N m; a drive that answers late makes it
wrong by its stiffness times what the command moved meanwhile, a gain that is off by that share of
`drive_nm`.
"""

from collections.abc import Sequence

from runtime.arm_physics import ArmPhysics
from runtime.envelope.guards import Measured
from runtime.force_filter import ForceFilter, ForceState
from runtime.kinematics import Kinematics
from runtime.robot_spec import RobotSpec


class MeasuredArm:
    """Follows the measurement of one robot.

    `now` is renewed by `look`. Its drives are the spec's: stiffness (N m/rad) times what is missing
    to the command, less damping (N m s/rad) times velocity, and never more than torque_max_nm.

    Args:
        robot: drives and payload.
        kinematics: where the tool is.
        force: the low-pass of the contact force, or None where the robot feels none.
    """

    def __init__(
        self, robot: RobotSpec, kinematics: Kinematics, force: ForceFilter | None
    ) -> None:
        self._kinematics = kinematics
        self._physics = ArmPhysics(kinematics, robot.tool.elbow_site, robot.tool.payload_max_kg)
        self._force = force
        self._drives = [
            (joint.stiffness_nm_rad, joint.damping_nm_s_rad, joint.torque_max_nm)
            for joint in robot.joints
        ]
        zeros = [0.0] * len(robot.joints)
        self.now = Measured(zeros, zeros, zeros, zeros, zeros)

    def save(self) -> ForceState | None:
        """Return all that outlives a tick."""
        return None if self._force is None else self._force.state

    def restore(self, state: ForceState | None) -> None:
        """Take up what `save` returned."""
        if self._force is not None and state is not None:
            self._force.state = state

    def look(
        self,
        q: Sequence[float],
        dq: Sequence[float],
        q_commanded: Sequence[float],
        groups: dict[str, list[float]],
        now_ns: int,
    ) -> Measured:
        """Return what the arm does at `q` (rad), `dq` (rad/s), commanded to `q_commanded` (rad).

        `groups`: the last finite values of every observation group. Leaves the kinematics at `q`.
        """
        self._kinematics.move_to(q)
        now = self.now
        now.q_commanded, now.q, now.dq = q_commanded, q, dq
        now.tool_position_in_base_m = self._kinematics.position_here()
        now.tool_speed_m_s, now.elbow_speed_m_s = self._physics.speeds_here(dq)
        now.drive_nm = [
            _within(stiffness * (to - at) - damping * speed, torque_max)
            for (stiffness, damping, torque_max), to, at, speed in zip(
                self._drives, q_commanded, q, dq, strict=True
            )
        ]
        now.motor_nm = [
            _worse(arm + drive, payload)
            for drive, arm, payload in zip(
                now.drive_nm, *self._physics.gravity_here(), strict=True
            )
        ]
        if self._force is not None:
            now.contact_force_n = self._force.step(groups[self._force.group], now_ns)
        return now


def _within(value: float, limit: float) -> float:
    """Return `value` within +-`limit`; NaN stays NaN."""
    if value > limit:
        return limit
    return max(value, -limit)


def _worse(torque: float, payload: float) -> float:
    """Return `torque` with or without what the payload adds, whichever is larger."""
    loaded = torque + payload
    return loaded if abs(loaded) > abs(torque) else torque
