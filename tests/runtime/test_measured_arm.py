"""What the arm does: torques against the simulated motors, force against the simulated sensor."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime.arm_physics import ArmPhysics
from runtime.force_filter import ForceFilter, ForceState
from runtime.measured_arm import MeasuredArm
from runtime.messages import GUARDS, Mode, TickInputs
from runtime.robot_spec import RobotSpec
from runtime.wiring import Deployment
from tests.runtime.control_kit import Rig, changed, faults, noise, panda, settled, still

# stated in measured_arm.py
MOTOR_ERROR_NM = 1.0
FORCE = GUARDS.index("contact_force")
LONG: dict[str, Any] = {"steps": 100_000}


def declared(payload_max_kg: float, carried_kg: float = 0.0) -> Deployment:
    """Return the Panda with another declared payload, and one that it really carries."""
    deployment = changed(panda(), episode=LONG)
    tool = deployment.robot.tool.model_copy(update={"payload_max_kg": payload_max_kg})
    sim = dict(deployment.config.sim)
    nominal = {**sim["fields"]["nominal"], "payload_kg": carried_kg}
    sim["fields"] = {**sim["fields"], "nominal": nominal}
    return replace(
        deployment,
        robot=deployment.robot.model_copy(update={"tool": tool}),
        config=deployment.config.model_copy(update={"sim": sim}),
    )


def motors_nm(rig: Rig) -> list[float]:
    """Return what the simulated motors give: the drives, and the gravity that is compensated."""
    data = rig.link.plant.data  # type: ignore[attr-defined]
    torques: list[float] = (data.qfrc_actuator + data.qfrc_gravcomp).tolist()
    return torques


def compared(rig: Rig, ticks: int) -> tuple[Any, Any]:
    """Return estimated and simulated motor torques, shape [ticks, joints]."""
    estimated, true = [], []
    for _ in range(ticks):
        true.append(motors_nm(rig))
        estimated.append(rig.run(1).tau_estimate.tolist())
    return np.array(estimated), np.array(true)


@pytest.mark.parametrize("push_n", [0.0, -60.0])
def test_the_estimate_is_the_simulated_motors_torque(push_n: float) -> None:
    rig = Rig(noise(3), declared(0.0))
    rig.begin()
    rig.link.plant.push((0.0, 0.0, push_n))  # type: ignore[attr-defined]
    rig.run(50)
    estimated, true = compared(rig, 1000)
    assert np.abs(true).max() > 20.0, "gravity is in it"
    assert np.abs(estimated - true).max() < MOTOR_ERROR_NM


def test_a_carried_payload_is_not_underestimated() -> None:
    rig = Rig(still, declared(0.4, carried_kg=0.4))
    rig.until_mode(Mode.HOMING)
    rig.run(200)
    estimated, true = compared(rig, 1000)
    assert (np.abs(true) - np.abs(estimated)).max() < MOTOR_ERROR_NM


def test_a_declared_payload_counts_where_it_makes_things_worse() -> None:
    plain, loaded = Rig(deployment=declared(0.0)), Rig(deployment=declared(2.0))
    for rig in (plain, loaded):
        rig.until_mode(Mode.HOMING)
        rig.run(50)
    arm: MeasuredArm = loaded.tick._arm
    arm._kinematics.move_to(arm.now.q)
    arm._physics.speeds_here(arm.now.dq)
    _, payload = arm._physics.gravity_here()
    # two kilograms half a metre in front of the shoulder
    assert -2.0 * 9.81 * 0.7 < payload[1] < -2.0 * 9.81 * 0.3
    without, with_it = plain.tick._arm.now.motor_nm, arm.now.motor_nm
    for a, b, more in zip(without, with_it, payload, strict=True):
        assert abs(b) == pytest.approx(max(abs(a), abs(a + more)))
    assert plain.tick._arm.now.drive_nm == arm.now.drive_nm, "the reference presses the same"


def one(robot: RobotSpec, monkeypatch: pytest.MonkeyPatch) -> MeasuredArm:
    """Return the measured arm of a robot without weight."""
    arm = Rig(arm=False).tick._arm
    zeros = [0.0] * len(robot.joints)
    monkeypatch.setattr(ArmPhysics, "gravity_here", lambda _: (zeros, zeros))
    return arm


def test_a_drive_gives_no_more_than_its_limit_and_nan_stays_nan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    robot = panda().robot
    arm = one(robot, monkeypatch)
    zeros = [0.0] * len(robot.joints)
    groups = {"force": [0.0] * 3}
    limit, stiffness = robot.joints[0].torque_max_nm, robot.joints[0].stiffness_nm_rad
    damping = robot.joints[0].damping_nm_s_rad
    for lead, speed, torque in (
        (0.01, 0.0, 0.01 * stiffness),
        (0.0, 0.1, -0.1 * damping),
        (2.0 * limit / stiffness, 0.0, limit),
        (-2.0 * limit / stiffness, 0.0, -limit),
    ):
        seen = arm.look(zeros, [speed, *zeros[1:]], [lead, *zeros[1:]], groups, 1)
        assert seen.drive_nm[0] == seen.motor_nm[0] == pytest.approx(torque)
    seen = arm.look(zeros, zeros, [math.nan, *zeros[1:]], groups, 1)
    assert math.isnan(seen.drive_nm[0]) and math.isnan(seen.motor_nm[0])


# -- contact force -----------------------------------------------------------------------------


class Felt:
    """Lets the link's force say `force_n` instead of its own, once it is set."""

    def __init__(self, rig: Rig) -> None:
        self.force_n: list[float] | None = None
        self._read = rig.link.read
        rig.link.read = self.read  # type: ignore[method-assign]

    def read(self, inputs: TickInputs) -> None:
        self._read(inputs)
        if self.force_n is not None:
            inputs.view["observation_force"][:] = self.force_n


