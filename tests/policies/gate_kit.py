"""What the gate's tests share: a short recorded run, and snapshots written by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from policies.gate import Evidence, Gate, GateSettings, Simulate
from policies.gate_checks import mean_actions
from policies.gate_replay import CandidateReplay
from policies.gate_window import RecentPast
from runtime.events import Event
from runtime.interfaces import BasePolicy, RecorderHealth
from runtime.layout import Layout
from runtime.loop import EpisodesDone
from runtime.messages import Sizes, TickRecord
from runtime.operator_port import ScriptedPort
from runtime.record_format import RecordHeader
from runtime.residual_spec import ResidualConfig
from runtime.snapshot import (
    Float32s,
    Layer,
    Snapshot,
    SnapshotParity,
    interface_hash,
    matrices,
    sealed,
)
from runtime.wiring import (
    Deployment,
    Surroundings,
    build_loop,
    build_tick,
    load_base,
    load_deployment,
    open_link,
    record_header,
    sizes_for,
    zero_residual,
)
from tests.daemon_kit import write_config

HIDDEN = 8
_HEALTHY = RecorderHealth(dropped=0, lost=False)


class KeepingSink:
    """Keeps every tick's bytes and every event."""

    def __init__(self) -> None:
        self.raw = bytearray()
        self.events: list[Event] = []
        self.layout: Layout | None = None

    def record(self, record: TickRecord) -> None:
        self.layout = record.layout
        self.raw += record.raw

    def event(self, event: Event) -> None:
        self.events.append(event)

    def health(self) -> RecorderHealth:
        return _HEALTHY

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class Job:
    """A robot at work, and what it recorded while the base drove it."""

    deployment: Deployment
    base: BasePolicy
    sizes: Sizes
    past: RecentPast
    steps: int

    @property
    def residual(self) -> ResidualConfig:
        found = self.deployment.config.residual
        assert found is not None
        return found

    @property
    def actions(self) -> int:
        return len(self.base.contract.action.names)

    def evidence(self) -> Evidence:
        recent = self.past.recent(self.steps, self.residual.recent_steps)
        return Evidence(recent, self.past.stretch(self.steps, 2000))

    def gate(self, simulate: Simulate | None = None) -> Gate:
        contract = self.base.contract
        tick = build_tick(self.deployment, contract)
        replay = CandidateReplay(tick, self.sizes, contract, self.residual)
        settings = GateSettings(contract, self.residual, 2000)
        return Gate(settings, self.past.feature_count, replay, simulate)


@dataclass(frozen=True)
class Worked:
    """A base that worked for some episodes, and all that it recorded."""

    deployment: Deployment
    base: BasePolicy
    header: RecordHeader
    sink: KeepingSink


def work(folder: Path, changes: Mapping[str, object] | None = None, episodes: int = 1) -> Worked:
    """Let the base work for some episodes of the nominal simulation, in this process."""
    root = Path(__file__).resolve().parents[2]
    base_file = root / "policies" / "bases" / "peg.onnx"
    config = write_config(folder, {"base.file": str(base_file), **(changes or {})})
    deployment = load_deployment(config)
    base = load_base(deployment)
    link = open_link(deployment, base.contract, lockstep=True, field="nominal", seed=3)
    header = record_header(deployment, base.contract, "kit", "lockstep", link.describe())
    sink = KeepingSink()
    surroundings = Surroundings(link, base, zero_residual(), sink, ScriptedPort(), None)
    build_loop(deployment, surroundings, EpisodesDone(episodes)).run()
    return Worked(deployment, base, header, sink)


def make_job(folder: Path, changes: Mapping[str, object] | None = None, episodes: int = 1) -> Job:
    """Let the base work, and keep what a gate would know of it."""
    worked = work(folder, changes, episodes)
    deployment, base, sink = worked.deployment, worked.base, worked.sink
    sizes = sizes_for(deployment, base.contract)
    assert deployment.config.residual is not None and sink.layout is not None
    past = RecentPast(
        sizes,
        deployment.config.residual.terms,
        base.contract.action.kind,
        keep_ticks=20_000,
        keep_steps=400,
    )
    take_in_pieces(past, sink, 500)
    return Job(deployment, base, sizes, past, past.steps)


def take_in_pieces(past: RecentPast, sink: KeepingSink, ticks: int) -> None:
    """Feed a recording in batches of some ticks, as the stream does."""
    assert sink.layout is not None
    size = sink.layout.size_bytes * ticks
    raw = memoryview(bytes(sink.raw))
    for start in range(0, len(raw), size):
        piece = raw[start : start + size]
        rows = sink.layout.read(piece)
        first, last = int(rows["tick"][0, 0]), int(rows["tick"][-1, 0])
        past.take(piece, rows, [e for e in sink.events if first - 1 <= e.tick <= last])


@dataclass
class Recipe:
    """A snapshot to be: a network of one hidden layer that says `action` whatever it sees, and
    what is to be wrong with it. `spread`: bias of the outputs that no mean action depends on."""

    action: Sequence[float]
    version: int = 1
    parent: int = 0
    contract: str = ""
    constraint: float = 0.0
    constraint_max: float = 1.0
    spread: float = -1.0
    parity_shift: float = 0.0
    weight: float = 0.0
    changes: dict[str, object] = field(default_factory=dict)


def make_snapshot(job: Job, recipe: Recipe) -> Snapshot:
    """Return the sealed snapshot of a recipe."""
    features, actions = job.past.feature_count, job.actions
    inputs = features + actions
    first = np.full((HIDDEN, inputs), recipe.weight, np.float32)
    last = np.full((2 * actions, HIDDEN), recipe.weight, np.float32)
    mean = np.arctanh(np.clip(np.array(recipe.action, np.float32), -0.999, 0.999))
    bias = np.concatenate((mean, np.full(actions, recipe.spread))).astype(np.float32)
    snapshot = Snapshot(
        version=recipe.version,
        parent=recipe.parent,
        contract=recipe.contract or interface_hash(job.base.contract, job.residual),
        layers=[_layer(first, np.zeros(HIDDEN, np.float32)), _layer(last, bias)],
        mean=[0.0] * features,
        std=[1.0] * features,
        low=[-1.0] * features,
        high=[1.0] * features,
        steps=job.steps,
        updates=100,
        seed=0,
        constraint=recipe.constraint,
        constraint_max=recipe.constraint_max,
        parity=SnapshotParity([[0.1] * features], [[0.1] * actions], [[0.0] * actions]),
    )
    snapshot = msgspec.structs.replace(snapshot, parity=_parity(snapshot, recipe.parity_shift))
    return sealed(msgspec.structs.replace(snapshot, **recipe.changes))


def _parity(snapshot: Snapshot, shift: float) -> SnapshotParity:
    vectors = snapshot.parity
    said = mean_actions(
        snapshot, matrices(snapshot), np.array(vectors.features), np.array(vectors.base)
    )
    return SnapshotParity(vectors.features, vectors.base, (said + shift).tolist())


def _layer(weights: Float32s, bias: Float32s) -> Layer:
    outputs, inputs = weights.shape
    return Layer(outputs, inputs, weights.tobytes(), bias.tobytes())
