"""Every bad config and robot spec is refused with a sentence that names key and value."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from runtime.config import Config, load_config, load_robot, parse, read_yaml, resolve
from runtime.errors import ConfigError
from runtime.robot_spec import RobotSpec
from tests.runtime.config_kit import JOINT, MISSING, PLAIN, ROBOT, ROOT, changed, refusal


def numbers(data: Any, path: str = "") -> list[str]:
    """Return the paths of all floating-point numbers in plain data."""
    if isinstance(data, dict):
        return [p for key, value in data.items() for p in numbers(value, f"{path}{key}.")]
    if isinstance(data, list):
        return [p for index, value in enumerate(data) for p in numbers(value, f"{path}{index}.")]
    return [path[:-1]] if isinstance(data, float) else []


def keys(data: Any, path: str = "") -> list[str]:
    """Return the paths of all keys in plain data."""
    if isinstance(data, list):
        return [p for index, value in enumerate(data) for p in keys(value, f"{path}{index}.")]
    if not isinstance(data, dict):
        return []
    return [p for key, value in data.items() for p in (path + key, *keys(value, f"{path}{key}."))]


OPAQUE = ("sim", "faults", "learner")
CONFIG_NUMBERS = [path for path in numbers(PLAIN) if not path.startswith(OPAQUE)]
# these have a default that stands for "none": leaving them out changes no limit
OPTIONAL = (
    "observations.groups",
    "episode.retract_to_m",
    "episode.predicates",
    "faults",
    "realtime.cpu",
    "realtime.core_wake_us",
    "sim",
)
# a robot that does not learn leaves these out; what stands in them is required all the same
BLOCKS = ("residual", "gate", "governor")
REQUIRED = [
    path
    for path in keys(PLAIN)
    if path not in BLOCKS and not path.startswith((*OPAQUE, *OPTIONAL))
]


def test_the_config_of_this_repository_is_good() -> None:
    config = load_config(ROOT / "config.yaml")
    robot = load_robot(config, ROOT / "config.yaml")
    assert robot.joint_names
    assert resolve(robot.tool.mjcf, ROOT / "config.yaml").is_file()


def test_the_robot_of_these_tests_is_good() -> None:
    spec = parse(RobotSpec, ROBOT, "robot")
    (limit,) = spec.command_limits()
    assert (limit.position_min_rad, limit.position_max_rad) == (-1.98, 1.98)
    assert limit.velocity_max_rad_s == pytest.approx(1.35)
    assert limit.acceleration_max_rad_s2 == pytest.approx(8.0)
    assert limit.jerk_max_rad_s3 == pytest.approx(250.0)


@pytest.mark.parametrize("path", CONFIG_NUMBERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_number_of_the_config_may_be_infinite(path: str, value: float) -> None:
    assert path in refusal(Config, changed(PLAIN, path, value))


@pytest.mark.parametrize("path", CONFIG_NUMBERS)
def test_no_number_of_the_config_may_be_text(path: str) -> None:
    message = refusal(Config, changed(PLAIN, path, "3.0"))
    assert path in message
    assert "'3.0'" in message


@pytest.mark.parametrize("path", REQUIRED)
def test_what_the_config_lacks_is_named(path: str) -> None:
    assert f"{path}: is missing" in refusal(Config, changed(PLAIN, path, MISSING))


@pytest.mark.parametrize("path", numbers(ROBOT))
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_limit_of_a_robot_may_be_infinite(path: str, value: float) -> None:
    assert path in refusal(RobotSpec, changed(ROBOT, path, value))


@pytest.mark.parametrize("path", keys(ROBOT))
def test_no_limit_of_a_robot_may_be_missing(path: str) -> None:
    assert f"{path}: is missing" in refusal(RobotSpec, changed(ROBOT, path, MISSING))


@pytest.mark.parametrize("path", ["servo_hzz", "control.servo_hzz", "guards.workspace.mid_m"])
def test_a_typo_is_an_unknown_key(path: str) -> None:
    assert f"{path}: unknown key" in refusal(Config, changed(PLAIN, path, 1.0))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("version", 2, ["version", "1"]),
        ("robot_id", "no spaces please", ["robot_id"]),
        ("control.servo_hz", 99.0, ["control.servo_hz", "100", "99.0"]),
        ("control.servo_hz", 1001.0, ["control.servo_hz", "1000", "1001.0"]),
        ("control.servo_hz", True, ["control.servo_hz", "True"]),
        ("control.motion_share", 1.01, ["control.motion_share", "1.01"]),
        ("control.homing_speed_share", 0.0, ["control.homing_speed_share", "0.0"]),
        ("observations.joints_max_age_s", 0.0, ["observations.joints_max_age_s", "0.0"]),
        ("observations.groups", [{"name": "joints", "size": 1, "max_age_s": 1.0}], ["repeat"]),
        ("observations.groups", [{"name": "a", "size": 0, "max_age_s": 1.0}], ["size", "0"]),
        ("episode.steps", 0, ["episode.steps", "0"]),
        ("episode.steps", 1.5, ["episode.steps", "1.5"]),
        ("episode.reset", "teleport", ["episode.reset", "scripted", "person", "teleport"]),
        ("guards.torque_share", 1.1, ["guards.torque_share", "1.1"]),
        ("guards.workspace.low_m", [9.0, 0.0, 0.0], ["guards.workspace", "not below"]),
        ("guards.workspace.low_m", [0.0, 0.0], ["guards.workspace.low_m"]),
        ("realtime.priority", 100, ["realtime.priority", "99", "100"]),
        ("realtime.spin_us", 1001.0, ["realtime.spin_us", "1001.0"]),
        ("recorder.flush_ms", 201.0, ["recorder.flush_ms", "200", "201.0"]),
        ("faults", {"TORQE_GUARD": {}}, ["faults.TORQE_GUARD", "TORQUE_GUARD"]),
        ("faults", {"TICK_RAISED": {"response": "WARN"}}, ["WARN loosens STOP"]),
        ("faults", {"TICK_RAISED": {"clear": "WHEN_CLEAR"}}, ["loosens ON_REARM"]),
    ],
)
def test_a_value_out_of_range_is_named(path: str, value: object, words: list[str]) -> None:
    message = refusal(Config, changed(PLAIN, path, value))
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"above": 1.0, "below": 2.0}, ["exactly one", "above", "below"]),
        ({}, ["exactly one", "above", "below"]),
        ({"above": 1.0, "group": "smell"}, ["predicates[0].group", "'smell'", "allowed: force"]),
        ({"above": 1.0, "index": 3}, ["predicates[0].index: 3", "force has 3 numbers"]),
        ({"above": 1.0, "outcome": "TIMEOUT"}, ["SUCCESS", "FAILURE", "ABORT", "'TIMEOUT'"]),
    ],
)
def test_a_predicate_must_make_sense(change: dict[str, object], words: list[str]) -> None:
    predicate = {"outcome": "SUCCESS", "group": "force", "index": 0, "hold_s": 0.0} | change
    data = changed(PLAIN, "observations.groups", [{"name": "force", "size": 3, "max_age_s": 0.02}])
    message = refusal(Config, changed(data, "episode.predicates", [predicate]))
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("joints.0.position_min_rad", 2.5, ["2.5", "not below", "2.0"]),
        ("joints.0.velocity_max_rad_s", 0.0, ["joints.0.velocity_max_rad_s", "0.0"]),
        ("joints.0.jerk_max_rad_s3", -1.0, ["joints.0.jerk_max_rad_s3", "-1.0"]),
        ("joints.0.damping_nm_s_rad", -1.0, ["joints.0.damping_nm_s_rad", "-1.0"]),
        ("joints.0.name", "", ["joints.0.name", "1 character"]),
        ("joints.0.holding_torque_max_nm", 21.0, ["hinge", "21.0", "exceeds", "20.0"]),
        ("joints.0.home_rad", 2.1, ["home_rad 2.1", "outside"]),
        ("joints.0.home_rad", 1.99, ["home_rad 1.99", "command range", "tracking_margin"]),
        ("tracking_margin.velocity_share", 1.1, ["tracking_margin.velocity_share", "1.1"]),
        ("tracking_margin.position_rad", 0.0, ["tracking_margin.position_rad", "0.0"]),
        ("joints", [], ["joints", "at least one"]),
        ("joints", [JOINT, JOINT], ["names repeat", "hinge"]),
        ("joints.0.torque_max_lbft", 5.0, ["torque_max_lbft: unknown key"]),
    ],
)
def test_a_robot_must_make_sense(path: str, value: object, words: list[str]) -> None:
    message = refusal(RobotSpec, changed(ROBOT, path, value))
    assert all(word in message for word in words), message


def test_all_mistakes_are_told_at_once() -> None:
    data = changed(changed(PLAIN, "control.servo_hz", -1.0), "episode.steps", MISSING)
    message = refusal(Config, data)
    assert "control.servo_hz" in message
    assert "episode.steps" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "a key stands twice"),
        ("a: {b: 1, b: 2}\n", "a key stands twice"),
        ("a: [1\n", "not readable as YAML"),
        ("- 1\n", "must be a mapping of keys, is list"),
        ("", "must be a mapping of keys, is NoneType"),
        ("a: !!python/object/apply:os.getcwd []\n", "not readable as YAML"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: \xff\xfe\n")
    with pytest.raises(ConfigError, match="not readable as YAML"):
        read_yaml(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "config.yaml")


def test_the_robot_file_is_sought_beside_the_config_and_in_our_packages(tmp_path: Path) -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert (
        load_robot(load_config(path), path).name
        == load_robot(load_config(ROOT / "config.yaml"), ROOT / "config.yaml").name
    )
    with (tmp_path / "mine.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(ROBOT, file)
    path.write_text(text.replace(f"robot: {PLAIN['robot']}", "robot: mine.yaml"), "utf-8")
    assert load_robot(load_config(path), path).name == "one"
    with pytest.raises(ConfigError, match=r"'gone\.yaml', which does not exist; tried .* and "):
        resolve("gone.yaml", path)
