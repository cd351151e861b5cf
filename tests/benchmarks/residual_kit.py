"""Robot, gate and learner in one process, in lockstep: the study's quick harness.

The lag between learner and robot is that of the processes: a candidate made at policy step m acts
from step m + lag + 1 on. So the same seed gives the same run here and there.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies import gate_checks
from policies.learner.setup import Setup
from policies.learner.trainer import Trainer
from policies.learner.trainer_settings import TrainerSettings
from policies.residual import LearnedResidual
from runtime.config import Config, parse, read_yaml
from runtime.errors import ConfigError
from runtime.events import Event
from runtime.faults import Fault
from runtime.gate_wire import Candidate, Grant, References
from runtime.interfaces import BasePolicy, GateClient, GateHealth, RecordSink, ResidualPolicy
from runtime.layout import Floats
from runtime.messages import Mode, Outcome, Phase, Request, Stage, TickRecord, new_record
from runtime.operator_port import ScriptedPort
from runtime.policy_contract import PolicyContract
from runtime.snapshot import decode_snapshot
from runtime.tick import ControlTick
from runtime.wiring import Deployment, load_base, load_deployment, sizes_for
from tests.benchmarks.kit import CONFIG_FILE, SERVO_HZ, NoSink, OutcomeCounter, Stuck, assemble

FIELDS_FILE = Path(__file__).with_name("residual_fields.yaml")
PRESSED_N = 80.0
# one program from the first update on: as reproducible as none, and twice as fast
COMPILED = {"learner.agent.compile": "first"}
STUCK_S = 120.0
# without a governor nobody has measured the base, so nothing is held against the residual
UNCOMPARED = References(base_limited=1.0, base_pressed=1.0)
_HEALTH = GateHealth()
# what a person asks for where the robot waits for one
_ASKED = {Mode.STOPPED: Request.REARM, Mode.READY: Request.ARM, Mode.HOLD: Request.REARM}


def study_deployment(changes: dict[str, Any] | None = None) -> Deployment:
    """Return the committed deployment with the study's own fields beside it.

    `changes` maps dotted keys of the config, such as `residual.exploration.clean_share` or
    `learner.agent.algorithm`, to values.

    Raises:
        ConfigError: the changed config cannot be used.
    """
    deployment = load_deployment(CONFIG_FILE)
    plain = deployment.config.model_dump(mode="json")
    plain["sim"]["fields"] |= read_yaml(FIELDS_FILE)
    for key, value in (COMPILED | (changes or {})).items():
        *path, last = key.split(".")
        block = plain
        for name in path:
            block = block.setdefault(name, {})
        block[last] = value
    return replace(deployment, config=parse(Config, plain, "the study's config"))


@dataclass
class Tally:
    """What the robot did: `outcomes` with the policy step at which each episode ended, policy
    steps in all and those that pressed with more than PRESSED_N."""

    outcomes: list[tuple[int, bool]] = field(default_factory=list)
    steps: int = 0
    pressed: int = 0

    @property
    def share(self) -> float:
        """Share of successes."""
        return sum(ok for _, ok in self.outcomes) / max(1, len(self.outcomes))

    def look(self, record: TickRecord) -> None:
        """Count one tick."""
        if record.policy_due.item():
            self.steps += 1
            self.pressed += record.contact_force_n.item() > PRESSED_N
        outcome = record.outcome.item()
        if outcome not in (Outcome.NONE, Outcome.ABORT):
            self.outcomes.append((self.steps, outcome == Outcome.SUCCESS))

    def successes_until(self, steps: int) -> int:
        """Return how many episodes had succeeded by a policy step."""
        return sum(ok for at, ok in self.outcomes if at <= steps)

    def worst_window(self, episodes: int = 40) -> float:
        """Return the lowest share of successes of so many episodes in a row."""
        ok = [ok for _, ok in self.outcomes]
        starts = range(max(1, len(ok) - episodes + 1))
        return min(float(np.mean(ok[at : at + episodes])) for at in starts)


class TrainingGate:
    """Learner, gate and control's end of it, without sockets; also the sink that feeds them."""

    def __init__(self, trainer: Trainer, authority: list[float], lag_steps: int) -> None:
        self.trainer = trainer
        self.grant = Grant(Stage.EXPLORE, authority, references=UNCOMPARED)
        self.live = b""
        self.refused: list[str] = []
        self.promoted: list[tuple[int, int]] = []
        self.text: list[str] = []
        self._ticks = bytearray()
        self._lag_steps = lag_steps
        self._offers: deque[tuple[int, Candidate]] = deque()

    def feed_tick(self, record: TickRecord) -> None:
        """Keep a tick for the learner."""
        self._ticks += record.raw

    def health(self) -> GateHealth:
        """Both always beat."""
        return _HEALTH

    def after(self, record: TickRecord, residual: ResidualPolicy) -> Sequence[Event]:
        """Let the learner do what is due, then hand over what is due."""
        if record.policy_due.item():
            self._learn(record)
        steps = record.base_sequence.item()
        while self._offers and self._offers[0][0] <= steps:
            self._hand_over(self._offers.popleft()[1], residual)
        return ()

    def _learn(self, record: TickRecord) -> None:
        rows = record.layout.read(bytes(self._ticks))
        self._ticks.clear()
        for said in self.trainer.feed(rows):
            if isinstance(said, Candidate):
                self._offers.append((said.steps + self._lag_steps, said))
            elif said.text:
                self.text.append(said.text)

    def _hand_over(self, candidate: Candidate, residual: ResidualPolicy) -> None:
        snapshot = decode_snapshot(candidate.snapshot)
        reason = gate_checks.update_guard(snapshot) or residual.offer(candidate.snapshot)
        if reason:
            self.refused.append(f"step {candidate.steps}: {reason}")
        else:
            self.live = candidate.snapshot
            self.promoted.append((candidate.steps, snapshot.version))

    def close(self) -> None:
        """Nothing to close."""


