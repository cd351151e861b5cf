"""The proxy of the fault matrix between two sockets of the test's own."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import zmq

from runtime.robot_codes import DeviceState, Role
from runtime.robot_wire import (
    Arm,
    Command,
    GroupSample,
    Heartbeat,
    Hello,
    Observation,
    decode_from_client,
    decode_from_device,
    encode,
)
from tests.benchmarks.wire_damage import Hurt, HurtGroup, Way
from tests.benchmarks.wire_proxy import (
    Again,
    Break,
    Forge,
    Look,
    Order,
    Told,
    WireProxy,
    read_told,
)

HELLO = encode(
    Hello(
        nonce=1, role=Role.COMMANDER, who="t", robot_hash=bytes(32), contract_hash=bytes(32)
    )
)
HEARTBEAT = encode(Heartbeat(session=7, count=1, stamp_ns=1, answers_stamp_ns=1, signals_seen=0))
ARM = encode(Arm(session=7, count=2, stamp_ns=2, answers_stamp_ns=1, epoch=5, who="t"))


def command(count: int) -> bytes:
    return encode(
        Command(
            session=7, count=count, stamp_ns=count, answers_stamp_ns=1, epoch=5,
            answers_sequence=1, valid_for_ns=20_000_000, q=(0.5,), dq=(0.1,),
        )
    )  # fmt: skip


def observation(number: int, speed_rad_s: float) -> bytes:
    joints = GroupSample(number, number, (0.5, speed_rad_s, 0.0))
    return encode(
        Observation(
            session=7, sequence=number, stamp_ns=number, answers_stamp_ns=1,
            state=DeviceState.ARMED, epoch=5, executed_count=1, groups=(joints,),
        )
    )  # fmt: skip


@dataclass
class Wire:
    """The proxy, a robot behind it, a client before it, and who gives orders."""

    proxy: WireProxy
    robot: "zmq.Socket[bytes]"
    client: "zmq.Socket[bytes]"
    orders: "zmq.Socket[bytes]"
    met: bool = False

    def give(self, order: Order) -> Told:
        self.orders.send(msgspec.msgpack.encode(order))
        while not self.orders.poll(0):
            self.proxy.turn(1)
        return read_told(self.orders.recv())

    def say(self, *frames: bytes) -> list[bytes]:
        """Let the client say something; return what the robot hears, without who said it."""
        for frame in frames:
            self.client.send(frame)
        return [frame for _, frame in self.heard()]

    def heard(self) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        quiet = 0
        # a first connection takes its time
        while quiet < (150 if found or self.met else 3000):
            self.proxy.turn(1)
            quiet += 1
            while self.robot.poll(0):
                routing, frame = self.robot.recv_multipart()
                found.append((routing, frame))
                self.met, quiet = True, 0
        return found

    def answer(self, routing: bytes, *frames: bytes) -> list[bytes]:
        """Let the robot say something; return what the client hears."""
        for frame in frames:
            self.robot.send_multipart((routing, frame))
        found: list[bytes] = []
        end_s = time.monotonic() + 5.0
        while len(found) < len(frames) and time.monotonic() < end_s:
            self.proxy.turn(1)
            while self.client.poll(0):
                found.append(self.client.recv())
        return found


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    front, back, orders = (f"ipc://{tmp_path}/{name}" for name in ("f", "b", "o"))
    robot = context.socket(zmq.ROUTER)
    robot.bind(back)
    proxy = WireProxy(context, front, back, orders)
    client, asker = context.socket(zmq.DEALER), context.socket(zmq.REQ)
    client.connect(front)
    asker.connect(orders)
    yield Wire(proxy, robot, client, asker)
    proxy.close()
    for socket in (robot, client, asker):
        socket.close(0)
    context.term()


def meet_the_stranger(wire: Wire) -> None:
    """Wait until the proxy's other connection can send, too."""
    while not wire.give(Again(1, another=True)).sent:
        pass
    assert wire.heard()


def test_everything_passes_both_ways(wire: Wire) -> None:
    wire.client.send(HELLO)
    ((routing, frame),) = wire.heard()
    assert frame == HELLO
    seen = observation(1, -0.7)
    assert wire.answer(routing, seen, b"no message") == [seen, b"no message"]
    told = wire.give(Look())
    assert (told.state, told.speed_rad_s) == (DeviceState.ARMED, 0.7)


def test_a_break_begins_and_ends_when_it_is_told_to(wire: Wire) -> None:
    assert wire.say(HELLO) == [HELLO]
    before = wire.give(Break(to_robot=Hurt(Way.CUT, type=4)))
    assert wire.say(command(3), HEARTBEAT) == [HEARTBEAT]
    after = wire.give(Break())
    assert after.acted == 1 and after.now_ns > before.now_ns
    assert wire.say(command(4)) == [command(4)]


def test_what_was_held_is_counted_and_let_go_at_the_end(wire: Wire) -> None:
    wire.say(HELLO)
    wire.give(Break(to_robot=Hurt(Way.HOLD, type=4)))
    assert wire.say(command(3), command(4)) == []
    assert wire.give(Look()).held == 2
    wire.give(Break())
    assert [frame for _, frame in wire.heard()] == [command(3), command(4)]


def test_a_group_is_hurt_inside_an_observation(wire: Wire) -> None:
    wire.client.send(HELLO)
    ((routing, _),) = wire.heard()
    wire.give(Break(group=HurtGroup(Way.NAN, 0)))
    (frame,) = wire.answer(routing, observation(1, 0.0))
    seen = decode_from_device(frame)
    assert isinstance(seen, Observation)
    assert seen.groups[0].values[0] != seen.groups[0].values[0]
    assert wire.give(Break()).acted == 1
    assert wire.answer(routing, observation(2, 0.0)) == [observation(2, 0.0)]


def test_what_was_said_is_said_again_there_or_as_somebody_else(wire: Wire) -> None:
    wire.client.send(HELLO)
    ((routing, _),) = wire.heard()
    wire.say(HEARTBEAT, ARM, command(3), command(4), command(5))
    meet_the_stranger(wire)
    assert wire.give(Again(2)).sent == 2
    assert wire.heard() == [(routing, command(4)), (routing, command(5))]
    assert wire.give(Again(2, conversation=True, another=True)).sent == 3
    found = wire.heard()
    assert [frame for _, frame in found] == [HELLO, ARM, command(3)]
    assert routing not in {sender for sender, _ in found}


def test_forged_commands_are_new_in_all_but_what_they_say(wire: Wire) -> None:
    wire.client.send(HELLO)
    ((routing, _),) = wire.heard()
    wire.say(command(3))
    meet_the_stranger(wire)
    assert wire.give(Forge(3, b"a stop")).sent == 3
    found = wire.heard()
    ours = [decode_from_client(frame) for sender, frame in found if sender == routing]
    assert [c.count for c in ours if isinstance(c, Command)] == [4, 5, 6]
    assert all(isinstance(c, Command) and (c.q, c.epoch) == ((0.5,), 5) for c in ours)
    assert [frame for sender, frame in found if sender != routing] == [b"a stop"]
