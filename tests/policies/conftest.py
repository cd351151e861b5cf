"""Small policies, records and robots that the tests of policies/ share."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.contract_io import INPUT_NAME, OUTPUT_NAME, metadata, open_session
from policies.demonstrations import DemonstrationSpec, DemonstrationWriter
from policies.export import Layer, build_model
from policies.features import Normaliser
from policies.terms import TERMS
from runtime.config import Config, load_config
from runtime.messages import GroupSize, Sizes, TickRecord, new_record
from runtime.policy_contract import PolicyContract
from runtime.robot_spec import JointSpec, RobotSpec, ToolSpec, TrackingMargin

JOINTS = ("one", "two", "three")
BASE_TERMS = {
    "goal_offset": 3,
    "goal_offset_fine": 3,
    "goal_yaw_error": 1,
    "tool_lag": 3,
    "tool_yaw_lag": 1,
}
ACTION: dict[str, Any] = {
    "kind": "tool_delta",
    "names": ["x", "y", "z", "yaw"],
    "units": ["m", "m", "m", "rad"],
    "relative": True,
    "scale": [0.015, 0.015, 0.015, 0.06],
    "offset": [0.0] * 4,
    "low": [-1.0] * 4,
    "high": [1.0] * 4,
    "reach": [0.012, 0.012, 0.012, 0.1],
    "residual_bound": [0.4] * 4,
}
REWARD = {"success": 1.0, "failure": 0.0, "discount": 0.98, "timeout_is_terminal": True}
ContractData = dict[str, Any]


def _term(name: str, size: int, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "name": name,
        "group": TERMS[name].group,
        "size": size,
        "unit": TERMS[name].unit,
        "scale": [TERMS[name].scale] * size,
        "offset": [0.0] * size,
        "mean": rng.normal(scale=0.3, size=size).tolist(),
        "std": rng.uniform(0.2, 1.5, size=size).tolist(),
    }


@pytest.fixture(scope="session")
def layers() -> list[Layer]:
    rng = np.random.default_rng(3)
    widths = (11, 8, 4)
    return [
        Layer(
            weight=rng.normal(scale=0.4, size=(a, b)).astype(np.float32),
            bias=rng.normal(scale=0.1, size=b).astype(np.float32),
        )
        for a, b in pairwise(widths)
    ]


@pytest.fixture(scope="session")
def honest(layers: list[Layer]) -> ContractData:
    """A contract, as plain JSON data, that tells the truth about `layers`."""
    rng = np.random.default_rng(4)
    terms = [_term(name, size, rng) for name, size in BASE_TERMS.items()]
    raw = rng.normal(scale=0.05, size=(16, 11))
    data: ContractData = {
        "format_version": 1,
        "name": "test base",
        "robot": "tester",
        "joint_names": list(JOINTS),
        "rate_hz": 20.0,
        "terms": terms,
        "action": ACTION,
        "reward": REWARD,
        "start": {
            "position_min_rad": [-1.0] * 3,
            "position_max_rad": [1.0] * 3,
            "speed_max_rad_s": [0.1] * 3,
        },
        "statistics": {
            "samples": 16,
            "minimum": raw.min(axis=0).tolist(),
            "maximum": raw.max(axis=0).tolist(),
            "mean": raw.mean(axis=0).tolist(),
            "std": raw.std(axis=0).tolist(),
        },
        "provenance": {
            "command": "pytest",
            "created_utc": "2026-01-01T00:00:00+00:00",
            "seed": 0,
            "demonstrations": 1,
            "versions": {},
        },
        "parity": {"inputs": raw.tolist(), "outputs": [[0.0] * 4] * 16},
    }
    normaliser = Normaliser(PolicyContract.model_validate_json(_json(data)).terms)
    outputs = normaliser.rows(raw)
    for layer in layers:
        outputs = np.tanh(outputs @ layer.weight + layer.bias)
    return {**data, "parity": {"inputs": raw.tolist(), "outputs": outputs.tolist()}}


def _json(data: Any) -> str:
    import json

    return json.dumps(data)


@pytest.fixture
def contract(honest: ContractData) -> PolicyContract:
    return PolicyContract.model_validate_json(_json(honest), strict=True)


@pytest.fixture
def policy_file(tmp_path: Path, layers: list[Layer]) -> Callable[[PolicyContract], Path]:
    """Write a policy file that carries the given contract beside the honest network."""

    def write(contract: PolicyContract) -> Path:
        file = tmp_path / "base.onnx"
        file.write_bytes(build_model(layers, metadata(contract)))
        return file

    return write


@pytest.fixture
def network_outputs(layers: list[Layer]) -> Callable[[Any], Any]:
    """Run the bare network on one normalised input."""
    session = open_session(build_model(layers, {}), "bare network")
    return lambda row: session.run([OUTPUT_NAME], {INPUT_NAME: row[np.newaxis]})[0][0]


SIZES = Sizes(3, 4, 4, (GroupSize("force", 3), GroupSize("task", 4)))


def _filled(values: Mapping[str, Any], sizes: Sizes = SIZES) -> TickRecord:
    record = new_record(sizes)
    for name, value in values.items():
        record.view[name][:] = value
    return record


@pytest.fixture
def make_record() -> Callable[..., TickRecord]:
    return _filled


@pytest.fixture
def record() -> TickRecord:
    return _filled(
        {
            "q": [0.1, 0.2, 0.3],
            "dq": [0.01, 0.02, 0.03],
            "observation_task": [0.51, 0.02, 0.10, 0.30],
            "observation_force": [1.0, 2.0, 3.0],
            "setpoint": [0.501, 0.0, 0.152, 0.11],
            "setpoint_measured": [0.50, 0.001, 0.15, 0.10],
            "tool_position_in_base_m": [0.50, 0.001, 0.15],
            "action": [0.1, 0.2, 0.3, 0.4],
            "time_left": 0.75,
        }
    )


@pytest.fixture
def robot() -> RobotSpec:
    joints = tuple(
        JointSpec(
            name=name,
            position_min_rad=-2.0,
            position_max_rad=2.0,
            velocity_max_rad_s=2.0,
            acceleration_max_rad_s2=10.0,
            jerk_max_rad_s3=1000.0,
            torque_max_nm=80.0,
            holding_torque_max_nm=20.0,
            stiffness_nm_rad=600.0,
            damping_nm_s_rad=50.0,
            home_rad=0.0,
        )
        for name in JOINTS
    )
    margin = TrackingMargin(
        position_rad=0.05, velocity_share=0.9, acceleration_share=0.9, jerk_share=0.9
    )
    return RobotSpec(
        name="tester",
        joints=joints,
        tracking_margin=margin,
        tool=ToolSpec(
            mjcf="tester.xml", site="tool", elbow_site="elbow", payload_max_kg=0.0
        ),
        rest_speed_max_rad_s=0.02,
    )


@pytest.fixture(scope="session")
def config() -> Config:
    return load_config(Path(__file__).parents[2] / "config.yaml")


@pytest.fixture
def demonstration_spec() -> DemonstrationSpec:
    data = {
        "format_version": 1,
        "name": "test base",
        "robot": "tester",
        "joint_names": list(JOINTS),
        "rate_hz": 20.0,
        "terms": [{"name": name, "size": size} for name, size in BASE_TERMS.items()],
        "action": ACTION,
        "reward": REWARD,
        "start": {"position_rad": 0.05, "speed_rad_s": 0.1},
    }
    return DemonstrationSpec.model_validate_json(_json(data), strict=True)


@pytest.fixture
def demonstrations(demonstration_spec: DemonstrationSpec, tmp_path: Path) -> tuple[Path, Path]:
    """A small, learnable set of demonstrations on disk: the .npz and its spec."""
    rng = np.random.default_rng(7)
    writer = DemonstrationWriter(demonstration_spec)
    weights = rng.normal(scale=0.5, size=(11, 4))
    scale = np.array([10.0] * 3 + [100.0] * 3 + [4.0] + [100.0] * 3 + [10.0])
    for episode in range(12):
        for step in range(10):
            features = rng.normal(size=11) / scale
            action = np.tanh((features * scale) @ weights)
            speed = np.full(3, 0.01 if step == 0 else 0.5)
            writer.add(features, action, episode, rng.uniform(-0.5, 0.5, 3), speed)
    file = tmp_path / "demos.npz"
    return file, writer.save(file)