def at_rest_in_homing() -> Rig:
    rig = Rig()
    rig.until_mode(Mode.HOMING)
    rig.run(100)
    rig.until(settled)
    return rig


def test_a_press_passes_the_guard_as_late_as_the_filter_says_and_no_later() -> None:
    rig = at_rest_in_homing()
    felt = Felt(rig)
    felt.force_n = [0.0, 0.0, 280.0]
    ticks = 0
    while "CONTACT_FORCE_GUARD" not in faults(rig.run(1)):
        ticks += 1
        assert ticks < 100
    # half of the press is the guard's 140 N: ln 2 time constants
    assert ticks * 0.002 == pytest.approx(math.log(2.0) / (2.0 * math.pi * 20.0), abs=0.004)


def test_a_force_that_is_not_finite_does_not_stay_in_the_filter() -> None:
    rig = at_rest_in_homing()
    felt = Felt(rig)
    before = float(rig.run(1).contact_force_n[0])
    felt.force_n = [math.nan, math.inf, 0.0]
    record = rig.run(5)
    assert "OBSERVATION_NOT_FINITE" in faults(record)
    assert record.contact_force_n[0] == pytest.approx(before, abs=1.0)
    felt.force_n = [0.0, 0.0, 70.0]
    assert rig.run(100).contact_force_n[0] == pytest.approx(70.0, rel=1e-3)
    assert record.guard_margin[FORCE] == pytest.approx(0.5, abs=1e-3)


def test_the_filter_is_in_the_keyframe() -> None:
    rig = at_rest_in_homing()
    Felt(rig).force_n = [0.0, 0.0, 100.0]
    rig.run(5)
    saved = rig.tick.save()
    expected = float(rig.run(1).contact_force_n[0])
    rig.tick._arm.restore(ForceState([0.0, 0.0, 0.0]))
    rig.tick.restore(saved)
    inputs = rig.loop._inputs
    assert rig.tick.step(inputs).contact_force_n[0] == expected


def test_a_robot_without_a_force_sensor_saves_and_restores_nothing() -> None:
    rig = Rig(deployment=changed(panda(), guards={"contact_force": None}), arm=False)
    record = rig.run(3)
    assert record.contact_force_n[0] == 0.0 and record.guard_margin[FORCE] == 1.0
    assert rig.tick._arm.save() is None
    rig.tick.restore(rig.tick.save())


def test_the_force_filter_is_made_of_the_config() -> None:
    force = Rig(arm=False).tick._arm._force
    assert isinstance(force, ForceFilter) and force.group == "force"
    assert force.delay_s == pytest.approx(1.0 / (2.0 * math.pi * 20.0))
