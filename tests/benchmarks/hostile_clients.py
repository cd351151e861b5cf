"""Who should not talk to a robot and its daemon, and does: hostile clients on the real sockets.

They send what tests/wire_frames.py makes, and count what of it the receiver must call malformed.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from runtime import gate_wire, wire
from runtime.errors import UNREADABLE
from runtime.messages import Request, SignalKind, SignalSource, TaskSignal
from runtime.robot_codes import MAX_FRAME_BYTES, Role
from runtime.robot_wire import (
    Arm,
    Command,
    Heartbeat,
    Hello,
    Observation,
    Release,
    Status,
    Stop,
    Welcome,
    WireError,
    decode_from_client,
    decode_from_device,
    encode,
)
from tests.wire_frames import Frames, in_session

Socket = zmq.Socket[bytes]
_BATCH = 100
_HEARTBEAT_S = 0.1
_HELLO_S = 0.5
_MULTIPART_SHARE = 0.05
_EMPTY_SHARE = 0.02
_FORGED_SHARE = 0.15
_SMALL_STEP_RAD = 1e-3


def connected(endpoint: str) -> Socket:
    """Return a DEALER as any client has one."""
    socket: Socket = zmq.Context.instance().socket(zmq.DEALER)
    for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 100), (zmq.IMMEDIATE, 1)):
        socket.setsockopt(option, value)
    socket.connect(endpoint)
    return socket


class Hostile:
    """Sends hostile frames to a robot. `counts`: sent, malformed (of these), unsent, and what was
    left out: a STOP, for whoever may connect may stop; with `large` False, frames that end the
    connection, for what is behind them is lost uncounted."""

    def __init__(self, endpoint: str, seed: int, *, large: bool = False) -> None:
        self._socket = connected(endpoint)
        self._frames = Frames("device", seed)
        self._random = random.Random(seed)
        self._large = large
        self._ready: list[list[bytes]] = []
        self.counts: Counter[str] = Counter()

    def work(self, frames: int) -> None:
        """Send so many, and take what has come."""
        self.take()
        for _ in range(frames):
            self._ready = self._ready or [self._parts(one) for one in self._frames.batch(_BATCH)]
            self._send(self._ready.pop())

    def take(self) -> None:
        """Read what the robot says, so that it goes on sending."""
        while self._socket.poll(0):
            self._socket.recv_multipart()

    def close(self) -> None:
        """Go away."""
        self._socket.close()

    def _parts(self, frame: bytes) -> list[bytes]:
        drawn = self._random.random()
        if drawn < _MULTIPART_SHARE:
            return [frame, *self._frames.batch(self._random.choice((1, 2, 9)))]
        return [b""] if drawn < _MULTIPART_SHARE + _EMPTY_SHARE else [frame]

    def _send(self, parts: list[bytes]) -> None:
        if not self._large and any(len(part) > MAX_FRAME_BYTES for part in parts):
            self.counts["too large, left out"] += 1
            return
        malformed = len(parts) > 1 or _is_malformed(parts[0])
        if not malformed and isinstance(decode_from_client(parts[0]), Stop):
            self.counts["stops, left out"] += 1
            return
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            self.counts["unsent"] += 1
            return
        self.counts["sent"] += 1
        self.counts["malformed"] += malformed


class Guest(Hostile):
    """A client with a session of its own, who knows the daemon's too, and speaks in its name.

    `status`: the robot's newest. `commander`: the daemon's session.
    """

    def __init__(
        self, endpoint: str, seed: int, hashes: tuple[bytes, bytes], commander: int
    ) -> None:
        super().__init__(endpoint, seed)
        self._hashes = hashes
        self._commander = commander
        self._welcome: Welcome | None = None
        self._seen: Observation | None = None
        self._count = 0
        self._due_s = 0.0
        self.status: Status | None = None

    def take(self) -> None:
        """Read what the robot says, and stay its guest."""
        while self._socket.poll(0):
            message = decode_from_device(self._socket.recv())
            if isinstance(message, Welcome):
                self._welcome = message
            elif isinstance(message, Observation):
                self._seen = message
            elif isinstance(message, Status):
                self.status = message
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        if self._welcome is None:
            self._due_s = now_s + _HELLO_S
            robot, contract = self._hashes
            hello = Hello(
                nonce=7, role=Role.OBSERVER, who="a guest", robot_hash=robot, contract_hash=contract
            )
            self._send([encode(hello)])
        elif self._seen is not None:
            self._due_s = now_s + _HEARTBEAT_S
            self._count += 1
            self._send([encode(self._heartbeat(self._welcome.session, self._count, self._seen))])

    def _parts(self, frame: bytes) -> list[bytes]:
        seen, welcome = self._seen, self._welcome
        if seen is None or welcome is None:
            return [frame]
        if self._random.random() < _FORGED_SHARE:
            return [encode(self._forged(seen))]
        # of our own only what cannot use up our counts, or we are no guest any more
        return super()._parts(in_session(frame, self._commander))

    def _forged(self, seen: Observation) -> Heartbeat | Arm | Command | Release:
        """A message in the daemon's name that would count if it came on the daemon's connection."""
        joints = len(seen.groups[0].values) // 3
        q = tuple(value + _SMALL_STEP_RAD for value in seen.groups[0].values[:joints])
        kind = self._random.randrange(4)
        session, stamp_ns = self._commander, time.monotonic_ns()
        head: dict[str, Any] = {
            "session": session,
            "count": 2**40 + self._random.randrange(2**40),
            "stamp_ns": stamp_ns,
            "answers_stamp_ns": seen.stamp_ns,
        }
        if kind == 0:
            return Heartbeat(signals_seen=2**40, **head)
        if kind == 1:
            return Arm(epoch=seen.epoch + 1, who="an impostor", **head)
        if kind == 2:
            return Release(**head)
        return Command(
            epoch=seen.epoch + 1,
            answers_sequence=seen.sequence,
            valid_for_ns=10**8,
            q=q,
            dq=(0.0,) * joints,
            **head,
        )

    @staticmethod
    def _heartbeat(session: int, count: int, seen: Observation) -> Heartbeat:
        return Heartbeat(
            session=session,
            count=count,
            stamp_ns=time.monotonic_ns(),
            answers_stamp_ns=seen.stamp_ns,
            signals_seen=2**40,
        )


def _is_malformed(frame: bytes) -> bool:
    try:
        decode_from_client(frame)
    except WireError:
        return True
    return False


class Garbage:
    """Sends to one of the daemon's own sockets what is no message there. `sent`, `answered`."""

    def __init__(
        self, endpoint: str, seeds: Sequence[bytes], decode: Callable[[bytes], object], seed: int
    ) -> None:
        self._socket = connected(endpoint)
        self._seeds = list(seeds)
        self._decode = decode
        self._random = random.Random(seed)
        self.sent = self.answered = 0

    def work(self, frames: int) -> None:
        """Send so many, and count what is answered."""
        while self._socket.poll(0):
            self._socket.recv()
            self.answered += 1
        for _ in range(frames):
            try:
                self._socket.send(self._draw(), zmq.NOBLOCK)
                self.sent += 1
            except zmq.Again:
                return

    def close(self) -> None:
        """Go away."""
        self._socket.close()

    def _draw(self) -> bytes:
        """Return bytes that are no message: what a message asks for is asked for by right."""
        while True:
            data = bytearray(self._random.choice(self._seeds))
            for _ in range(self._random.choice((1, 1, 2, 4))):
                place = self._random.randrange(len(data) + 1)
                end = place + self._random.choice((0, 1, 1, 4))
                data[place:end] = self._random.randbytes(self._random.choice((0, 1, 2)))
            try:
                self._decode(bytes(data))
            except UNREADABLE:
                return bytes(data)


def operator_garbage(endpoint: str, seed: int) -> Garbage:
    """Return who molests the daemon's operator port."""
    signal = TaskSignal(SignalKind.OUTCOME, SignalSource.OPERATOR)
    messages: list[wire.OperatorMessage] = [
        wire.Heartbeat(),
        *(wire.OperatorRequest(request, "a stranger", "why") for request in Request),
        wire.OperatorSignal("a stranger", signal, "text", 3),
        *(wire.Order(kind, "a stranger", 3) for kind in wire.OrderKind),
    ]
    return Garbage(endpoint, [wire.encode(one) for one in messages], wire.decode_message, seed)


def gate_garbage(endpoint: str, seed: int, *, learner: bool) -> Garbage:
    """Return who molests the gate: as the learner, or as control."""
    messages = [
        gate_wire.Beat(3, 2, 1),
        gate_wire.Taken(3, "why", 4),
        gate_wire.Progress(3, 4, "text"),
        gate_wire.Candidate(bytes(200), 3, 1),
    ]
    decoder = gate_wire.from_learner if learner else gate_wire.from_control
    return Garbage(endpoint, [gate_wire.encode(one) for one in messages], decoder.decode, seed)
