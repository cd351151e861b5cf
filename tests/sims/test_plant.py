"""The plant: physics, what a field changes, the success predicate, and what is believable."""

import math
from pathlib import Path

import mujoco
import numpy as np
import pytest

from runtime.config import Config
from runtime.errors import ConfigError
from runtime.layout import Floats
from runtime.messages import Command
from sims.peg_scene import build_model
from sims.plant import Plant, Pose
from tests.sims.kit import config_with, field_with, make_plant, robot_spec

HOME = np.array([joint.home_rad for joint in robot_spec().joints])


def drive(plant: Plant, q: Floats, periods: int, sequence: int = 0) -> None:
    for index in range(periods):
        plant.step(
            Command(0, sequence + index + 1, 0, plant.now_ns, 20_000_000, q.tolist(), [0.0] * 7)
        )


def still(**changes: object) -> Config:
    """Nominal with noise off and some keys replaced, starting exactly at home."""
    config = field_with("nominal", force_noise_n=0.0, **changes)
    return config.model_copy(update={"sim": {**config.sim, "start_offset_rad": 0.0}})


def test_model_and_spec_say_the_same() -> None:
    robot, model = robot_spec(), make_plant(field="nominal").model
    assert model.nv == len(robot.joints)
    for index, joint in enumerate(robot.joints):
        assert model.joint(index).name == joint.name
        assert model.jnt_range[index].tolist() == [joint.position_min_rad, joint.position_max_rad]
        assert model.actuator_gainprm[index, 0] == joint.stiffness_nm_rad
        assert model.actuator_biasprm[index, 1] == -joint.stiffness_nm_rad
        assert model.actuator_biasprm[index, 2] == -joint.damping_nm_s_rad
        assert model.actuator_forcerange[index, 1] == joint.torque_max_nm


def test_home_points_the_tool_straight_down_above_the_work() -> None:
    plant = make_plant(still())
    assert [plant.tip.x_m, plant.tip.y_m, plant.tip.z_m] == pytest.approx([0.5, 0, 0.25], abs=1e-3)
    tool_z_in_base = plant.data.site("tool").xmat.reshape(3, 3)[:, 2]
    assert tool_z_in_base == pytest.approx([0, 0, -1], abs=1e-3)


def test_published_kinematics_at_the_manufacturers_ready_pose() -> None:
    plant = make_plant(still())
    plant.data.qpos[:] = [0, -math.pi / 4, 0, -3 * math.pi / 4, 0, math.pi / 2, math.pi / 4]
    mujoco.mj_kinematics(plant.model, plant.data)
    # flange of the real robot there: x .3069, z .5903 (hand 0.1034 below)
    assert plant.data.body("tool").xpos == pytest.approx([0.30689, 0, 0.59028], abs=1e-4)


def test_gravity_is_compensated_and_a_payload_is_not() -> None:
    light, heavy = make_plant(still()), make_plant(still(payload_kg=0.4))
    for plant in (light, heavy):
        drive(plant, HOME, 1000)
        assert np.abs(plant.dq).max() < 1e-3
    assert np.abs(light.q - HOME).max() < 1e-6
    assert 0.001 < light.tip.z_m - heavy.tip.z_m < 0.02
    lever_m = 0.5
    assert heavy.tau[1] == pytest.approx(-0.4 * 9.81 * lever_m, rel=0.1)


def test_gain_makes_the_same_payload_sag_more() -> None:
    sag = []
    for gain in (1.0, 0.8):
        plant = make_plant(still(payload_kg=0.4, actuator_gain=gain))
        drive(plant, HOME, 1500)
        sag.append(0.25 - plant.tip.z_m)
    assert sag[1] == pytest.approx(sag[0] / 0.8, rel=0.05)


def test_latency_delays_the_motion() -> None:
    target = HOME + 0.1
    moved = {}
    for latency_s in (0.0, 0.05):
        plant = make_plant(still(action_latency_s=latency_s))
        drive(plant, target, 25)
        moved[latency_s] = float(np.abs(plant.q - HOME).max())
    assert moved[0.0] > 0.01
    assert moved[0.05] == pytest.approx(0.0, abs=1e-9)


