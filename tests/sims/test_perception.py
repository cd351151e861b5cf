"""What the camera says of the hole, and how its calibration moves over the episodes."""

from typing import Any

import numpy as np
import pytest

from runtime.config import parse
from runtime.errors import ConfigError
from sims.config import FieldConfig
from sims.perception import Perception

STILL = {
    "calibration_bias_m": [0.001, 0.0, 0.0],
    "calibration_bias_yaw_rad": 0.1,
    "perception_episode_noise_m": 0.0,
    "perception_episode_noise_rad": 0.0,
    "perception_sample_noise_m": 0.0,
    "perception_sample_noise_rad": 0.0,
    "perception_delay_s": 0.0,
    "force_noise_n": 0.0,
    "payload_kg": 0.0,
    "friction": 0.5,
    "actuator_gain": 1.0,
    "action_latency_s": 0.0,
}


def point(episode: int, x_m: float, yaw_rad: float = 0.0) -> dict[str, Any]:
    return {"episode": episode, "bias_m": [x_m, 0.0, 0.0], "bias_yaw_rad": yaw_rad}


def field(*course: dict[str, Any]) -> FieldConfig:
    return parse(FieldConfig, {**STILL, "calibration_course": list(course)}, "a field")


def seen(one: FieldConfig, episode: int) -> list[float]:
    perception = Perception(one, 50.0)
    perception.begin_episode((1, episode), 0)
    perception.step(np.zeros(4), 0)
    found: list[float] = perception.pose.tolist()
    return found


def test_without_a_course_the_calibration_stays() -> None:
    assert seen(field(), 1) == seen(field(), 1000) == [0.001, 0.0, 0.0, 0.1]


def test_a_calibration_drifts_between_the_points_and_stays_beyond_them() -> None:
    drifting = field(point(10, 0.0), point(20, 0.004, 0.2))
    assert seen(drifting, 1) == seen(drifting, 10) == [0.001, 0.0, 0.0, 0.1]
    assert seen(drifting, 15) == pytest.approx([0.003, 0.0, 0.0, 0.2])
    assert seen(drifting, 20) == seen(drifting, 999) == pytest.approx([0.005, 0.0, 0.0, 0.3])


def test_a_bump_is_there_from_one_episode_to_the_next() -> None:
    bumped = field(point(49, 0.0), point(50, 0.002))
    assert seen(bumped, 49)[0] == 0.001
    assert seen(bumped, 50)[0] == pytest.approx(0.003)


def test_points_that_do_not_go_onwards_are_refused() -> None:
    with pytest.raises(ConfigError, match="each later than the one before"):
        field(point(10, 0.0), point(10, 0.001))
