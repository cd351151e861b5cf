"""Numbers that are well formed and cannot be meant: other units, limits that contradict each other,
volumes without size. Each is refused with the number, what is allowed, and the way out."""

import re
from typing import Any

import pytest

from runtime.config import Config, parse
from runtime.envelope.stop import JointStop
from runtime.robot_spec import JointLimits, RobotSpec, stop_length
from tests.runtime.config_kit import JOINT, MISSING, PLAIN, ROBOT, changed, refusal


@pytest.mark.parametrize(
    ("path", "largest", "wrong", "guess"),
    [
        ("joints.0.position_max_rad", 12.56, 170.0, "degrees; in radians that is 2.967"),
        ("joints.0.position_min_rad", -12.56, -166.0, "degrees; in radians that is -2.897"),
        ("joints.0.home_rad", 0.6, 28.6, "degrees; in radians that is 0.4992"),
        ("joints.0.velocity_max_rad_s", 5.0, 150.0, "degrees; in radians that is 2.618"),
        ("joints.0.acceleration_max_rad_s2", 300.0, 1500.0, "degrees; in radians that is 26.18"),
        ("joints.0.jerk_max_rad_s3", 2e5, 430000.0, "degrees; in radians that is 7505"),
        ("tracking_margin.position_rad", 1.0, 2.0, "degrees; in radians that is 0.03491"),
        ("rest_speed_max_rad_s", 1.0, 1.5, "degrees; in radians that is 0.02618"),
        ("joints.0.torque_max_nm", 5000.0, 20000.0, "millimetres; in newton metres that is 20"),
        ("joints.0.holding_torque_max_nm", 20.0, 7000.0, "in newton metres that is 7"),
        ("tool.payload_max_kg", 500.0, 501.0, "grams; in kilograms that is 0.501"),
    ],
)
def test_a_robot_in_other_units_is_refused_with_the_guess(
    path: str, largest: float, wrong: float, guess: str
) -> None:
    parse(RobotSpec, changed(ROBOT, path, largest), "robot")
    message = refusal(RobotSpec, changed(ROBOT, path, wrong))
    assert f"{path}: {wrong!r} looks like" in message
    assert guess in message
    assert "allowed: up to" in message


@pytest.mark.parametrize(
    ("path", "largest", "wrong", "guess"),
    [
        ("guards.tracking_error_rad", 1.0, 14.0, "degrees; in radians that is 0.2443"),
        ("guards.tool_speed_m_s", 20.0, 250.0, "millimetres; in metres that is 0.25"),
        ("guards.elbow_speed_m_s", 20.0, 250.0, "millimetres; in metres that is 0.25"),
        ("guards.workspace.high_m.0", 20.0, 800.0, "millimetres; in metres that is 0.8"),
        ("guards.contact_force.max_n", 2000.0, 120000.0, "millinewtons; in newtons that is 120"),
        ("episode.speed_m_s", 20.0, 400.0, "millimetres; in metres that is 0.4"),
        ("episode.retract_to_m", 20.0, 180.0, "millimetres; in metres that is 0.18"),
        ("geometry.keep_out.0.point_m.2", -20.0, -400.0, "millimetres; in metres that is -0.4"),
    ],
)
def test_a_config_in_other_units_is_refused_with_the_guess(
    path: str, largest: float, wrong: float, guess: str
) -> None:
    parse(Config, changed(PLAIN, path, largest), "config")
    message = refusal(Config, changed(PLAIN, path, wrong))
    assert f"{path}: {wrong!r} looks like" in message
    assert guess in message


# -- limits that contradict each other ----------------------------------------------------------


def robot_with(**changes: float) -> Any:
    return {**ROBOT, "joints": [{**JOINT, **changes}]}


def test_a_range_that_the_margin_eats_leaves_no_rest() -> None:
    narrow = robot_with(position_min_rad=0.48, position_max_rad=0.52)
    message = refusal(RobotSpec, narrow)
    assert "tracking_margin.position_rad 0.02 cut from both ends leaves nothing" in message
    assert "no place where it may rest" in message


def simulated_stop(velocity: float, a_max: float, jerk: float) -> tuple[float, float]:
    """Return way and time of the hardest stop by small steps: brake as hard as still can be let
    go in time."""
    dt = 1e-5
    v, a, way, time = velocity, 0.0, 0.0, 0.0
    while v > 0.0 and time < 60.0:
        # letting go of a takes a/j and a^2/2j of velocity
        wanted = -a_max if v > a * a / (2.0 * jerk) + 1e-9 else 0.0
        a += min(max(wanted - a, -jerk * dt), jerk * dt)
        v += a * dt
        way += v * dt
        time += dt
    return way, time


