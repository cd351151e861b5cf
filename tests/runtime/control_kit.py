"""What the control tests share: the real Panda in its lockstep simulation, and bases to break."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from runtime.events import Event
from runtime.faults import Fault
from runtime.interfaces import (
    BasePolicy,
    GateClient,
    RecorderHealth,
    RecordSink,
    ResidualPolicy,
)
from runtime.layout import Floats
from runtime.messages import (
    Mode,
    SignalKind,
    SignalSource,
    Sizes,
    TaskSignal,
    TickRecord,
    new_record,
)
from runtime.operator_port import ScriptedPort
from runtime.policy_contract import PolicyContract, StartEnvelope
from runtime.wiring import (
    Deployment,
    Surroundings,
    build_loop,
    load_base,
    load_deployment,
    open_link,
    sizes_for,
    zero_residual,
)
from tests.runtime.invariant_checker import JointInvariants, Verdict, check, segments

ROOT = Path(__file__).resolve().parents[2]
BEGIN = TaskSignal(SignalKind.EPISODE_BEGIN, SignalSource.OPERATOR)
DT_S = 0.002

# The manufacturer's numbers for the Panda, written again: rad, rad/s, rad/s^2, rad/s^3.
_PANDA = [
    (-2.8973, 2.8973, 2.175, 15.0, 7500.0),
    (-1.7628, 1.7628, 2.175, 7.5, 3750.0),
    (-2.8973, 2.8973, 2.175, 10.0, 5000.0),
    (-3.0718, -0.0698, 2.175, 12.5, 6250.0),
    (-2.8973, 2.8973, 2.61, 15.0, 7500.0),
    (-0.0175, 3.7525, 2.61, 20.0, 10000.0),
    (-2.8973, 2.8973, 2.61, 20.0, 10000.0),
]
INVARIANTS = [
    JointInvariants(low + 0.02, high - 0.02, 0.95 * v, 0.95 * a, 0.95 * j)
    for low, high, v, a, j in _PANDA
]


@cache
def panda() -> Deployment:
    """Return the deployment of the repository's config."""
    return load_deployment(ROOT / "config.yaml")


@cache
def trained_base() -> BasePolicy:
    """Return the committed base."""
    return load_base(panda())


def changed(deployment: Deployment, **blocks: dict[str, Any]) -> Deployment:
    """Return the deployment with keys of config blocks replaced."""
    update = {
        name: getattr(deployment.config, name).model_copy(update=keys)
        for name, keys in blocks.items()
    }
    return replace(deployment, config=deployment.config.model_copy(update=update))


def panda_sizes() -> Sizes:
    """Return the message sizes of the Panda's deployment."""
    return sizes_for(panda(), trained_base().contract)


class Base:
    """A base that may take over anywhere; `answer(record)` is its action."""

    unfamiliarity = 0.0

    def __init__(self, answer: Callable[[TickRecord], Floats]) -> None:
        contract = trained_base().contract
        assert isinstance(contract, PolicyContract)
        joints = len(contract.joint_names)
        anywhere = StartEnvelope(
            position_min_rad=(-9.0,) * joints,
            position_max_rad=(9.0,) * joints,
            speed_max_rad_s=(9.0,) * joints,
        )
        self.contract = contract.model_copy(update={"start": anywhere})
        self.answer = answer
        self.asked = 0

    def act(self, record: TickRecord, out: Floats) -> None:
        """Answer."""
        self.asked += 1
        out[:] = self.answer(record)


def still(record: TickRecord) -> Floats:
    """Ask for no motion."""
    return np.zeros(len(record.action))


def noise(seed: int) -> Callable[[TickRecord], Floats]:
    """Return an answer that jumps between the action limits and beyond."""
    rng = np.random.default_rng(seed)
    return lambda record: rng.choice([-3.0, -1.0, 0.0, 1.0, 3.0], size=len(record.action))


class ListSink:
    """Keeps everything in memory."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self.events: list[Event] = []
        self.said = RecorderHealth(dropped=0, lost=False)

    def record(self, record: TickRecord) -> None:
        """Keep a copy."""
        self.rows.append(bytes(record.raw))

    def event(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def health(self) -> RecorderHealth:
        """Return what the test set."""
        return self.said

    def close(self) -> None:
        """Nothing to close."""


class Rig:
    """The real loop, tick and Panda simulation in lockstep, with a base of one's own."""

    def __init__(
        self,
        answer: Callable[[TickRecord], Floats] = still,
        deployment: Deployment | None = None,
        *,
        base: BasePolicy | None = None,
        field: str | None = "nominal",
        arm: bool = True,
        sink: RecordSink | None = None,
        residual: ResidualPolicy | None = None,
        gate: GateClient | None = None,
    ) -> None:
        self.deployment = deployment or panda()
        self.base = base or Base(answer)
        self.link = open_link(
            self.deployment, self.base.contract, lockstep=True, field=field, seed=1
        )
        self.port = ScriptedPort(arm=arm)
        self.sink = ListSink()
        surroundings = Surroundings(
            self.link,
            self.base,
            residual or zero_residual(),
            sink or self.sink,
            self.port,
            None,
            gate=gate,
        )
        self.done = False
        self.loop = build_loop(self.deployment, surroundings, lambda _: self.done)
        self.tick = self.loop._parts.tick
        self.sizes = sizes_for(self.deployment, self.base.contract)

    def run(self, ticks: int) -> TickRecord:
        """Run that many ticks; return the last record (reused by the next tick)."""
        for _ in range(ticks):
            record = self.loop.tick_once()
        return record

    def until(self, condition: Callable[[TickRecord], bool], limit: int = 3000) -> TickRecord:
        """Run until `condition` holds after a tick."""
        for _ in range(limit):
            record = self.loop.tick_once()
            if condition(record):
                return record
        raise AssertionError(f"waited {limit} ticks in vain in mode {Mode(int(record.mode[0]))!r}")

    def until_mode(self, mode: Mode, limit: int = 3000) -> TickRecord:
        """Run until the mode is reached."""
        return self.until(lambda record: record.mode[0] == mode, limit)

    def begin(self) -> TickRecord:
        """Arm and begin an episode at once, wherever the arm stands."""
        self.until_mode(Mode.HOMING)
        self.port.signal(BEGIN)
        return self.until_mode(Mode.BASE, 5)

    def table(self) -> Any:
        """Return all records so far as a structured array."""
        return new_record(self.sizes).layout.read(b"".join(self.sink.rows))

    def verdict(self) -> Verdict:
        """Judge every command so far by the invariants written above."""
        rows = self.table()
        sent = rows["command_sent"][:, 0] != 0
        rest = np.abs(rows["dq"]).max(axis=1) <= 0.02
        starts = segments(sent.tolist(), rows["epoch"][:, 0].tolist(), rest.tolist())
        return check(np.ascontiguousarray(rows["q_applied"][sent]), DT_S, INVARIANTS, starts)


def faults(record: TickRecord) -> set[str]:
    """Return the names of the active faults."""
    return {f.name for f in Fault if int(record.faults[0]) >> f & 1}


def settled(record: TickRecord) -> bool:
    """True when reference and arm stand."""
    return bool(np.abs(record.dq_applied).max() == 0.0 and np.abs(record.dq).max() < 0.01)


def assert_judged_clean(rig: Rig) -> None:
    """Fail if a command broke an invariant."""
    verdict = rig.verdict()
    assert verdict.ticks > 0
    assert not verdict.violations, verdict.violations[:3]
