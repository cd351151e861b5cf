"""Snapshots of the residual made by hand: small random networks that pass every check."""

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from policies.features import RawFeatures
from runtime.messages import Sizes, new_record
from runtime.policy_contract import PolicyInterface
from runtime.residual_spec import ResidualConfig
from runtime.snapshot import (
    Layer,
    Snapshot,
    SnapshotParity,
    encode_snapshot,
    forward,
    interface_hash,
    matrices,
    sealed,
)

_PARITY_ROWS = 8


class SnapshotMaker:
    """Makes snapshots for one contract, one config and one record layout."""

    def __init__(self, contract: PolicyInterface, config: ResidualConfig, sizes: Sizes) -> None:
        record = new_record(sizes)
        self.features = len(RawFeatures(config.terms, contract.action.kind, record).values)
        self.actions = len(contract.action.names)
        self._contract = interface_hash(contract, config)

    def layers(self, seed: int, hidden: int, push: float, log_spread: float) -> list[Layer]:
        """Return the layers of a network whose mean actions are near tanh(push)."""
        rng = np.random.default_rng(seed)
        widths = (self.features + self.actions, hidden, hidden, 2 * self.actions)
        made = []
        for inputs, outputs in pairwise(widths):
            weights = rng.normal(scale=0.3 / np.sqrt(inputs), size=(outputs, inputs))
            bias = np.zeros(outputs)
            if outputs == 2 * self.actions:
                weights *= 0.05
                bias[: self.actions], bias[self.actions :] = push, log_spread
            made.append(Layer(outputs, inputs, _bytes(weights), _bytes(bias)))
        return made

    def make(
        self,
        version: int = 1,
        parent: int = 0,
        *,
        seed: int = 0,
        hidden: int = 64,
        push: float = 0.0,
        log_spread: float = -1.25,
        **changes: Any,
    ) -> Snapshot:
        """Return a sealed snapshot; `changes` replace its fields before it is sealed."""
        layers = self.layers(seed, hidden, push, log_spread)
        snapshot = Snapshot(
            version=version,
            parent=parent,
            contract=self._contract,
            layers=layers,
            mean=[0.1] * self.features,
            std=[2.0] * self.features,
            low=[-1.0] * self.features,
            high=[1.0] * self.features,
            steps=600,
            updates=1000,
            seed=seed,
            constraint=0.001,
            constraint_max=0.01,
            parity=SnapshotParity([], [], []),
        )
        snapshot = msgspec.structs.replace(snapshot, parity=self.parity(snapshot))
        return sealed(msgspec.structs.replace(snapshot, **changes))

    def offer(self, version: int = 1, parent: int = 0, **changes: Any) -> bytes:
        """Return what `make` makes, encoded."""
        return encode_snapshot(self.make(version, parent, **changes))

    def parity(self, snapshot: Snapshot) -> SnapshotParity:
        """Return vectors that the snapshot's own layers agree with."""
        rng = np.random.default_rng(7)
        features = rng.normal(size=(_PARITY_ROWS, self.features))
        base = rng.uniform(-1.0, 1.0, size=(_PARITY_ROWS, self.actions))
        normal = (features - np.array(snapshot.mean)) / np.array(snapshot.std)
        rows = np.concatenate((normal, base), axis=1).astype(np.float32)
        actions = forward(matrices(snapshot), rows)[0]
        return SnapshotParity(features.tolist(), base.tolist(), actions.tolist())


def _bytes(numbers: Any) -> bytes:
    return np.asarray(numbers, dtype="<f4").tobytes()
