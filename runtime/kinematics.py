"""Where the tool is, how fast it moves, and which joints bring it to a set-point.

The base frame is the world of the robot's own MJCF. A tool set-point is [x, y, z, yaw]: the tool
site's position in base (m), and the turn about base z (rad) that takes the tool's orientation at
home to the wanted one. At home yaw is 0 by definition, whichever way the tool points there; the
rest of the orientation (tilt) is always that of home.
"""

import math
from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.errors import ConfigError
from runtime.layout import Floats
from runtime.robot_spec import JointLimits

SETPOINT_SIZE = 4
Numbers = Sequence[float] | Floats
Indices = NDArray[np.int64]

_ITERATIONS = 2
_DAMPING = 0.005  # square root of what is added to J J^T; the smallest singular value kept stiff
_METRES_PER_RADIAN = 0.2  # weighs orientation against position: about a wrist's length
_POSTURE_SHARE = 0.05  # of the way home per iteration, where the tool does not feel it
_STEP_MAX_RAD = 0.2  # a linearisation is believed this far
_POSE_ROWS = 6


class Kinematics:
    """Forward kinematics of one tool site. Every call sets the pose it needs and carries nothing
    to the next but where the model stands, so an instance may be shared within a thread.

    Args:
        mjcf_path: the robot's MJCF.
        site: name of the tool site.
        joint_names: the robot's joints in order; the site must hang on all of them.
        home_rad: joint positions whose tool orientation has yaw 0.

    Raises:
        ConfigError: the file is no MJCF, a name is not in it, or sizes differ.
    """

    def __init__(
        self, mjcf_path: str, site: str, joint_names: Sequence[str], home_rad: Sequence[float]
    ) -> None:
        if len(home_rad) != len(joint_names):
            raise ConfigError(f"home has {len(home_rad)} numbers for {len(joint_names)} joints")
        try:
            self._model = mujoco.MjModel.from_xml_path(mjcf_path)
        except ValueError as error:
            raise ConfigError(f"{mjcf_path} cannot be used as MJCF: {error}") from None
        self._path = mjcf_path
        self._data = mujoco.MjData(self._model)
        self._site = _named(self._model, mujoco.mjtObj.mjOBJ_SITE, site, mjcf_path)
        joints = [
            _named(self._model, mujoco.mjtObj.mjOBJ_JOINT, name, mjcf_path) for name in joint_names
        ]
        _check_chain(self._model, self._site, joints, mjcf_path)
        # plain indices make plain copies: slicing would need joints without gaps in the file
        self._q_index = np.array([self._model.jnt_qposadr[joint] for joint in joints])
        self._dof_index: Indices = np.array(
            [self._model.jnt_dofadr[joint] for joint in joints], dtype=np.int64
        )
        self._qpos = self._data.qpos
        self._position = self._data.site_xpos[self._site]
        self._rotation = self._data.site_xmat[self._site]
        self._jacobian = np.zeros((_POSE_ROWS, self._model.nv))
        self._position_rows, self._rotation_rows = self._jacobian[:3], self._jacobian[3:]
        self._here: list[float] = []
        self._home_rad = [float(value) for value in home_rad]
        self._quat = np.zeros(4)
        self._home_quat = self.quaternion(self._home_rad).copy()
        self._turn = np.zeros(4)
        self._conjugate = np.zeros(4)

    @property
    def model(self) -> mujoco.MjModel:
        """The robot's model."""
        return self._model

    @property
    def data(self) -> mujoco.MjData:
        """Where the model stands; its velocities are always zero."""
        return self._data

    @property
    def tool_site(self) -> int:
        """The model's number for the tool site."""
        return self._site

    @property
    def dof_index(self) -> Indices:
        """The model's degree of freedom of each joint, in order; shape [joints]."""
        return self._dof_index

    def site_named(self, name: str) -> int:
        """Return the model's number for a site. Raises ConfigError: there is none."""
        return _named(self._model, mujoco.mjtObj.mjOBJ_SITE, name, self._path)

    @property
    def home_rad(self) -> list[float]:
        """Joint positions at home (rad), in order."""
        return list(self._home_rad)

    def move_to(self, q: Numbers) -> None:
        """Put the model at joint positions `q` (rad); the accessors below then speak of it."""
        here = list(q)
        if here != self._here:
            self._here = here
            self._qpos[self._q_index] = here
            mujoco.mj_kinematics(self._model, self._data)

    def position(self, q: Numbers) -> list[float]:
        """Return the tool's position in base (m) at joint positions `q` (rad)."""
        self.move_to(q)
        return self.position_here()

    def quaternion(self, q: Numbers) -> Floats:
        """Return the tool's orientation in base (w, x, y, z) at `q` (rad): a buffer that the next
        call overwrites."""
        self.move_to(q)
        mujoco.mju_mat2Quat(self._quat, self._rotation)
        return self._quat

    def setpoint(self, q: Numbers) -> list[float]:
        """Return [x, y, z (m), yaw (rad)] of the tool at joint positions `q` (rad).

        Yaw is the turn about base z that comes closest to the orientation: with turn
        quaternion w, x, y, z (tool times inverse home) it is 2 atan2(z, w), wrapped to [-pi, pi].
        """
        w, _, _, z = self._turn_from(self._home_quat, self.quaternion(q)).tolist()
        yaw = math.remainder(2.0 * math.atan2(z, w), 2.0 * math.pi)
        x, y, height = self._position.tolist()
        return [x, y, height, yaw]

    def pose(self, q: Numbers, out: Floats) -> None:
        """Write the set-point form of the tool's pose at `q` (rad) into `out` (shape [4])."""
        out[:] = self.setpoint(q)

    def position_here(self) -> list[float]:
        """Return the tool's position in base (m) where `move_to` put the model."""
        position: list[float] = self._position.tolist()
        return position

    def jacobian(self) -> Floats:
        """Return d(position, rotation)/dq in base where `move_to` put the model.

        Shape [6, joints]: rows x, y, z (m/rad), then rotation about x, y, z (rad/rad).
        """
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(
            self._model, self._data, self._position_rows, self._rotation_rows, self._site
        )
        return self._jacobian[:, self._dof_index]

    def error_to(self, q: Numbers, setpoint: Numbers, out: Floats) -> None:
        """Write what is missing from the pose at `q` (rad) to `setpoint` into `out`.

        Shape [6]: position (m), then the rotation vector in base (rad) of the shortest turn.
        """
        turn = self._turn_from(self.quaternion(q), self._orientation(setpoint[3]))
        mujoco.mju_quat2Vel(out[3:], turn, 1.0)
        x, y, z = self._position.tolist()
        out[0], out[1], out[2] = setpoint[0] - x, setpoint[1] - y, setpoint[2] - z

    def _orientation(self, yaw: float) -> Floats:
        wanted = np.zeros(4)
        about_z = np.array([math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])
        mujoco.mju_mulQuat(wanted, about_z, self._home_quat)
        return wanted

    def _turn_from(self, start: Floats, end: Floats) -> Floats:
        mujoco.mju_negQuat(self._conjugate, start)
        mujoco.mju_mulQuat(self._turn, end, self._conjugate)
        return self._turn


