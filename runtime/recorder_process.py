"""The recorder: `python -m runtime.recorder_process`. Takes frames from control, writes MCAP.

A frame is acknowledged once write(2) of its closed chunk has returned; a chunk is closed at least
every flush_ms. The process ends when control says so, or, after SIGINT, SIGTERM or its parent's
death, when control falls silent: a robot that is being stopped is still recorded.
"""

import argparse
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import zmq

from runtime.errors import RecordError
from runtime.events import Event, EventKind
from runtime.feed import FeedPublisher
from runtime.journal import left_journals
from runtime.record_format import (
    UNGREETED,
    Ack,
    FrameKind,
    RecorderPlace,
    RecordHeader,
    open_frame,
)
from runtime.record_writer import RecordWriter, WriterLimits
from runtime.records import unfinished_note
from runtime.tally import Tally, Volume

_HEARTBEAT_S = 0.1
_STATUS_S = 0.2
_CHUNK_BYTES = 1 << 20
_DRAIN_FRAMES = 64
_SILENCE_S = 0.5
_PATIENCE_S = 10.0
_LAST_WORD_MS = 500
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class _Options:
    place: RecorderPlace
    limits: WriterLimits
    flush_s: float
    parent: int


class _Frames:
    """Which frames were taken, and which of them are written. A gap asks for a new HELLO."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forget the sender: it sees a new session and introduces itself again."""
        self.session = secrets.randbits(62)
        self.greeted = False
        self.taken = 0
        self.written = UNGREETED

    def greet(self, sequence: int) -> None:
        """A HELLO arrived; the next frame is `sequence`."""
        self.greeted = True
        self.taken = self.written = sequence - 1

    def take(self, sequence: int) -> bool:
        """Return whether this frame is the next one (and not a repetition)."""
        if not self.greeted or sequence <= self.taken:
            return False
        if sequence != self.taken + 1:
            self.renew()
            return False
        self.taken = sequence
        return True


