"""Where people and the supervisor talk to a running control process: a ROUTER socket over ipc."""

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import zmq

from runtime.clock import seconds_to_ns
from runtime.errors import UNREADABLE, LinkError
from runtime.events import Event, EventKind
from runtime.messages import Mode, Request, SignalKind, SignalSource, TaskSignal
from runtime.orders import Orders, answer
from runtime.wire import (
    MAX_MESSAGE_BYTES,
    Correction,
    Heartbeat,
    OperatorMessage,
    OperatorReply,
    OperatorRequest,
    OperatorSignal,
    Order,
    decode_message,
    decode_reply,
    encode,
)

_HEARTBEAT_BUDGET_S = 1.0
_MAX_PER_POLL = 4
_MAX_WAITING = 64
_PEOPLE = (SignalSource.OPERATOR, SignalSource.MARK)


class Port(Protocol):
    """What the loop asks of whoever speaks for people."""

    def poll(self) -> None:
        """Take in what arrived; never blocks."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait (only while nothing may move) until something arrived; False on time-out."""
        ...

    def request(self) -> Request:
        """Return the next request, NONE if there is none; STOP overtakes everything."""
        ...

    def signals(self) -> list[TaskSignal]:
        """Return the task signals that arrived."""
        ...

    def events(self, tick: int, now_ns: int) -> list[Event]:
        """Return what people did, for the record."""
        ...

    def answer(self, refused: bool, mode: Mode, text: str, *, at_rest: bool) -> None:
        """Say what became of the last request."""
        ...

    @property
    def supervisor_lost(self) -> bool:
        """True when a supervisor was there and is no more."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...


def endpoint(folder: Path) -> str:
    """Return the operator endpoint in a robot's socket folder."""
    return f"ipc://{folder}/operator"


class OperatorPort:
    """The real port. Everything is non-blocking but `wait`. `setpoint_size`: of reset targets.
    `orders`: what people say of the residual; None: this run has none."""

    def __init__(self, folder: Path, setpoint_size: int, orders: Orders | None = None) -> None:
        self._setpoint_size = setpoint_size
        self._orders = orders or Orders(residual=False)
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.SNDHWM, 100)
        self._socket.bind(endpoint(folder))
        self._requests: deque[tuple[bytes, OperatorRequest]] = deque()
        self._signals: list[TaskSignal] = []
        self._texts: list[tuple[EventKind, str]] = []
        self._asking: bytes | None = None
        self._heartbeat_ns = 0
        self._supervisor_died = False

    def poll(self) -> None:
        """Take in at most a few messages, so that a flood cannot eat the tick."""
        for _ in range(_MAX_PER_POLL):
            # asking for EVENTS lets a new sender in at once; `recv` alone serves those it knows for
            # up to a hundred messages, and a stop would wait behind another sender's flood
            if not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            self._take(self._socket.recv_multipart(zmq.NOBLOCK))

    def wait(self, timeout_s: float) -> bool:
        """Wait until somebody said something or the time is up; heartbeats are no reason."""
        if not self._heard and self._socket.poll(round(timeout_s * 1e3)):
            self.poll()
        return self._heard

    @property
    def _heard(self) -> bool:
        """True while a request or signal waits, or words for the record."""
        return bool(self._requests or self._signals or self._texts)

    def request(self) -> Request:
        """Return the oldest request, or STOP if anybody asks for it."""
        if not self._requests:
            return Request.NONE
        stop = next((r for r in self._requests if r[1].request is Request.STOP), None)
        chosen = stop or self._requests[0]
        self._requests.remove(chosen)
        self._asking, message = chosen
        why = f": {message.why}" * bool(message.why)
        asks = f"{message.who} asks for {message.request.name}{why}"
        self._texts.append((EventKind.MARK, asks))
        return message.request

    def signals(self) -> list[TaskSignal]:
        """Return and forget the signals that arrived."""
        taken, self._signals = self._signals, []
        return taken

    def events(self, tick: int, now_ns: int) -> list[Event]:
        """Return and forget what people did."""
        taken, self._texts = self._texts, []
        return [Event(tick, now_ns, kind, text) for kind, text in taken]

    def answer(self, refused: bool, mode: Mode, text: str, *, at_rest: bool) -> None:
        """Reply to the sender of the last request."""
        if self._asking is not None:
            self._reply(self._asking, OperatorReply(not refused, mode, text, at_rest))
            self._asking = None

    @property
    def supervisor_lost(self) -> bool:
        """True when it died, or when heartbeats had come and then stayed away for a second."""
        if self._supervisor_died or not self._heartbeat_ns:
            return self._supervisor_died
        return time.monotonic_ns() - self._heartbeat_ns > seconds_to_ns(_HEARTBEAT_BUDGET_S)

    def lose_supervisor(self) -> None:
        """The kernel says that the supervisor died. Safe in signal handlers."""
        self._supervisor_died = True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _take(self, frames: list[bytes]) -> None:
        sender, data = frames[0], frames[-1]
        try:
            message = decode_message(data)
        except UNREADABLE as error:
            self._refuse(sender, f"not understood: {error}")
            return
        if isinstance(message, Heartbeat):
            self._heartbeat_ns = time.monotonic_ns()
        elif isinstance(message, OperatorRequest):
            self._take_request(sender, message)
        elif isinstance(message, Order):
            self._take_order(sender, message)
        else:
            self._take_signal(sender, message)

    def _take_request(self, sender: bytes, message: OperatorRequest) -> None:
        if len(self._requests) < _MAX_WAITING or message.request is Request.STOP:
            self._requests.append((sender, message))
        else:
            self._refuse(sender, f"{_MAX_WAITING} requests wait already; ask again later")

    def _take_order(self, sender: bytes, order: Order) -> None:
        refusal = self._orders.take(order)
        if refusal:
            self._refuse(sender, refusal)
            return
        self._texts.append((EventKind.ORDER, msgspec.json.encode(order).decode()))
        self._reply(sender, OperatorReply(True, text=answer(order)))

    def _take_signal(self, sender: bytes, message: OperatorSignal) -> None:
        said, signal = message.text, message.signal
        if signal is not None:
            refusal = self._signal_refusal(signal) or _episode_refusal(signal, message.episode)
            if refusal:
                self._refuse(sender, refusal)
                return
            if message.episode:
                word = Correction(message.episode, signal.outcome.name, message.who)
                self._texts.append((EventKind.OUTCOME, msgspec.json.encode(word).decode()))
            else:
                self._signals.append(signal)
            of = f"of episode {message.episode} " * bool(message.episode)
            said = f"{signal.kind.name} {signal.outcome.name} {of}{said}".strip()
        self._texts.append((EventKind.MARK, f"{message.who}: {said}"))
        self._reply(sender, OperatorReply(True, text="It is in the record."))

    def _signal_refusal(self, signal: TaskSignal) -> str:
        """Return why a signal cannot be taken, or nothing."""
        if len(self._signals) >= _MAX_WAITING:
            return f"{_MAX_WAITING} signals wait already; send it again later"
        if signal.source not in _PEOPLE:
            allowed = ", ".join(source.name for source in _PEOPLE)
            return f"source {signal.source.name} is not a person's; allowed: {allowed}"
        if len(signal.target) not in (0, self._setpoint_size):
            return (
                f"a target of {len(signal.target)} numbers; allowed: {self._setpoint_size}, "
                "or none for home"
            )
        if not all(map(math.isfinite, signal.target)):
            return f"target {signal.target} is not finite; give finite numbers"
        return ""

    def _refuse(self, receiver: bytes, why: str) -> None:
        self._reply(receiver, OperatorReply(False, text=why))

    def _reply(self, receiver: bytes, reply: OperatorReply) -> None:
        try:
            self._socket.send_multipart([receiver, encode(reply)], zmq.NOBLOCK)
        except zmq.ZMQError:
            # whoever asked is gone; what was asked is in the record all the same
            return