@pytest.mark.parametrize(
    ("velocity", "a_max", "jerk"), [(1.35, 8.0, 250.0), (0.2, 8.0, 250.0), (2.0, 12.0, 40.0)]
)
def test_the_stop_length_is_that_of_a_simulated_stop(
    velocity: float, a_max: float, jerk: float
) -> None:
    limit = JointLimits(
        name="hinge",
        position_min_rad=-1.0,
        position_max_rad=1.0,
        velocity_max_rad_s=velocity,
        acceleration_max_rad_s2=a_max,
        jerk_max_rad_s3=jerk,
    )
    way, time = simulated_stop(velocity, a_max, jerk)
    length, duration = stop_length(velocity, limit)
    assert length == pytest.approx(way, rel=2e-3)
    assert duration == pytest.approx(time, rel=2e-2)


def test_a_velocity_that_cannot_be_reached_and_stopped_in_the_range() -> None:
    message = refusal(RobotSpec, robot_with(velocity_max_rad_s=20.0))
    found = re.search(r"back takes ([\d.]+) rad, the command range has ([\d.]+)", message)
    assert found, message
    assert "hinge: velocity_max_rad_s can never be reached and stopped inside its range" in message
    length, _ = stop_length(18.0, parse(RobotSpec, ROBOT, "robot").command_limits()[0])
    assert float(found[1]) == pytest.approx(2 * length, rel=1e-3)
    assert float(found[2]) == pytest.approx(3.96)
    allowed = re.search(r"allowed: up to ([\d.]+) rad/s", message)
    assert allowed
    # the share of the tracking margin lies between what is written and what is commanded
    fits = float(allowed[1]) / ROBOT["tracking_margin"]["velocity_share"]
    parse(RobotSpec, robot_with(velocity_max_rad_s=0.999 * fits), "robot")
    refusal(RobotSpec, robot_with(velocity_max_rad_s=1.001 * fits))


def test_an_acceleration_that_takes_too_long_to_build_up() -> None:
    message = refusal(RobotSpec, robot_with(jerk_max_rad_s3=10.0))
    assert "hinge: with jerk_max_rad_s3 it takes 1.6 s to build up" in message
    assert "raise the jerk or lower the acceleration" in message


def test_a_stop_that_takes_too_long() -> None:
    message = refusal(RobotSpec, robot_with(acceleration_max_rad_s2=0.1))
    assert "hinge: a stop from velocity_max_rad_s takes" in message
    assert "allowed: up to 10 s" in message


@pytest.mark.parametrize(
    "key", ["velocity_max_rad_s", "acceleration_max_rad_s2", "jerk_max_rad_s3"]
)
def test_a_limit_that_rounding_would_hide(key: str) -> None:
    assert f"joints.0.{key}" in refusal(RobotSpec, robot_with(**{key: 1e-9}))


def test_the_smallest_limits_that_pass_can_be_kept() -> None:
    """The envelope refuses limits that float64 positions cannot resolve; none gets that far."""
    slow = JointLimits(
        name="hinge",
        position_min_rad=-12.5,
        position_max_rad=12.5,
        velocity_max_rad_s=1e-3,
        acceleration_max_rad_s2=1e-2,
        jerk_max_rad_s3=1e-1,
    )
    JointStop(slow, 1e-3)


# -- geometry -----------------------------------------------------------------------------------

BOX = {"shape": "box", "name": "crate", "center_m": [1.0, 0.0, 0.0],
       "half_size_m": [0.1, 0.1, 0.1], "yaw_rad": 0.0}  # fmt: skip
SPHERE = {"shape": "sphere", "name": "lamp", "center_m": [1.0, 0.0, 0.0], "radius_m": 0.1}
CAPSULE = {"shape": "capsule", "name": "post", "from_m": [1.0, 0.0, 0.0],
           "to_m": [1.0, 0.0, 1.0], "radius_m": 0.1}  # fmt: skip
PLANE = PLAIN["geometry"]["keep_out"][0]


