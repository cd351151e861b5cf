"""The simulated robot and task: MuJoCo physics behind a device that takes joint commands.

One `step` is one servo period. The device clock starts at 0 and knows nothing of the daemon's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from runtime.clock import NS_PER_S
from runtime.layout import Floats
from runtime.messages import Command
from runtime.robot_spec import RobotSpec
from sims.config import SimConfig, servo_period_ns, substeps
from sims.device import CommandReceiver
from sims.peg_scene import build_model
from sims.perception import Perception
from sims.wrist_sensor import WristSensor


@dataclass(frozen=True)
class Pose:
    """A point and a turn about the base's z axis: metres and radians, base frame."""

    x_m: float
    y_m: float
    z_m: float
    yaw_rad: float

    def as_array(self) -> Floats:
        """Return [x, y, z, yaw]."""
        return np.array([self.x_m, self.y_m, self.z_m, self.yaw_rad])


class Plant:
    """Robot, peg and block. `q`, `dq` (rad, rad/s) and `tau` (N m) are what the robot measures.

    `tau` is the drives' torque beyond gravity compensation.
    """

    def __init__(self, mjcf: Path, robot: RobotSpec, config: SimConfig, servo_hz: float) -> None:
        field = config.field_block(config.field)
        self.config = config
        self.period_ns = servo_period_ns(servo_hz)
        self.now_ns = 0
        self.sequence = 1
        self._substeps = substeps(config.physics_step_s, servo_hz)
        self.model = build_model(mjcf, config, field)
        self.data = mujoco.MjData(self.model)
        home = np.array([joint.home_rad for joint in robot.joints])
        start = home + config.start_offset_rad * np.resize([1.0, -1.0], len(home))
        self.data.qpos[:] = start
        self.data.ctrl[:] = start
        self._q: Floats = self.data.qpos
        self._dq: Floats = self.data.qvel
        self._tau: Floats = self.data.actuator_force
        self._tool = int(self.model.site_bodyid[self.model.site(robot.tool.site).id])
        self._pushes: dict[int, tuple[Floats, Floats | None]] = {}
        self._mocap = int(self.model.body("block").mocapid[0])
        self.device = CommandReceiver(start, self.period_ns, field.action_latency_s)
        self.perception = Perception(field, config.perception_hz)

        site = self.model.site(robot.tool.site).id
        self._tip = self.data.site_xpos[site]
        self._rotation = self.data.site_xmat[site].reshape(3, 3)
        self.wrist = WristSensor(
            self.model, self.data, config.force_cutoff_hz, field.force_noise_n, (config.seed, 2)
        )

        center = config.task.hole_center_m
        self.move_block(Pose(*center, 0.0))
        mujoco.mj_forward(self.model, self.data)
        self.wrist.start()
        self.perception.begin_episode((config.seed, 0), self.now_ns)
        self.perception.step(self._hole_array, self.now_ns)

    @property
    def q(self) -> Floats:
        """Measured joint positions (rad)."""
        return self._q

    @property
    def dq(self) -> Floats:
        """Measured joint velocities (rad/s)."""
        return self._dq

    @property
    def tau(self) -> Floats:
        """Measured joint torques beyond gravity compensation (N m)."""
        return self._tau

    @property
    def force(self) -> Floats:
        """What the surroundings do to the tool (N, base frame), as the wrist sensor says."""
        return self.wrist.force

    @property
    def hole(self) -> Pose:
        """The true pose of the lip's centre."""
        return self._hole

    @property
    def tip(self) -> Pose:
        """The true pose of the tool site."""
        yaw = math.atan2(self._rotation[1, 0], self._rotation[0, 0])
        return Pose(float(self._tip[0]), float(self._tip[1]), float(self._tip[2]), yaw)

    def step(self, command: Command | None) -> None:
        """Hand `command` to the device, if there is one, and simulate one servo period."""
        if command is not None:
            self.device.accept(command, self.now_ns)
        self.data.ctrl[:] = self.device.next_target(self.now_ns)
        self._apply_pushes()
        for _ in range(self._substeps):
            mujoco.mj_step(self.model, self.data)
            self.wrist.filter()
        self.wrist.sample()
        self.now_ns += self.period_ns
        self.sequence += 1
        self.perception.step(self._hole_array, self.now_ns)

    def skip(self, periods: int) -> None:
        """Let the device's clock run without physics, for time that nobody simulated."""
        self.now_ns += periods * self.period_ns

    def push(
        self,
        force_n: Sequence[float],
        body: str | None = None,
        point_m: Sequence[float] | None = None,
    ) -> None:
        """Push with a constant force (N, base frame) until the next call for that body.

        Args:
            force_n: the force; zeros end it.
            body: a body of the robot; the tool's, if not given.
            point_m: where it acts, in the body's own frame; at its centre of mass, if not given.
                The lever arm is renewed with every servo period.

        Raises:
            KeyError: the robot has no such body; the message names those that there are.
        """
        number = self._tool if body is None else self.model.body(body).id
        self._pushes[number] = (
            np.array(force_n, dtype=np.float64),
            None if point_m is None else np.array(point_m, dtype=np.float64),
        )

    def _apply_pushes(self) -> None:
        for body, (force_n, point_m) in self._pushes.items():
            self.data.xfrc_applied[body, :3] = force_n
            self.data.xfrc_applied[body, 3:] = 0.0
            if point_m is not None:
                rotation = self.data.xmat[body].reshape(3, 3)
                lever_m = self.data.xpos[body] + rotation @ point_m - self.data.xipos[body]
                self.data.xfrc_applied[body, 3:] = np.cross(lever_m, force_n)

    def move_block(self, pose: Pose) -> None:
        """Put the block somewhere else; the caller sees to it that the peg is clear of it."""
        self._hole = pose
        self._hole_array = pose.as_array()
        self.data.mocap_pos[self._mocap] = (pose.x_m, pose.y_m, pose.z_m)
        half = pose.yaw_rad / 2
        self.data.mocap_quat[self._mocap] = (math.cos(half), 0.0, 0.0, math.sin(half))

    def tip_in_hole(self) -> Floats:
        """Return the tip in the frame of the lip's centre: [x, y, z] in m and yaw in rad.

        z is negative below the lip; yaw is the smallest turn that aligns the square peg.
        """
        hole, tip = self._hole, self.tip
        cos, sin = math.cos(hole.yaw_rad), math.sin(hole.yaw_rad)
        x, y = tip.x_m - hole.x_m, tip.y_m - hole.y_m
        quarter = math.pi / 2
        yaw = (tip.yaw_rad - hole.yaw_rad + quarter / 2) % quarter - quarter / 2
        return np.array([cos * x + sin * y, -sin * x + cos * y, tip.z_m - hole.z_m, yaw])

    @property
    def succeeded(self) -> bool:
        """True when the tip is deeper than `success_depth_m` below the lip and inside the hole."""
        task = self.config.task
        if not (self._hole.z_m - self._tip[2] > task.success_depth_m):
            return False
        x, y, _, _ = self.tip_in_hole()
        # the walls hold the peg within the clearance; as much again is left for soft contact
        return bool(max(abs(x), abs(y)) <= 2 * task.clearance_m)

    def contact_force_n(self) -> float:
        """Return the sum of normal contact forces at the last physics step (N), unfiltered."""
        total, wrench = 0.0, np.zeros(6)
        for index in range(self.data.ncon):
            mujoco.mj_contactForce(self.model, self.data, index, wrench)
            total += float(wrench[0])
        return total

    def penetration_m(self) -> float:
        """Return the deepest penetration at the last physics step (m)."""
        if self.data.ncon == 0:
            return 0.0
        return float(max(0.0, -self.data.contact.dist.min()))

    @property
    def seconds(self) -> float:
        """Device time in seconds."""
        return self.now_ns / NS_PER_S
