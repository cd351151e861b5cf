"""What a snapshot would have asked of the envelope: recorded ticks through the same tick again.

Observations stay those that were recorded; the residual's answers are the snapshot's own mean
actions, with full authority granted. The snapshot that is live is replayed in the same way.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from policies.features import RawFeatures
from policies.gate_checks import Layers, mean_actions
from policies.gate_window import Stretch
from runtime.gate_wire import Grant
from runtime.interfaces import ResidualAnswer
from runtime.layout import Floats
from runtime.messages import Limit, Sizes, Stage, TickInputs, TickRecord, new_inputs, new_record
from runtime.policy_contract import PolicyInterface
from runtime.residual_spec import ResidualConfig
from runtime.snapshot import Snapshot, matrices
from runtime.tick import ControlTick

LIMITS = tuple(limit for limit in Limit if limit)
_RAISED = "TICK_RAISED"
_EARNED = Grant(Stage.ADAPTIVE, [], noise_share=0.0)


class MeanActor:
    """A ResidualPolicy that always acts with a snapshot's mean action; None stands for version 0,
    which is zero."""

    def __init__(
        self,
        snapshot: Snapshot | None,
        contract: PolicyInterface,
        residual: ResidualConfig,
        record: TickRecord,
    ) -> None:
        self._snapshot = snapshot
        self._layers: Layers = [] if snapshot is None else matrices(snapshot)
        self._bound: Floats = np.array(contract.action.residual_bound)
        self._features = RawFeatures(residual.terms, contract.action.kind, record)

    @property
    def version(self) -> int:
        """The snapshot's version."""
        return 0 if self._snapshot is None else self._snapshot.version

    @property
    def refused(self) -> int:
        """Nothing is offered to it."""
        return 0

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        """Write the mean action, without noise, into `out`."""
        out.noise[:] = 0.0
        out.takes_part = self._snapshot is not None
        out.action[:] = 0.0
        if self._snapshot is not None:
            features = self._features.read(record)[np.newaxis]
            base = np.array(base_action)[np.newaxis]
            action = mean_actions(self._snapshot, self._layers, features, base)
            np.multiply(action[0], self._bound, out=out.action)

    def offer(self, data: bytes) -> str:
        """Stay what it is."""
        return "this one is on trial and takes no other"

    def go_back(self, data: bytes) -> str:
        """Stay what it is."""
        return "this one is on trial and goes nowhere"


class CandidateReplay:
    """Replays stretches through a tick that was composed as the recording one was."""

    def __init__(
        self,
        tick: ControlTick,
        sizes: Sizes,
        contract: PolicyInterface,
        residual: ResidualConfig,
    ) -> None:
        self._tick = tick
        self._contract = contract
        self._residual = residual
        self._inputs: TickInputs = new_inputs(sizes)
        self._record = new_record(sizes)

    def interventions(self, snapshot: Snapshot | None, stretch: Stretch) -> dict[str, int]:
        """Return in how many ticks each limit of the envelope acted, by name; and how many ticks
        raised."""
        actor = MeanActor(snapshot, self._contract, self._residual, self._record)
        tick, inputs, size = self._tick, self._inputs, len(self._inputs.raw)
        layout = self._record.layout
        counts = dict.fromkeys([*(limit.name or "" for limit in LIMITS), _RAISED], 0)
        actions = len(self._contract.action.names)
        answer = ResidualAnswer(np.zeros(actions), np.zeros(actions))
        asked = False
        tick.restore(stretch.keyframe)
        for index in range(len(stretch.rows)):
            start = index * layout.size_bytes
            inputs.raw[:] = stretch.raw[start : start + size]
            # in real time an answer may come later than in the next tick
            if asked and inputs.base_observed_ns.item() == self._record.now_ns.item():
                actor.act(self._record, inputs.base_action, _EARNED, answer)
                asked = False
            _put(inputs, actor.version, answer)
            try:
                record = tick.step(inputs)
            except Exception:
                counts[_RAISED] += 1
                record = tick.emergency(inputs)
            _count(record, counts)
            if record.policy_due[0]:
                self._record.raw[:] = record.raw
                asked = True
        return counts


def no_more(ours: Mapping[str, int], live: Mapping[str, int]) -> str:
    """Return which limits acted more often than with what is live, or nothing."""
    worse = [
        f"{name} in {ours[name]} ticks, {live[name]} with the one that is live"
        for name in ours
        if not (ours[name] <= live[name])
    ]
    return f"replayed, the envelope acts more often: {'; '.join(worse)}" if worse else ""


def _put(inputs: TickInputs, version: int, answer: ResidualAnswer) -> None:
    """Put a residual into recorded inputs as if it had been live, with full authority."""
    inputs.residual_action[:] = answer.action
    inputs.residual_noise[:] = answer.noise
    inputs.residual_version[0] = version
    inputs.residual_takes_part[0] = answer.takes_part
    inputs.residual_failed[0] = False
    inputs.residual_stage[0] = Stage.ADAPTIVE
    inputs.authority_granted[:] = 1.0


def _count(record: TickRecord, counts: dict[str, int]) -> None:
    acted: Sequence[int] = record.limited_by.tolist()
    if any(acted):
        for limit in LIMITS:
            counts[limit.name or ""] += any(mask & limit for mask in acted)