def test_watchdog_holds_the_arm_where_it_was_told_to_be() -> None:
    plant = make_plant(still())
    drive(plant, HOME + 0.05, 200)
    for _ in range(500):
        plant.step(None)
    assert plant.device.holding
    assert plant.q == pytest.approx(HOME + 0.05, abs=1e-3)


def test_same_seed_same_bits_other_seed_other_noise() -> None:
    def run(seed: int) -> bytes:
        plant = make_plant(field="field", seed=seed)
        drive(plant, HOME, 300)
        return b"".join((plant.q.tobytes(), plant.force.tobytes(), plant.perception.pose.tobytes()))

    assert run(1) == run(1)
    assert run(1) != run(2)


def put_tip(plant: Plant, offset: tuple[float, float, float]) -> None:
    """Bring the block under the tip so that the tip stands at `offset` in the hole's frame."""
    tip = plant.tip
    plant.move_block(Pose(tip.x_m - offset[0], tip.y_m - offset[1], tip.z_m - offset[2], 0.0))


@pytest.mark.parametrize(
    ("offset", "success"),
    [
        ((0.0, 0.0, -0.0181), True),
        ((0.0009, -0.0009, -0.02), True),
        ((0.0, 0.0, -0.0179), False),
        ((0.0, 0.0, 0.02), False),
        ((0.0021, 0.0, -0.02), False),
        ((0.0, 0.05, -0.02), False),
    ],
)
def test_success_is_deep_and_inside(offset: tuple[float, float, float], success: bool) -> None:
    plant = make_plant(still())
    put_tip(plant, offset)
    assert plant.succeeded is success


def test_tip_in_hole_is_in_the_holes_frame() -> None:
    plant = make_plant(still())
    tip = plant.tip
    plant.move_block(Pose(tip.x_m, tip.y_m - 0.01, tip.z_m - 0.03, math.pi / 2))
    assert plant.tip_in_hole()[:3] == pytest.approx([0.01, 0.0, 0.03], abs=1e-6)


def test_pressing_on_the_lip_is_felt_and_soft_enough() -> None:
    plant = make_plant(still())
    tip = plant.tip
    plant.move_block(Pose(tip.x_m + 0.025, tip.y_m, tip.z_m - 0.0005, 0.0))
    below = HOME + np.array([0.0, 0.02, 0.0, -0.02, 0.0, 0.0, 0.0])
    drive(plant, below, 1000)
    contact_n = plant.contact_force_n()
    assert contact_n > 5.0
    assert plant.force[2] == pytest.approx(contact_n, rel=0.1)
    assert abs(plant.force[0]) < plant.force[2]
    assert plant.penetration_m() < 0.0005


def test_push_is_felt_by_the_wrist_and_the_tare_takes_it_away() -> None:
    plant = make_plant(still())
    plant.push((0.0, 10.0, 0.0))
    drive(plant, HOME, 1500)
    assert plant.force == pytest.approx([0.0, 10.0, 0.0], abs=0.2)
    plant.wrist.tare()
    drive(plant, HOME, 10, sequence=1500)
    assert plant.force == pytest.approx([0.0, 0.0, 0.0], abs=0.2)


