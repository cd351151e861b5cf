"""A process on the wire between daemon and robot that passes everything on, and hurts it on order.

    python -m tests.benchmarks.wire_proxy FRONT BACK ORDERS

FRONT is bound for the daemon (and whoever else connects), BACK is the robot's endpoint: each client
gets a connection of its own there. ORDERS is where the benchmark says what is to happen; every
answer carries the time, CLOCK_MONOTONIC, from before it took effect.
"""

import gc
import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import zmq

from runtime.config import RealtimeConfig
from runtime.realtime import enter_realtime
from runtime.robot_codes import MAX_FRAME_BYTES, MessageType
from runtime.robot_wire import (
    Command,
    Observation,
    WireError,
    decode_from_client,
    decode_from_device,
    encode,
)
from runtime.zmq_threads import new_context
from tests.benchmarks.wire_damage import FrameDamage, GroupDamage, Hurt, HurtGroup, type_of

PRIORITY = 45
KEPT_FRAMES = 4000
_QUEUE = 20_000
_MS_PER_LOOK = 1
_CONNECT_MS = 50


class Break(msgspec.Struct, frozen=True, tag=True):
    """Hurt each direction, and a group, like this from now on; without any: pass all on."""

    to_robot: Hurt | None = None
    to_client: Hurt | None = None
    group: HurtGroup | None = None


class Look(msgspec.Struct, frozen=True, tag=True):
    """Ask how things are."""


class Again(msgspec.Struct, frozen=True, tag=True):
    """Send what the client has sent before once more: its newest COMMANDs, or the conversation
    from HELLO and ARM on; on its own connection to the robot, or on `another`."""

    frames: int
    conversation: bool = False
    another: bool = False


class Forge(msgspec.Struct, frozen=True, tag=True):
    """Send so many COMMANDs like the client's newest, each with a count of its own, right after
    `first`, a frame of another connection."""

    frames: int
    first: bytes = b""


Order = Break | Look | Again | Forge


class Told(msgspec.Struct, frozen=True):
    """The answer: from when on (ns), how many frames and samples the Break before has changed, how
    many frames were sent by order, and what was last seen of the robot."""

    now_ns: int
    acted: int
    sent: int
    held: int
    state: int
    speed_rad_s: float


