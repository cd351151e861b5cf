"""The episode manager: counts episodes and steps, runs the scripted reset, keeps outcomes.

Task signals come from drivers, operators, `trimtab mark` and predicates in the config; the
simulation is one driver among them. The manager itself ends an episode only by its step count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from runtime.clock import seconds_to_ns
from runtime.messages import (
    SIGNAL_SLOTS,
    Mode,
    Outcome,
    Phase,
    SignalKind,
    SignalSource,
    TickInputs,
)
from runtime.modes import ACTIVE, ARMED

# a reset may begin in the tick in which its episode ends, but not while a fault holds the arm
_RESETTABLE = ACTIVE | {Mode.HOMING}


@dataclass(frozen=True)
class Predicate:
    """Says `outcome` when element `index` of a group stays in (above, below) for `hold_ns`."""

    outcome: Outcome
    group: str
    index: int
    above: float
    below: float
    hold_ns: int


class EpisodeState(msgspec.Struct):
    """Everything the manager remembers. `ticks` and `step` count within the episode.

    `begin_asked`: an episode was begun while the reset still ran; it begins when that has ended.
    """

    phase: Phase = Phase.WAITING
    episode: int = 0
    step: int = 0
    ticks: int = 0
    rest_since_ns: int = -1
    begin_asked: bool = False
    predicate_since_ns: list[int] = []


@dataclass
class EpisodeDecision:
    """What the manager decided in this tick."""

    outcome: Outcome = Outcome.NONE
    source: SignalSource = SignalSource.NONE
    began: bool = False
    reset_target: tuple[float, ...] | None = None


class EpisodeManager:
    """Turns task signals and time into phases. `steps` policy steps make a time-out.

    A scripted reset ends by itself once the arm stands; with `by_person` the arm waits at rest
    for the signal RESET_END.
    """

    def __init__(
        self,
        steps: int,
        ticks_per_step: int,
        settle_s: float,
        predicates: Sequence[Predicate],
        *,
        by_person: bool,
    ) -> None:
        self._steps = steps
        self._ticks_per_step = ticks_per_step
        self._settle_ns = seconds_to_ns(settle_s)
        self._predicates = tuple(predicates)
        self._by_person = by_person
        self.state = EpisodeState(predicate_since_ns=[-1] * len(self._predicates))

    @property
    def running(self) -> bool:
        """True while the policy may act."""
        return self.state.phase is Phase.RUNNING

    @property
    def time_left(self) -> float:
        """Share of the episode's steps that is left, 1 outside an episode."""
        return 1.0 - min(self.state.step, self._steps) / self._steps if self.running else 1.0

    @property
    def step_due(self) -> bool:
        """True in the ticks at whose end the policy acts."""
        state = self.state
        return (
            self.running and state.ticks % self._ticks_per_step == 0 and state.step < self._steps
        )

    def update(
        self, inputs: TickInputs, groups: Mapping[str, Sequence[float]], mode: Mode
    ) -> EpisodeDecision:
        """Take this tick's signals.

        `groups`: finite values of the observation groups that are fresh; `mode`: the mode before
        this tick.
        """
        decision = EpisodeDecision()
        state = self.state
        if state.phase is Phase.RUNNING:
            state.ticks += 1
        elif mode is not Mode.HOMING:
            # what interrupted a reset, or came after it, may have left the arm elsewhere
            state.phase, state.begin_asked = Phase.WAITING, False
        for slot in range(SIGNAL_SLOTS):
            if inputs.signal_kind[slot]:
                self._take(inputs, slot, mode, decision)
        if state.phase is Phase.READY and state.begin_asked:
            self._begin(decision)
        if state.phase is Phase.RUNNING and decision.outcome is Outcome.NONE:
            self._judge(inputs, groups, mode in ARMED, decision)
        return decision

    def stood(self, at_rest: bool, moving: bool, now_ns: int) -> None:
        """Say whether the arm stands and whether scripted motion goes on; ends a reset."""
        state = self.state
        if state.phase is not Phase.RESETTING or self._by_person or moving or not at_rest:
            state.rest_since_ns = -1
        elif state.rest_since_ns < 0:
            state.rest_since_ns = now_ns
        elif now_ns - state.rest_since_ns >= self._settle_ns:
            state.phase = Phase.READY

    def restore(self, state: EpisodeState) -> None:
        """Take up a saved state; predicates of another config begin anew."""
        self.state = state
        if len(state.predicate_since_ns) != len(self._predicates):
            state.predicate_since_ns = [-1] * len(self._predicates)

    def abort(self, decision: EpisodeDecision) -> None:
        """End the running episode without a verdict on the policy."""
        self._end(Outcome.ABORT, SignalSource.MANAGER, decision)

    def _take(
        self, inputs: TickInputs, slot: int, mode: Mode, decision: EpisodeDecision
    ) -> None:
        kind = SignalKind(int(inputs.signal_kind[slot]))
        source = SignalSource(int(inputs.signal_source[slot]))
        state = self.state
        if kind is SignalKind.OUTCOME and state.phase is Phase.RUNNING:
            said = Outcome(int(inputs.signal_outcome[slot]))
            self._end(said or Outcome.UNKNOWN, source, decision)
        elif state.phase is Phase.RUNNING:
            return
        elif kind is SignalKind.RESET_BEGIN and mode in _RESETTABLE:
            if not self._by_person:
                decision.reset_target = _target(inputs, slot)
            state.phase, state.rest_since_ns, state.begin_asked = Phase.RESETTING, -1, False
        elif kind is SignalKind.RESET_END and self._by_person:
            self._reset_ended()
        elif kind is SignalKind.EPISODE_BEGIN and mode is Mode.HOMING:
            if state.phase is Phase.RESETTING:
                state.begin_asked = True
            elif decision.outcome is Outcome.NONE:
                self._begin(decision)

    def _reset_ended(self) -> None:
        """A person says that the scene is ready; of a scripted reset the arm itself says so."""
        if self.state.phase is Phase.RESETTING:
            self.state.phase = Phase.READY

    def _begin(self, decision: EpisodeDecision) -> None:
        state = self.state
        state.phase = Phase.RUNNING
        state.episode += 1
        state.step = state.ticks = 0
        state.begin_asked = False
        state.predicate_since_ns = [-1] * len(self._predicates)
        decision.began = True

    def _judge(
        self,
        inputs: TickInputs,
        groups: Mapping[str, Sequence[float]],
        armed: bool,
        decision: EpisodeDecision,
    ) -> None:
        now_ns = int(inputs.now_ns[0])
        if not armed:
            self.abort(decision)
            return
        for index, predicate in enumerate(self._predicates):
            if self._holds(index, predicate, groups, now_ns):
                self._end(predicate.outcome, SignalSource.PREDICATE, decision)
                return
        if self.state.ticks >= self._steps * self._ticks_per_step:
            self._end(Outcome.TIMEOUT, SignalSource.MANAGER, decision)

    def _holds(
        self,
        index: int,
        predicate: Predicate,
        groups: Mapping[str, Sequence[float]],
        now_ns: int,
    ) -> bool:
        values = groups.get(predicate.group)
        true_now = (
            values is not None and predicate.above < values[predicate.index] < predicate.below
        )
        since = self.state.predicate_since_ns
        if not true_now:
            since[index] = -1
            return False
        if since[index] < 0:
            since[index] = now_ns
        return now_ns - since[index] >= predicate.hold_ns

    def _end(self, outcome: Outcome, source: SignalSource, decision: EpisodeDecision) -> None:
        decision.outcome, decision.source = outcome, source
        self.state.phase = Phase.WAITING


def _target(inputs: TickInputs, slot: int) -> tuple[float, ...]:
    """Return the set-point that the signal in `slot` names, empty for none."""
    if not inputs.signal_has_target[slot]:
        return ()
    width = len(inputs.signal_target) // SIGNAL_SLOTS
    return tuple(inputs.signal_target[slot * width : (slot + 1) * width].tolist())
