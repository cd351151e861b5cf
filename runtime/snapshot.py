"""A snapshot of the residual: weights and everything that says what they are for. No code in it.

Control runs the network by itself, in numpy: h = relu(W h + b) for every layer but the last, whose
output is [mean, log of the spread] of d numbers each; the action is tanh(mean), in units of the
contract's bound. Input: the normalised features, then the base action.
"""

import hashlib
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.errors import UNREADABLE, SnapshotError
from runtime.policy_contract import PolicyInterface
from runtime.residual_spec import ResidualConfig

FORMAT_VERSION = 1
MAX_SNAPSHOT_BYTES = 8_000_000
_ROWS = 2

Float32s = NDArray[np.float32]


class Layer(msgspec.Struct, frozen=True):
    """Weights [outputs, inputs], row by row, and bias [outputs], both little-endian float32."""

    outputs: int
    inputs: int
    weights: bytes
    bias: bytes


class SnapshotParity(msgspec.Struct, frozen=True):
    """Raw features with base actions, and the mean actions that the trainer's framework gave."""

    features: list[list[float]]
    base: list[list[float]]
    actions: list[list[float]]


class Snapshot(msgspec.Struct, frozen=True):
    """One version of the residual.

    `version` counts from 1 in a lineage; 0 is the zero residual and is never sent. `parent` is
    the version it was trained on from. `contract`: `interface_hash` of base and residual config.
    `mean`, `std`: normaliser of the raw features. `steps`, `updates`: policy steps seen and
    gradient steps made. `low`, `high`: range of the features seen in training, raw. `constraint`:
    the update guard's mean squared change of action, of which `constraint_max` is allowed.
    `digest`: sha256 of all the rest.
    """

    version: int
    parent: int
    contract: str
    layers: list[Layer]
    mean: list[float]
    std: list[float]
    low: list[float]
    high: list[float]
    steps: int
    updates: int
    seed: int
    constraint: float
    constraint_max: float
    parity: SnapshotParity
    format_version: int = FORMAT_VERSION
    digest: str = ""


def sealed(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with its digest."""
    return msgspec.structs.replace(snapshot, digest=digest_of(snapshot))


def digest_of(snapshot: Snapshot) -> str:
    """Return the sha256 of everything but the digest itself."""
    bare = msgspec.structs.replace(snapshot, digest="")
    return hashlib.sha256(msgspec.msgpack.encode(bare)).hexdigest()


def interface_hash(contract: PolicyInterface, residual: ResidualConfig) -> str:
    """Return what ties a snapshot to one base policy and one set of observation terms."""
    said = f"{contract.model_dump_json()}\n{' '.join(residual.terms)}"
    return hashlib.sha256(said.encode()).hexdigest()


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return the snapshot as it travels and is stored."""
    return msgspec.msgpack.encode(snapshot)


_decoder = msgspec.msgpack.Decoder(Snapshot)


def decode_snapshot(data: bytes) -> Snapshot:
    """Read a snapshot; nothing but its shape is checked.

    Raises:
        SnapshotError: the bytes are no snapshot.
    """
    try:
        return _decoder.decode(data)
    except UNREADABLE as error:
        raise SnapshotError(f"{len(data)} bytes are no snapshot: {error}") from None


def matrices(snapshot: Snapshot) -> list[tuple[Float32s, Float32s]]:
    """Return weights [outputs, inputs] and bias [outputs] of every layer, as copies.

    Raises:
        SnapshotError: sizes contradict each other.
    """
    found = []
    for number, layer in enumerate(snapshot.layers):
        weights = np.frombuffer(layer.weights, dtype="<f4").astype(np.float32)
        bias = np.frombuffer(layer.bias, dtype="<f4").astype(np.float32)
        if len(weights) != layer.outputs * layer.inputs or len(bias) != layer.outputs:
            raise SnapshotError(
                f"layer {number}: {len(weights)} weights and {len(bias)} biases for "
                f"{layer.outputs} outputs of {layer.inputs} inputs"
            )
        found.append((weights.reshape(layer.outputs, layer.inputs), bias))
    for number, (before, after) in enumerate(pairwise(snapshot.layers), start=1):
        if before.outputs != after.inputs:
            raise SnapshotError(
                f"layer {number} takes {after.inputs} numbers, the one before gives "
                f"{before.outputs}"
            )
    return found


def forward(layers: list[tuple[Float32s, Float32s]], rows: Float32s) -> tuple[Float32s, Float32s]:
    """Return actions in units of the bound and logs of the spread, [rows, d] each, of a batch."""
    out = rows
    for weights, bias in layers[:-1]:
        out = np.maximum(out @ weights.T + bias, 0.0, dtype=np.float32)
    weights, bias = layers[-1]
    both = out @ weights.T + bias
    half = both.shape[1] // _ROWS
    return np.tanh(both[:, :half]), both[:, half:]