def _episode_refusal(signal: TaskSignal, episode: int) -> str:
    """Return why a signal cannot be about an episode that has ended, or nothing."""
    if episode < 0:
        return f"episode {episode}; episodes count from 1"
    if episode and signal.kind is not SignalKind.OUTCOME:
        return f"{signal.kind.name} is of now; only an OUTCOME can be said of episode {episode}"
    return ""


class ScriptedPort:
    """An operator that arms as soon as it can, for runs inside one process."""

    supervisor_lost = False

    def __init__(self, arm: bool = True) -> None:
        self._arm = arm
        self._pending: list[Request] = []
        self._signals: list[TaskSignal] = []

    def ask(self, request: Request) -> None:
        """Queue a request."""
        self._pending.append(request)

    def signal(self, signal: TaskSignal) -> None:
        """Queue a task signal."""
        self._signals.append(signal)

    def poll(self) -> None:
        """Nothing arrives by itself."""

    def wait(self, timeout_s: float) -> bool:
        """There is always something to do."""
        return True

    def request(self) -> Request:
        """Return what was queued, else ARM until it was granted."""
        if self._pending:
            return self._pending.pop(0)
        return Request.ARM if self._arm else Request.NONE

    def signals(self) -> list[TaskSignal]:
        """Return and forget what was queued."""
        taken, self._signals = self._signals, []
        return taken

    def events(self, tick: int, now_ns: int) -> list[Event]:
        """Nothing to tell."""
        return []

    def answer(self, refused: bool, mode: Mode, text: str, *, at_rest: bool) -> None:
        """Stop asking once armed."""
        if mode is Mode.HOMING:
            self._arm = False

    def close(self) -> None:
        """Nothing to close."""


class OperatorClient:
    """The other end, for the command line and the supervisor."""

    def __init__(self, folder: Path) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 100)
        self._socket.connect(endpoint(folder))

    def heartbeat(self) -> None:
        """Say that the supervisor lives; never blocks."""
        self.send(Heartbeat())

    def send(self, message: OperatorMessage) -> None:
        """Send without waiting; a full queue means that nobody listens."""
        try:
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return

    def receive(self) -> OperatorReply | None:
        """Return a reply that is there, without waiting."""
        if not self._socket.poll(0):
            return None
        return decode_reply(self._socket.recv())

    def ask(self, message: OperatorMessage, timeout_s: float) -> OperatorReply:
        """Send and wait for the reply.

        Raises:
            LinkError: nobody answered in time.
        """
        self.send(message)
        if not self._socket.poll(round(timeout_s * 1e3)):
            raise LinkError(
                f"no daemon answered within {timeout_s} s; is `trimtab run` running for this robot?"
            )
        return decode_reply(self._socket.recv())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@contextmanager
def operator_client(folder: Path) -> Iterator[OperatorClient]:
    """Open a client and close it."""
    client = OperatorClient(folder)
    try:
        yield client
    finally:
        client.close()
