"""From recorded ticks to episodes of policy steps: the same code live and from files.

One policy step begins with a record in which the policy is due (what it saw) and ends with the
next such record, or with the one in which the episode ends. What it did stands in that closing
record: base and residual action, authority, and what the envelope admitted. An answer that comes
with the end is no step. An episode with a
hole in it (dropped records, a hold, a failed inference) drops out whole: a step whose cause is
not known teaches something false.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.features import RawFeatures
from policies.terms import term_named
from runtime.faults import GUARDS
from runtime.layout import Floats
from runtime.messages import (
    Outcome,
    Phase,
    SignalKind,
    SignalSource,
    Sizes,
    new_record,
)
from runtime.modes import ACTIVE
from runtime.outcomes import Ledger, Ruling, late_outcomes
from runtime.policy_contract import ActionSpec

Rows = np.ndarray[Any, np.dtype[Any]]
_ACTIVE = np.array(sorted(ACTIVE), dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """One policy step. `features` [n] are raw, of the record that the policy saw; `base` [d] is in
    action units; `granted` and `executed` [d] in units of the contract's bound: what was added to
    the base after authority, and what came of it behind the set-point's limits and the envelope,
    cut to [-1, 1]. `force_n`: largest contact force until the step ended. `limited`: the envelope
    changed a command. `noisy`: noise was drawn. `version`: the snapshot that acted.
    """

    features: Floats
    base: Floats
    granted: Floats
    executed: Floats
    force_n: float
    limited: bool
    noisy: bool
    version: int


@dataclass(frozen=True, slots=True)
class Episode:
    """An episode: its steps, oldest first, and the raw features [n] of its last record.

    `guarded`: a guard took over after the last of these steps; whatever became of the episode
    later, for them it is a failure.
    """

    number: int
    steps: tuple[PolicyStep, ...]
    last_features: Floats
    outcome: Outcome
    guarded: bool = False


@dataclass(frozen=True, slots=True)
class StepSeen:
    """Policy step `number` of the run has begun: it was seen, its answer is under way."""

    number: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """An episode that cannot be learned from, and why."""

    number: int
    reason: str


News = StepSeen | Episode | Dropped | Ruling


@dataclass(slots=True)
class _Open:
    """What is gathered of the running episode."""

    number: int
    steps: list[PolicyStep] = field(default_factory=list)
    seen: Floats | None = None
    taken: int = 0
    sequence: int = 0
    seen_ns: int = 0
    force_n: float = 0.0
    limited: bool = False
    broken: str = ""
    guarded_at: Floats | None = None


class Experience:
    """Turns batches of ticks, in order, into news. `ledger` keeps the outcomes; `position` is the
    last tick taken in, `dropped` counts episodes with holes. `scale` [n] brings each raw feature
    near one (see terms.py).
    """

    def __init__(self, sizes: Sizes, action: ActionSpec, terms: Sequence[str]) -> None:
        self.ledger = Ledger()
        self.position = 0
        self.dropped = 0
        self._record = new_record(sizes)
        self._features = RawFeatures(terms, action.kind, self._record)
        named = [term_named(name, action.kind) for name in terms]
        self.scale: Floats = np.concatenate(
            [np.full(term.size(sizes), term.scale) for term in named]
        )
        bound = np.array(action.residual_bound)
        # a dimension without a residual has none to learn from: zero, not a division by zero
        self._per_bound = np.divide(1.0, bound, out=np.zeros_like(bound), where=bound > 0)
        self._open: _Open | None = None
        self._last_ended = 0

    @property
    def width(self) -> int:
        """How many features a step has."""
        return len(self._features.values)

    def feed(self, rows: Rows) -> Iterator[News]:
        """Take the next ticks (structured, in order) and yield what they tell, in order.

        Ticks that were taken in before are left out. `position` is at the last row once the
        iterator is used up.
        """
        rows = rows[rows["tick"][:, 0] > self.position]
        if len(rows) == 0:
            return
        batch = _Batch(rows, self.position)
        begin = 0
        for index in batch.stops:
            yield from self._until(rows, batch, begin, int(index))
            begin = int(index) + 1
        self._gather(batch, begin, len(rows))
        self.position = int(rows["tick"][-1, 0])

    def _until(self, rows: Rows, batch: "_Batch", begin: int, index: int) -> Iterator[News]:
        """Handle the rows up to and with one that matters."""
        if batch.holes[index]:
            self._break("records are missing")
            begin = index
        self._gather(batch, begin, index + 1)
        row = rows[index]
        open_ = self._open
        if open_ is not None and batch.running[index] and not batch.active[index]:
            self._interrupt(row, open_)
        outcome = Outcome(int(row["outcome"][0]))
        if open_ is not None and (row["policy_due"][0] or outcome is not Outcome.NONE):
            self._close(row, open_)
        ended = outcome is not Outcome.NONE
        if ended:
            yield from self._end(row, outcome)
        if row["policy_due"][0]:
            self._begin_step(row)
            yield StepSeen(int(row["base_sequence"][0]) + 1)
        yield from self._late(row, ended=ended)

    def _gather(self, batch: "_Batch", begin: int, end: int) -> None:
        """Note the force and the limits of the rows in which a step was under way."""
        if self._open is not None and begin < end:
            force_n = batch.force_n[begin:end].max()
            # what is not finite must not hide behind max
            self._open.force_n = max(self._open.force_n, float(force_n))
            self._open.limited |= bool(batch.limited[begin:end].any())

    def _break(self, reason: str) -> None:
        if self._open is not None:
            self._open.broken = self._open.broken or reason

    def _interrupt(self, row: Any, open_: _Open) -> None:
        """Something else moves the arm in the middle of the episode."""
        if open_.seen is None:
            return
        if int(row["faults"][0]) & GUARDS:
            self._close(row, open_)
            open_.guarded_at = self._read(row)
        else:
            self._break("the policy was interrupted")

    def _begin_step(self, row: Any) -> None:
        number = int(row["episode"][0])
        if self._open is None or self._open.number != number:
            self._open = _Open(number)
            if row["episode_step"][0] != 0:
                self._break("its beginning is missing")
        open_ = self._open
        if open_.guarded_at is not None:
            return
        open_.seen = self._read(row)
        open_.taken = int(row["episode_step"][0])
        open_.sequence = int(row["base_sequence"][0])
        open_.seen_ns = int(row["now_ns"][0])
        open_.force_n, open_.limited = 0.0, False

    def _read(self, row: Any) -> Floats:
        self._record.raw[:] = row.tobytes()
        return self._features.read(self._record).copy()

    def _close(self, row: Any, open_: _Open) -> None:
        """Complete the step under way from the record that ends it."""
        if open_.seen is None:
            return
        if row["episode_step"][0] <= open_.taken and not row["policy_due"][0]:
            # it ended as the answer came, which nobody acted on: beside it stands another action
            open_.seen = None
            return
        if row["base_sequence"][0] != open_.sequence + 1 or row["base_failed"][0]:
            self._break("a base action is missing")
        elif row["base_observed_ns"][0] != open_.seen_ns:
            # in real time an answer may come after the next question was due
            self._break("a base action answers another record")
        if row["residual_failed"][0]:
            self._break("the residual failed")
        base = row["base_action"].copy()
        granted = (row["action"] - base) * self._per_bound
        executed = (row["action_executed"] - base) * self._per_bound
        step = PolicyStep(
            features=open_.seen,
            base=base,
            granted=np.clip(granted, -1.0, 1.0),
            executed=np.clip(executed, -1.0, 1.0),
            force_n=open_.force_n,
            limited=open_.limited,
            noisy=bool(row["residual_noise"].any()),
            version=int(row["residual_version"][0]),
        )
        if not _finite(step):
            self._break("a number in it is not finite")
        open_.steps.append(step)
        open_.seen = None

    def _end(self, row: Any, outcome: Outcome) -> Iterator[News]:
        number = int(row["episode"][0])
        open_, self._open = self._open, None
        self._last_ended = number
        ruling = self.ledger.ended(number, outcome, SignalSource(int(row["outcome_source"][0])))
        reason = "its beginning is missing"
        if open_ is not None and open_.number == number:
            reason = open_.broken
        if outcome is Outcome.ABORT:
            reason = reason or "it was aborted"
        if reason or open_ is None or not open_.steps:
            self.dropped += 1
            yield Dropped(number, reason or "it has no step")
        elif open_.guarded_at is not None:
            steps = tuple(open_.steps)
            yield Episode(number, steps, open_.guarded_at, Outcome.FAILURE, guarded=True)
        else:
            yield Episode(number, tuple(open_.steps), self._read(row), outcome)
        yield ruling

    def _late(self, row: Any, *, ended: bool) -> Iterator[Ruling]:
        """Take outcomes that were said while no episode ran: they are of the last that ended."""
        for outcome, source in late_outcomes(row, ended=ended):
            yield self.ledger.said(self._last_ended, outcome, source)


class _Batch:
    """Columns of a batch, contiguous, and which rows matter."""

    def __init__(self, rows: Rows, position: int) -> None:
        ticks = np.ascontiguousarray(rows["tick"][:, 0])
        before = np.concatenate(([position or ticks[0] - 1], ticks[:-1]))
        self.holes = np.asarray(ticks != before + 1)
        self.running = _any(rows["phase"] == Phase.RUNNING)
        self.active = _any(np.isin(rows["mode"], _ACTIVE))
        self.force_n: Floats = np.ascontiguousarray(rows["contact_force_n"][:, 0])
        self.limited = _any(rows["limited_by"] != 0)
        matters = (
            (rows["policy_due"][:, 0] != 0)
            | (rows["outcome"][:, 0] != Outcome.NONE)
            | _any(rows["signal_kind"] == SignalKind.OUTCOME)
            | (self.running & ~self.active)
            | self.holes
        )
        self.stops = np.flatnonzero(matters)


def _any(flags: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows [rows] have any flag of theirs [rows, k] set."""
    found: NDArray[np.bool_] = np.logical_or.reduce(flags, axis=1)
    return found


def _finite(step: PolicyStep) -> bool:
    parts = (step.features, step.base, step.granted, step.executed, [step.force_n])
    return all(bool(np.isfinite(part).all()) for part in parts)
