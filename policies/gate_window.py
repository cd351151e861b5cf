"""The recent past of the robot, as the gate keeps it: ticks to replay, observations to compare on.

Everything is asked for up to a policy step, so that a verdict on the candidate of that step does
not depend on how fast the stream came in.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.features import RawFeatures
from policies.terms import ActionKind
from runtime.events import Event, EventKind
from runtime.layout import Floats, Layout
from runtime.messages import Sizes, TickRecord, new_record

Rows = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Stretch:
    """Recorded ticks without a gap, their messages concatenated, and the state just before."""

    keyframe: bytes
    raw: memoryview
    rows: Rows


@dataclass(frozen=True)
class Observation:
    """What the residual saw at a policy step: raw features [n] and the base's action [d]."""

    step: int
    features: Floats
    base: Floats


class RecentPast:
    """Keeps the last ticks and observations. `keep_ticks`: at least so many; `names`, `kind`: the
    terms that the residual sees; `keep_steps`: so many observations."""

    def __init__(
        self,
        sizes: Sizes,
        names: Sequence[str],
        kind: ActionKind,
        *,
        keep_ticks: int,
        keep_steps: int,
    ) -> None:
        self._record = new_record(sizes)
        self._layout: Layout = self._record.layout
        self._raw_features = RawFeatures(names, kind, self._record)
        self._keep_ticks = keep_ticks
        self._batches: deque[tuple[Rows, memoryview]] = deque()
        self._keyframes: dict[int, bytes] = {}
        self._observations: deque[Observation] = deque(maxlen=keep_steps)
        self._asked: TickRecord | None = None
        self.steps = 0
        self.last_tick = 0

    @property
    def feature_count(self) -> int:
        """How many raw features the residual sees."""
        return len(self._raw_features.values)

    def take(self, raw: memoryview, rows: Rows, events: Sequence[Event]) -> None:
        """Take in ticks in order (layout of `sizes`) and the events among them."""
        for event in events:
            if event.kind is EventKind.KEYFRAME:
                self._keyframes[event.tick] = event.data
        if not len(rows):
            return
        self._batches.append((rows, raw))
        self._observe(raw, rows)
        self.last_tick = int(rows["tick"][-1, 0])
        self.steps = max(self.steps, int(rows["base_sequence"][-1, 0]))
        self._forget()

    def recent(self, until_step: int, count: int) -> list[Observation]:
        """Return up to `count` observations, the last of them of step `until_step` or before."""
        known = [one for one in self._observations if one.step <= until_step]
        return known[-count:]

    def stretch(self, until_step: int, ticks: int) -> Stretch | None:
        """Return about `ticks` ticks without a gap that end where step `until_step` was taken, from
        the nearest keyframe on; None when there is nothing to replay."""
        if not self._batches:
            return None
        rows = np.concatenate([rows for rows, _ in self._batches])
        numbers = rows["tick"][:, 0]
        reached = rows["base_sequence"][:, 0] >= until_step
        end = int(reached.argmax()) if bool(reached.any()) else len(rows) - 1
        breaks = np.flatnonzero(np.diff(numbers[: end + 1]) != 1)
        unbroken = int(numbers[int(breaks[-1]) + 1]) if len(breaks) else int(numbers[0])
        usable = [k for k in self._keyframes if unbroken - 1 <= k < int(numbers[end])]
        if not usable:
            return None
        wanted = int(numbers[end]) - ticks
        before = [k for k in usable if k <= wanted]
        start = max(before) if before else min(usable)
        first = int(np.searchsorted(numbers, start + 1))
        raw = self._raw_of(first, end + 1)
        return Stretch(self._keyframes[start], raw, self._layout.read(raw))

    def _raw_of(self, first: int, end: int) -> memoryview:
        """Return the messages of ticks first to end - 1 (places in the kept ticks)."""
        size, at, parts = self._layout.size_bytes, 0, []
        for rows, raw in self._batches:
            low, high = max(first - at, 0), min(end - at, len(rows))
            if low < high:
                parts.append(raw[low * size : high * size])
            at += len(rows)
        return memoryview(b"".join(parts))

    def _observe(self, raw: memoryview, rows: Rows) -> None:
        """Note each record that the policies were asked about, with the base's answer: it stands in
        the tick after it."""
        due = rows["policy_due"][:, 0].astype(bool)
        answered = np.concatenate(([self._asked is not None], due[:-1]))
        size = self._layout.size_bytes
        for index in np.flatnonzero(answered | due):
            at = int(index)
            if answered[at] and self._asked is not None:
                self._note(rows[at])
            self._asked = None
            if due[at]:
                self._record.raw[:] = raw[at * size : (at + 1) * size]
                self._asked = self._record

    def _note(self, after: Any) -> None:
        """Note the observation that was asked about, unless the tick after it was lost or has no
        answer to it (in real time that may come later)."""
        assert self._asked is not None
        if int(after["tick"][0]) != self._asked.tick.item() + 1 or after["base_failed"][0]:
            return
        if after["base_observed_ns"][0] != self._asked.now_ns.item():
            return
        with np.errstate(all="ignore"):
            features = self._raw_features.read(self._asked).copy()
        base = np.array(after["base_action"], dtype=np.float64)
        if np.isfinite(features).all() and np.isfinite(base).all():
            step = int(after["base_sequence"][0])
            self._observations.append(Observation(step, features, base))

    def _forget(self) -> None:
        """Let go of what is older than was asked for, and of keyframes before it."""
        count = sum(len(rows) for rows, _ in self._batches)
        while count - len(self._batches[0][0]) > self._keep_ticks:
            count -= len(self._batches.popleft()[0])
        oldest = int(self._batches[0][0]["tick"][0, 0]) - 1
        for tick in [tick for tick in self._keyframes if tick < oldest]:
            del self._keyframes[tick]
