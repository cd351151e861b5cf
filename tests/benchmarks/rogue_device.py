"""A man in the middle of daemon and robot: hands on what both say, and injects frames of his own.

`python -m tests.benchmarks.rogue_device FRONT BACK RATE SEED`: binds FRONT for the daemon, connects
to the robot at BACK, injects RATE frames a second into the daemon's line from SIGUSR1 on, each of
the living session. At SIGTERM it prints what it did, as JSON. What would be believed (a newer
observation, the next signal, a higher epoch) is left out and counted as `lies`: against those only
keys help.
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from contextlib import suppress

import zmq

from runtime.robot_codes import MAX_FRAME_BYTES
from runtime.robot_wire import (
    FromDevice,
    Observation,
    Signal,
    Status,
    Welcome,
    WireError,
    decode_from_device,
)
from tests.wire_frames import Frames, in_session

PRIORITY = 45
_BATCH = 200
_AT_ONCE = 4


class Rogue:
    """Both ends of the line. `counts`: injected and malformed frames, lies, cuts, handed on."""

    def __init__(self, front: str, back: str, rate_hz: float, seed: int) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._front, self._back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        for socket in (self._front, self._back):
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
        self._back.connect(back)
        self._front.bind(front)
        self._period_s = 1.0 / rate_hz
        self._frames = Frames("client", seed)
        self._ready: list[bytes] = []
        self._daemon = b""
        self._welcome: Welcome | None = None
        self._sequence = self._number = self._epoch = 0
        self._due_s = 0.0
        self.injects = False
        self.ended = False
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Work until told to end."""
        poller = zmq.Poller()
        for socket in (self._front, self._back):
            poller.register(socket, zmq.POLLIN)
        while not self.ended:
            poller.poll(1)
            self._hand_on()
            if self.injects and self._welcome is not None:
                self._inject(self._welcome.session)

    def _hand_on(self) -> None:
        with suppress(zmq.Again):
            while True:
                self._daemon, *parts = self._front.recv_multipart(zmq.NOBLOCK)
                self._send(self._back, parts)
        with suppress(zmq.Again):
            while True:
                parts = self._back.recv_multipart(zmq.NOBLOCK)
                self._learn(decode_from_device(parts[0]))
                self._send(self._front, [self._daemon, *parts])

    def _send(self, socket: "zmq.Socket[bytes]", parts: list[bytes]) -> None:
        try:
            socket.send_multipart(parts, zmq.NOBLOCK)
            self.counts["handed on"] += 1
        except zmq.Again:
            self.counts["not taken"] += 1

    def _learn(self, message: FromDevice) -> None:
        if isinstance(message, Welcome):
            self._welcome, self._number = message, 0
        elif isinstance(message, Observation):
            self._sequence, self._epoch = message.sequence, message.epoch
        elif isinstance(message, Signal):
            self._number = max(self._number, message.number)

    def _inject(self, session: int) -> None:
        now_s = time.monotonic()
        self._due_s = self._due_s or now_s
        for _ in range(_AT_ONCE):
            if now_s < self._due_s:
                return
            self._due_s += self._period_s
            if not self._ready:
                self._ready = [in_session(one, session) for one in self._frames.batch(_BATCH)]
            self._throw(self._ready.pop())
        # what is due meanwhile is not caught up
        self._due_s = max(self._due_s, now_s)

    def _throw(self, frame: bytes) -> None:
        if len(frame) > MAX_FRAME_BYTES:
            self.counts["too large, left out"] += 1
            return
        try:
            message = decode_from_device(frame)
        except WireError:
            self.counts["malformed"] += 1
        else:
            if self._believed(message):
                self.counts["lies, left out"] += 1
                return
        self.counts["injected"] += 1
        self._send(self._front, [self._daemon, frame])

    def _believed(self, message: FromDevice) -> bool:
        """Whether a client must take it for the robot's own word."""
        if isinstance(message, Observation):
            return message.sequence > self._sequence
        if isinstance(message, Signal):
            return message.number == self._number + 1
        return isinstance(message, Status) and message.epoch > self._epoch


def main() -> int:
    """Run until SIGTERM."""
    front, back, rate_hz, seed = sys.argv[1:]
    with suppress(PermissionError):
        # a line that is late by itself would be the experiment
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    rogue = Rogue(front, back, float(rate_hz), int(seed))

    def begin(*_: object) -> None:
        rogue.injects = True

    def end(*_: object) -> None:
        rogue.ended = True

    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGTERM, end)
    sys.stdout.write("in the middle\n")
    sys.stdout.flush()
    rogue.run()
    sys.stdout.write(json.dumps(rogue.counts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
