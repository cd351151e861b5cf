"""The contract inside the ONNX file: reading it, and opening the network that it describes.

The contract is JSON in the model's custom metadata (pydantic writes the shortest decimal that
reads back as the same float64), beside a digest that tells a damaged contract from a strange one.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from pydantic import ValidationError

from policies.features import Float32s, Normaliser
from runtime.errors import ContractError
from runtime.policy_contract import PolicyContract

CONTRACT_KEY = "trimtab_contract"
DIGEST_KEY = "trimtab_contract_sha256"
INPUT_NAME = "features"
OUTPUT_NAME = "action"
FILE_BYTES_MAX = 64 * 1024 * 1024
PARITY_TOLERANCE = 1e-5
_SENTENCE_MAX = 400
_FATAL_ONLY = 4


@dataclass(frozen=True)
class ParityResult:
    """How far the network is from the outputs that the training framework gave."""

    vectors: int
    max_abs_difference: float

    @property
    def passed(self) -> bool:
        """True within PARITY_TOLERANCE; never for NaN."""
        return self.max_abs_difference <= PARITY_TOLERANCE


def metadata(contract: PolicyContract) -> dict[str, str]:
    """Return the custom metadata entries that carry `contract`."""
    text = contract.model_dump_json()
    return {CONTRACT_KEY: text, DIGEST_KEY: _digest(text)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_model_bytes(file: Path) -> bytes:
    """Return the bytes of a policy file.

    Raises:
        ContractError: it is missing, unreadable, empty or larger than FILE_BYTES_MAX.
    """
    try:
        size = file.stat().st_size
        if not (size <= FILE_BYTES_MAX):
            raise ContractError(
                f"{file} has {size} bytes; a policy file may have {FILE_BYTES_MAX}. "
                "Is this the right file?"
            )
        data = file.read_bytes()
    except FileNotFoundError:
        raise ContractError(
            f"{file}: no such policy file; train one with `trimtab base train`"
        ) from None
    except OSError as error:
        raise ContractError(f"{file} cannot be read: {error.strerror or error}") from None
    if not data:
        raise ContractError(f"{file} is empty; copy or train it again")
    return data


def open_session(data: bytes, source: str) -> ort.InferenceSession:
    """Return a single-threaded CPU session that does not spin.

    Raises:
        ContractError: ONNX Runtime refuses the bytes: corrupt, truncated, or of another opset.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _FATAL_ONLY
    try:
        # a fallback would print to stdout and try the same bytes again
        return ort.InferenceSession(
            data, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's errors share no base of their own
        reason = " ".join(str(error).split())[:_SENTENCE_MAX]
        raise ContractError(
            f"{source} is no network that ONNX Runtime {ort.__version__} runs; the file is "
            f"corrupt, cut short, or of another opset. Copy or train it again. It says: {reason}"
        ) from None


def read_contract(session: ort.InferenceSession, source: str) -> PolicyContract:
    """Return the contract embedded in an open network.

    Raises:
        ContractError: there is none, it is damaged, or it contradicts itself.
    """
    try:
        entries = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError as error:
        raise ContractError(
            f"{source}: the embedded texts are damaged ({error.reason}). Copy or train it again"
        ) from None
    missing = [key for key in (CONTRACT_KEY, DIGEST_KEY) if key not in entries]
    if missing:
        raise ContractError(
            f"{source} carries no {' and no '.join(missing)}: it says nothing of its inputs and "
            "outputs, or was cut short. Export it with `trimtab base train`"
        )
    text, digest = entries[CONTRACT_KEY], entries[DIGEST_KEY]
    if _digest(text) != digest:
        raise ContractError(
            f"{source}: the contract was changed after export (sha256 {_digest(text)[:12]}, the "
            f"file says {digest[:12]}). Export it again"
        )
    try:
        return PolicyContract.model_validate_json(text, strict=True)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(str(part) for part in detail['loc']) or 'contract'}: {detail['msg']}"
            for detail in error.errors()
        )
        raise ContractError(f"{source}: the contract cannot be used: {details}") from None


def check_network(session: ort.InferenceSession, contract: PolicyContract, source: str) -> None:
    """Compare the network's one input and one output with the contract.

    Raises:
        ContractError: naming the tensor, what it is and what the contract says.
    """
    wanted = (
        ("input", session.get_inputs(), INPUT_NAME, contract.feature_count),
        ("output", session.get_outputs(), OUTPUT_NAME, len(contract.action.names)),
    )
    for role, tensors, name, count in wanted:
        found = [(tensor.name, tensor.type, list(tensor.shape)) for tensor in tensors]
        expected = [(name, "tensor(float)", [1, count])]
        if found != expected:
            raise ContractError(
                f"{source}: network {role} is {_described(found)}; the contract needs "
                f"{_described(expected)}"
            )


def _described(tensors: list[tuple[str, str, list[int]]]) -> str:
    return ", ".join(f"{name} {kind} {shape}" for name, kind, shape in tensors) or "absent"


def run_rows(session: ort.InferenceSession, rows: Float32s) -> Float32s:
    """Return the network's outputs (shape [rows, action]) for normalised inputs, one at a time."""
    outputs = [session.run([OUTPUT_NAME], {INPUT_NAME: row[np.newaxis]})[0][0] for row in rows]
    return np.array(outputs, dtype=np.float32)


def replay_parity(session: ort.InferenceSession, contract: PolicyContract) -> ParityResult:
    """Run the contract's parity vectors: raw features in, so that the normaliser is proved too.

    Raises:
        ContractError: a vector has not the contract's size.
    """
    expected_sizes = (contract.feature_count, len(contract.action.names))
    for number, pair in enumerate(
        zip(contract.parity.inputs, contract.parity.outputs, strict=True)
    ):
        sizes = (len(pair[0]), len(pair[1]))
        if sizes != expected_sizes:
            raise ContractError(
                f"parity vector {number} has {sizes[0]} inputs and {sizes[1]} outputs; the "
                f"contract says {expected_sizes[0]} and {expected_sizes[1]}"
            )
    raw = np.array(contract.parity.inputs, dtype=np.float64)
    outputs = run_rows(session, Normaliser(contract.terms).rows(raw))
    difference = np.abs(outputs - np.array(contract.parity.outputs))
    return ParityResult(len(raw), float(np.max(difference)))
