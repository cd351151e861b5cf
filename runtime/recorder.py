"""The control side of recording: hands ticks and events over and knows what was acknowledged.

Everything unacknowledged is kept in a bounded window, so a recorder that dies and is restarted
gets it again. In real time a full window drops the newest tick and counts it; in lockstep the
caller waits instead. Make the client before scheduling is raised: ZeroMQ's thread inherits it.
"""

import os
import sys
import time
from collections import deque
from dataclasses import dataclass

import msgspec
import zmq

from runtime.clock import seconds_to_ns
from runtime.config import RecorderConfig
from runtime.errors import StartRefused
from runtime.events import Event
from runtime.interfaces import RecorderHealth
from runtime.journal import Journal
from runtime.messages import TickRecord
from runtime.record_format import (
    UNGREETED,
    Ack,
    FrameKind,
    RecorderPlace,
    RecordHeader,
    frame,
)

# 2048 ticks: 4 s at 500 Hz, and a quarter second at the 8000 ticks/s that lockstep reaches
WINDOW_TICKS = 2048
_EVENT_ROOM = 512
_BATCH_SPAN_S = 0.02
_BATCH_TICKS_LOCKSTEP = 32
_WAIT_SLICE_MS = 20


@dataclass(frozen=True)
class _Pending:
    """One frame that the recorder has not acknowledged."""

    sequence: int
    ticks: int
    data: bytes
    made_ns: int


@dataclass(frozen=True)
class RecorderTotals:
    """What became of a run's ticks. `failure` is the recorder's own last word, if any."""

    made: int
    acknowledged: int
    dropped: int
    size_bytes: int
    failure: str


def recorder_command(place: RecorderPlace, config: RecorderConfig) -> list[str]:
    """Return the command line of the recorder process for this place."""
    options = {
        "--run": place.run,
        "--folder": place.folder,
        "--sockets": place.sockets,
        "--segment-mb": config.segment_mb,
        "--segment-s": config.segment_s,
        "--retention-mb": config.retention_mb,
        "--flush-ms": config.flush_ms,
        "--parent": os.getpid(),
    }
    words = [str(word) for pair in options.items() for word in pair]
    return [sys.executable, "-m", "runtime.recorder_process", *words]


