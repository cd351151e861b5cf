"""The base policy file: what is loaded, what is refused, what comes out."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import contract_io
from policies.base import OnnxBasePolicy
from policies.export import Layer, build_model
from policies.features import FeatureBuilder
from policies.residual import ZeroResidual
from runtime.errors import ContractError
from runtime.gate_wire import Grant
from runtime.interfaces import BasePolicy, ResidualAnswer, ResidualPolicy
from runtime.messages import Stage, TickRecord
from runtime.policy_contract import PolicyContract

Write = Callable[[PolicyContract], Path]


def _changed(contract: PolicyContract, change: Callable[[Any], None]) -> PolicyContract:
    data = json.loads(contract.model_dump_json())
    change(data)
    return PolicyContract.model_validate_json(json.dumps(data), strict=True)


def test_act_is_the_network_on_the_features(
    contract: PolicyContract, policy_file: Write, record: TickRecord, network_outputs: Any
) -> None:
    policy: BasePolicy = OnnxBasePolicy.load(policy_file(contract))
    out, row = np.zeros(4), np.zeros(11, dtype=np.float32)
    FeatureBuilder(contract, record).write(record, row)
    for _ in range(3):
        policy.act(record, out)
        np.testing.assert_array_equal(out, network_outputs(row).astype(np.float64))
    record.view["observation_task"][0] += 0.01
    before = out.copy()
    policy.act(record, out)
    assert not np.array_equal(out, before)


def test_act_is_the_same_after_another_record(
    contract: PolicyContract,
    policy_file: Write,
    record: TickRecord,
    make_record: Callable[..., TickRecord],
) -> None:
    policy = OnnxBasePolicy.load(policy_file(contract))
    first, again = np.zeros(4), np.zeros(4)
    policy.act(record, first)
    policy.act(make_record({}), again)
    policy.act(record, again)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_not_finite_features_give_nan_actions(
    bad: float, contract: PolicyContract, policy_file: Write, record: TickRecord
) -> None:
    policy = OnnxBasePolicy.load(policy_file(contract))
    out = np.zeros(4)
    record.view["observation_task"][0] = bad
    policy.act(record, out)
    assert np.isnan(out).all()
    record.view["observation_task"][0] = 0.5
    policy.act(record, out)
    assert np.isfinite(out).all()


def test_contract_survives_the_file_to_the_last_bit(
    contract: PolicyContract, policy_file: Write
) -> None:
    assert OnnxBasePolicy.load(policy_file(contract)).contract == contract


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mean=st.floats(allow_nan=False, allow_infinity=False), std=st.floats(5e-324, 1e308))
def test_any_float_survives_the_metadata(
    mean: float, std: float, contract: PolicyContract, layers: list[Layer]
) -> None:
    def change(data: Any) -> None:
        data["terms"][0]["mean"][0], data["terms"][0]["std"][0] = mean, std

    stated = _changed(contract, change)
    session = contract_io.open_session(build_model(layers, contract_io.metadata(stated)), "test")
    assert contract_io.read_contract(session, "test").terms[0] == stated.terms[0]


def test_missing_empty_and_oversized_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ContractError, match="no such policy file"):
        OnnxBasePolicy.load(tmp_path / "none.onnx")
    empty = tmp_path / "empty.onnx"
    empty.touch()
    with pytest.raises(ContractError, match="is empty"):
        OnnxBasePolicy.load(empty)
    with pytest.raises(ContractError, match="cannot be read"):
        OnnxBasePolicy.load(tmp_path)
    empty.write_bytes(b"0123456789")
    monkeypatch.setattr(contract_io, "FILE_BYTES_MAX", 9)
    with pytest.raises(ContractError, match="has 10 bytes; a policy file may have 9"):
        OnnxBasePolicy.load(empty)


def test_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "text.onnx"
    file.write_text("version https://example.org/spec\n" * 20)
    with pytest.raises(ContractError, match="corrupt, cut short, or of another opset"):
        OnnxBasePolicy.load(file)


def test_a_file_cut_anywhere_is_refused(contract: PolicyContract, policy_file: Write) -> None:
    file = policy_file(contract)
    whole = file.read_bytes()
    for length in [*range(1, len(whole), max(1, len(whole) // 40)), len(whole) - 1]:
        file.write_bytes(whole[:length])
        with pytest.raises(ContractError, match=r"base\.onnx"):
            OnnxBasePolicy.load(file)


def test_flipped_bits_are_refused_or_harmless(
    contract: PolicyContract, policy_file: Write, record: TickRecord
) -> None:
    file = policy_file(contract)
    whole = file.read_bytes()
    honest, out = np.zeros(4), np.zeros(4)
    OnnxBasePolicy.load(file).act(record, honest)
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        file.write_bytes(broken)
        try:
            policy = OnnxBasePolicy.load(file)
        except ContractError:
            refused += 1
            continue
        assert policy.contract == contract
        policy.act(record, out)
        np.testing.assert_allclose(out, honest, atol=1e-3)
    assert refused >= 100


@pytest.mark.parametrize("opset", [1, 99])
def test_wrong_opset_is_refused(
    opset: int, contract: PolicyContract, policy_file: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    file = policy_file(contract)
    model = onnx.load(file)
    model.opset_import[0].version = opset
    onnx.save(model, file)
    with pytest.raises(ContractError, match="opset"):
        OnnxBasePolicy.load(file)
    assert capfd.readouterr().err == ""


def test_a_network_without_contract_is_refused(tmp_path: Path, layers: list[Layer]) -> None:
    file = tmp_path / "bare.onnx"
    file.write_bytes(build_model(layers, {}))
    with pytest.raises(ContractError, match="carries no trimtab_contract"):
        OnnxBasePolicy.load(file)


def test_an_edited_contract_is_refused(
    tmp_path: Path, contract: PolicyContract, layers: list[Layer]
) -> None:
    entries = contract_io.metadata(contract)
    entries[contract_io.CONTRACT_KEY] = entries[contract_io.CONTRACT_KEY].replace("20.0", "25.0")
    file = tmp_path / "edited.onnx"
    file.write_bytes(build_model(layers, entries))
    with pytest.raises(ContractError, match="was changed after export"):
        OnnxBasePolicy.load(file)


def test_a_contract_of_another_format_names_the_key(
    layers: list[Layer], contract: PolicyContract, tmp_path: Path
) -> None:
    text = contract.model_dump_json().replace('"format_version":1', '"format_version":2')
    entries = {contract_io.CONTRACT_KEY: text, contract_io.DIGEST_KEY: contract_io._digest(text)}
    file = tmp_path / "future.onnx"
    file.write_bytes(build_model(layers, entries))
    with pytest.raises(ContractError, match="format_version"):
        OnnxBasePolicy.load(file)


def test_changed_weights_fail_parity(
    contract: PolicyContract, tmp_path: Path, layers: list[Layer]
) -> None:
    other = [Layer(layers[0].weight + np.float32(1e-3), layers[0].bias), *layers[1:]]
    file = tmp_path / "other.onnx"
    file.write_bytes(build_model(other, contract_io.metadata(contract)))
    with pytest.raises(ContractError, match="differs from its parity vectors"):
        OnnxBasePolicy.load(file)


@pytest.mark.parametrize("key", ["scale", "offset", "mean", "std"])
def test_a_lie_about_the_normaliser_fails_parity(
    key: str, contract: PolicyContract, policy_file: Write
) -> None:
    def change(data: Any) -> None:
        data["terms"][1][key][2] = data["terms"][1][key][2] * 1.01 + 0.01

    with pytest.raises(ContractError, match="differs from its parity vectors"):
        OnnxBasePolicy.load(policy_file(_changed(contract, change)))


def test_a_network_of_another_shape_is_named(
    contract: PolicyContract, tmp_path: Path, layers: list[Layer]
) -> None:
    narrow = [Layer(layers[0].weight[:10], layers[0].bias), *layers[1:]]
    file = tmp_path / "narrow.onnx"
    file.write_bytes(build_model(narrow, contract_io.metadata(contract)))
    with pytest.raises(ContractError, match=r"input is features .*\[1, 10\].*needs .*\[1, 11\]"):
        OnnxBasePolicy.load(file)
    short = [layers[0], Layer(layers[1].weight[:, :3], layers[1].bias[:3])]
    file.write_bytes(build_model(short, contract_io.metadata(contract)))
    with pytest.raises(ContractError, match=r"output is action .*\[1, 3\].*needs .*\[1, 4\]"):
        OnnxBasePolicy.load(file)


def test_parity_vectors_of_another_size_are_refused(
    contract: PolicyContract, policy_file: Write
) -> None:
    def change(data: Any) -> None:
        data["parity"]["inputs"][3] = [0.0] * 5

    with pytest.raises(ContractError, match="parity vector 3 has 5 inputs"):
        OnnxBasePolicy.load(policy_file(_changed(contract, change)))


def test_zero_residual_is_exactly_zero(record: TickRecord) -> None:
    residual: ResidualPolicy = ZeroResidual()
    out = ResidualAnswer(np.full(4, 0.7), np.full(4, 0.7), takes_part=True)
    residual.act(record, np.full(4, math.nan), Grant(Stage.EXPLORE, [1.0] * 4), out)
    assert residual.version == 0
    assert out.action.tobytes() == out.noise.tobytes() == bytes(32)
    assert not out.takes_part


def test_only_training_loads_torch_and_onnx() -> None:
    folder = Path(contract_io.__file__).parent
    training = {
        "train_base": {"torch", "onnx"},
        "export": {"onnx"},
        "learner_process": {"torch"},
    }
    names = [file.stem for file in folder.glob("*.py") if file.stem != "__init__"]
    for heavy in ("torch", "onnx"):
        light = [name for name in names if heavy not in training.get(name, set())]
        code = (
            "import importlib, sys\n"
            f"for name in {light!r}: importlib.import_module('policies.' + name)\n"
            f"sys.exit({heavy!r} in sys.modules)"
        )
        command = [sys.executable, "-c", code]
        assert subprocess.run(command, cwd=folder.parent, check=False).returncode == 0
