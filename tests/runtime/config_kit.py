"""What the config tests share: a good config, a good robot, and ways to break one value of them."""

import copy
from pathlib import Path
from typing import Any

import pytest

from runtime.config import Config, parse, read_yaml
from runtime.errors import ConfigError
from runtime.robot_spec import RobotSpec

ROOT = Path(__file__).parents[2]
PLAIN = read_yaml(ROOT / "config.yaml")
JOINT = {
    "name": "hinge",
    "position_min_rad": -2.0,
    "position_max_rad": 2.0,
    "velocity_max_rad_s": 1.5,
    "acceleration_max_rad_s2": 10.0,
    "jerk_max_rad_s3": 500.0,
    "torque_max_nm": 20.0,
    "holding_torque_max_nm": 5.0,
    "stiffness_nm_rad": 100.0,
    "damping_nm_s_rad": 5.0,
    "home_rad": 0.5,
}
ROBOT: dict[str, Any] = {
    "name": "one",
    "joints": [JOINT],
    "tracking_margin": {
        "position_rad": 0.02,
        "velocity_share": 0.9,
        "acceleration_share": 0.8,
        "jerk_share": 0.5,
    },
    "tool": {"mjcf": "one.xml", "site": "tip", "elbow_site": "bend", "payload_max_kg": 0.5},
    "rest_speed_max_rad_s": 0.02,
}
MISSING = object()


def changed(data: Any, path: str, value: object) -> Any:
    """Return a copy of plain data in which the value at `a.b.0.c` is `value`, or gone."""
    data = copy.deepcopy(data)
    place = data
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        place = place[part]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return data


def refusal(model: type[Config] | type[RobotSpec], data: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(model, data, "given.yaml")
    message = str(caught.value)
    assert message.startswith("given.yaml cannot be used")
    return message
