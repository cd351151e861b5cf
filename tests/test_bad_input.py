"""Files that nobody should trust: each refusal is a sentence with a way out, and nothing moves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from ruamel.yaml import YAML

from policies.contract_io import CONTRACT_KEY, metadata
from runtime.errors import ConfigError, ContractError, RecordError
from runtime.policy_contract import PolicyContract
from runtime.records import read_record
from tests.daemon_kit import ROOT, Said, daemon, json_of, trimtab, write_config

BASE = ROOT / "policies" / "bases" / "peg.onnx"
ROBOT = ROOT / "sims" / "robots" / "panda.yaml"
EXTRA: dict[str, list[object]] = {"replay": [], "report": [], "explain": ["--tick", 1]}
GOLDEN = ROOT / "tests" / "golden" / "golden.mcap"


def assert_refused(said: Said, code: int, *words: str) -> None:
    """One message, an exit code of its own, no traceback, and the words that help."""
    assert said.code == code, said
    assert said.err.startswith("error: "), said.err
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err, said.err


def assert_runs_nowhere(config: Path, code: int, *words: str) -> None:
    """`trimtab run` refuses in real processes too; nothing is recorded, for nothing happened."""
    with daemon(config, "--arm", "--episodes", "1") as robot:
        said = robot.end()
        assert not list(robot.records.glob("*/*"))
    assert_refused(said, code, *words)


# -- policy files -------------------------------------------------------------------------------


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    # every 64th byte: what a broken copy looks like
    return bytes(byte ^ 0x55 if index % 64 == 0 else byte for index, byte in enumerate(data))


def _wrong_opset(data: bytes) -> bytes:
    model = onnx.load_from_string(data)
    model.opset_import[0].version = 99
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("harm", [_cut, _flip, _wrong_opset])
def test_a_harmed_policy_file(harm: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "base.onnx").write_bytes(harm(BASE.read_bytes()))
    config = write_config(tmp_path, {"base.file": "base.onnx"})
    words = ("base.onnx", "cut short", "opset")
    assert_refused(trimtab("check-config", "--config", config), ContractError.exit_code, *words)
    assert_refused(trimtab("base", "check", tmp_path / "base.onnx"), ContractError.exit_code)


def _lying(change: Callable[[dict[str, Any]], None], file: Path) -> None:
    """Write the committed policy with a changed contract, and the digest that goes with it."""
    model = onnx.load(BASE)
    entries = {entry.key: entry for entry in model.metadata_props}
    data = json.loads(entries[CONTRACT_KEY].value)
    change(data)
    contract = PolicyContract.model_validate_json(json.dumps(data), strict=True)
    for key, value in metadata(contract).items():
        entries[key].value = value
    onnx.save(model, file)


def _robot(data: dict[str, Any]) -> None:
    data["robot"] = "another_arm"


def _rate(data: dict[str, Any]) -> None:
    data["rate_hz"] = 30.0


def _order(data: dict[str, Any]) -> None:
    names = data["joint_names"]
    names[0], names[1] = names[1], names[0]


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (_robot, ["another_arm", "panda"]),
        (_rate, ["30", "500"]),
        (_order, ["joint_names", "joint2"]),
    ],
)
def test_a_contract_that_lies(
    lie: Callable[[dict[str, Any]], None], words: list[str], tmp_path: Path
) -> None:
    _lying(lie, tmp_path / "base.onnx")
    config = write_config(tmp_path, {"base.file": "base.onnx"})
    said = trimtab("check-config", "--config", config)
    assert_refused(said, ContractError.exit_code, *words)


def test_no_process_runs_with_a_policy_it_cannot_trust(tmp_path: Path) -> None:
    (tmp_path / "base.onnx").write_bytes(_cut(BASE.read_bytes()))
    config = write_config(tmp_path, {"base.file": "base.onnx"})
    assert_runs_nowhere(config, ContractError.exit_code, "base.onnx", "cut short")


# -- config and robot spec ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("servo_hz: 500", "servo_hzz: 500", ["control.servo_hzz", "unknown key"]),
        ("tool_speed_m_s: 1", "# 1", ["guards.tool_speed_m_s", "missing"]),
        ("blend_s: 0.1", "blend_s: .nan", ["control.blend_s", "nan", "finite"]),
        ("blend_s: 0.1", "blend_s: .inf", ["control.blend_s", "inf"]),
        ("blend_s: 0.1", "blend_s: 0.1\n  blend_s: 0.1", ["twice", "blend_s"]),
        ("torque_share: 0.95", "torque_share: 1.5", ["guards.torque_share", "1.5"]),
        ("version: 1", "version: 2", ["version", "2"]),
        ("seed: 1", "sead: 1", ["seed", "missing", "sead"]),
        ("field: field", "field: mars", ["mars", "nominal"]),
    ],
)
def test_a_config_that_is_wrong(old: str, new: str, words: list[str], tmp_path: Path) -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    assert old in text
    config = tmp_path / "config.yaml"
    config.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert_refused(trimtab("check-config", "--config", config), ConfigError.exit_code, *words)


def test_a_fault_row_may_not_be_loosened(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"faults": {"TRACKING_GUARD": {"response": "WARN"}}})
    said = trimtab("check-config", "--config", config)
    assert_refused(said, ConfigError.exit_code, "TRACKING_GUARD.response", "WARN loosens STOP")


def test_no_process_runs_with_a_config_that_is_wrong(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"sim.field": "mars"})
    assert_runs_nowhere(config, ConfigError.exit_code, "mars", "nominal")


@pytest.mark.parametrize("limit", ["jerk_max_rad_s3", "torque_max_nm", "position_max_rad"])
def test_a_robot_spec_without_a_limit(limit: str, tmp_path: Path) -> None:
    robot = YAML(typ="safe").load(ROBOT.read_text(encoding="utf-8"))
    del robot["joints"][2][limit]
    with (tmp_path / "arm.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(robot, file)
    config = write_config(tmp_path, {"robot": "arm.yaml"})
    said = trimtab("run", "--config", config, "--arm")
    assert_refused(said, ConfigError.exit_code, "arm.yaml", f"joints.2.{limit}", "missing")


def write_robot(folder: Path, changes: dict[str, object]) -> Path:
    """Write the Panda's spec with keys of its third joint changed, and a config that names it."""
    robot = YAML(typ="safe").load(ROBOT.read_text(encoding="utf-8"))
    robot["joints"][2].update(changes)
    with (folder / "arm.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(robot, file)
    return write_config(folder, {"robot": "arm.yaml", "base.file": str(BASE)})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"position_max_rad": 166.0}, ["joints.2.position_max_rad", "degrees", "2.897"]),
        ({"velocity_max_rad_s": 25.0}, ["joint3", "never be reached and stopped", "wider range"]),
        ({"jerk_max_rad_s3": 5.0}, ["joint3", "to build up acceleration_max_rad_s2"]),
        (
            {"position_min_rad": -0.015, "position_max_rad": 0.015},
            ["joint3", "no place where it may rest"],
        ),
        ({"home_rad": 3.5}, ["joint3", "home_rad 3.5", "outside"]),
    ],
)
def test_a_robot_spec_that_contradicts_itself(
    changes: dict[str, object], words: list[str], tmp_path: Path
) -> None:
    said = trimtab("check-config", "--config", write_robot(tmp_path, changes))
    assert_refused(said, ConfigError.exit_code, "arm.yaml", *words)