@pytest.mark.parametrize("body", ["link2", "link4", "link7", "tool"])
@pytest.mark.parametrize("point_m", [None, (0.0, 0.0, 0.0), (0.05, -0.02, 0.1)])
def test_a_push_anywhere_on_the_arm_acts_where_it_says(
    body: str, point_m: tuple[float, float, float] | None
) -> None:
    plant, free, force_n = make_plant(still()), make_plant(still()), (3.0, -20.0, 5.0)
    model, data, number = plant.model, plant.data, plant.model.body(body).id
    at = data.xipos[number].copy()
    if point_m is not None:
        at = data.xpos[number] + data.xmat[number].reshape(3, 3) @ point_m
    jacobian = np.zeros((3, model.nv))
    mujoco.mj_jac(model, data, jacobian, None, at, number)
    plant.push(force_n, body, point_m)
    for pushed in (plant, free):
        drive(pushed, HOME, 1)
    # what the push adds to the smooth forces, at a pose that hardly moved in one period
    mujoco.mj_forward(model, data)
    felt = data.qfrc_smooth.copy()
    saved, data.xfrc_applied[:] = data.xfrc_applied.copy(), 0.0
    mujoco.mj_forward(model, data)
    felt -= data.qfrc_smooth
    data.xfrc_applied[:] = saved
    assert felt == pytest.approx(jacobian.T @ force_n, abs=0.02)
    assert np.abs(plant.data.qpos - free.data.qpos).max() > 0.0
    plant.push((0.0, 0.0, 0.0), body)
    drive(plant, HOME, 1, sequence=1)
    assert not plant.data.xfrc_applied.any(), "zeros end it, the lever arm too"


def test_pushes_on_two_bodies_act_together() -> None:
    plant = make_plant(still())
    plant.push((1.0, 0.0, 0.0))
    plant.push((0.0, 2.0, 0.0), "link4")
    drive(plant, HOME, 1)
    assert plant.data.xfrc_applied.sum(axis=0)[:3].tolist() == [1.0, 2.0, 0.0]
    with pytest.raises(KeyError, match="link3"):
        plant.push((1.0, 0.0, 0.0), "nobody")


def test_filter_delays_a_ramp_by_what_it_declares() -> None:
    plant = make_plant(still())
    rate_n_s, felt, sent = 100.0, [], []
    for index in range(400):
        plant.push((0.0, 0.0, rate_n_s * index * 0.002))
        drive(plant, HOME, 1, sequence=index)
        felt.append(plant.force[2])
        sent.append(plant.wrist.unfiltered[2])
    lag_s = float(np.mean(np.array(sent[-100:]) - np.array(felt[-100:]))) / rate_n_s
    assert lag_s == pytest.approx(plant.wrist.delay_s, rel=0.25)


def test_bias_and_noise_of_the_perceived_hole() -> None:
    plant = make_plant(field="field", seed=5)
    errors = []
    for episode in range(300):
        plant.perception.begin_episode((5, episode), plant.now_ns)
        plant.perception.step(plant.hole.as_array(), plant.now_ns)
        errors.append(plant.perception.pose - plant.hole.as_array())
    field = plant.config.field_block("field")
    assert np.mean(errors, axis=0)[:3] == pytest.approx(field.calibration_bias_m, abs=4e-4)
    assert np.mean(errors, axis=0)[3] == pytest.approx(field.calibration_bias_yaw_rad, abs=1e-3)
    assert np.std(errors, axis=0)[0] == pytest.approx(field.perception_episode_noise_m, rel=0.15)


def test_perception_comes_at_its_rate_and_as_old_as_the_field_says() -> None:
    plant = make_plant(still(perception_delay_s=0.06))
    first = plant.perception.sequence
    drive(plant, HOME, 500)
    assert plant.perception.sequence - first == pytest.approx(47, abs=1)
    age_ns = plant.now_ns - plant.perception.stamp_ns
    assert 60_000_000 <= age_ns < 82_000_000


def test_unreadable_robot_is_a_config_error(tmp_path: Path) -> None:
    broken = tmp_path / "robot.xml"
    broken.write_text("<mujoco><worldbody>")
    sim = make_plant().config
    with pytest.raises(ConfigError, match=r"robot\.xml"):
        build_model(broken, sim, sim.field_block("nominal"))


def test_step_of_two_milliseconds_works_too() -> None:
    plant = make_plant(config_with(physics_step_s=0.002), field="nominal")
    drive(plant, HOME, 100)
    assert plant.data.time == pytest.approx(0.2)
