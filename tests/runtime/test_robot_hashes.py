"""The hashes that daemon and driver compare: stable, and moved by everything that matters."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from runtime.config import load_config, load_robot
from runtime.robot_hashes import contract_hash, contract_text, robot_hash, robot_text
from runtime.robot_spec import RobotSpec
from tests.daemon_kit import ROOT, json_of, trimtab, write_config
from tests.golden.make_vectors import VECTORS

CONFIG = ROOT / "config.yaml"
SPEC = load_robot(load_config(CONFIG), CONFIG).model_dump(mode="json")
GROUPS = [("force", 3), ("task", 4)]
EXAMPLE = json.loads(VECTORS.read_text(encoding="utf-8"))["contract_hash"]


def changed(path: str, value: Any) -> RobotSpec:
    """Return the committed robot with one number or name changed."""
    spec = json.loads(json.dumps(SPEC))
    *way, last = path.split(".")
    block = spec
    for key in way:
        block = block[int(key)] if isinstance(block, list) else block[key]
    assert block[last] != value
    block[last] = value
    return RobotSpec.model_validate_json(json.dumps(spec))


def numbers(value: Any, path: str = "") -> list[str]:
    """Return the paths of all leaves of a spec."""
    if isinstance(value, dict | list):
        inside = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for key, each in inside for leaf in numbers(each, f"{path}{key}.")]
    return [path.removesuffix(".")]


def test_the_example_of_the_vectors_is_ours() -> None:
    groups = [("Kraft-é", 3)]
    assert contract_text(("a", "b"), groups, 2_000_000) == EXAMPLE["text"]
    assert contract_hash(("a", "b"), groups, 2_000_000).hex() == EXAMPLE["sha256"]
    assert hashlib.sha256(EXAMPLE["text"].encode()).hexdigest() == EXAMPLE["sha256"]


@pytest.mark.parametrize(
    ("joints", "groups", "period_ns"),
    [
        (("b", "a"), GROUPS, 2_000_000),
        (("a",), GROUPS, 2_000_000),
        (("a", "b"), GROUPS[::-1], 2_000_000),
        (("a", "b"), [("force", 3), ("task", 5)], 2_000_000),
        (("a", "b"), [], 2_000_000),
        (("a", "b"), GROUPS, 2_000_001),
    ],
)
def test_a_contract_is_names_sizes_order_and_period(
    joints: tuple[str, ...], groups: list[tuple[str, int]], period_ns: int
) -> None:
    before = contract_hash(("a", "b"), GROUPS, 2_000_000)
    assert len(before) == 32
    assert contract_hash(joints, groups, period_ns) != before


def test_every_leaf_of_the_spec_moves_the_hash() -> None:
    text = robot_text(RobotSpec.model_validate_json(json.dumps(SPEC)))
    assert numbers(json.loads(text)) == sorted(set(numbers(SPEC)) - {"tool.mjcf"}, key=by_place)
    before = hashlib.sha256(text.encode()).digest()
    first = SPEC["joints"][0]
    assert robot_hash(changed("name", "other")) != before
    slower = first["velocity_max_rad_s"] * 0.999
    assert robot_hash(changed("joints.0.velocity_max_rad_s", slower)) != before


def by_place(path: str) -> list[tuple[int, str]]:
    """Sort as JSON with sorted keys lists: numbers by size, names by letters."""
    return [(int(word), "") if word.isdigit() else (0, word) for word in path.split(".")]


def test_where_the_model_lies_is_nobody_elses_business() -> None:
    there = changed("tool.mjcf", "elsewhere/arm.xml")
    assert robot_hash(there) == robot_hash(RobotSpec.model_validate_json(json.dumps(SPEC)))


def test_trimtab_hashes_shows_what_is_hashed(tmp_path: Path) -> None:
    said = json_of(trimtab("hashes", "--config", CONFIG, "--json"))
    for name in ("robot", "contract"):
        assert hashlib.sha256(said[name].encode()).hexdigest() == said[f"{name}_hash"]
    assert json.loads(said["contract"])["groups"][1:] == [["force", 3], ["task", 4]]
    readable = trimtab("hashes", "--config", CONFIG)
    assert readable.code == 0
    assert all(said[f"{name}_hash"] in readable.out for name in ("robot", "contract"))
    faster = json_of(
        trimtab("hashes", "--json", "--config", write_config(tmp_path, {"control.servo_hz": 250.0}))
    )
    assert faster["robot_hash"] == said["robot_hash"]
    assert faster["contract_hash"] != said["contract_hash"]
    assert json.loads(faster["contract"])["period_ns"] == 4_000_000
