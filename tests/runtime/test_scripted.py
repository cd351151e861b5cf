"""Homing and resets as waypoints, for tool set-points and for joint set-points."""

import math
from collections.abc import Sequence

import msgspec
import pytest

from runtime.kinematics import DifferentialIk, Kinematics
from runtime.policy_contract import ActionSpec
from runtime.scripted import ScriptedMotion, ScriptState
from runtime.setpoints import JointSetpoints, Setpoints, ToolSetpoints
from runtime.trajectory import Trajectory
from tests.runtime.control_kit import panda, trained_base

ROBOT = panda().robot
HOME = [joint.home_rad for joint in ROBOT.joints]
PER_STEP = 25
STEP_M = 0.0125
RETRACT_M = 0.3


def kinematics() -> Kinematics:
    return Kinematics(str(panda().model_file), ROBOT.tool.site, ROBOT.joint_names, HOME)


class Arm:
    """Set-points, trajectory and script, with an arm that follows perfectly."""

    def __init__(self, start: Sequence[float], *, joints: bool = False) -> None:
        limits = ROBOT.command_limits()
        self.kinematics = kinematics()
        spec = trained_base().contract.action
        self.setpoints: Setpoints
        if joints:
            self.setpoints = JointSetpoints(joint_spec())
        else:
            ik = DifferentialIk(self.kinematics, limits)
            self.setpoints = ToolSetpoints(spec, self.kinematics, ik)
        self.trajectory = Trajectory(limits, 0.002, 0.9)
        retract = None if joints else RETRACT_M
        self.script = ScriptedMotion(HOME, retract, STEP_M, PER_STEP, 0.1, 0.35)
        self.q = list(start)
        self.setpoints.measure(self.q)
        self.setpoints.start_at(self.q)
        self.trajectory.start_at(self.q, [0.0] * len(self.q), [0.0] * len(self.q))
        self.path: list[list[float]] = []

    def tick(self) -> None:
        self.script.step(self.setpoints, self.trajectory)
        self.q = self.trajectory.next()
        self.setpoints.measure(self.q)
        self.path.append(self.kinematics.setpoint(self.q))

    def finish(self, limit: int = 8000) -> int:
        for count in range(limit):
            if not self.script.moving and self.trajectory.done:
                return count
            self.tick()
        raise AssertionError("the script never ended")


def joint_spec() -> ActionSpec:
    count = len(HOME)
    return ActionSpec(
        kind="joint_target",
        names=ROBOT.joint_names,
        units=("rad",) * count,
        relative=False,
        scale=(1.0,) * count,
        offset=(0.0,) * count,
        low=(-3.0,) * count,
        high=(3.0,) * count,
        reach=(0.5,) * count,
        residual_bound=(0.1,) * count,
    )


def near_home(offset: float = 0.1) -> list[float]:
    return [q + offset * (-1) ** i for i, q in enumerate(HOME)]


def test_homing_retracts_and_ends_at_home() -> None:
    arm = Arm(near_home())
    arm.script.home(arm.setpoints)
    assert arm.script.moving
    arm.finish()
    assert arm.q == pytest.approx(HOME, abs=1e-9)
    # the set-point went with it: a policy would start from here
    assert arm.setpoints.state.value == pytest.approx(kinematics().setpoint(HOME), abs=1e-9)


def test_a_reset_rises_first_goes_over_the_target_and_then_down() -> None:
    arm = Arm(HOME)
    x, y, z, yaw = kinematics().setpoint(HOME)
    assert z < RETRACT_M
    target = [x + 0.08, y - 0.1, z - 0.05, yaw + 0.3]
    arm.script.reset(arm.setpoints, target)
    arm.finish()
    assert arm.path[-1] == pytest.approx(target, abs=1e-4)
    high = [p for p in arm.path if math.dist(p[:2], (x, y)) > 0.02]
    sideways = [p for p in high if math.dist(p[:2], target[:2]) > 0.02]
    assert sideways
    assert min(p[2] for p in sideways) > RETRACT_M - 0.02
    speeds = [math.dist(a[:3], b[:3]) / 0.002 for a, b in zip(arm.path, arm.path[1:], strict=False)]
    assert max(speeds) < 2 * STEP_M / (PER_STEP * 0.002)


def test_a_reset_never_lowers_the_tool_to_retract() -> None:
    arm = Arm(HOME)
    x, y, z, yaw = kinematics().setpoint(HOME)
    arm.script.reset(arm.setpoints, [x, y, RETRACT_M + 0.08, yaw])
    arm.finish()
    assert min(p[2] for p in arm.path) > z - 1e-3
    arm.script.reset(arm.setpoints, [x + 0.05, y, RETRACT_M + 0.08, yaw])
    begin = len(arm.path)
    arm.finish()
    assert min(p[2] for p in arm.path[begin:]) > RETRACT_M + 0.07


def test_a_reset_without_target_goes_home() -> None:
    arm = Arm(near_home(0.05))
    arm.script.reset(arm.setpoints, ())
    arm.finish()
    assert arm.q == pytest.approx(HOME, abs=1e-9)


def test_joint_set_points_reset_in_joint_space() -> None:
    arm = Arm(HOME, joints=True)
    target = near_home(0.2)
    arm.script.reset(arm.setpoints, target)
    arm.finish()
    assert arm.q == pytest.approx(target, abs=1e-9)
    arm.script.home(arm.setpoints)
    arm.finish()
    assert arm.q == pytest.approx(HOME, abs=1e-9)


def test_cancelling_leaves_nothing_to_do() -> None:
    arm = Arm(near_home())
    arm.script.home(arm.setpoints)
    for _ in range(100):
        arm.tick()
    arm.script.cancel()
    assert not arm.script.moving
    planned = list(arm.trajectory.state.target)
    for _ in range(200):
        arm.tick()
    assert arm.trajectory.state.target == planned


def test_its_state_is_plain_data() -> None:
    arm, twin = Arm(near_home()), Arm(HOME)
    arm.script.home(arm.setpoints)
    for _ in range(333):
        arm.tick()
    twin.script.state = msgspec.msgpack.decode(
        msgspec.msgpack.encode(arm.script.state), type=ScriptState
    )
    twin.setpoints.state = msgspec.convert(
        msgspec.to_builtins(arm.setpoints.state), type(arm.setpoints.state)
    )
    twin.trajectory.restore(
        msgspec.convert(msgspec.to_builtins(arm.trajectory.state), type(arm.trajectory.state))
    )
    for _ in range(1000):
        arm.tick()
        twin.tick()
        assert arm.q == twin.q
