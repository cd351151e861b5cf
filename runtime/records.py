"""Reads records: one MCAP segment, or the folder of a run with all of its segments.

A record that was cut short (kill -9, full disk, half a copy) reads up to the cut, with a note.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import RecordError
from runtime.events import Event
from runtime.journal import JournalEntry
from runtime.layout import Layout
from runtime.record_format import SEGMENT_SUFFIX, RecordHeader
from runtime.record_segment import NoTicks, Segment, TickBuffer

Rows = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Gap:
    """Ticks that are missing: `count` of them after tick `after`."""

    after: int
    count: int


@dataclass(frozen=True)
class Record:
    """A whole record.

    `ticks` is a structured array [ticks] with one field per layout field, each [size]; `raw` are
    the same bytes, the concatenated messages. `truncated`: a segment ends without its summary.
    `notes` say in sentences what is wrong or missing.
    """

    paths: tuple[Path, ...]
    header: RecordHeader
    layout: Layout
    raw: memoryview
    ticks: Rows
    events: tuple[Event, ...]
    gaps: tuple[Gap, ...]
    truncated: bool
    notes: tuple[str, ...]
    size_bytes: int
    _columns: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.ticks)

    def column(self, name: str) -> NDArray[Any]:
        """Return one field of all ticks as an aligned array [ticks, size] (kept for next time)."""
        if name not in self._columns:
            self._columns[name] = np.ascontiguousarray(self.ticks[name])
        return self._columns[name]

    def scalar(self, name: str) -> NDArray[Any]:
        """Return a field of size 1 as an aligned array [ticks]."""
        return self.column(name)[:, 0]

    def message(self, index: int) -> memoryview:
        """Return the protobuf bytes of one tick."""
        size = self.layout.size_bytes
        return self.raw[index * size : (index + 1) * size]

    @cached_property
    def duration_s(self) -> float:
        """Time from the first tick to the last, on the daemon's clock."""
        now_ns = self.scalar("now_ns")
        return float(now_ns[-1] - now_ns[0]) * 1e-9 if len(now_ns) else 0.0


def read_record(path: Path) -> Record:
    """Read a segment file or a run's folder.

    Raises:
        RecordError: there is no record at `path`, its segments do not belong together, or there
            is no room to unpack it.
    """
    paths = _segment_paths(path)
    segments = [Segment(segment) for segment in paths]
    header = segments[0].header
    for segment in segments[1:]:
        if segment.header.layout != header.layout:
            raise RecordError(
                f"{segment.path} has another layout than {paths[0]}: they are not of one run; "
                "read them one by one"
            )
    layout = header.tick_layout()
    buffer = TickBuffer(sum(segment.bound_bytes for segment in segments))
    for segment in segments:
        segment.read_into(buffer)
    _leave_out_repetitions(buffer, layout)
    raw = buffer.raw
    try:
        ticks = layout.read(raw)
    except ValueError as error:
        raise RecordError(f"{path}: {error}; the record is damaged") from None
    gaps = _gaps(ticks)
    notes = [note for segment in segments for note in segment.notes]
    if gaps:
        missing = sum(gap.count for gap in gaps)
        notes.append(f"{missing} ticks are missing in {len(gaps)} gaps")
    if not len(ticks):
        notes.append("the record holds no tick")
    return Record(
        paths=tuple(paths),
        header=header,
        layout=layout,
        raw=raw,
        ticks=ticks,
        events=tuple(event for segment in segments for event in segment.events),
        gaps=gaps,
        truncated=any(segment.truncated for segment in segments),
        notes=tuple(notes),
        size_bytes=sum(segment.size_bytes for segment in segments),
    )


@dataclass(frozen=True)
class RecordEvents:
    """What a record says beside its ticks, and `last`, its last tick (structured [1], or none)."""

    header: RecordHeader
    events: tuple[Event, ...]
    last: Rows


def read_events(path: Path) -> RecordEvents:
    """Read the events of a segment file or a run's folder, however many ticks are between them.

    Raises:
        RecordError: there is no record at `path`.
    """
    segments = [Segment(segment) for segment in _segment_paths(path)]
    nothing = NoTicks()
    for segment in segments:
        segment.read_into(nothing)
    # the last ticks are read once more, with the events among them
    events = tuple(event for segment in segments for event in segment.events)
    header = segments[0].header
    rows = header.tick_layout().read(memoryview(b""))
    for segment in reversed(segments):
        rows = segment.header.tick_layout().read(segment.last_ticks())
        if len(rows):
            break
    return RecordEvents(header, events, rows[-1:])


def last_tick(folder: Path) -> tuple[int, int] | None:
    """Return tick and now_ns of the last readable tick of a run; None when there is none."""
    for path in sorted(folder.glob(f"*{SEGMENT_SUFFIX}"), reverse=True):
        try:
            segment = Segment(path)
        except RecordError:
            continue
        layout = segment.header.tick_layout()
        rows = layout.read(segment.last_ticks())
        if len(rows):
            row = rows[-1]
            return int(row["tick"][0]), int(row["now_ns"][0])
    return None


def unfinished_note(entry: JournalEntry) -> str:
    """Say how much of a run that ended without closing is readable.

    Ticks are made one after the other, so what is missing is what comes after the last readable.
    """
    if not entry.made:
        return f"run {entry.run} ended without closing before its first record."
    found = last_tick(entry.folder)
    if found is None:
        missing, seconds = entry.made, ""
    else:
        missing = max(0, entry.last_tick - found[0])
        seconds = f" (its last {max(0, entry.last_now_ns - found[1]) * 1e-9:.3f} s)"
    return (
        f"run {entry.run} ended without closing: {missing} of its {entry.made} records{seconds} "
        f"are not readable; {entry.acknowledged} had been acknowledged, {entry.dropped} were "
        f"dropped before. The rest is in {entry.folder}"
    )


def _segment_paths(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise RecordError(f"{path}: there is no such file or folder; name a record")
    segments = sorted(path.glob(f"*{SEGMENT_SUFFIX}"))
    if segments:
        return segments
    runs = sorted({segment.parent.name for segment in path.glob(f"*/*{SEGMENT_SUFFIX}")})
    way_out = f"name one of its runs, such as {path / runs[-1]}" if runs else "name a record"
    raise RecordError(f"{path}: this folder holds no {SEGMENT_SUFFIX} segment; {way_out}")


def _leave_out_repetitions(buffer: TickBuffer, layout: Layout) -> None:
    """Leave out ticks that a restarted recorder was given a second time."""
    if len(buffer.raw) % layout.size_bytes:
        return
    number = layout.read(buffer.raw)["tick"][:, 0]
    newest_before = np.maximum.accumulate(number)[:-1]
    fresh = np.concatenate(([True] * len(number[:1]), number[1:] > newest_before))
    if not fresh.all():
        buffer.keep(fresh, layout.size_bytes)


def _gaps(ticks: Rows) -> tuple[Gap, ...]:
    number = np.ascontiguousarray(ticks["tick"])[:, 0]
    jumps = np.flatnonzero(np.diff(number) > 1)
    return tuple(
        Gap(int(number[index]), int(number[index + 1] - number[index] - 1)) for index in jumps
    )
