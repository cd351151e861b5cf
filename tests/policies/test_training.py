"""Demonstrations on disk, and the policy that is cloned from them."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from policies.base import OnnxBasePolicy
from policies.check import inspect, render
from policies.contract_io import open_session, read_contract
from policies.demonstrations import (
    DemonstrationSpec,
    DemonstrationWriter,
    load_demonstrations,
    load_spec,
)
from policies.export import Layer, term_specs
from policies.train_base import Recipe, check_parity, fit, layers_of, main, train
from runtime.errors import ContractError
from runtime.policy_contract import PolicyContract

Files = tuple[Path, Path]
SHORT = Recipe(hidden=(8,), epochs=3, batch=16)


def _arguments(files: Files, out: Path, *more: str) -> list[str]:
    demos, spec = files
    given = ["--demos", str(demos), "--spec", str(spec), "--out", str(out)]
    return [*given, "--epochs", "3", "--batch", "16", "--hidden", "8", *more]


def _train(files: Files, out: Path, recipe: Recipe) -> None:
    data = load_demonstrations(files[0], load_spec(files[1]))
    train(data, out, "test", recipe, Console(quiet=True))


def _rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with np.load(file) as archive:
        arrays = dict(archive)
    change(arrays)
    with file.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def test_demonstrations_survive_the_file(
    demonstrations: Files, demonstration_spec: DemonstrationSpec
) -> None:
    spec = load_spec(demonstrations[1])
    assert spec == demonstration_spec
    data = load_demonstrations(demonstrations[0], spec)
    assert data.features.shape == (120, 11)
    assert data.starts.tolist() == list(range(0, 120, 10))
    assert data.episodes.tolist() == list(range(12))


def test_a_failed_episode_can_be_dropped(
    demonstration_spec: DemonstrationSpec, tmp_path: Path
) -> None:
    writer = DemonstrationWriter(demonstration_spec)
    for episode in (1, 1, 2, 2, 2):
        writer.add(np.zeros(11), np.zeros(4), episode, np.zeros(3), np.zeros(3))
    assert writer.drop_episode(2) == 3
    assert len(writer) == 2
    spec = load_spec(writer.save(tmp_path / "d.npz"))
    assert load_demonstrations(tmp_path / "d.npz", spec).episode.tolist() == [1, 1]


def test_the_writer_copies_what_it_is_given(
    demonstration_spec: DemonstrationSpec, tmp_path: Path
) -> None:
    writer = DemonstrationWriter(demonstration_spec)
    features = np.zeros(11)
    for value in (0.25, 0.5):
        features[:] = value
        writer.add(features, np.zeros(4), 0, np.zeros(3), np.zeros(3))
    spec = load_spec(writer.save(tmp_path / "d.npz"))
    assert load_demonstrations(tmp_path / "d.npz", spec).features[:, 0].tolist() == [0.25, 0.5]


def test_the_writer_refuses_other_sizes_and_no_rows(
    demonstration_spec: DemonstrationSpec, tmp_path: Path
) -> None:
    writer = DemonstrationWriter(demonstration_spec)
    with pytest.raises(ContractError, match=re.escape("actions of shape (3,); the spec says (4,)")):
        writer.add(np.zeros(11), np.zeros(3), 0, np.zeros(3), np.zeros(3))
    assert len(writer) == 0
    with pytest.raises(ContractError, match="no demonstration rows"):
        writer.save(tmp_path / "d.npz")


SPEC_LIES: dict[str, dict[str, Any]] = {
    "reward": {"success": 1.0, "failure": -1.0, "discount": 0.98, "timeout_is_terminal": True},
    "rate_hz": {"": 25.0},
    "robot": {"": "other"},
    "joint_names": {"": ["three", "two", "one"]},
}


@pytest.mark.parametrize("key", SPEC_LIES)
def test_another_convention_is_refused_with_both_values(key: str, demonstrations: Files) -> None:
    demos, spec_file = demonstrations
    data = json.loads(spec_file.read_text())
    data[key] = SPEC_LIES[key].get("", SPEC_LIES[key])
    spec_file.write_text(json.dumps(data))
    with pytest.raises(ContractError, match=rf"{key}: the demonstrations say .*, wanted is "):
        load_demonstrations(demos, load_spec(spec_file))


def _nan(arrays: dict[str, Any]) -> None:
    arrays["features"][7, 2] = np.nan


def _inf(arrays: dict[str, Any]) -> None:
    arrays["dq"][0, 0] = np.inf


def _beyond(arrays: dict[str, Any]) -> None:
    arrays["actions"][3, 1] = 1.5


def _narrow(arrays: dict[str, Any]) -> None:
    arrays["q"] = arrays["q"][:, :2]


def _short(arrays: dict[str, Any]) -> None:
    arrays["actions"] = arrays["actions"][:-1]


def _float32(arrays: dict[str, Any]) -> None:
    arrays["features"] = arrays["features"].astype(np.float32)


def _backwards(arrays: dict[str, Any]) -> None:
    arrays["episode"] = arrays["episode"][::-1].copy()


def _int32(arrays: dict[str, Any]) -> None:
    arrays["episode"] = arrays["episode"].astype(np.int32)


def _without(arrays: dict[str, Any]) -> None:
    del arrays["dq"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_nan, r"features\[7, 2\] is nan"),
        (_inf, r"dq\[0, 0\] is inf"),
        (_beyond, r"action y is 1\.5.*allowed is -1\.0 to 1\.0"),
        (_narrow, r"q is float64 of shape \(120, 2\); wanted is float64 \(120, 3\)"),
        (_short, r"actions is .*\(119, 4\)"),
        (_float32, r"features is float32"),
        (_backwards, r"episode numbers go backwards"),
        (_int32, r"episode is int32, must be int64"),
        (_without, r"lacks the arrays dq"),
    ],
)
def test_damaged_demonstrations_are_refused(
    change: Callable[[dict[str, Any]], None], says: str, demonstrations: Files
) -> None:
    _rewrite(demonstrations[0], change)
    with pytest.raises(ContractError, match=says):
        load_demonstrations(demonstrations[0], load_spec(demonstrations[1]))


def test_files_that_are_no_demonstrations(demonstrations: Files, tmp_path: Path) -> None:
    demos, spec_file = demonstrations
    spec = load_spec(spec_file)
    whole = demos.read_bytes()
    for content in (b"", b"nothing", whole[: len(whole) // 2]):
        demos.write_bytes(content)
        with pytest.raises(ContractError, match="cannot be read as demonstrations"):
            load_demonstrations(demos, spec)
    with pytest.raises(ContractError, match="cannot be read as a demonstration spec"):
        load_spec(tmp_path / "none.json")
    text = spec_file.read_text()
    spec_file.write_text(text.replace('"goal_offset"', '"goal_ofset"'))
    with pytest.raises(ContractError, match="unknown terms goal_ofset; known terms"):
        load_spec(spec_file)
    spec_file.write_text(text.replace('"rate_hz"', '"rate"'))
    with pytest.raises(ContractError, match="rate_hz"):
        load_spec(spec_file)


def _weights(file: Path) -> list[tuple[float, ...]]:
    session = open_session(file.read_bytes(), "test")
    return list(read_contract(session, "test").parity.outputs)


def test_a_seed_gives_the_same_file(
    demonstrations: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    files = [tmp_path / f"{name}.onnx" for name in "abc"]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        _train(demonstrations, file, Recipe(hidden=(8,), epochs=3, batch=16, seed=seed))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert _weights(files[0]) != _weights(files[2])


def test_training_learns_and_keeps_the_best_epoch(demonstrations: Files) -> None:
    data = load_demonstrations(demonstrations[0], load_spec(demonstrations[1]))
    from policies.features import Normaliser

    inputs = Normaliser(term_specs(data.spec, data.features)).rows(data.features)
    unseen: list[float] = []
    recipe = Recipe(hidden=(16,), epochs=40, batch=16)
    trained = fit(data, inputs, recipe, lambda _epoch, _loss, value: unseen.append(value))
    assert trained.held_out_loss == min(unseen) < 0.3 * unseen[0]
    assert trained.epoch == 1 + int(np.argmin(unseen))


def test_normaliser_makes_unit_features(demonstrations: Files) -> None:
    from policies.features import Normaliser

    data = load_demonstrations(demonstrations[0], load_spec(demonstrations[1]))
    rows = Normaliser(term_specs(data.spec, data.features)).rows(data.features)
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=0), 1.0, atol=1e-5)


def test_a_feature_that_never_moves_is_not_blown_up(
    demonstration_spec: DemonstrationSpec,
) -> None:
    terms = term_specs(demonstration_spec, np.full((10, 11), 0.3))
    assert all(min(term.std) >= 1e-3 for term in terms)


def test_the_contract_follows_the_demonstrations(demonstrations: Files, tmp_path: Path) -> None:
    out = tmp_path / "base.onnx"
    _train(demonstrations, out, SHORT)
    contract: PolicyContract = OnnxBasePolicy.load(out).contract
    data = load_demonstrations(demonstrations[0], load_spec(demonstrations[1]))
    np.testing.assert_allclose(contract.start.position_max_rad, data.q.max(axis=0) + 0.05)
    np.testing.assert_allclose(contract.start.position_min_rad, data.q.min(axis=0) - 0.05)
    np.testing.assert_allclose(contract.start.speed_max_rad_s, 0.01 + 0.1)
    assert contract.statistics.samples == 120
    assert contract.statistics.minimum == tuple(data.features.min(axis=0).tolist())
    assert contract.provenance.demonstrations == 12


def test_parity_refuses_a_wrong_export(
    demonstrations: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_demonstrations(demonstrations[0], load_spec(demonstrations[1]))
    network = torch.nn.Sequential(torch.nn.Linear(11, 4), torch.nn.Tanh())
    terms = term_specs(data.spec, data.features)
    outputs, difference = check_parity(network, terms, data.features)
    assert outputs.shape == (120, 4)
    assert difference <= 1e-5

    def shifted(given: torch.nn.Sequential) -> list[Layer]:
        return [Layer(layer.weight, layer.bias + np.float32(1e-3)) for layer in layers_of(given)]

    monkeypatch.setattr("policies.train_base.layers_of", shifted)
    with pytest.raises(ContractError, match=r"differ by .*; allowed is 1e-05"):
        check_parity(network, terms, data.features)


def test_command_line_trains_and_says_so(
    demonstrations: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "base.onnx"
    assert main(_arguments(demonstrations, out)) == 0
    assert "max abs difference" in capsys.readouterr().out
    provenance = OnnxBasePolicy.load(out).contract.provenance
    assert str(tmp_path) not in provenance.command
    assert "--demos demos.npz" in provenance.command
    assert [file.name for file in out.parent.iterdir()] == ["base.onnx"]


def test_command_line_refuses_with_a_sentence(
    demonstrations: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "base.onnx"
    assert main(_arguments(demonstrations, out, "--hidden", "512", "512")) == 3
    assert "allowed is 200000" in capsys.readouterr().err.replace("\n", " ")
    demonstrations[0].unlink()
    assert main(_arguments(demonstrations, out)) == 3
    assert not out.exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--rate", "nan"), ("--rate", "0"), ("--epochs", "0"), ("--batch", "-1"), ("--hidden", "0")],
)
def test_options_without_sense_are_refused(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(_arguments((tmp_path, tmp_path), tmp_path, option, value))
    assert caught.value.code == 2
    assert f"argument {option}" in capsys.readouterr().err


def test_training_that_diverges_is_refused(demonstrations: Files) -> None:
    data = load_demonstrations(demonstrations[0], load_spec(demonstrations[1]))
    inputs = np.full(data.features.shape, np.nan, dtype=np.float32)
    with pytest.raises(ContractError, match="training diverged: the held-out loss is nan"):
        fit(data, inputs, SHORT, lambda *_: None)


def test_limits_that_tanh_cannot_give_are_refused(
    demonstrations: Files, tmp_path: Path, demonstration_spec: DemonstrationSpec
) -> None:
    text = demonstration_spec.model_dump_json().replace('"high":[1.0', '"high":[2.0')
    spec = DemonstrationSpec.model_validate_json(text)
    writer = DemonstrationWriter(spec)
    for episode in (0, 1):
        writer.add(np.zeros(11), np.zeros(4), episode, np.zeros(3), np.zeros(3))
    files = (tmp_path / "wide.npz", writer.save(tmp_path / "wide.npz"))
    with pytest.raises(ContractError, match="a tanh network needs -1 and 1"):
        _train(files, tmp_path / "base.onnx", SHORT)


def test_one_episode_is_too_few(demonstration_spec: DemonstrationSpec, tmp_path: Path) -> None:
    writer = DemonstrationWriter(demonstration_spec)
    writer.add(np.zeros(11), np.zeros(4), 0, np.zeros(3), np.zeros(3))
    files = (tmp_path / "one.npz", writer.save(tmp_path / "one.npz"))
    with pytest.raises(ContractError, match="1 demonstration episodes are too few"):
        _train(files, tmp_path / "base.onnx", SHORT)


def test_base_check_tells_and_shows(
    contract: PolicyContract, policy_file: Callable[[PolicyContract], Path]
) -> None:
    report = inspect(policy_file(contract))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["parity"]["passed"]
    assert report["parity"]["vectors"] == 16
    console = Console(record=True, width=160, file=io.StringIO())
    render(report, console)
    text = console.export_text()
    for term in contract.terms:
        assert term.name in text
    assert "parity: passed, 16 vectors" in text


def test_base_check_tells_a_failed_parity(
    contract: PolicyContract, policy_file: Callable[[PolicyContract], Path]
) -> None:
    data = json.loads(contract.model_dump_json())
    data["parity"]["outputs"][2][1] += 1e-3
    lying = PolicyContract.model_validate_json(json.dumps(data), strict=True)
    report = inspect(policy_file(lying))
    assert not report["parity"]["passed"]
    assert report["parity"]["max_abs_difference"] == pytest.approx(1e-3, rel=1e-2)