class Client:
    """One client's connection to the robot, and what it has said on it."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", back: str) -> None:
        self.socket = _socket(context, zmq.DEALER)
        self.socket.connect(back)
        # nothing is queued for a robot that is not there: what comes first would be lost
        self.socket.poll(_CONNECT_MS, zmq.POLLOUT)
        self.first: list[bytes] = []
        self.commands: deque[bytes] = deque(maxlen=KEPT_FRAMES)

    def keep(self, frame: bytes) -> None:
        """Remember a frame for a replay."""
        if len(self.first) < KEPT_FRAMES:
            self.first.append(frame)
        if type_of(frame) == MessageType.COMMAND:
            self.commands.append(frame)

    def conversation(self, frames: int) -> list[bytes]:
        """Return the beginning: every HELLO, and what was said from the first ARM on."""
        types = [type_of(frame) for frame in self.first]
        hellos = [self.first[at] for at, kind in enumerate(types) if kind == MessageType.HELLO]
        since = types.index(MessageType.ARM) if MessageType.ARM in types else len(types)
        return [*hellos, *self.first[since : since + frames]]

    def newest(self, frames: int) -> list[bytes]:
        """Return the newest COMMANDs, oldest first."""
        return list(islice(self.commands, max(0, len(self.commands) - frames), None))


class WireProxy:
    """Passes frames between a ROUTER for clients and one DEALER a client to the robot."""

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", front: str, back: str, orders: str
    ) -> None:
        self._context = context
        self._back = back
        self._front = _socket(context, zmq.ROUTER)
        self._front.setsockopt(zmq.ROUTER_HANDOVER, 0)
        self._front.bind(front)
        self._orders = _socket(context, zmq.REP)
        self._orders.bind(orders)
        self._clients: dict[bytes, Client] = {}
        self._stranger = Client(context, back)
        # of whom the newest COMMAND came
        self._commander: Client | None = None
        self._poller = zmq.Poller()
        for socket in (self._front, self._orders, self._stranger.socket):
            self._poller.register(socket, zmq.POLLIN)
        self._break = Break()
        self._to_robot: dict[bytes, FrameDamage] = {}
        self._to_client: dict[bytes, FrameDamage] = {}
        self._group: GroupDamage | None = None
        self._sent = 0
        self._state, self._speed_rad_s = -1, 0.0
        self._obey: dict[type, Callable[[Any], None]] = {
            Break: self._change,
            Look: lambda _: None,
            Again: self._again,
            Forge: self._forge,
        }

    def turn(self, wait_ms: int = _MS_PER_LOOK) -> None:
        """Wait for frames a little, and pass on what is there and what is due."""
        self._poller.poll(wait_ms)
        self._pass_to_robot()
        self._pass_to_clients()
        self._pass_late()
        while self._orders.poll(0):
            order = read_order(self._orders.recv())
            self._orders.send(msgspec.msgpack.encode(self._do(order)))

    def close(self) -> None:
        """Close every socket."""
        clients = [self._stranger, *self._clients.values()]
        for socket in (self._front, self._orders, *(client.socket for client in clients)):
            socket.close(0)

    # -- frames ---------------------------------------------------------------------------------

    def _pass_to_robot(self) -> None:
        while (parts := _take(self._front)) is not None:
            routing, frame = parts[0], parts[-1]
            client = self._clients.get(routing) or self._greet(routing)
            client.keep(frame)
            if type_of(frame) == MessageType.COMMAND:
                self._commander = client
            for one in self._damage(self._to_robot, routing, self._break.to_robot).through(
                frame, time.monotonic_ns()
            ):
                _send(client.socket, one)

    def _pass_to_clients(self) -> None:
        while _take(self._stranger.socket) is not None:
            # what the robot says to a stranger is nobody's
            continue
        for routing, client in list(self._clients.items()):
            while (parts := _take(client.socket)) is not None:
                now_ns = time.monotonic_ns()
                frame = self._seen(parts[-1], now_ns)
                damage = self._damage(self._to_client, routing, self._break.to_client)
                for one in damage.through(frame, now_ns):
                    self._answer(routing, one)

    def _pass_late(self) -> None:
        now_ns = time.monotonic_ns()
        for routing, damage in self._to_robot.items():
            for frame in damage.due(now_ns):
                _send(self._clients[routing].socket, frame)
        for routing, damage in self._to_client.items():
            for frame in damage.due(now_ns):
                self._answer(routing, frame)

    def _answer(self, routing: bytes, frame: bytes) -> None:
        try:
            self._front.send_multipart((routing, frame), zmq.NOBLOCK)
        except zmq.ZMQError:
            return

    def _greet(self, routing: bytes) -> Client:
        client = self._clients[routing] = Client(self._context, self._back)
        self._poller.register(client.socket, zmq.POLLIN)
        return client

    @staticmethod
    def _damage(
        directions: dict[bytes, FrameDamage], routing: bytes, hurt: Hurt | None
    ) -> FrameDamage:
        if routing not in directions:
            directions[routing] = FrameDamage(hurt)
        return directions[routing]

    def _seen(self, frame: bytes, now_ns: int) -> bytes:
        """Note what an OBSERVATION says, and return it as it is to be passed on."""
        if type_of(frame) != MessageType.OBSERVATION:
            return frame
        try:
            message = decode_from_device(frame)
        except WireError:
            return frame
        if not isinstance(message, Observation):
            return frame
        joints = np.array(message.groups[0].values)
        speeds = joints[len(joints) // 3 : 2 * len(joints) // 3]
        self._state, self._speed_rad_s = int(message.state), float(np.abs(speeds).max())
        if self._group is None:
            return frame
        return encode(self._group.change(message, now_ns))

    # -- orders ---------------------------------------------------------------------------------

    def _do(self, order: Order) -> Told:
        now_ns = time.monotonic_ns()
        held = sum(one.held for one in self._to_robot.values())
        acted = self._acted()
        self._sent = 0
        self._obey[type(order)](order)
        return Told(now_ns, acted, self._sent, held, self._state, self._speed_rad_s)

    def _acted(self) -> int:
        directions = (*self._to_robot.values(), *self._to_client.values())
        acted = sum(one.acted for one in directions)
        return acted + (self._group.acted if self._group is not None else 0)

    def _change(self, order: Break) -> None:
        for routing, damage in self._to_robot.items():
            for frame in damage.end():
                _send(self._clients[routing].socket, frame)
        for routing, damage in self._to_client.items():
            for frame in damage.end():
                self._answer(routing, frame)
        self._break = order
        self._to_robot, self._to_client = {}, {}
        self._group = GroupDamage(order.group) if order.group is not None else None

    def _again(self, order: Again) -> None:
        client = self._commander
        if client is None:
            return
        frames = client.conversation if order.conversation else client.newest
        socket = self._stranger.socket if order.another else client.socket
        for frame in frames(order.frames):
            self._sent += _send(socket, frame)

    def _forge(self, order: Forge) -> None:
        client = self._commander
        if client is None or not client.commands:
            return
        newest = decode_from_client(client.commands[-1])
        assert isinstance(newest, Command)
        if order.first:
            _send(self._stranger.socket, order.first)
        for number in range(1, order.frames + 1):
            count = newest.count + number
            stamp_ns = newest.stamp_ns + number
            copy = msgspec.structs.replace(newest, count=count, stamp_ns=stamp_ns)
            self._sent += _send(client.socket, encode(copy))


read_order = msgspec.msgpack.Decoder(Order).decode
read_told = msgspec.msgpack.Decoder(Told).decode


class Orders:
    """The benchmark's end."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", orders: str) -> None:
        self._socket = context.socket(zmq.REQ)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RCVTIMEO, 10_000)
        self._socket.connect(orders)

    def give(self, order: Order) -> Told:
        """Give one order and return the answer; raises zmq.Again if there is none."""
        self._socket.send(msgspec.msgpack.encode(order))
        return read_told(self._socket.recv())

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _socket(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME_BYTES)
    # replays come in bursts, and a queue of ours must not be what drops them
    socket.setsockopt(zmq.SNDHWM, _QUEUE)
    socket.setsockopt(zmq.RCVHWM, _QUEUE)
    if kind == zmq.DEALER:
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
    return socket


def _take(socket: "zmq.Socket[bytes]") -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None


def _send(socket: "zmq.Socket[bytes]", frame: bytes) -> bool:
    try:
        socket.send(frame, zmq.NOBLOCK)
    except zmq.Again:
        return False
    return True


def main() -> None:
    front, back, orders = sys.argv[1:]
    proxy = WireProxy(new_context(PRIORITY), front, back, orders)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    gc.freeze()
    gc.disable()
    enter_realtime(
        RealtimeConfig(priority=PRIORITY, lock_memory=False, require=False, spin_us=0.0)
    )
    while True:
        proxy.turn()


if __name__ == "__main__":
    main()
