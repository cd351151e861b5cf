"""Writes a run's ticks and events as MCAP segments: whole chunks, rotation, retention, flags."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from mcap.well_known import MessageEncoding, SchemaEncoding
from mcap.writer import Writer

from runtime.clock import seconds_to_ns
from runtime.errors import RecordError
from runtime.events import Event
from runtime.faults import Response
from runtime.layout import Layout
from runtime.record_format import (
    EVENT_SCHEMA,
    EVENT_TOPIC,
    HEADER_NAME,
    SEGMENT_SUFFIX,
    TICK_TOPIC,
    RecordHeader,
    header_to_metadata,
)
from runtime.retention import apply_retention, flagged_path

Rows = np.ndarray[Any, np.dtype[Any]]

_NEVER_BY_SIZE = 1 << 40
_SEQUENCE_MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class WriterLimits:
    """When a segment ends, and how much all segments together may hold."""

    segment_bytes: int
    segment_s: float
    retention_bytes: int


class _Output:
    """The stream behind mcap's Writer: gathers a chunk, then writes all of it with write(2)."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._gathered = bytearray()
        self.written_bytes = 0

    def write(self, data: bytes) -> int:
        self._gathered += data
        return len(data)

    def tell(self) -> int:
        return self.written_bytes + len(self._gathered)

    def flush(self) -> None:
        """Write what was gathered; after an error the file ends with the last whole chunk."""
        rest = memoryview(self._gathered)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self.written_bytes)
            raise
        self.written_bytes += len(self._gathered)
        self._gathered = bytearray()

    def close(self) -> None:
        os.close(self._file)


class _Segment:
    """One MCAP file being written."""

    def __init__(self, path: Path, header: RecordHeader, layout: Layout) -> None:
        self.path = path
        self.output = _Output(path)
        # chunks end when `flush` says so; our stream has the three methods that Writer uses
        self._writer = Writer(self.output, chunk_size=_NEVER_BY_SIZE)  # type: ignore[arg-type]
        self._writer.start(profile="", library="trimtab")
        self._writer.add_metadata(HEADER_NAME, header_to_metadata(header))
        schema = self._writer.register_schema(
            f"trimtab.{layout.message_name}", SchemaEncoding.Protobuf, layout.descriptor()
        )
        self._ticks = self._writer.register_channel(TICK_TOPIC, MessageEncoding.Protobuf, schema)
        schema = self._writer.register_schema(
            "trimtab.Event", SchemaEncoding.JSONSchema, msgspec.json.encode(EVENT_SCHEMA)
        )
        self._events = self._writer.register_channel(EVENT_TOPIC, MessageEncoding.JSON, schema)

    def add_tick(self, tick: int, now_ns: int, message: memoryview) -> None:
        sequence = tick & _SEQUENCE_MASK
        self._writer.add_message(self._ticks, now_ns, bytes(message), now_ns, sequence)

    def add_event(self, event: Event) -> None:
        data = msgspec.json.encode(event)
        self._writer.add_message(self._events, event.now_ns, data, event.now_ns)

    def flush(self) -> None:
        self._writer.flush()  # type: ignore[no-untyped-call]

    def close(self) -> None:
        try:
            self._writer.finish()  # type: ignore[no-untyped-call]
            self.output.flush()
        finally:
            self.output.close()


class RecordWriter:
    """Writes one run's record into `folder`; continues after segments that are there already."""

    def __init__(self, folder: Path, header: RecordHeader, limits: WriterLimits) -> None:
        self._folder = folder
        self._header = header
        self._limits = limits
        self.layout = header.tick_layout()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._sentence(error) from error
        before = sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))
        self._number = len(before)
        self._closed_bytes = sum(path.stat().st_size for path in before)
        self.ticks = 0
        self.last_tick = 0
        self.last_now_ns = 0
        self._flag = False
        self._segment = self._open()

    @property
    def path(self) -> Path:
        """The segment being written."""
        return self._segment.path

    @property
    def size_bytes(self) -> int:
        """Bytes written for this run, all segments together."""
        return self._closed_bytes + self._segment.output.written_bytes

    def add_ticks(self, messages: memoryview) -> Rows:
        """Add concatenated tick messages to the current chunk; return them as rows.

        Raises:
            ValueError: the bytes are not messages of the header's layout.
        """
        rows = self.layout.read(messages)
        size = self.layout.size_bytes
        ticks: list[int] = rows["tick"][:, 0].tolist()
        times: list[int] = rows["now_ns"][:, 0].tolist()
        for index, (tick, now_ns) in enumerate(zip(ticks, times, strict=True)):
            self._segment.add_tick(tick, now_ns, messages[index * size : (index + 1) * size])
        self.ticks += len(ticks)
        self.last_tick, self.last_now_ns = ticks[-1], times[-1]
        self._flag = self._flag or bool(rows["response"].max() >= Response.HOLD)
        return rows

    def add_event(self, event: Event) -> None:
        """Add one event to the current chunk."""
        self._segment.add_event(event)

    def flush(self) -> None:
        """Close the chunk and write it; then flag or end the segment where that is due.

        Raises:
            RecordError: the file cannot be written. Earlier chunks stay readable.
        """
        try:
            self._segment.flush()
            if self._flag:
                self._raise_flag()
            elapsed_ns = time.monotonic_ns() - self._opened_ns
            written = self._segment.output.written_bytes
            if written >= self._limits.segment_bytes or elapsed_ns >= seconds_to_ns(
                self._limits.segment_s
            ):
                self._end_segment()
                self._segment = self._open()
                self._keep_budget()
        except OSError as error:
            raise self._sentence(error) from error

    def close(self) -> None:
        """Write what is left and the file's summary.

        Raises:
            RecordError: the file cannot be written. Earlier chunks stay readable.
        """
        try:
            self._end_segment()
            self._keep_budget()
        except OSError as error:
            raise self._sentence(error) from error

    def _open(self) -> _Segment:
        path = self._folder / f"{self._number:04d}{SEGMENT_SUFFIX}"
        self._number += 1
        self._opened_ns = time.monotonic_ns()
        try:
            segment = _Segment(path, self._header, self.layout)
            segment.output.flush()
        except OSError as error:
            raise self._sentence(error) from error
        return segment

    def _raise_flag(self) -> None:
        path = flagged_path(self._segment.path)
        if path != self._segment.path:
            self._segment.path.rename(path)
            self._segment.path = path

    def _end_segment(self) -> None:
        self._segment.close()
        self._flag = False
        self._closed_bytes += self._segment.output.written_bytes
        self._segment.output.written_bytes = 0

    def _keep_budget(self) -> None:
        apply_retention(self._folder.parent, self._limits.retention_bytes, self._segment.path)

    def _sentence(self, error: OSError) -> RecordError:
        return RecordError(
            f"{self._folder}: the record cannot be written: {error.strerror}; what was "
            "acknowledged is readable; free space there or set recorder.folder to another disk"
        )
