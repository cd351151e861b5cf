"""From trained layers to a policy file: the ONNX graph and the contract inside it.

The graph is built node by node (Gemm, Tanh) instead of traced: small, and the same for every
version of the training framework. Needs the extra `learn` (onnx), but no torch.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from policies.contract_io import INPUT_NAME, OUTPUT_NAME, metadata
from policies.demonstrations import Demonstrations, DemonstrationSpec
from policies.features import Float32s
from policies.terms import TERMS
from runtime.layout import Floats
from runtime.policy_contract import (
    ParityVectors,
    PolicyContract,
    Provenance,
    StartEnvelope,
    TermSpec,
    TrainingStatistics,
)

OPSET = 17
IR_VERSION = 8  # the one that ONNX released with OPSET
# a feature that hardly moves would be blown up by its own noise
_STD_MIN = 1e-3


@dataclass(frozen=True)
class Layer:
    """One dense layer, output = tanh(input @ weight + bias). weight [in, out], bias [out]."""

    weight: Float32s
    bias: Float32s


def term_specs(spec: DemonstrationSpec, features: Floats) -> tuple[TermSpec, ...]:
    """Return the terms with the normaliser that `features` (shape [rows, features], raw) give."""
    terms: list[TermSpec] = []
    start = 0
    for shape in spec.terms:
        term = TERMS[shape.name]
        scaled = features[:, start : start + shape.size] * term.scale
        start += shape.size
        terms.append(
            TermSpec(
                name=shape.name,
                group=term.group,
                size=shape.size,
                unit=term.unit,
                scale=(term.scale,) * shape.size,
                offset=(0.0,) * shape.size,
                mean=_numbers(scaled.mean(axis=0)),
                std=_numbers(np.maximum(scaled.std(axis=0), _STD_MIN)),
            )
        )
    return tuple(terms)


def _numbers(array: Floats) -> tuple[float, ...]:
    return tuple(float(number) for number in array)


def _start_envelope(data: Demonstrations) -> StartEnvelope:
    """Poses of the whole demonstrations, speeds of their first steps, widened by the margins."""
    margins = data.spec.start
    return StartEnvelope(
        position_min_rad=_numbers(data.q.min(axis=0) - margins.position_rad),
        position_max_rad=_numbers(data.q.max(axis=0) + margins.position_rad),
        speed_max_rad_s=_numbers(np.abs(data.dq[data.starts]).max(axis=0) + margins.speed_rad_s),
    )


def _created_utc() -> str:
    """Return the time of export; SOURCE_DATE_EPOCH fixes it for reproducible files."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.fromtimestamp(int(seconds), UTC) if seconds else datetime.now(UTC)
    return now.isoformat(timespec="seconds")


def make_contract(
    data: Demonstrations,
    terms: tuple[TermSpec, ...],
    parity: ParityVectors,
    command: str,
    seed: int,
) -> PolicyContract:
    """Return the contract of a policy cloned from `data`; `command` reproduces it."""
    spec = data.spec
    features = data.features
    return PolicyContract(
        format_version=1,
        name=spec.name,
        robot=spec.robot,
        joint_names=spec.joint_names,
        rate_hz=spec.rate_hz,
        terms=terms,
        action=spec.action,
        reward=spec.reward,
        start=_start_envelope(data),
        statistics=TrainingStatistics(
            samples=len(features),
            minimum=_numbers(features.min(axis=0)),
            maximum=_numbers(features.max(axis=0)),
            mean=_numbers(features.mean(axis=0)),
            std=_numbers(features.std(axis=0)),
        ),
        provenance=Provenance(
            command=command,
            created_utc=_created_utc(),
            seed=seed,
            demonstrations=len(data.episodes),
            versions={"python": sys.version.split()[0]}
            | {name: version(name) for name in ("torch", "onnx", "onnxruntime", "numpy")},
        ),
        parity=parity,
    )


def build_model(layers: Sequence[Layer], entries: Mapping[str, str]) -> bytes:
    """Return the ONNX file of a tanh network; `entries` become its custom metadata."""
    nodes, tensors = [], []
    current = INPUT_NAME
    for number, layer in enumerate(layers):
        weight, bias, sum_name = f"weight_{number}", f"bias_{number}", f"sum_{number}"
        result = OUTPUT_NAME if number == len(layers) - 1 else f"hidden_{number}"
        tensors.append(numpy_helper.from_array(layer.weight, weight))
        tensors.append(numpy_helper.from_array(layer.bias, bias))
        nodes.append(helper.make_node("Gemm", [current, weight, bias], [sum_name]))
        nodes.append(helper.make_node("Tanh", [sum_name], [result]))
        current = result
    shapes = {INPUT_NAME: len(layers[0].weight), OUTPUT_NAME: len(layers[-1].bias)}
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count])
        for name, count in shapes.items()
    }
    graph = helper.make_graph(nodes, "policy", [values[INPUT_NAME]], [values[OUTPUT_NAME]], tensors)
    model = helper.make_model(
        graph,
        producer_name="trimtab",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(entries))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def embed(layers: Sequence[Layer], contract: PolicyContract) -> bytes:
    """Return the policy file: the network with its contract."""
    return build_model(layers, metadata(contract))