class RecorderClient:
    """RecordSink over ZeroMQ: a DEALER socket that talks to one recorder process.

    `lost_after_s`: without an acknowledgement for this long the recorder counts as lost.
    `wait_s`: how long a lockstep caller waits for room in the window before that.
    """

    def __init__(
        self,
        place: RecorderPlace,
        header: RecordHeader,
        *,
        lockstep: bool,
        lost_after_s: float,
        wait_s: float = 5.0,
    ) -> None:
        self._hello = msgspec.msgpack.encode(header)
        self._lockstep = lockstep
        self._lost_after_ns = seconds_to_ns(lost_after_s)
        self._wait_ns = seconds_to_ns(wait_s)
        span = max(1, round(_BATCH_SPAN_S * header.servo_hz))
        self._batch_ticks = _BATCH_TICKS_LOCKSTEP if lockstep else span
        self._size_bytes = header.tick_layout().size_bytes
        self._batch = memoryview(bytearray(self._batch_ticks * self._size_bytes))
        self._batched = 0
        self._countdown = self._batch_ticks
        self._window: deque[_Pending] = deque()
        self._held = 0
        self._sequence = 0
        self._session = -1
        self._ready = False
        self._made = self._acknowledged = self._dropped_ticks = self._dropped_events = 0
        self._written_bytes = 0
        self._failure = ""
        self._closed = False
        self._heard_ns = time.monotonic_ns()
        self._health = RecorderHealth(dropped=0, lost=False)
        self._ack_decoder = msgspec.msgpack.Decoder(Ack)
        self._journal = Journal(place.journal, place.run, place.folder)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        # the window bounds what is queued; a limit here would only make `send` fail in its place
        self._socket.setsockopt(zmq.SNDHWM, 0)
        self._socket.setsockopt(zmq.RCVHWM, 1000)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.connect(place.data_endpoint)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the recorder has opened its file.

        Raises:
            StartRefused: it did not within `timeout_s`, or it reported a failure.
        """
        deadline_ns = time.monotonic_ns() + seconds_to_ns(timeout_s)
        while not self._ready and not self._failure and time.monotonic_ns() < deadline_ns:
            self._socket.poll(_WAIT_SLICE_MS)
            self._take_answers()
        if self._failure or not self._ready:
            why = self._failure or f"it did not answer within {timeout_s:g} s"
            raise StartRefused(f"the recorder is not there: {why}; nothing moves unrecorded")

    def record(self, record: TickRecord) -> None:
        """Hand over one tick: a copy of its bytes. Waits only in lockstep, for at most wait_s."""
        self._made += 1
        if self._held < WINDOW_TICKS or self._wait_for_room():
            start = self._batched * self._size_bytes
            self._batch[start : start + self._size_bytes] = record.raw
            self._batched += 1
            self._held += 1
        else:
            self._dropped_ticks += 1
            self._judge()
        self._journal.note_made(self._made, record.tick[0], record.now_ns[0])
        self._countdown -= 1
        if not self._countdown:
            self._countdown = self._batch_ticks
            self._exchange()

    def event(self, event: Event) -> None:
        """Hand over one event, after the ticks that came before it."""
        if self._held < WINDOW_TICKS + _EVENT_ROOM:
            self._send_batch()
            self._send(FrameKind.EVENT, msgspec.msgpack.encode(event), ticks=0)
        else:
            self._dropped_events += 1
            self._judge()

    def health(self) -> RecorderHealth:
        """Return drops so far and whether the recorder still acknowledges (cheap)."""
        return self._health

    @property
    def totals(self) -> RecorderTotals:
        """What became of this run's ticks so far."""
        return RecorderTotals(
            made=self._made,
            acknowledged=self._acknowledged,
            dropped=self._dropped_ticks,
            size_bytes=self._written_bytes,
            failure=self._failure,
        )

    def close(self) -> None:
        """Ask the recorder to finish its file; wait (at most wait_s) until all is acknowledged."""
        if self._closed:
            return
        self._closed = True
        self._send_batch()
        self._send(FrameKind.FINISH, b"", ticks=0)
        deadline_ns = time.monotonic_ns() + self._wait_ns
        while self._window and not self._failure and time.monotonic_ns() < deadline_ns:
            self._socket.poll(_WAIT_SLICE_MS)
            self._take_answers()
        if not self._window:
            self._journal.remove()
        self._socket.close()
        self._context.term()

    def _exchange(self) -> None:
        self._send_batch()
        self._take_answers()
        self._judge()

    def _send_batch(self) -> None:
        if self._batched:
            ticks = self._batched
            self._batched = 0
            self._held -= ticks
            self._send(FrameKind.TICKS, self._batch[: ticks * self._size_bytes], ticks)

    def _send(self, kind: FrameKind, payload: bytes | memoryview, ticks: int) -> None:
        self._sequence += 1
        data = frame(kind, self._sequence, payload)
        self._window.append(_Pending(self._sequence, ticks, data, time.monotonic_ns()))
        self._held += ticks or 1
        if self._session >= 0:
            self._socket.send(data, zmq.NOBLOCK)

    def _take_answers(self) -> None:
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            answer: bytes = self._socket.recv(zmq.NOBLOCK)
            if answer[0] == FrameKind.FAILURE:
                self._failure = answer[1:].decode(errors="replace")
            elif answer[0] == FrameKind.ACK:
                self._take_ack(self._ack_decoder.decode(answer[1:]))

    def _take_ack(self, ack: Ack) -> None:
        self._heard_ns = time.monotonic_ns()
        self._written_bytes = ack.size_bytes
        if ack.session != self._session:
            self._session = ack.session
            self._failure = ""
            self._send_all_again()
            return
        self._ready = self._ready or ack.sequence != UNGREETED
        while self._window and self._window[0].sequence <= ack.sequence:
            done = self._window.popleft()
            self._acknowledged += done.ticks
            self._held -= done.ticks or 1
        self._journal.note_outcome(self._acknowledged, self._dropped_ticks)

    def _send_all_again(self) -> None:
        """Introduce ourselves to a recorder that does not know us, then repeat the window."""
        first = self._window[0].sequence if self._window else self._sequence + 1
        self._socket.send(frame(FrameKind.HELLO, first, self._hello), zmq.NOBLOCK)
        for pending in self._window:
            self._socket.send(pending.data, zmq.NOBLOCK)

    def _judge(self) -> None:
        """Renew `health`. In lockstep only a wait in vain, or the recorder's word, is a loss."""
        now_ns = time.monotonic_ns()
        limit_ns = self._wait_ns if self._lockstep else self._lost_after_ns
        silent = now_ns - self._heard_ns > limit_ns
        stuck = bool(self._window) and now_ns - self._window[0].made_ns > limit_ns
        lost = bool(self._failure) or stuck or (silent and not self._lockstep)
        dropped = self._dropped_ticks + self._dropped_events
        if lost != self._health.lost or dropped != self._health.dropped:
            self._health = RecorderHealth(dropped=dropped, lost=lost)

    def _wait_for_room(self) -> bool:
        """Return whether the full window has room now; in lockstep, wait for it first."""
        if not self._lockstep or self._health.lost:
            return False
        self._send_batch()
        deadline_ns = time.monotonic_ns() + self._wait_ns
        while self._held >= WINDOW_TICKS and not self._failure:
            if time.monotonic_ns() > deadline_ns:
                break
            self._socket.poll(_WAIT_SLICE_MS)
            self._take_answers()
        self._judge()
        return self._held < WINDOW_TICKS