LAMP = {"shape": "sphere", "name": "lamp", "center_m": [0.5, 0.0, 0.3], "radius_m": 0.05}
FLOOR = {"shape": "plane", "name": "floor", "point_m": [0.0, 0.0, 0.4], "normal": [0.0, 0.0, 1.0]}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("geometry.keep_out", [LAMP], ["home", "keep-out lamp", "geometry.margin_m"]),
        ("geometry.keep_out", [FLOOR], ["home", "keep-out floor", "move"]),
        (
            "guards.workspace",
            {"low_m": [0.6, -0.4, 0.0], "high_m": [0.8, 0.4, 0.7]},
            ["home", "tool | workspace x low"],
        ),
        (
            "guards.workspace",
            {"low_m": [200.0, -400.0, 0.0], "high_m": [800.0, 400.0, 700.0]},
            ["guards.workspace.high_m.0", "looks like millimetres; in metres that is 0.8"],
        ),
        (
            "guards.workspace",
            {"low_m": [0.5, -0.4, 0.0], "high_m": [0.5, 0.4, 0.7]},
            ["guards.workspace", "holds nothing"],
        ),
        ("geometry.margin_m", 0.4, ["guards.workspace", "leaves nothing"]),
        ("guards.contact_force.group", "smell", ["'smell'", "allowed: force"]),
    ],
)
def test_a_world_in_which_the_robot_cannot_stand(
    key: str, value: object, words: list[str], tmp_path: Path
) -> None:
    config = write_config(tmp_path, {key: value, "base.file": str(BASE)})
    assert_refused(trimtab("check-config", "--config", config), ConfigError.exit_code, *words)


