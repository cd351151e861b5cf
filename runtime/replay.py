"""A recorded run through the same tick again, every decision compared.

Two strengths. Envelope: recorded inputs and actions go through ControlTick; every output must be
equal. Policy: the base is asked again about each record that it answered, too, and the snapshots
of the residual that the record carries. On the machine that recorded (same fingerprint) equal means
bit for bit; elsewhere commands may differ by 1e-9 rad and actions by 1e-5 of their range, decisions
not at all.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from runtime.errors import RecordError
from runtime.events import EventKind
from runtime.fault_tracker import names
from runtime.gate_wire import Grant
from runtime.interfaces import BasePolicy, ResidualAnswer, ResidualPolicy
from runtime.messages import (
    Limit,
    Mode,
    Sizes,
    Stage,
    TickInputs,
    TickRecord,
    new_inputs,
    new_record,
)
from runtime.records import Record
from runtime.tick import ControlTick

COMMAND_TOLERANCE_RAD = 1e-9
ACTION_TOLERANCE_SHARE = 1e-5
_ROUNDING = 1e-12
_EXAMPLES = 20
_STRETCHES = 200
# asks a residual for its mean: takes part, undisturbed
_MEAN = Grant(Stage.ADAPTIVE, [], noise_share=0.0)
_COMMAND = ("q_applied", "dq_applied", "command_sent", "epoch", "command_sequence", "valid_for_ns")


@dataclass(frozen=True)
class Difference:
    """One field of one tick that came out differently."""

    tick: int
    field: str
    recorded: list[float]
    replayed: list[float]


@dataclass
class Stretch:
    """Consecutive ticks that would have been commanded differently, and why."""

    first_tick: int
    last_tick: int
    why: str


@dataclass
class ReplayResult:
    """What a replay found. `skipped`: ticks that no keyframe leads to (a gap, or the very start).

    `largest`: per field, the largest absolute difference; `examples`: the first few differences;
    `commanded`: where the command differs, the first few stretches.
    """

    strength: str
    same_machine: bool
    ticks: int = 0
    skipped: int = 0
    different: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    examples: list[Difference] = field(default_factory=list)
    commanded: list[Stretch] = field(default_factory=list)
    actions: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """True when nothing differed and something was compared."""
        return self.different == 0 and self.ticks > 0


def check_layout(record: Record, sizes: Sizes) -> None:
    """Refuse a record whose fields are not those of this version.

    Raises:
        RecordError: naming the fields that differ.
    """
    ours, theirs = new_record(sizes).layout, record.layout
    if ours.dtype != theirs.dtype or ours.template != theirs.template:
        mine = {entry.name: entry.size for entry in ours.fields}
        other = {entry.name: entry.size for entry in theirs.fields}
        odd = sorted(set(mine.items()) ^ set(other.items()))
        raise RecordError(
            f"this record was written with other fields ({odd[:6]}); replay it with the version "
            "that recorded it, or with the config that fits its sizes"
        )


class Replay:
    """Feeds a record through a tick. `tick` must be composed as it was for recording.

    Raises:
        RecordError: the record's layout differs from the tick's.
    """

    def __init__(
        self, record: Record, tick: ControlTick, sizes: Sizes, *, same_machine: bool
    ) -> None:
        check_layout(record, sizes)
        self._record = record
        self._tick = tick
        self._inputs: TickInputs = new_inputs(sizes)
        self._same_machine = same_machine
        self._keyframes = {
            event.tick: event.data for event in record.events if event.kind is EventKind.KEYFRAME
        }

    def envelope(self) -> ReplayResult:
        """Replay recorded inputs and actions; compare every output of every tick."""
        result = ReplayResult("envelope", self._same_machine)
        size = len(self._inputs.raw)
        for index, recorded in self._runs(result):
            self._inputs.raw[:] = recorded[:size]
            replayed, fields = self._again(index, result)
            result.ticks += 1
            if replayed.raw != recorded:
                self._compare(index, replayed, fields, result)
        return result

    def policy(
        self, base: BasePolicy, residuals: Mapping[int, ResidualPolicy] | None = None
    ) -> ReplayResult:
        """Ask the base again about every record that it answered; compare its actions.

        `residuals`: by version; each is asked for its mean action where it took part, which is
        compared with what was recorded less its noise.
        """
        result = ReplayResult("policy", self._same_machine)
        spec = base.contract.action
        span = np.array(spec.high) - np.array(spec.low)
        tolerance = 0.0 if self._same_machine else span * ACTION_TOLERANCE_SHARE
        record = TickRecord(self._record.layout, bytearray(self._record.layout.size_bytes))
        out = np.zeros(len(spec.names))
        ticks = self._record.scalar("tick")
        for asked, answered in self._answers():
            record.raw[:] = self._record.message(asked)
            base.act(record, out)
            recorded = self._record.column("base_action")[answered]
            result.ticks += 1
            result.actions += 1
            if not _within(recorded, out, tolerance):
                self._note(result, int(ticks[answered]), "base_action", recorded, out.copy())
                result.different += 1
            self._residual(answered, record, residuals or {}, result)
        return result

    def _answers(self) -> Iterator[tuple[int, int]]:
        """Yield (record that was asked about, record whose inputs first hold the base's answer).

        They follow each other, except in real time where an answer came late.
        """
        now_ns, due = self._record.scalar("now_ns"), self._record.scalar("policy_due")
        sequence, failed = self._record.scalar("base_sequence"), self._record.scalar("base_failed")
        observed_ns = self._record.scalar("base_observed_ns")
        for answered in np.flatnonzero(np.diff(sequence)) + 1:
            asked = int(np.searchsorted(now_ns[:answered], observed_ns[answered]))
            known = asked < answered and now_ns[asked] == observed_ns[answered] and due[asked]
            if known and not failed[answered]:
                yield asked, int(answered)

    def _residual(
        self,
        index: int,
        asked: TickRecord,
        residuals: Mapping[int, ResidualPolicy],
        result: ReplayResult,
    ) -> None:
        """Ask the residual again about the record `asked`; its answer stands at `index`."""
        row = self._record.ticks[index]
        version = int(row["residual_version"][0])
        if not row["residual_takes_part"][0] or version not in residuals:
            return
        zeros = np.zeros(len(row["residual_action"]))
        answer = ResidualAnswer(zeros, zeros.copy())
        base_action = np.array(row["base_action"], dtype=np.float64)
        residuals[version].act(asked, base_action, _MEAN, answer)
        recorded = row["residual_action"] - row["residual_noise"]
        # noise is added to the mean before both are scaled: the difference of the two is rounded
        tolerance = _ROUNDING if self._same_machine else ACTION_TOLERANCE_SHARE
        if not _within(recorded, answer.action, tolerance):
            name = "residual_action"
            self._note(result, int(row["tick"][0]), name, recorded, answer.action)
            result.different += 1

    def other_config(self) -> ReplayResult:
        """Replay as `envelope`, but carry the tick's own state on: what would another config do?

        Only the first keyframe is used; differences are expected and listed, not judged. A gap
        ends the replay, for what the other config would have known there is not in the record.
        """
        first = min(self._keyframes, default=None)
        if first is None:
            raise RecordError("the record has no keyframe to start from")
        self._keyframes = {first: self._keyframes[first]}
        return self.envelope()

    def _runs(self, result: ReplayResult) -> Iterator[tuple[int, memoryview]]:
        """Yield (index, message) of every tick that a keyframe leads to, restoring on the way."""
        ticks = self._record.scalar("tick").tolist()
        raised = self._record.scalar("step_raised").tolist()
        ready, last = False, -1
        for index, number in enumerate(ticks):
            # what a tick that raised did to the state is known only from the keyframe after it
            if number != last + 1 or (index and raised[index - 1]):
                ready = False
            if not ready and number - 1 in self._keyframes:
                self._restore(number - 1)
                ready = True
            last = number
            if ready:
                yield index, self._record.message(index)
            else:
                result.skipped += 1

    def _restore(self, tick: int) -> None:
        try:
            self._tick.restore(self._keyframes[tick])
        except msgspec.MsgspecError as error:
            raise RecordError(
                f"the keyframe at tick {tick} cannot be used: {error}; replay with the version "
                "that recorded it"
            ) from None

    def _again(self, index: int, result: ReplayResult) -> tuple[TickRecord, Collection[str]]:
        """Run a tick as the loop did; return its record and the fields that can be compared."""
        raised = bool(self._record.scalar("step_raised")[index])
        before = self._tick.save() if raised else b""
        try:
            replayed = self._tick.step(self._inputs)
        except Exception:
            replayed = self._tick.emergency(self._inputs)
        else:
            if raised:
                number = int(self._inputs.tick[0])
                result.notes.append(
                    f"tick {number} raised when it was recorded, and does not now: what broke was "
                    "not in the inputs; only its command is compared"
                )
                self._tick.restore(before)
                return self._tick.emergency(self._inputs), _COMMAND
        return replayed, replayed.view.keys()

    def _compare(
        self, index: int, replayed: TickRecord, fields: Collection[str], result: ReplayResult
    ) -> None:
        row = self._record.ticks[index]
        differing = []
        for name in fields:
            view = replayed.view[name]
            recorded = row[name]
            if view.tobytes() == recorded.tobytes():
                continue
            is_real = view.dtype.kind == "f"
            tolerance = COMMAND_TOLERANCE_RAD if is_real and not self._same_machine else 0.0
            if is_real and _within(recorded, view, tolerance):
                continue
            differing.append(name)
            self._note(result, int(row["tick"][0]), name, recorded, view)
        result.different += bool(differing)
        if "q_applied" in differing or "command_sent" in differing:
            _add_stretch(result, int(row["tick"][0]), _why(row, replayed))

    @staticmethod
    def _note(
        result: ReplayResult,
        tick: int,
        name: str,
        recorded: NDArray[Any],
        replayed: NDArray[Any],
    ) -> None:
        with np.errstate(invalid="ignore"):
            gap = np.abs(np.asarray(recorded, float) - np.asarray(replayed, float))
        largest = float(np.max(gap)) if np.isfinite(gap).all() else float("inf")
        result.largest[name] = max(result.largest.get(name, 0.0), largest)
        if len(result.examples) < _EXAMPLES:
            result.examples.append(
                Difference(tick, name, list(map(float, recorded)), list(map(float, replayed)))
            )


def _why(recorded: Any, replayed: TickRecord) -> str:
    """Say which decisions differ; empty when only the command does."""
    reasons = []
    before, after = Mode(int(recorded["mode"][0])), Mode(int(replayed.mode[0]))
    if before is not after:
        reasons.append(f"mode {after.name} instead of {before.name}")
    was, now = int(recorded["faults"][0]), int(replayed.faults[0])
    reasons.extend(f"{name} acts" for name in names(now & ~was))
    reasons.extend(f"{name} does not act" for name in names(was & ~now))
    for joint, (old, new) in enumerate(
        zip(recorded["limited_by"].tolist(), replayed.limited_by.tolist(), strict=True)
    ):
        reasons.extend(
            f"joint {joint} {'limited' if new & limit else 'not limited'} by {limit.name}"
            for limit in Limit
            if (old ^ new) & limit
        )
    return ", ".join(reasons)


def _add_stretch(result: ReplayResult, tick: int, why: str) -> None:
    last = result.commanded[-1] if result.commanded else None
    if last is not None and tick == last.last_tick + 1 and why in ("", last.why):
        last.last_tick = tick
    elif len(result.commanded) < _STRETCHES:
        reason = why or "what came before, or numbers of the config that decide nothing here"
        result.commanded.append(Stretch(tick, tick, reason))


def _within(recorded: NDArray[Any], replayed: NDArray[Any], tolerance: Any) -> bool:
    """True where both are NaN or differ by at most `tolerance`."""
    same = (recorded == replayed) | (np.isnan(recorded) & np.isnan(replayed))
    with np.errstate(invalid="ignore"):
        near = np.abs(recorded - replayed) <= tolerance
    return bool((same | near).all())