class DifferentialIk:
    """Joint positions that bring the tool nearer to a set-point: damped least squares.

    A step is p + J^T (J J^T + damping^2 I)^-1 (error - J p), where p pulls home: the pull acts
    only where the tool does not feel it (Siciliano et al., Robotics, 2009, eq. 3.54 and 3.59).
    Joints that a step would take out of their range stay at its end, and the others take over.
    A fixed number of steps from the given joints: the same inputs give the same bits.

    Args:
        kinematics: the tool and the home posture.
        limits: the range of each joint, in order.
    """

    def __init__(self, kinematics: Kinematics, limits: Sequence[JointLimits]) -> None:
        self._kinematics = kinematics
        self._low = np.array([limit.position_min_rad for limit in limits])
        self._high = np.array([limit.position_max_rad for limit in limits])
        self._home = np.array(kinematics.home_rad)
        if self._low.shape != self._home.shape:
            raise ConfigError(f"{len(self._low)} joint ranges for {len(self._home)} joints")
        self._error = np.zeros(_POSE_ROWS)
        self._weights = np.array([1.0] * 3 + [_METRES_PER_RADIAN] * 3)
        self._square = np.zeros((_POSE_ROWS, _POSE_ROWS))
        self._solution = np.zeros(_POSE_ROWS)
        self._damping = np.eye(_POSE_ROWS) * _DAMPING**2

    @property
    def home(self) -> list[float]:
        """Joint positions at home (rad)."""
        return self._kinematics.home_rad

    def solve(self, q: Numbers, setpoint: Numbers) -> list[float]:
        """Return joint positions (rad) after two steps from `q` (rad) towards `setpoint`.

        Near `q` that is the solution to well below a tenth of a millimetre; far from it, a start:
        a step moves no joint by more than 0.2 rad, and the next call goes on.
        """
        joints = self._inside(np.asarray(q, dtype=np.float64))
        for _ in range(_ITERATIONS):
            joints = self._step(joints, setpoint)
        solved: list[float] = joints.tolist()
        return solved

    def _step(self, q: Floats, setpoint: Numbers) -> Floats:
        self._kinematics.error_to(q, setpoint, self._error)
        error = self._error * self._weights
        jacobian = self._kinematics.jacobian() * self._weights[:, None]
        pull = (self._home - q) * _POSTURE_SHARE
        step = self._least_squares(jacobian, error, pull)
        inside = self._inside(q + step)
        free = inside == q + step
        if not free.all():
            held = np.where(free, 0.0, inside - q)
            step = self._least_squares(jacobian * free, error - jacobian @ held, pull * free) + held
        largest = float(np.abs(step).max())
        if largest > _STEP_MAX_RAD:
            step *= _STEP_MAX_RAD / largest
        return self._inside(q + step)

    def _inside(self, q: Floats) -> Floats:
        # np.clip does the same in three times the time
        inside: Floats = np.minimum(np.maximum(q, self._low), self._high)
        return inside

    def _least_squares(self, jacobian: Floats, error: Floats, pull: Floats) -> Floats:
        np.matmul(jacobian, jacobian.T, out=self._square)
        self._square += self._damping
        mujoco.mju_cholFactor(self._square, 0.0)
        mujoco.mju_cholSolve(self._solution, self._square, error - jacobian @ pull)
        step: Floats = self._solution @ jacobian + pull
        return step