def test_no_process_runs_where_home_is_kept_out(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"geometry.keep_out": [LAMP], "base.file": str(BASE)})
    with daemon(config, "--arm", "--episodes", "1") as robot:
        said = robot.end()
    assert not list(tmp_path.rglob("*.mcap")), "it refuses before a record begins"
    assert_refused(said, ConfigError.exit_code, "home", "keep-out lamp")


# -- records ------------------------------------------------------------------------------------


def test_a_record_cut_in_half_reads_up_to_the_cut(tmp_path: Path) -> None:
    whole = GOLDEN.read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole[: len(whole) // 2])
    found = read_record(cut)
    assert found.truncated
    assert 0 < len(found) < len(read_record(GOLDEN))
    said = trimtab("replay", cut, "--strength", "envelope")
    assert said.code == 0, said
    assert "was not closed" in " ".join(said.out.split())
    page = tmp_path / "report.html"
    assert trimtab("report", cut, "--out", page).code == 0
    assert "was not closed" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.mcap", b"", ["empty.mcap"]),
        ("text.mcap", b"no record\n" * 9, ["text.mcap", "not an MCAP file"]),
        ("head.mcap", b"\x89MCAP0\r\n", ["head.mcap"]),
    ],
)
@pytest.mark.parametrize("command", EXTRA)
def test_what_is_no_record(
    command: str, name: str, data: bytes, words: list[str], tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(data)
    extra = EXTRA[command] + (["--out", tmp_path / "page.html"] if command != "replay" else [])
    assert_refused(trimtab(command, file, *extra), RecordError.exit_code, *words)
    assert not list(tmp_path.glob("page.*"))


def test_a_folder_without_records(tmp_path: Path) -> None:
    assert_refused(trimtab("replay", tmp_path), RecordError.exit_code, "no record here")


def test_a_changed_byte_in_a_record_is_left_out_or_noticed(tmp_path: Path) -> None:
    harmed = bytearray(GOLDEN.read_bytes())
    harmed[len(harmed) // 2] ^= 0xFF
    file = tmp_path / "harmed.mcap"
    file.write_bytes(harmed)
    said = trimtab("replay", file, "--strength", "envelope", "--json")
    (result,) = json_of(said)
    assert result["different"] == 0
    notes = read_record(file).notes
    assert any("damaged" in note for note in notes), notes


def test_a_config_is_sought_where_it_was_said_to_be(tmp_path: Path) -> None:
    nowhere = tmp_path / "none.yaml"
    for command in (["check-config"], ["run"], ["ask", "stop"], ["mark", "note"]):
        said = trimtab(*command, "--config", nowhere)
        assert_refused(said, ConfigError.exit_code, "none.yaml", "no such file")


def test_nobody_answers_for_a_robot_that_does_not_run(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    said = trimtab("ask", "stop", "--config", config)
    assert_refused(said, 6, "no daemon answered", "trimtab run")
