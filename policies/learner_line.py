"""The learner's line to the gate: what it says goes out in order, and a thread beats meanwhile."""

import contextlib
import threading

import msgspec
import zmq

from runtime.gate_wire import (
    MAX_FRAME_BYTES,
    Beat,
    Candidate,
    FromLearner,
    Progress,
    encode,
)
from runtime.record_format import RecorderPlace

_BEAT_S = 0.1
_WAITING_FRAMES = 1000


class GateLine:
    """A DEALER to the gate. While the gate is away what is said waits for it, up to a limit.

    The beat repeats the last progress, so that a gate that was restarted learns of it.
    """

    def __init__(self, place: RecorderPlace) -> None:
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, _WAITING_FRAMES)
        self._socket.setsockopt(zmq.RCVHWM, _WAITING_FRAMES)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.connect(place.learner_endpoint)
        # a socket may serve two threads if they take turns
        self._turn = threading.Lock()
        self._last: Progress | None = None
        self._notes: list[str] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def begin_to_beat(self) -> None:
        """From now on the gate sees that the learner lives."""
        self._thread.start()

    def note(self, text: str) -> None:
        """Say something with the next progress; it stands in the record."""
        self._notes.append(text)

    def send(self, message: Candidate | Progress) -> None:
        """Send in order."""
        if isinstance(message, Progress):
            if self._notes:
                text = "; ".join([*self._notes, *[message.text] * bool(message.text)])
                message = msgspec.structs.replace(message, text=text)
                self._notes = []
            self._send(message)
            self._last = msgspec.structs.replace(message, text="")
        else:
            self._send(message)

    def forget_answers(self) -> None:
        """Let go of what the gate answered: what became of a candidate shows in the record, at a
        tick, where a message comes at any time and would make no two runs the same."""
        with self._turn, contextlib.suppress(zmq.Again):
            while True:
                self._socket.recv(zmq.NOBLOCK)

    def close(self) -> None:
        """Stop beating and let go."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()
        self._context.term()

    def _send(self, message: FromLearner) -> None:
        with self._turn:
            try:
                self._socket.send(encode(message), zmq.NOBLOCK)
            except zmq.Again:
                # the gate has been away for long: it will ask about nothing that old
                return

    def _beat(self) -> None:
        while not self._closing.wait(_BEAT_S):
            self._send(self._last or Beat())