def _named(model: mujoco.MjModel, kind: mujoco.mjtObj, name: str, path: str) -> int:
    number = int(mujoco.mj_name2id(model, kind, name))
    if number >= 0:
        return number
    what, count = {
        mujoco.mjtObj.mjOBJ_SITE: ("site", model.nsite),
        mujoco.mjtObj.mjOBJ_JOINT: ("joint", model.njnt),
    }[kind]
    known = [mujoco.mj_id2name(model, kind, index) or "(unnamed)" for index in range(count)]
    raise ConfigError(f"{path} has no {what} {name!r}; it has: {', '.join(known) or 'none'}")


def _check_chain(model: mujoco.MjModel, site: int, joints: Sequence[int], path: str) -> None:
    """Refuse joints with more than one degree of freedom, and those that do not move the site."""
    chain = set()
    body = int(model.site_bodyid[site])
    while body:
        chain.add(body)
        body = int(model.body_parentid[body])
    single = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
    for joint in joints:
        name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, joint)
        if int(model.jnt_type[joint]) not in single:
            raise ConfigError(f"{path}: joint {name!r} is neither hinge nor slide")
        if int(model.jnt_bodyid[joint]) not in chain:
            raise ConfigError(f"{path}: joint {name!r} does not move the tool site; drop it there")
