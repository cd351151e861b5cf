"""Makes the snapshot that a learner offers: the averaged actor and all that says what it is for."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from policies.learner.agent import Agent
from policies.learner.networks import Float32s
from runtime.layout import Floats
from runtime.snapshot import Layer, Snapshot, SnapshotParity, sealed

PARITY_ROWS = 16
# mean actions lie in [-1, 1], so no mean squared distance is larger
_LARGEST_DISTANCE = 4.0
# a feature that moves less than this in the prefill would turn later noise into large numbers
_STD_LEAST = 1e-3
# the rarest thousandth of a feature's values lies at most this many deviations out
_TAIL_SHARE, _TAIL_DEVIATIONS = 0.999, 6.0


@dataclass(frozen=True)
class Normaliser:
    """(raw - mean) / std, each [n]; made once, at the end of the prefill, and never moved again:
    a critic whose inputs drift forgets (arXiv 2303.17396 freezes it too)."""

    mean: Floats
    std: Floats

    @classmethod
    def of_terms(cls, scale: Floats) -> "Normaliser":
        """Take the terms' own scale [n]: what a millimetre is worth does not hang on the data."""
        return cls(np.zeros(len(scale)), 1.0 / scale)

    @classmethod
    def of(cls, raw: Floats) -> "Normaliser":
        """Fit raw features [rows, n]; heavy tails widen the deviation."""
        mean = raw.mean(axis=0)
        tail = np.quantile(np.abs(raw - mean), _TAIL_SHARE, axis=0) / _TAIL_DEVIATIONS
        return cls(mean, np.maximum(np.maximum(raw.std(axis=0), tail), _STD_LEAST))

    def __call__(self, raw: Floats) -> Float32s:
        """Return raw features [..., n] normalised."""
        return ((raw - self.mean) / self.std).astype(np.float32)


@dataclass(frozen=True)
class Seen:
    """Raw features [rows, n] and base actions [rows, d] from which parity vectors are made, and
    the range [n] of all features seen."""

    features: Floats
    base: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Label:
    """What a candidate says of itself; see `Snapshot`."""

    version: int
    parent: int
    contract: str
    steps: int


def candidate(agent: Agent, normaliser: Normaliser, seen: Seen, label: Label) -> Snapshot:
    """Return the agent's averaged actor as a snapshot."""
    layers = agent.actor_arrays()
    guard = agent.settings.update_guard
    constraint = agent.diagnostics().get("constraint", 0.0)
    allowed = guard.epsilon * guard.discard_factor if guard else _LARGEST_DISTANCE
    rows = np.concatenate(
        (normaliser(seen.features), seen.base.astype(np.float32)), axis=1, dtype=np.float32
    )
    snapshot = Snapshot(
        version=label.version,
        parent=label.parent,
        contract=label.contract,
        layers=[_layer(weights, bias) for weights, bias in layers],
        mean=normaliser.mean.tolist(),
        std=normaliser.std.tolist(),
        low=seen.low.tolist(),
        high=seen.high.tolist(),
        steps=label.steps,
        updates=agent.updates,
        seed=agent.settings.seed,
        constraint=constraint,
        constraint_max=allowed,
        parity=SnapshotParity(
            features=seen.features.tolist(),
            base=seen.base.tolist(),
            actions=_mean_actions(layers, rows).tolist(),
        ),
    )
    return sealed(snapshot)


def _layer(weights: Float32s, bias: Float32s) -> Layer:
    outputs, inputs = weights.shape
    return Layer(outputs, inputs, weights.astype("<f4").tobytes(), bias.astype("<f4").tobytes())


def _mean_actions(layers: list[tuple[Float32s, Float32s]], rows: Float32s) -> NDArray[np.float32]:
    """Return the mean actions of the rows, by torch and not by the code that control runs."""
    out = torch.from_numpy(rows)
    for weights, bias in layers[:-1]:
        layer = torch.nn.functional.linear(out, torch.from_numpy(weights), torch.from_numpy(bias))
        out = torch.relu(layer)
    weights, bias = layers[-1]
    last = torch.nn.functional.linear(out, torch.from_numpy(weights), torch.from_numpy(bias))
    mean: NDArray[np.float32] = torch.tanh(last[:, : last.shape[1] // 2]).numpy()
    return mean