class DeployedGate:
    """Grants full authority to one snapshot, without noise and without a learner."""

    def __init__(self, snapshot: bytes, actions: int) -> None:
        self.grant = Grant(
            Stage.ADAPTIVE, [1.0] * actions, noise_share=0.0, references=UNCOMPARED
        )
        self._snapshot = snapshot

    def health(self) -> GateHealth:
        """Always well."""
        return _HEALTH

    def after(self, record: TickRecord, residual: ResidualPolicy) -> Sequence[Event]:
        """Offer the snapshot before anything moves."""
        if self._snapshot:
            reason = residual.offer(self._snapshot)
            if reason:
                raise ConfigError(f"the deployed snapshot was refused: {reason}")
            self._snapshot = b""
        return ()

    def close(self) -> None:
        """Nothing to close."""


class _FeedingSink(NoSink):
    def __init__(self, gate: TrainingGate, tally: Tally) -> None:
        self._gate, self._tally = gate, tally

    def record(self, record: TickRecord) -> None:
        self._gate.feed_tick(record)
        self._tally.look(record)


class CountingSink(NoSink):
    """Lets a tally look at every tick."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def record(self, record: TickRecord) -> None:
        self._tally.look(record)


class _LoggingSink(NoSink):
    """Hands every episode of the base to the learner as a log from before."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._ticks = bytearray()

    def record(self, record: TickRecord) -> None:
        if record.phase.item() == Phase.RUNNING or record.outcome.item():
            self._ticks += record.raw
        if record.outcome.item():
            self._trainer.add_base_log(record.layout.read(bytes(self._ticks)))
            self._ticks.clear()


class Bounded:
    """The base under a contract that grants its residual another bound, in action units."""

    def __init__(self, base: BasePolicy, bound: float) -> None:
        assert isinstance(base.contract, PolicyContract)
        action = base.contract.action
        bounds = tuple(bound for _ in action.names)
        self.contract = base.contract.model_copy(
            update={"action": action.model_copy(update={"residual_bound": bounds})}
        )
        self._base = base

    @property
    def unfamiliarity(self) -> float:
        """What the base says."""
        return self._base.unfamiliarity

    def act(self, record: TickRecord, out: Floats) -> None:
        """Ask the base."""
        self._base.act(record, out)


class Attendant:
    """A person beside the robot, who re-arms it after a stop and gives up where that does not
    help: a run in which nothing happens must end with a word.

    Raises:
        Stuck: no episode ended for STUCK_S of robot time.
    """

    def __init__(self, port: ScriptedPort, done: Callable[[ControlTick], bool]) -> None:
        self._port, self._done = port, done
        self._since_tick = 0

    def __call__(self, tick: ControlTick) -> bool:
        """Look at the last tick; True once the run is done."""
        record = tick.record
        now, mode = record.tick.item(), Mode(record.mode.item())
        if record.outcome.item():
            self._since_tick = now
        idle_s = (now - self._since_tick) / SERVO_HZ
        if not (idle_s <= STUCK_S):
            names = [fault.name for fault in Fault if record.faults.item() >> fault & 1]
            raise Stuck(f"no episode ended for {idle_s:.0f} s; mode {mode.name}, faults {names}")
        if now % SERVO_HZ == 0 and mode in _ASKED:
            self._port.ask(_ASKED[mode])
        return self._done(tick)