@pytest.mark.parametrize(
    ("volume", "path", "value", "words"),
    [
        (BOX, "half_size_m", [0.1, 0.0, 0.1], ["half_size_m.1", "0.001", "0.0"]),
        (BOX, "yaw_rad", 45.0, ["yaw_rad: 45.0 looks like degrees; in radians that is 0.7854"]),
        (BOX, "half_size_m", [100.0, 50.0, 50.0], ["half_size_m.0: 100.0 looks like millimetres"]),
        (SPHERE, "radius_m", 0.0, ["radius_m", "0.001", "0.0"]),
        (SPHERE, "radius_m", -0.1, ["radius_m", "-0.1"]),
        (CAPSULE, "radius_m", 1e-4, ["radius_m", "0.0001"]),
        (CAPSULE, "to_m", [1.0, 0.0, 0.0], ["post", "one point", "shape: sphere"]),
        (PLANE, "normal", [0.0, 0.0, 2.0], ["table", "length 2", "write 1"]),
        (PLANE, "normal", [0.0, 0.0, 0.0], ["table", "length 0"]),
        (PLANE, "name", "", ["name"]),
        (PLANE, "shape", "cone", ["shape: 'cone' is no shape", "plane, box, sphere, capsule"]),
        (PLANE, "shape", MISSING, ["shape: is missing"]),
        (PLANE, "radius_m", 1.0, ["radius_m: unknown key"]),
    ],
)
def test_a_keep_out_volume_must_make_sense(
    volume: dict[str, Any], path: str, value: object, words: list[str]
) -> None:
    parse(Config, changed(PLAIN, "geometry.keep_out", [volume]), "config")
    harmed = changed(volume, path, value)
    message = refusal(Config, changed(PLAIN, "geometry.keep_out", [harmed]))
    assert "geometry.keep_out.0" in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("geometry.keep_out", [PLANE, {**SPHERE, "name": "table"}], ["names repeat", "table"]),
        ("geometry.margin_m", 0.0, ["geometry.margin_m", "0.0"]),
        ("geometry.margin_m", 10.0, ["10.0 looks like millimetres; in metres that is 0.01"]),
        ("guards.workspace.high_m", [0.22, 0.4, 0.7], ["x is 0.02 m wide", "more than 0.02 m"]),
        ("guards.workspace.high_m", [0.2, 0.4, 0.7], ["guards.workspace", "holds nothing"]),
        ("guards.contact_force", MISSING, ["guards.contact_force: is missing"]),
        ("guards.contact_force.group", "wrist", ["'wrist'", "no configured group", "force, task"]),
        ("guards.contact_force.cutoff_hz", 250.0, ["250", "half of control.servo_hz", "below 250"]),
        ("control.command_valid_s", 0.002, ["command_valid_s", "servo period 0.002 s", "expire"]),
    ],
)
def test_geometry_and_guards_must_fit(path: str, value: object, words: list[str]) -> None:
    message = refusal(Config, changed(PLAIN, path, value))
    assert all(word in message for word in words), message


def test_a_force_needs_three_numbers() -> None:
    groups = [{"name": "force", "size": 2, "max_age_s": 0.02}]
    message = refusal(Config, changed(PLAIN, "observations.groups", groups))
    assert "'force' has 2 numbers, a force has 3" in message
    assert "contact_force: null" in message
    silent = changed(changed(PLAIN, "observations.groups", groups), "guards.contact_force", None)
    assert parse(Config, silent, "config").guards.contact_force is None


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("residual", None, ["gate: needs the block `residual`", "remove `gate`"]),
        ("gate", None, ["governor: needs the block `gate`", "remove `governor`"]),
        ("governor", None, ["gate: needs the block `governor`", "remove `gate`"]),
        ("governor.observe_episodes", 61, ["observe_episodes 61", "at most that"]),
        ("governor.loss_budget", 0.0, ["governor.loss_budget", "0.0"]),
        ("residual.watch.pressed_ratio", 0.0, ["residual.watch.pressed_ratio", "0.0"]),
        ("residual.region.edge_m", 0.12, ["no place has full authority", "two edges on every"]),
        ("residual.region.high_m", [0.62, 0.14, 0.03], ["no place has full authority"]),
        ("residual.region.edge_m", -0.01, ["residual.region.edge_m", "-0.01"]),
        ("residual.authority_ramp_s", 0.0, ["residual.authority_ramp_s", "0.0"]),
        ("residual.exploration.noise_max", 1.1, ["residual.exploration.noise_max", "1.1"]),
        ("residual.exploration.clean_share", 1.1, ["residual.exploration.clean_share", "1.1"]),
        ("residual.exploration.budget_steps", -1, ["residual.exploration.budget_steps", "-1"]),
        ("residual.terms", [], ["residual.terms"]),
        ("residual.recent_steps", 0, ["residual.recent_steps", "0"]),
        ("residual.max_snapshot_bytes", 0, ["residual.max_snapshot_bytes", "0"]),
    ],
)
def test_what_learns_must_make_sense(path: str, value: object, words: list[str]) -> None:
    message = refusal(Config, changed(PLAIN, path, value))
    assert all(word in message for word in words), message


def test_a_robot_that_does_not_learn_leaves_the_blocks_out() -> None:
    plain = PLAIN
    for blocks in (("learner",), ("gate", "governor"), ("residual",)):
        for block in blocks:
            plain = changed(plain, block, MISSING)
        parse(Config, plain, "config")


def test_who_learns_needs_a_gate() -> None:
    plain = changed(changed(PLAIN, "gate", MISSING), "governor", MISSING)
    assert "learner: needs the block `gate`" in refusal(Config, plain)


def test_barely_enough_is_enough() -> None:
    wide = changed(PLAIN, "guards.workspace.high_m", [0.2201, 0.4, 0.7])
    parse(Config, wide, "config")
    parse(Config, changed(PLAIN, "control.command_valid_s", 0.0021), "config")
    parse(Config, changed(PLAIN, "guards.contact_force.cutoff_hz", 249.0), "config")
