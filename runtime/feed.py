"""The record as a live stream: the recorder publishes what it takes, learner and gate read along.

What a reader missed (it came late, was slow, or the socket dropped it) it reads from the run's
files, so that live learning and rebuilding from a record are the same code. The stream is frames of
record_format.py as control sent them. A HELLO is said again every so often, for late comers: its
number is that of the last tick before it, so that a reader knows what it missed.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq

from runtime.clock import seconds_to_ns
from runtime.errors import RecordError
from runtime.events import Event
from runtime.layout import Layout
from runtime.record_format import (
    SEGMENT_SUFFIX,
    FrameKind,
    RecorderPlace,
    RecordHeader,
    frame,
    open_frame,
)
from runtime.records import read_record

Rows = np.ndarray[Any, np.dtype[Any]]

# what a reader that stands still may cost the recorder: 1000 frames are 20 s at 50 frames a second
_QUEUE_FRAMES = 1000
_HEADER_EVERY_S = 0.25
_LAST_WORD_MS = 200
_DRAIN_FRAMES = 64
_FILL_WAIT_S = 2.0
_FILL_PAUSE_S = 0.02
_CHUNK_TICKS = 4096


class FeedPublisher:
    """The recorder's end. Never blocks: a reader that is too slow misses frames."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", place: RecorderPlace) -> None:
        self._socket = context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, _QUEUE_FRAMES)
        self._socket.setsockopt(zmq.LINGER, _LAST_WORD_MS)
        self._socket.bind(place.feed_endpoint)
        self._header = b""
        self._said_s = 0.0

    def greet(self, header: bytes) -> None:
        """From now on this is the run's header, msgpack."""
        self._header = header

    def say_header(self, last_tick: int) -> None:
        """Say the header if that is due; `last_tick`: the last one that was published."""
        now_s = time.monotonic()
        if self._header and now_s - self._said_s >= _HEADER_EVERY_S:
            self._said_s = now_s
            self._socket.send(frame(FrameKind.HELLO, last_tick, self._header), zmq.NOBLOCK)

    def publish(self, data: bytes) -> None:
        """Pass on a frame as it came from control."""
        self._socket.send(data, zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@dataclass(frozen=True)
class Batch:
    """Ticks in order, as `rows` [ticks] and as the bytes of their messages, and events among or
    just after them. Between two batches ticks are missing only where no file holds them either.
    """

    raw: memoryview
    rows: Rows
    events: tuple[Event, ...]


class FeedReader:
    """A reader's end of the stream. `after_tick`: the last tick that the reader already has;
    None: it wants no history and begins with whatever comes."""

    def __init__(self, place: RecorderPlace, after_tick: int | None) -> None:
        self._folder = place.folder
        self._last = after_tick
        self._header: RecordHeader | None = None
        self._layout: Layout | None = None
        self._pending: list[tuple[FrameKind, memoryview]] = []
        self._published = 0
        self._context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.SUB)
        self.socket.setsockopt(zmq.RCVHWM, _QUEUE_FRAMES)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.socket.connect(place.feed_endpoint)

    @property
    def header(self) -> RecordHeader | None:
        """The run's header, once it was heard."""
        return self._header

    def wait_header(self, timeout_s: float) -> RecordHeader | None:
        """Wait for the header; None when it did not come within `timeout_s`."""
        deadline_ns = time.monotonic_ns() + seconds_to_ns(timeout_s)
        while self._header is None and time.monotonic_ns() < deadline_ns:
            if self.socket.poll(50):
                self._receive()
        return self._header

    def read(self, timeout_s: float) -> Iterator[Batch]:
        """Yield what is new: at most one batch from the stream, more where files fill a gap."""
        if not self._pending and not self.socket.poll(round(timeout_s * 1e3)):
            return
        self._receive()
        if self._layout is None:
            return
        yield from self._take_pending()
        if self._last is not None and self._published > self._last:
            yield from self._fill(self._published + 1)

    def _take_pending(self) -> Iterator[Batch]:
        assert self._layout is not None
        pending, self._pending = self._pending, []
        ticks = [payload for kind, payload in pending if kind == FrameKind.TICKS]
        events = [
            msgspec.msgpack.decode(payload, type=Event)
            for kind, payload in pending
            if kind == FrameKind.EVENT
        ]
        raw = memoryview(b"".join(ticks))
        rows = self._layout.read(raw)
        if len(rows):
            first = int(rows["tick"][0, 0])
            if self._last is not None and first > self._last + 1:
                yield from self._fill(first)
            raw, rows = self._unseen(raw, rows)
        if len(rows) or events:
            yield Batch(raw, rows, tuple(events))

    def catch_up(self, until: int) -> Iterator[Batch]:
        """Yield the recorded ticks up to `until` that the reader does not have, from the files."""
        yield from self._fill(until + 1)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        self._context.term()

    def _receive(self) -> None:
        """Take in what waits, as far as it is a frame; only the recorder can write here."""
        for _ in range(_DRAIN_FRAMES):
            try:
                data = self.socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            kind, number, payload = open_frame(data)
            if kind == FrameKind.HELLO:
                self._published = number
                self._greet(payload)
            elif kind in (FrameKind.TICKS, FrameKind.EVENT):
                self._pending.append((kind, payload))

    def _greet(self, payload: memoryview) -> None:
        if self._header is None:
            self._header = msgspec.msgpack.decode(payload, type=RecordHeader)
            self._layout = self._header.tick_layout()

    def _unseen(self, raw: memoryview, rows: Rows) -> tuple[memoryview, Rows]:
        """Leave out ticks that are known already (a restarted recorder gets some again)."""
        numbers = rows["tick"][:, 0]
        assert self._layout is not None
        size = self._layout.size_bytes
        known = -1 if self._last is None else self._last
        newest = np.maximum.accumulate(np.concatenate(([known], numbers)))[:-1]
        fresh = numbers > newest
        self._last = max(known, int(numbers.max()))
        if bool(fresh.all()):
            return raw, rows
        table = np.frombuffer(raw, np.uint8).reshape(-1, size)
        kept = memoryview(table[fresh].tobytes())
        return kept, self._layout.read(kept)

    def _fill(self, before: int) -> Iterator[Batch]:
        """Yield the ticks up to `before` from the run's files, which lag behind the stream."""
        assert self._last is not None
        deadline_ns = time.monotonic_ns() + seconds_to_ns(_FILL_WAIT_S)
        while self._last < before - 1:
            reached = self._last
            for batch, newest in history(self._folder, self._last, before):
                reached = newest
                if len(batch.rows):
                    self._last = int(batch.rows["tick"][-1, 0])
                    yield batch
            if reached >= before or time.monotonic_ns() > deadline_ns:
                # what is missing now is in no file: control could not hand it over
                return
            time.sleep(_FILL_PAUSE_S)


