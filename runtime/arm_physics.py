"""What gravity asks of the motors, and how fast two places of the arm move, at a measured pose.

Everything is worked out from the robot's own MJCF, in base, where Kinematics.move_to put it.
"""

import math

import mujoco
import numpy as np

from runtime.kinematics import Kinematics, Numbers

_XYZ = 3


class ArmPhysics:
    """Speeds of tool and elbow, and the gravity torque with and without the declared payload.

    Args:
        kinematics: the robot's model; whoever moves it moves this too.
        elbow_site: a second place whose speed is watched.
        payload_max_kg: a point mass at the tool that the MJCF does not know of.

    Raises:
        ConfigError: the MJCF has no such site.
    """

    def __init__(self, kinematics: Kinematics, elbow_site: str, payload_max_kg: float) -> None:
        self._model, self._data = kinematics.model, kinematics.data
        self._tool = kinematics.tool_site
        self._elbow = kinematics.site_named(elbow_site)
        self._dofs = kinematics.dof_index
        self._jacobian = np.zeros((2 * _XYZ, self._model.nv))
        self._tool_rows, self._elbow_rows = self._jacobian[:_XYZ], self._jacobian[_XYZ:]
        self._velocity = np.zeros(self._model.nv)
        self._gravity = np.zeros(self._model.nv)
        self._weight_n = payload_max_kg * np.array(self._model.opt.gravity)

    def speeds_here(self, dq: Numbers) -> tuple[float, float]:
        """Return the speeds of tool and elbow (m/s) at joint velocities `dq` (rad/s)."""
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._tool_rows, None, self._tool)
        mujoco.mj_jacSite(self._model, self._data, self._elbow_rows, None, self._elbow)
        self._velocity[self._dofs] = dq
        x, y, z, elbow_x, elbow_y, elbow_z = self._jacobian.dot(self._velocity).tolist()
        return math.hypot(x, y, z), math.hypot(elbow_x, elbow_y, elbow_z)

    def gravity_here(self) -> tuple[list[float], list[float]]:
        """Return the torques (N m) that hold the arm against gravity, after `speeds_here`: those
        of the arm, and what the payload adds to them (- J^T m g, J being the tool's Jacobian).

        Recursive Newton-Euler with all joints at rest (Featherstone, Rigid Body Dynamics
        Algorithms, 2008, table 5.1).
        """
        mujoco.mj_rne(self._model, self._data, 0, self._gravity)
        payload = self._weight_n.dot(self._tool_rows)
        return self._gravity[self._dofs].tolist(), (-payload[self._dofs]).tolist()
