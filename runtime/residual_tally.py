"""What the record says of the residual: verdicts, progress, and what acts now."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.gate_wire import Progress, Verdict
from runtime.messages import Event, EventKind, Phase, Stage
from runtime.record_format import ResidualStatus

Rows = np.ndarray[Any, np.dtype[Any]]

_SPAN_STEPS = 500


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
    if event.kind is not EventKind.PROGRESS:
        return None
    try:
        return msgspec.json.decode(event.text, type=Progress)
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
    """Return in which rows [ticks] the residual had any authority."""
    return np.asarray(rows["authority"].any(axis=1))


class ResidualTally:
    """Counts what passes of the residual, for the recorder's status."""

    def __init__(self) -> None:
        self._progress: list[Progress] = []
        self._promoted = self._refused = 0
        self._stage = Stage.OBSERVE
        self._version = 0
        self._authority = 0.0
        self._seen = False

    def add(self, rows: Rows) -> None:
        """Look at rows (at least one, in order)."""
        last = rows[-1]
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
            self._progress.append(progress)

    def status(self) -> ResidualStatus | None:
        """Return how things stand; None while nothing was granted."""
        if not self._seen:
            return None
        last = self._progress[-1] if self._progress else Progress(0, 0)
        return ResidualStatus(
            stage=self._stage.name,
            version=self._version,
            authority=self._authority,
            steps=last.steps,
            updates=last.updates,
            updates_per_step=updates_per_step(self._progress),
            promoted=self._promoted,
            refused=self._refused,
        )
