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
        self._stiffness_nm_rad = [joint.stiffness_nm_rad for joint in robot.joints]
        self._damping_nm_s_rad = [joint.damping_nm_s_rad for joint in robot.joints]
        self._torque_max_nm = [joint.torque_max_nm for joint in robot.joints]
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
        now.drive_nm = self._drives_nm(q_commanded, q, dq)
        now.motor_nm = _motors_nm(now.drive_nm, *self._physics.gravity_here())
        if self._force is not None:
            now.contact_force_n = self._force.step(groups[self._force.group], now_ns)
        return now

    def _drives_nm(
        self, q_commanded: Sequence[float], q: Sequence[float], dq: Sequence[float]
    ) -> list[float]:
        """Return what each drive presses with, within +-torque_max_nm; NaN stays NaN."""
        # a loop: a comprehension is a call of its own, and so would be the limit
        torques = []
        for stiffness, damping, torque_max, to, at, speed in zip(
            self._stiffness_nm_rad,
            self._damping_nm_s_rad,
            self._torque_max_nm,
            q_commanded,
            q,
            dq,
            strict=True,
        ):
            torque = stiffness * (to - at) - damping * speed
            if torque > torque_max:
                torque = torque_max
            elif torque < -torque_max:
                torque = -torque_max
            torques.append(torque)
        return torques


def _motors_nm(
    drives: Sequence[float], gravity: Sequence[float], payload: Sequence[float]
) -> list[float]:
    """Return the torque that moves the drive and holds the arm up, with or without what the payload
    adds, whichever is larger."""
    torques = []
    for drive, arm, more in zip(drives, gravity, payload, strict=True):
        torque = arm + drive
        loaded = torque + more
        torques.append(loaded if abs(loaded) > abs(torque) else torque)
    return torques
