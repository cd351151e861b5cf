"""A contract that lies is refused by the name of the field it lies about."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from policies.contract_check import check_against
from runtime.config import Config
from runtime.errors import ContractError
from runtime.policy_contract import PolicyContract
from runtime.robot_spec import RobotSpec

Change = Callable[[Any], None]


def _lie(contract: PolicyContract, change: Change) -> PolicyContract:
    data = json.loads(contract.model_dump_json())
    change(data)
    return PolicyContract.model_validate_json(json.dumps(data), strict=True)


def _put(*path: Any, value: Any) -> Change:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


def _wider_fine(data: Any) -> None:
    data["terms"][2].update(size=2, scale=[4.0] * 2, offset=[0.0] * 2, mean=[0.0] * 2, std=[1] * 2)
    data["terms"][4].update(name="time_left", unit="1", scale=[1.0])
    data["terms"][3].update(size=2, scale=[1e2] * 2, offset=[0.0] * 2, mean=[0.0] * 2, std=[1] * 2)


def _joint_targets(data: Any) -> None:
    data["terms"][3].update(name="joint_lag", unit="rad", scale=[10.0] * 3)
    data["terms"][2].update(name="time_left", group="joints", unit="1", scale=[1.0])
    data["terms"][4].update(name="goal_yaw", group="task", unit="rad", scale=[1.0])
    data["action"] = {
        **{key: values[:3] for key, values in data["action"].items() if isinstance(values, list)},
        "kind": "joint_target",
        "relative": False,
        "names": list(data["joint_names"]),
        "units": ["rad"] * 3,
        "scale": [1.9] * 3,
    }


LIES = {
    "robot": (_put("robot", value="other"), r"robot: .*'other'.*'tester'"),
    "joint order": (
        _put("joint_names", value=["two", "one", "three"]),
        r"joint_names: .*'two', 'one'.*'one', 'two'",
    ),
    "rate": (_put("rate_hz", value=30.0), r"rate_hz: .*30\.0.*servo_hz is 500\.0"),
    "rate above the servo": (_put("rate_hz", value=1000.0), r"rate_hz: .*1000\.0"),
    "rate below the age": (_put("rate_hz", value=5.0), r"rate_hz: .*5\.0.*max_age_s is 0\.12"),
    "term name": (_put("terms", 0, "name", value="goal_off"), r"term 'goal_off' is unknown"),
    "term twice": (_put("terms", 1, "name", value="goal_offset"), r"goal_offset stands twice"),
    "term order": (
        lambda data: data["terms"][0].update(name="tool_lag"),
        r"term tool_lag: group: .*'task'.*'joints'",
    ),
    "term group": (
        _put("terms", 0, "group", value="force"),
        r"term goal_offset: group: .*'force'.*'task'",
    ),
    "term unit": (_put("terms", 0, "unit", value="mm"), r"term goal_offset: unit: .*'mm'.*'m'"),
    "term scale": (
        _put("terms", 0, "scale", value=[10.0, 10.0, 1000.0]),
        r"term goal_offset: scale: .*1000\.0.*\(10\.0, 10\.0, 10\.0\)",
    ),
    "term offset": (
        _put("terms", 2, "offset", value=[0.5]),
        r"term goal_yaw_error: offset: .*0\.5.*0\.0",
    ),
    "term size": (_wider_fine, r"term goal_yaw_error: size: .*2.*1"),
    "action names": (
        _put("action", "names", value=["y", "x", "z", "yaw"]),
        r"action\.names: .*'y', 'x'.*'x', 'y'",
    ),
    "action unit": (
        _put("action", "units", value=["mm", "m", "m", "rad"]),
        r"action\.units: .*'mm'.*'m', 'm', 'm', 'rad'",
    ),
    "action speed": (
        _put("action", "scale", value=[0.015, 0.06, 0.015, 0.06]),
        r"action y: scale 0\.06 at 20\.0 Hz allows 1\.2 m/s, guards\.tool_speed_m_s is 1\.0",
    ),
    "start pose": (
        _put("start", "position_max_rad", value=[1.0, 2.5, 1.0]),
        r"start: joint two .*2\.5 rad.*-2\.0 to 2\.0",
    ),
    "start pose reversed": (
        _put("start", "position_min_rad", value=[1.5, -1.0, -1.0]),
        r"start: joint one .*1\.5 to 1\.0",
    ),
    "start speed": (
        _put("start", "speed_max_rad_s", value=[0.1, 0.1, 9.0]),
        r"start: joint three .*9\.0 rad/s.*2\.0",
    ),
    "tool terms for joint targets": (_joint_targets, None),
}


def test_an_honest_contract_passes(
    contract: PolicyContract, robot: RobotSpec, config: Config
) -> None:
    check_against(contract, robot, config, "base.onnx")


@pytest.mark.parametrize("lie", [name for name, (_, says) in LIES.items() if says])
def test_each_lie_is_named_with_both_values(
    lie: str, contract: PolicyContract, robot: RobotSpec, config: Config
) -> None:
    change, says = LIES[lie]
    with pytest.raises(ContractError, match=says or "") as caught:
        check_against(_lie(contract, change), robot, config, "base.onnx")
    assert str(caught.value).startswith("base.onnx does not fit")


def test_joint_targets_pass_or_name_the_joint(
    contract: PolicyContract, robot: RobotSpec, config: Config
) -> None:
    honest = _lie(contract, _joint_targets)
    check_against(honest, robot, config, "base.onnx")
    far = _lie(honest, _put("action", "scale", value=[1.9, 2.0, 1.9]))
    with pytest.raises(ContractError, match=r"action two: .*-2\.0 to 2\.0.*-1\.95 to 1\.95"):
        check_against(far, robot, config, "base.onnx")
    swapped = _lie(honest, _put("action", "names", value=["two", "one", "three"]))
    with pytest.raises(ContractError, match=r"action\.names"):
        check_against(swapped, robot, config, "base.onnx")
    tool_term = _lie(honest, lambda data: data["terms"][3].update(name="tool_lag"))
    with pytest.raises(ContractError, match="tool_lag has no meaning for action kind joint_target"):
        check_against(tool_term, robot, config, "base.onnx")


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([], r"goal_offset reads group 'task', which is not configured; configured: joints"),
        ([("task", 3)], r"goal_yaw_error needs at least 4 numbers in group task, which has 3"),
        ([("task", 2)], r"term goal_offset: size: the contract says 3, this daemon has 2"),
    ],
)
def test_a_config_without_the_group_is_named(
    groups: list[tuple[str, int]],
    says: str,
    contract: PolicyContract,
    robot: RobotSpec,
    config: Config,
) -> None:
    data = config.model_dump(mode="json")
    data["observations"]["groups"] = [
        {"name": name, "size": size, "max_age_s": 0.1} for name, size in groups
    ]
    data["guards"]["contact_force"] = None
    other = Config.model_validate_json(json.dumps(data))
    with pytest.raises(ContractError, match=says):
        check_against(contract, robot, other, "base.onnx")


def test_all_contradictions_are_named_at_once(
    contract: PolicyContract, robot: RobotSpec, config: Config
) -> None:
    def several(data: Any) -> None:
        data["robot"], data["rate_hz"], data["terms"][4]["unit"] = "other", 30.0, "deg"

    with pytest.raises(ContractError) as caught:
        check_against(_lie(contract, several), robot, config, "base.onnx")
    for name in ("robot:", "rate_hz:", "tool_yaw_lag: unit"):
        assert name in str(caught.value)