class Recorder:
    """The recorder's sockets, its writer and when what is due."""

    def __init__(self, options: _Options, notes: Sequence[str]) -> None:
        self._options = options
        self._notes = list(notes)
        self._noted = 0
        self._frames = _Frames()
        self._tally = Tally()
        self._writer: RecordWriter | None = None
        self._chunk_since_s = 0.0
        self._chunk_bytes = 0
        self._finished = False
        self._asked_s = 0.0
        self._heard_s = self._answered_s = self._status_s = time.monotonic()
        self._status_bytes = 0
        self._context = zmq.Context()
        self._data = self._context.socket(zmq.DEALER)
        self._data.setsockopt(zmq.RCVHWM, 0)
        self._data.setsockopt(zmq.SNDHWM, 1000)
        self._data.setsockopt(zmq.LINGER, _LAST_WORD_MS)
        self._data.bind(options.place.data_endpoint)
        self._live = self._context.socket(zmq.PUB)
        self._live.setsockopt(zmq.SNDHWM, 10)
        self._live.setsockopt(zmq.LINGER, 0)
        self._live.bind(options.place.status_endpoint)
        self._feed = FeedPublisher(self._context, options.place)

    def ask_to_end(self) -> None:
        """End once control is silent; asked twice, end now."""
        self._finished = self._finished or self._asked_s > 0
        self._asked_s = self._asked_s or time.monotonic()

    def run(self) -> None:
        """Record until told to end.

        Raises:
            RecordError: the record cannot be written; control has been told.
        """
        try:
            while not self._finished:
                self._receive()
                self._do_what_is_due()
            self._close()
        except RecordError as error:
            self._say(FrameKind.FAILURE, str(error).encode())
            raise
        finally:
            self._data.close()
            self._live.close()
            self._feed.close()
            self._context.term()

    def _receive(self) -> None:
        if not self._data.poll(self._wait_ms()):
            return
        for _ in range(_DRAIN_FRAMES):
            try:
                data = self._data.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._heard_s = time.monotonic()
            self._take(data)

    def _take(self, data: bytes) -> None:
        kind, sequence, payload = open_frame(data)
        if kind == FrameKind.HELLO:
            self._greet(sequence, msgspec.msgpack.decode(payload, type=RecordHeader))
            self._feed.greet(bytes(payload))
            return
        if self._writer is None or not self._frames.take(sequence):
            return
        self._feed.publish(data)
        if not self._chunk_bytes:
            self._chunk_since_s = self._heard_s
        self._chunk_bytes += len(data)
        if kind == FrameKind.TICKS:
            self._tally.add(self._writer.add_ticks(payload))
        elif kind == FrameKind.EVENT:
            event = msgspec.msgpack.decode(payload, type=Event)
            self._writer.add_event(event)
            self._tally.hear(event)
        elif kind == FrameKind.FINISH:
            self._finished = True
            return  # acknowledged once the file is closed
        if self._chunk_bytes > _CHUNK_BYTES:
            self._flush()

    def _greet(self, sequence: int, header: RecordHeader) -> None:
        if self._writer is None:
            place, limits = self._options.place, self._options.limits
            self._writer = RecordWriter(place.folder, header, limits)
            self._status_bytes = self._writer.size_bytes
            self._tally.rate_hz = header.rate_hz()
        self._frames.greet(sequence)
        self._answer()

    def _wait_ms(self) -> int:
        now_s = time.monotonic()
        due_s = self._answered_s + _HEARTBEAT_S
        if self._chunk_bytes:
            due_s = min(due_s, self._chunk_since_s + self._options.flush_s)
        return max(0, round((due_s - now_s) * 1000))

    def _do_what_is_due(self) -> None:
        now_s = time.monotonic()
        if self._chunk_bytes and now_s - self._chunk_since_s >= self._options.flush_s:
            self._flush()
        if now_s - self._answered_s >= _HEARTBEAT_S:
            self._answer()
        if now_s - self._status_s >= _STATUS_S:
            self._publish(now_s)
        self._feed.say_header(self._writer.last_tick if self._writer else 0)
        if not self._asked_s and os.getppid() != self._options.parent:
            self.ask_to_end()
        if self._asked_s and (
            now_s - max(self._heard_s, self._asked_s) > _SILENCE_S
            or now_s - self._asked_s > _PATIENCE_S
        ):
            self._finished = True

    def _flush(self) -> None:
        if self._writer is not None and self._chunk_bytes:
            self._add_notes(self._writer)
            self._writer.flush()
            self._acknowledge()

    def _close(self) -> None:
        if self._writer is not None:
            self._add_notes(self._writer)
            self._writer.close()
            self._acknowledge()

    def _acknowledge(self) -> None:
        self._chunk_bytes = 0
        self._frames.written = self._frames.taken
        self._answer()

    def _add_notes(self, writer: RecordWriter) -> None:
        """Put the start's notes on the record's own time line: at its first ticks."""
        if writer.ticks:
            for note in self._notes[self._noted :]:
                writer.add_event(Event(writer.last_tick, writer.last_now_ns, EventKind.NOTE, note))
            self._noted = len(self._notes)

    def _answer(self) -> None:
        self._answered_s = time.monotonic()
        ack = Ack(
            session=self._frames.session,
            sequence=self._frames.written,
            ticks=self._writer.ticks if self._writer else 0,
            size_bytes=self._writer.size_bytes if self._writer else 0,
        )
        self._say(FrameKind.ACK, msgspec.msgpack.encode(ack))

    def _say(self, kind: FrameKind, payload: bytes) -> None:
        # without a listener there is nobody to tell; the next heartbeat tries again
        with contextlib.suppress(zmq.Again):
            self._data.send(bytes([kind]) + payload, zmq.NOBLOCK)

    def _publish(self, now_s: float) -> None:
        elapsed_s = now_s - self._status_s
        self._status_s = now_s
        if self._writer is None:
            return
        rate = (self._writer.size_bytes - self._status_bytes) / elapsed_s
        self._status_bytes = self._writer.size_bytes
        volume = Volume(self._writer.ticks, self._writer.size_bytes, rate, self._writer.path.name)
        status = self._tally.status(self._options.place.run, volume, self._notes)
        if status is not None:
            self._live.send(msgspec.msgpack.encode(status), zmq.NOBLOCK)


def _options(arguments: Sequence[str]) -> _Options:
    parser = argparse.ArgumentParser(prog="runtime.recorder_process", description=__doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--sockets", required=True, type=Path)
    parser.add_argument("--segment-mb", required=True, type=float)
    parser.add_argument("--segment-s", required=True, type=float)
    parser.add_argument("--retention-mb", required=True, type=float)
    parser.add_argument("--flush-ms", required=True, type=float)
    parser.add_argument("--parent", required=True, type=int)
    given = parser.parse_args(arguments)
    return _Options(
        place=RecorderPlace(given.run, given.folder, given.sockets),
        limits=WriterLimits(
            segment_bytes=round(given.segment_mb * _MEGABYTE),
            segment_s=given.segment_s,
            retention_bytes=round(given.retention_mb * _MEGABYTE),
        ),
        flush_s=given.flush_ms / 1000,
        parent=given.parent,
    )


def _notes_of_earlier_runs(place: RecorderPlace) -> list[str]:
    """Say what runs that ended without closing have lost; each says it once."""
    notes = []
    for entry in left_journals(place.sockets, place.run):
        notes.append(unfinished_note(entry))
        entry.path.unlink(missing_ok=True)
    return notes


def _say_to_person(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the recorder; return its exit code."""
    options = _options(sys.argv[1:] if arguments is None else arguments)
    notes = _notes_of_earlier_runs(options.place)
    for note in notes:
        _say_to_person(note)
    recorder = Recorder(options, notes)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: recorder.ask_to_end())
    try:
        recorder.run()
    except RecordError as error:
        _say_to_person(f"recorder: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
