"""Reads records: one MCAP segment, or the folder of a run with all of its segments.

A record that was cut short (kill -9, full disk, half a copy) reads up to the cut, with a note.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Metadata
from mcap.stream_reader import CRCValidationError
from mcap.writer import MCAP0_MAGIC
from numpy.typing import NDArray

from runtime.errors import RecordError
from runtime.journal import JournalEntry
from runtime.layout import Layout
from runtime.messages import Event
from runtime.record_format import (
    EVENT_TOPIC,
    HEADER_NAME,
    SEGMENT_SUFFIX,
    TICK_TOPIC,
    RecordHeader,
    header_from_metadata,
)

Rows = np.ndarray[Any, np.dtype[Any]]

_RECORD_HEAD = struct.Struct("<BQ")
# of a chunk: first log time, last log time, uncompressed size
_CHUNK_HEAD = struct.Struct("<QQQ")
# what parsing damaged bytes raises
_DAMAGE = (
    McapError,
    CRCValidationError,
    zstandard.ZstdError,
    struct.error,
    UnicodeDecodeError,
    OverflowError,  # a length that was flipped into more than an index can be
)
_CHUNK_BYTES_MAX = 1 << 28
_CHANNEL_ID = struct.Struct("<H")
# opcode, length, channel, sequence, log time, publish time
_MESSAGE_HEAD_BYTES = _RECORD_HEAD.size + 2 + 4 + 8 + 8


@dataclass(frozen=True)
class Gap:
    """Ticks that are missing: `count` of them after tick `after`."""

    after: int
    count: int


@dataclass(frozen=True)
class Record:
    """A whole record in memory.

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
        RecordError: there is no record at `path`, or its segments do not belong together.
    """
    paths = _segment_paths(path)
    segments = [_Segment(segment) for segment in paths]
    header = segments[0].header
    for segment in segments[1:]:
        if segment.header.layout != header.layout:
            raise RecordError(
                f"{segment.path} has another layout than {paths[0]}: they are not of one run; "
                "read them one by one"
            )
    layout = header.tick_layout()
    buffer = _TickBuffer(sum(segment.bound_bytes for segment in segments))
    for segment in segments:
        segment.read_into(buffer)
    raw = _without_repetitions(buffer.raw, layout)
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


def last_tick(folder: Path) -> tuple[int, int] | None:
    """Return tick and now_ns of the last readable tick of a run; None when there is none."""
    for path in sorted(folder.glob(f"*{SEGMENT_SUFFIX}"), reverse=True):
        try:
            segment = _Segment(path)
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


class _TickBuffer:
    """Room for all ticks of a record, allocated once: pages that stay unused cost nothing."""

    def __init__(self, bound_bytes: int) -> None:
        self._data = np.empty(bound_bytes, np.uint8)
        self._used = 0

    def append(self, table: NDArray[np.uint8]) -> None:
        """Copy a table [ticks, bytes] to the end."""
        end = self._used + table.size
        self._data[self._used : end].reshape(table.shape)[:] = table
        self._used = end

    @property
    def raw(self) -> memoryview:
        """What was appended."""
        return self._data[: self._used].data


class _Segment:
    """One MCAP file: what it says of itself, and its chunks as far as they are whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = path.stat().st_size
        self.events: list[Event] = []
        self.notes: list[str] = []
        self.truncated = True
        self._topics: dict[int, str] = {}
        self._decompressor = zstandard.ZstdDecompressor()
        records = list(self._records())
        self.header = self._header([body for code, body in records if code == Opcode.METADATA])
        self._chunks = [body for code, body in records if code == Opcode.CHUNK and _sane(body)]
        sizes = [_uncompressed_bytes(body) for body in self._chunks]
        self.bound_bytes = sum(sizes)
        self._largest_bytes = max(sizes, default=0)

    def read_into(self, buffer: _TickBuffer) -> None:
        """Read all ticks into `buffer`, and the events."""
        for chunk in self._chunks:
            self._read_chunk(chunk, buffer)

    def last_ticks(self) -> memoryview:
        """Return the ticks of the last chunk that holds any (the first one names the channels)."""
        self._read_chunk_of_channels()
        for chunk in reversed(self._chunks):
            buffer = _TickBuffer(self._largest_bytes)
            self._read_chunk(chunk, buffer)
            if buffer.raw:
                return buffer.raw
        return memoryview(b"")

    def _read_chunk_of_channels(self) -> None:
        for chunk in self._chunks[:1]:
            self._read_chunk(chunk, _TickBuffer(self._largest_bytes))

    def _header(self, bodies: list[memoryview]) -> RecordHeader:
        for body in bodies:
            try:
                entry = Metadata.read(_stream(body))
                if entry.name == HEADER_NAME:
                    return header_from_metadata(entry.metadata)
            except (*_DAMAGE, msgspec.ValidationError, msgspec.DecodeError) as error:
                raise RecordError(f"{self.path}: its header cannot be read: {error}") from None
        raise RecordError(f"{self.path}: no Trimtab header in it; it is another kind of file")

    def _records(self) -> Iterator[tuple[int, memoryview]]:
        """Yield opcode and content of each whole top-level record up to the end of the data."""
        with self.path.open("rb") as file:
            if file.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
                raise RecordError(f"{self.path}: not an MCAP file, so not a record")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.truncated = data[-len(MCAP0_MAGIC) :] != MCAP0_MAGIC
        if self.truncated:
            self.notes.append(f"{self.path.name} was not closed: it reads up to its last chunk")
        position = len(MCAP0_MAGIC)
        while position + _RECORD_HEAD.size <= len(data):
            opcode, length = _RECORD_HEAD.unpack_from(data, position)
            start = position + _RECORD_HEAD.size
            position = start + length
            if position > len(data) or opcode in (0, Opcode.DATA_END):
                return
            yield opcode, data[start:position]

    def _read_chunk(self, body: memoryview, buffer: _TickBuffer) -> None:
        try:
            chunk = Chunk.read(_stream(body))
            data = self._chunk_data(chunk)
        except _DAMAGE as error:
            self.notes.append(f"{self.path.name}: a damaged chunk was left out: {error}")
            return
        view = memoryview(data)
        position = 0
        while position < len(view):
            opcode, length = _RECORD_HEAD.unpack_from(view, position)
            end = position + _RECORD_HEAD.size + length
            if opcode == Opcode.MESSAGE:
                end = position + self._read_messages(view[position:], end - position, buffer)
            elif opcode == Opcode.CHANNEL:
                channel = Channel.read(_stream(view[position + _RECORD_HEAD.size : end]))
                self._topics[channel.id] = channel.topic
            position = end

    def _chunk_data(self, chunk: Chunk) -> bytes:
        if chunk.compression == "zstd":
            data = self._decompressor.decompress(chunk.data, chunk.uncompressed_size)
        else:
            data = chunk.data
        found = zlib.crc32(data)
        if chunk.uncompressed_crc not in (0, found):
            raise CRCValidationError(chunk.uncompressed_crc, found, chunk)
        return data

    def _read_messages(self, view: memoryview, stride: int, buffer: _TickBuffer) -> int:
        """Read the message at the start of `view`, and further ticks that follow it directly.

        `stride` is the first message's length; returns how many bytes were read.
        """
        (channel,) = _CHANNEL_ID.unpack_from(view, _RECORD_HEAD.size)
        topic = self._topics.get(channel)
        if topic == EVENT_TOPIC:
            data = view[_MESSAGE_HEAD_BYTES:stride]
            self.events.append(msgspec.json.decode(data, type=Event))
        if topic != TICK_TOPIC:
            return stride
        # ticks have one size, so a run of them is a table: one copy instead of one a tick
        rows = np.frombuffer(view, np.uint8)[: len(view) // stride * stride].reshape(-1, stride)
        heads = rows[:, : _RECORD_HEAD.size + _CHANNEL_ID.size]
        alike = (heads == heads[0]).all(axis=1)
        count = len(rows) if alike.all() else int(alike.argmin())
        buffer.append(rows[:count, _MESSAGE_HEAD_BYTES:])
        return count * stride


def _uncompressed_bytes(chunk: memoryview) -> int:
    size: int = _CHUNK_HEAD.unpack_from(chunk)[2]
    return size


def _sane(chunk: memoryview) -> bool:
    """Return whether a chunk's head can be true; a damaged one could ask for all the memory."""
    return len(chunk) >= _CHUNK_HEAD.size and _uncompressed_bytes(chunk) <= _CHUNK_BYTES_MAX


def _stream(data: memoryview) -> ReadDataStream:
    return ReadDataStream(BytesIO(data))


def _without_repetitions(raw: memoryview, layout: Layout) -> memoryview:
    """Leave out ticks that a restarted recorder was given a second time."""
    if len(raw) % layout.size_bytes:
        return raw
    number = layout.read(raw)["tick"][:, 0]
    if len(number) < 2:
        return raw
    newest_before = np.maximum.accumulate(number)[:-1]
    fresh = np.concatenate(([True], number[1:] > newest_before))
    if bool(fresh.all()):
        return raw
    # as bytes: copying rows of a structured array would lose the protobuf tags between fields
    table = np.frombuffer(raw, np.uint8).reshape(-1, layout.size_bytes)
    return memoryview(table[fresh].tobytes())


def _gaps(ticks: Rows) -> tuple[Gap, ...]:
    number = np.ascontiguousarray(ticks["tick"])[:, 0]
    jumps = np.flatnonzero(np.diff(number) > 1)
    return tuple(
        Gap(int(number[index]), int(number[index + 1] - number[index] - 1)) for index in jumps
    )