@dataclass(frozen=True)
class Study:
    """What is trained where. `bound` replaces the contract's; `base_log` is how many episodes of
    the base are recorded in the same field before the first counted step; `authority`, in [0, 1],
    is what the residual is granted of every action while it learns."""

    deployment: Deployment
    field: str
    seed: int
    bound: float | None = None
    base_log: int = 0
    authority: float = 1.0

    def base(self) -> BasePolicy:
        """Return the base, under the contract that this study gives it."""
        base = load_base(self.deployment)
        return base if self.bound is None else Bounded(base, self.bound)

    def residual(self, base: BasePolicy) -> ResidualPolicy:
        """Return version 0 of the residual."""
        config = self.deployment.config.residual
        assert config is not None
        record = new_record(sizes_for(self.deployment, base.contract))
        return LearnedResidual(base.contract, config, record, self.seed)

    def run(
        self,
        base: BasePolicy,
        sink: RecordSink,
        gate: GateClient | None,
        seed: int,
        done: Callable[[ControlTick], bool],
    ) -> None:
        """Run the loop in the study's field until `done`."""
        port = ScriptedPort()
        assemble(
            self.field,
            seed,
            sink,
            Attendant(port, done),
            deployment=self.deployment,
            base=base,
            port=port,
            residual=self.residual(base),
            gate=gate,
        ).loop.run()


@dataclass
class Run:
    """One training run. `kept` maps each asked-for step to the snapshot that was live then."""

    tally: Tally
    gate: TrainingGate
    kept: dict[int, bytes]


# episodes of logs and evaluations are drawn from seeds that no training uses
_LOG_SEED = 800_000
_EVALUATION_SEED = 900_000


def train(
    study: Study,
    steps: int,
    keep_at: Sequence[int] = (),
    tally: Tally | None = None,
    make_gate: Callable[[Trainer, "Study"], TrainingGate] | None = None,
    episodes: int | None = None,
) -> Run:
    """Let the residual learn for `steps` policy steps, all of them counted, in `tally`.
    `make_gate`: what grants; None: everything is granted from the first step on. `episodes`: the
    run ends with so many at the latest."""
    torch.set_num_threads(1)
    base = study.base()
    contract, config = base.contract, study.deployment.config
    assert isinstance(contract, PolicyContract)
    assert config.residual is not None and config.gate is not None
    sizes = sizes_for(study.deployment, contract)
    settings = parse(TrainerSettings, config.learner or {}, "learner")
    settings = settings.model_copy(
        update={"agent": settings.agent.model_copy(update={"seed": study.seed})}
    )
    trainer = Trainer(Setup(sizes, contract, config.residual, config.gate, settings))
    if study.base_log:
        log = OutcomeCounter(study.base_log)
        study.run(base, _LoggingSink(trainer), None, _LOG_SEED + study.seed, log)
    authority = [study.authority] * len(contract.action.names)
    gate = (
        make_gate(trainer, study)
        if make_gate
        else TrainingGate(trainer, authority, config.gate.lockstep_lag_steps)
    )
    run = Run(tally or Tally(), gate, {})
    left = sorted({*keep_at, steps})

    def done(tick: ControlTick) -> bool:
        while left and run.tally.steps >= left[0]:
            run.kept[left.pop(0)] = gate.live
        enough = episodes is not None and len(run.tally.outcomes) >= episodes
        return (enough or run.tally.steps >= steps) and tick.record.phase.item() != Phase.RUNNING

    study.run(base, _FeedingSink(gate, run.tally), gate, study.seed, done)
    return run


def evaluate(study: Study, snapshot: bytes, episodes: int) -> Tally:
    """Run the deployed system: this snapshot (none: the base), mean action, learner off."""
    base = study.base()
    gate = DeployedGate(snapshot, len(base.contract.action.names)) if snapshot else None
    tally = Tally()
    counter = OutcomeCounter(episodes)
    study.run(base, CountingSink(tally), gate, _EVALUATION_SEED + study.seed, counter)
    return tally
