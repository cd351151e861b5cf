"""The study's harness with a governor: stages, shares and rollbacks as in the gate process.

What the governor grants after policy step m holds from step m + lag on, as over the wire.
"""

from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np

from policies.experience import Experience
from policies.governor import Governor, Terms
from policies.learner.trainer import Trainer
from runtime.events import Event, EventKind
from runtime.gate_wire import Candidate, Grant
from runtime.interfaces import ResidualPolicy
from runtime.messages import TickRecord
from runtime.snapshot import decode_snapshot
from runtime.wire import Rollback
from runtime.wiring import sizes_for
from tests.benchmarks.residual_kit import Study, TrainingGate


class GovernedGate(TrainingGate):
    """A TrainingGate whose grants are a governor's. `told`: stages with steps and reasons."""

    def __init__(self, trainer: Trainer, study: Study) -> None:
        config = study.deployment.config
        base = study.base()
        assert config.governor is not None
        assert config.gate is not None
        assert config.residual is not None
        actions = len(base.contract.action.names)
        super().__init__(trainer, [0.0] * actions, config.gate.lockstep_lag_steps)
        watch = config.residual.watch
        self.governor = Governor(
            config.governor, Terms(actions, watch.pressed_n, learner=True)
        )
        self.told: list[str] = []
        self._rolled = 0
        sizes = sizes_for(study.deployment, base.contract)
        self._experience = Experience(sizes, base.contract.action, config.residual.terms)
        self._grants: deque[tuple[int, Grant]] = deque()
        self._snapshots: dict[int, bytes] = {}
        self._events: list[Event] = []
        self._numbers = (0.0, 0.0)
        self.grant = self._asked = self._ask()

    def after(self, record: TickRecord, residual: ResidualPolicy) -> Sequence[Event]:
        """Also let due grants hold, and go back where that is asked for."""
        steps = record.base_sequence.item()
        super().after(record, residual)
        while self._grants and self._grants[0][0] <= steps:
            self.grant = self._grants.popleft()[1]
        asked = self.governor.returning
        if asked is not None and not record.authority.any():
            self._go_back(asked.version, asked.why, record, residual)
        return ()

    def _learn(self, record: TickRecord) -> None:
        rows = record.layout.read(bytes(self._ticks))
        self._ticks.clear()
        steps = record.base_sequence.item()
        faults = rows["faults"][:, 0]
        for at in (0, *np.flatnonzero(np.diff(faults)) + 1):
            self.governor.hear_faults(int(faults[at]))
        for news in self._experience.feed(rows):
            self.governor.hear(news)
        events, self._events = self._events, []
        for said in self.trainer.feed(rows, events):
            if isinstance(said, Candidate):
                if said.trial == self._rolled:
                    self._offers.append((said.steps + self._lag_steps, said))
            else:
                self.governor.hear_progress(said.steps)
                self._numbers = (said.critic_gap, said.update_ratio)
                self.text += [said.text] * bool(said.text)
        asked = self._ask()
        if asked != self._asked:
            if (asked.stage, asked.trial) != (self._asked.stage, self._asked.trial):
                self.told.append(f"step {steps}: {asked.stage.name} {asked.trial}: {asked.why}")
            self._asked = asked
            self._grants.append((steps + self._lag_steps, asked))

    def _ask(self) -> Grant:
        return self.governor.grant(*self._numbers, learner_lost=False)

    def _hand_over(self, candidate: Candidate, residual: ResidualPolicy) -> None:
        before = self.live
        super()._hand_over(candidate, residual)
        if self.live is not before:
            version = decode_snapshot(self.live).version
            self._snapshots[version] = self.live
            self.governor.hear_live(version)

    def _go_back(
        self, version: int, why: str, record: TickRecord, residual: ResidualPolicy
    ) -> None:
        undone = residual.version
        reason = residual.go_back(self._snapshots[version])
        assert not reason, reason
        self.live = self._snapshots[version]
        self._offers.clear()
        self._rolled = self.governor.trial
        said = Rollback(version, undone, self.governor.trial, why)
        text = msgspec.json.encode(said).decode()
        tick, now_ns = record.tick.item(), record.now_ns.item()
        self._events.append(Event(tick, now_ns, EventKind.ROLLBACK, text))
        self.told.append(f"tick {tick}: back to {version} from {undone}: {why}")
        self.governor.hear_live(version)
