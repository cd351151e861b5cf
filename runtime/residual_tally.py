"""What the record says of the residual: verdicts, progress, and what acts now."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.events import Event, EventKind
from runtime.gate_wire import Grant, Progress, Verdict
from runtime.messages import Phase, Stage
from runtime.orders import Orders
from runtime.record_format import EvidenceStatus, ResidualStatus
from runtime.wire import Order, Rollback

Rows = np.ndarray[Any, np.dtype[Any]]
_Told = TypeVar("_Told", Progress, Grant, Rollback, Order)

_SPAN_STEPS = 500
# of the learner's words, so many tell its rate over that span several times over
_PROGRESS_MAX = 1000
_EVIDENCE = (
    "success_evidence",
    "limited_share",
    "base_limited_share",
    "pressed_share",
    "base_pressed_share",
    "saturated_share",
    "own_reference",
    "base_reference",
    "critic_gap",
    "update_ratio",
    "weights_age_ns",
)


def verdict_of(event: Event) -> Verdict | None:
    """Return the gate's verdict that an event carries; None for any other event or sentence."""
    if event.kind is not EventKind.VERDICT or not event.text.startswith("{"):
        return None
    try:
        return msgspec.json.decode(event.text, type=Verdict)
    except msgspec.MsgspecError:
        return None


def progress_of(event: Event) -> Progress | None:
    """Return the learner's progress that an event carries; None for any other."""
    return _told(event, EventKind.PROGRESS, Progress)


def grant_of(event: Event) -> Grant | None:
    """Return what the gate granted by an event; None for any other."""
    return _told(event, EventKind.GRANT, Grant)


def rollback_of(event: Event) -> Rollback | None:
    """Return the roll-back that an event tells of; None for any other."""
    return _told(event, EventKind.ROLLBACK, Rollback)


def order_of(event: Event) -> Order | None:
    """Return what a person said of the residual by an event; None for any other."""
    return _told(event, EventKind.ORDER, Order)


def _told(event: Event, kind: EventKind, told: type[_Told]) -> _Told | None:
    if event.kind is not kind:
        return None
    try:
        return msgspec.json.decode(event.text, type=told)
    except msgspec.MsgspecError:
        return None


def updates_per_step(progress: Sequence[Progress], span_steps: int = _SPAN_STEPS) -> float:
    """Return gradient steps per policy step over the last `span_steps` policy steps; 0 before any
    update."""
    if len(progress) < 2:
        return 0.0
    last = progress[-1]
    first = next((p for p in reversed(progress) if last.steps - p.steps >= span_steps), progress[0])
    steps = last.steps - first.steps
    return (last.updates - first.updates) / steps if steps > 0 else 0.0


def acting(rows: Rows) -> NDArray[np.bool_]:
    """Return in which rows [ticks] the residual took part and had any authority. Before its first
    policy step an episode still carries the last answer of the one before it."""
    takes_part = rows["residual_takes_part"][:, 0] != 0
    answered = rows["episode_step"][:, 0] > 0
    return np.asarray(rows["authority"].any(axis=1) & takes_part & answered)


def evidence_of(row: Rows) -> EvidenceStatus:
    """Return what one row [1] of ticks says for and against the residual."""
    one = {name: row[name][0].tolist() for name in _EVIDENCE}
    return EvidenceStatus(
        success=tuple(one["success_evidence"]),
        limited=one["limited_share"][0],
        base_limited=one["base_limited_share"][0],
        pressed=one["pressed_share"][0],
        base_pressed=one["base_pressed_share"][0],
        saturated=one["saturated_share"],
        own=tuple(one["own_reference"]),
        base=tuple(one["base_reference"]),
        critic_gap=one["critic_gap"][0],
        update_ratio=one["update_ratio"][0],
        weights_age_s=one["weights_age_ns"][0] * 1e-9,
    )


class ResidualTally:
    """Counts what passes of the residual, for the recorder's status."""

    def __init__(self) -> None:
        self._progress: list[Progress] = []
        self._promoted = self._refused = self._rollbacks = 0
        self._grant: Grant | None = None
        self._orders = Orders(residual=True)
        self._stage = Stage.OBSERVE
        self._version = 0
        self._authority = 0.0
        self._last: Rows | None = None
        self._seen = False

    def add(self, rows: Rows) -> None:
        """Look at rows (at least one, in order)."""
        last = rows[-1]
        self._last = rows[-1:]
        self._stage = Stage(int(last["residual_stage"][0]))
        self._version = int(last["residual_version"][0])
        self._seen = self._seen or self._stage is not Stage.OBSERVE or self._version > 0
        running = rows[rows["phase"][:, 0] == Phase.RUNNING]
        if len(running):
            self._authority = float(running[-1]["authority"].max())

    def hear(self, event: Event) -> None:
        """Take an event."""
        verdict, progress = verdict_of(event), progress_of(event)
        if verdict is not None:
            self._promoted += verdict.passed
            self._refused += not verdict.passed
        if progress is not None:
            self._hear_progress(progress)
        self._grant = grant_of(event) or self._grant
        self._rollbacks += rollback_of(event) is not None
        order = order_of(event)
        if order is not None:
            self._orders.take(order)

    def _hear_progress(self, progress: Progress) -> None:
        """Keep as much as tells the rate of updates."""
        self._progress.append(progress)
        if len(self._progress) > _PROGRESS_MAX:
            del self._progress[: _PROGRESS_MAX // 2]

    def status(self) -> ResidualStatus | None:
        """Return how things stand; None while nobody grants anything."""
        if self._last is None or not (self._seen or self._grant):
            return None
        last = self._progress[-1] if self._progress else Progress(0, 0)
        grant = self._grant or Grant(self._stage, [])
        return ResidualStatus(
            stage=self._stage.name,
            version=self._version,
            authority=self._authority,
            steps=last.steps,
            updates=last.updates,
            updates_per_step=updates_per_step(self._progress),
            promoted=self._promoted,
            refused=self._refused,
            share=grant.share,
            trial=grant.trial,
            why=grant.why,
            learning=grant.learning,
            rollbacks=self._rollbacks,
            order=self._orders.words,
            held=self._orders.dropped,
            evidence=evidence_of(self._last),
        )
