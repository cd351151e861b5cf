"""A learned residual with a record in its hands, and snapshots that nobody may run."""

import math
from typing import Any

import msgspec
import numpy as np

from policies.residual import LearnedResidual
from runtime.gate_wire import Grant
from runtime.interfaces import ResidualAnswer
from runtime.layout import Floats
from runtime.messages import Mode, Stage, TickRecord, new_record
from runtime.snapshot import SnapshotParity, encode_snapshot, sealed
from tests.runtime.control_kit import panda, panda_sizes, trained_base
from tests.snapshot_kit import SnapshotMaker

BOUND = 0.6
CONFIG = panda().config.residual
assert CONFIG is not None
MAKER = SnapshotMaker(trained_base().contract, CONFIG, panda_sizes())


class Bench:
    """A learned residual with a record in its hands."""

    def __init__(
        self, seed: int = 1, exploration: dict[str, Any] | None = None, **keys: Any
    ) -> None:
        assert CONFIG is not None
        explores = CONFIG.exploration.model_copy(update=exploration or {})
        config = CONFIG.model_copy(update={"exploration": explores, **keys})
        self.record = observation(0)
        self.residual = LearnedResidual(trained_base().contract, config, self.record, seed)
        self.out = ResidualAnswer(np.full(4, 7.0), np.full(4, 7.0))

    def act(self, stage: Stage = Stage.ADAPTIVE, base: Floats | None = None) -> ResidualAnswer:
        """Act once; noise is granted where it explores."""
        return self.granted(Grant(stage, [], noise_share=float(stage is Stage.EXPLORE)), base)

    def granted(self, grant: Grant, base: Floats | None = None) -> ResidualAnswer:
        base = np.array([0.1, -0.2, 0.3, 0.0]) if base is None else base
        self.residual.act(self.record, base, grant, self.out)
        return self.out


def observation(seed: int) -> TickRecord:
    record = new_record(panda_sizes())
    rng = np.random.default_rng(seed)
    for name in ("dq", "setpoint", "setpoint_measured", "observation_task", "observation_force"):
        record.view[name][:] = rng.normal(size=len(record.view[name]))
    record.time_left[0] = 0.5
    record.mode[0] = Mode.ADAPTIVE
    record.episode[0] = 1
    return record


def nan_weights() -> bytes:
    layers = list(MAKER.make().layers)
    weights = np.frombuffer(layers[1].weights, "<f4").copy()
    weights[17] = math.nan
    layers[1] = msgspec.structs.replace(layers[1], weights=weights.tobytes())
    return MAKER.offer(layers=layers)


def wide_weights() -> bytes:
    snapshot = MAKER.make()
    layers = list(snapshot.layers)
    weights = np.frombuffer(layers[1].weights, "<f4") * np.float32(400.0)
    layers[1] = msgspec.structs.replace(layers[1], weights=weights.tobytes())
    wide = msgspec.structs.replace(snapshot, layers=layers)
    return encode_snapshot(sealed(msgspec.structs.replace(wide, parity=MAKER.parity(wide))))


def wrong_shapes() -> bytes:
    layers = list(MAKER.make().layers)
    layers[1] = msgspec.structs.replace(layers[1], inputs=63)
    return MAKER.offer(layers=layers)


def other_parity() -> bytes:
    said = MAKER.make().parity
    actions = [[value + 0.01 for value in row] for row in said.actions]
    return MAKER.offer(parity=SnapshotParity(said.features, said.base, actions))


BAD = {
    "garbage": (b"garbage", "no snapshot"),
    "cut short": (MAKER.offer()[:-40], "no snapshot"),
    "changed": (encode_snapshot(msgspec.structs.replace(MAKER.make(), steps=601)), "its digest"),
    "another's": (MAKER.offer(contract="another"), "made for interface another"),
    "format": (MAKER.offer(format_version=2), "format 2"),
    "NaN": (nan_weights(), "weights of layer 1: 1 of 4096 numbers are not finite"),
    "std": (MAKER.offer(std=[1.0] * 26 + [0.0]), "std: 0.0 is not positive"),
    "features": (MAKER.offer(mean=[0.0] * 26), "mean has 26 numbers for 27 features"),
    "shapes": (wrong_shapes(), "63 inputs"),
    "norm": (wide_weights(), "residual.max_weight_norm"),
    "parity": (other_parity(), "differ from those of the framework"),
    "no parity": (MAKER.offer(parity=SnapshotParity([], [], [])), "parity vectors are missing"),
    "too large": (MAKER.offer(hidden=200), "residual.max_snapshot_bytes"),
}
