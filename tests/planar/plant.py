"""The planar arm in MuJoCo behind a device that takes joint commands and guards itself."""

import math
from pathlib import Path
from typing import Annotated

import mujoco
import numpy as np
from pydantic import Field

from runtime.clock import NS_PER_S, seconds_to_ns
from runtime.errors import ConfigError
from runtime.layout import Floats
from runtime.messages import Command
from runtime.robot_spec import Positive, RobotSpec, StrictModel


class ReachSim(StrictModel):
    """The config's `sim` block.

    Goals are drawn at `goal_radius_m` (low, high) from the base, within `goal_angle_rad` of its x
    axis; starts reach such a point too, every joint up to `start_spread_rad` off. A goal is
    reached when the tip stays within `success_distance_m` for `success_hold_s`.
    """

    seed: Annotated[int, Field(ge=0)]
    physics_step_s: Positive
    goal_radius_m: tuple[Positive, Positive]
    goal_angle_rad: Positive
    start_spread_rad: Positive
    success_distance_m: Positive
    success_hold_s: Positive
    catch_up_s: Positive


class Device:
    """The robot's own side of a command. Counts what it drops and why."""

    def __init__(self, start_rad: Floats) -> None:
        self.target_rad = start_rad.copy()
        self.newest = (-1, -1)
        self.expires_ns = -1
        self.dropped: dict[str, int] = {"old": 0, "expired": 0, "malformed": 0}

    def driven(self, now_ns: int) -> bool:
        """True while a command is valid; otherwise the last target is held."""
        return now_ns <= self.expires_ns

    def accept(self, command: Command, now_ns: int) -> None:
        """Take `command` at device time `now_ns`, unless it is old, expired or malformed."""
        expires_ns = command.answers_device_stamp_ns + command.valid_for_ns
        if (command.epoch, command.sequence) <= self.newest:
            self.dropped["old"] += 1
        elif not (now_ns <= expires_ns):
            self.dropped["expired"] += 1
        elif len(command.q) != len(self.target_rad) or not all(map(math.isfinite, command.q)):
            self.dropped["malformed"] += 1
        else:
            self.newest = (command.epoch, command.sequence)
            self.expires_ns = expires_ns
            self.target_rad[:] = command.q


class Plant:
    """Arm and goal. `goal_m` is [x, y] in base; one `step` is one servo period."""

    def __init__(self, mjcf: Path, robot: RobotSpec, sim: ReachSim, servo_hz: float) -> None:
        self.sim = sim
        self.period_ns = round(NS_PER_S / servo_hz)
        step_ns = seconds_to_ns(sim.physics_step_s)
        if self.period_ns % step_ns:
            raise ConfigError(
                f"sim.physics_step_s: {sim.physics_step_s} s does not divide the servo period "
                f"{self.period_ns / NS_PER_S} s; allowed: the period or a whole fraction of it"
            )
        self._substeps = self.period_ns // step_ns
        self._model = mujoco.MjModel.from_xml_path(str(mjcf))
        self._model.opt.timestep = sim.physics_step_s
        self._data = mujoco.MjData(self._model)
        home = np.array([joint.home_rad for joint in robot.joints])
        self._data.qpos[:] = home + 0.1
        self.device = Device(self._data.qpos)
        self._tip = self._data.site(robot.tool.site).xpos
        self.goal_m = np.array([0.6, 0.0])
        self.now_ns = 0
        self.sequence = 1
        mujoco.mj_forward(self._model, self._data)

    @property
    def q(self) -> Floats:
        """Joint positions (rad)."""
        q: Floats = self._data.qpos
        return q

    @property
    def dq(self) -> Floats:
        """Joint velocities (rad/s)."""
        dq: Floats = self._data.qvel
        return dq

    @property
    def tau(self) -> Floats:
        """Joint torques of the drives (N m)."""
        tau: Floats = self._data.actuator_force
        return tau

    @property
    def distance_m(self) -> float:
        """How far the tip is from the goal."""
        return math.dist(self._tip[:2].tolist(), self.goal_m.tolist())

    def step(self) -> None:
        """Simulate one servo period towards the device's target."""
        self._data.ctrl[:] = self.device.target_rad
        for _ in range(self._substeps):
            mujoco.mj_step(self._model, self._data)
        mujoco.mj_kinematics(self._model, self._data)
        self.now_ns += self.period_ns
        self.sequence += 1