def history(folder: Path, after: int, before: int) -> Iterator[tuple[Batch, int]]:
    """Yield the recorded ticks between two numbers (both excluded), oldest first, and how far the
    segment that they are from reaches. A segment that vanishes or cannot be read is left out."""
    last = after
    for path in _segments_from(folder, after):
        with contextlib.suppress(RecordError, OSError):
            record = read_record(path)
            numbers = record.scalar("tick")
            newest = int(numbers[-1]) if len(numbers) else last
            wanted = np.flatnonzero((numbers > last) & (numbers < before))
            size = record.layout.size_bytes
            for start in range(0, len(wanted), _CHUNK_TICKS):
                some = wanted[start : start + _CHUNK_TICKS]
                low, high = int(some[0]), int(some[-1]) + 1
                raw = record.raw[low * size : high * size]
                rows = record.ticks[low:high]
                first, final = int(numbers[low]), int(numbers[high - 1])
                events = tuple(e for e in record.events if first <= e.tick <= final)
                last = final
                yield Batch(raw, rows, events), newest
            if not len(wanted):
                nothing = record.raw[:0]
                yield Batch(nothing, record.layout.read(nothing), ()), newest


def _segments_from(folder: Path, after: int) -> list[Path]:
    """Return the segments that may hold ticks beyond `after`, oldest first.

    Only the newest ones are asked for their first tick: a short gap must not read a day's record.
    """
    present = sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))
    if after <= 0:
        return present
    chosen: list[Path] = []
    for path in reversed(present):
        chosen.append(path)
        first = _first_tick(path)
        if first is not None and first <= after + 1:
            break
    return chosen[::-1]


def _first_tick(path: Path) -> int | None:
    with contextlib.suppress(RecordError, OSError):
        record = read_record(path)
        if len(record):
            return int(record.scalar("tick")[0])
    return None
