"""The daemon's socket to a robot: whom it greets, what it refuses, and what it makes of answers."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from runtime import zmq_link
from runtime.config import load_robot
from runtime.envelope.certificate import ENVELOPE_SEAL, Certificate
from runtime.errors import LinkError
from runtime.messages import Command as TickCommand
from runtime.messages import (
    Outcome,
    SignalKind,
    SignalSource,
    Sizes,
    TaskSignal,
    TickInputs,
    new_inputs,
)
from runtime.robot_codes import DeviceState, DropCode, OutcomeCode, Refusal, SignalCode
from runtime.robot_socket import OPTIONS
from runtime.robot_wire import (
    Arm,
    Command,
    Error,
    GroupSample,
    Heartbeat,
    Hello,
    Observation,
    Refused,
    Release,
    Signal,
    encode,
)
from runtime.zmq_link import ZmqLink
from tests.benchmarks.kit import CONFIG_FILE
from tests.runtime.zmq_link_kit import (
    GROUPS,
    JOINTS,
    LEASE_NS,
    SESSION,
    Device,
    observation,
    settings,
    welcome,
)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    made = Device(settings(tmp_path)[1])
    yield made
    made.close()


@pytest.fixture
def link(tmp_path: Path) -> Iterator[ZmqLink]:
    config, endpoint = settings(tmp_path)
    robot = load_robot(config, CONFIG_FILE)
    socket: zmq.Socket[bytes] = zmq.Context().socket(zmq.DEALER)
    for option, value in OPTIONS.items():
        socket.setsockopt(option, value)
    socket.connect(endpoint)
    made = ZmqLink(socket, robot, (b"r" * 32, b"c" * 32), GROUPS)
    yield made
    made.close()


def inputs() -> TickInputs:
    return new_inputs(Sizes(JOINTS, 4, 4, GROUPS))


def until(found: Callable[[], bool], step: Callable[[], object], limit_s: float = 5.0) -> None:
    end_s = time.monotonic() + limit_s
    while not found():
        assert time.monotonic() < end_s
        step()
        time.sleep(0.002)


def greet(link: ZmqLink, device: Device) -> Hello:
    """Let the link find its device, and answer."""

    def turn() -> None:
        link.write(None)
        device.listen()

    until(lambda: any(isinstance(message, Hello) for message in device.heard), turn)
    hello = device.last(Hello)
    device.say(welcome(hello.nonce))
    until(lambda: link.session is not None, lambda: link.read(inputs()))
    return hello


def show(link: ZmqLink, device: Device, message: Observation) -> TickInputs:
    """Let the link see an observation; return what it makes of it."""
    device.say(message)
    read = inputs()

    def known() -> bool:
        session = link.session
        seen = session.observation if session else None
        return seen is not None and seen.sequence >= message.sequence

    until(known, lambda: link.read(read))
    link.read(read)
    return read


def tick_command(epoch: int, sequence: int = 3) -> Certificate:
    command = TickCommand(epoch, sequence, 2, 1_000_000_002, 20_000_000, [0.5] * 7, [0.1] * 7)
    return Certificate(command, ENVELOPE_SEAL)


# -- what is read ---------------------------------------------------------------------------------


def test_an_observation_enters_the_tick_with_the_age_of_what_it_answers(
    link: ZmqLink, device: Device
) -> None:
    greet(link, device)
    link.write(None)
    until(lambda: any(isinstance(m, Heartbeat) for m in device.heard), device.listen)
    said_ns = device.last(Heartbeat).stamp_ns
    read = show(link, device, observation(2, said_ns))
    assert read.q.tolist() == pytest.approx([2 + 0.01 * i for i in range(7)])
    assert read.dq.tolist() == pytest.approx([2 + 0.01 * i for i in range(7, 14)])
    assert read.tau.tolist() == pytest.approx([2 + 0.01 * i for i in range(14, 21)])
    assert read.view["observation_force"].tolist() == [1.0, 2.0, 3.0]
    assert read.view["observation_task"].tolist() == [0.1, 0.2, 0.3, 0.4]
    # the first sample of each is number one, however many there were before it
    assert read.group_sequence.tolist() == [1, 1, 1]
    # a group that is older on the device's clock is older here by as much
    assert read.group_received_ns.tolist() == [said_ns, said_ns, said_ns - 500]
    assert read.group_device_stamp_ns.tolist()[0] == 1_000_000_002
    assert read.link_received_ns.item() >= said_ns


def test_a_newer_sample_is_not_older_than_one_before_it(link: ZmqLink, device: Device) -> None:
    """One beat of ours is answered twice, and the device stamps unevenly: the later bound holds."""
    greet(link, device)
    link.write(None)
    until(lambda: any(isinstance(m, Heartbeat) for m in device.heard), device.listen)
    said_ns, read = device.last(Heartbeat).stamp_ns, inputs()

    def shown(sequence: int, stamp_ns: int, measured_ns: tuple[int, ...]) -> list[int]:
        before = observation(sequence, said_ns)
        samples = zip(before.groups, measured_ns, strict=True)
        groups = tuple(GroupSample(sequence, ns, one.values) for one, ns in samples)
        device.say(observation(sequence, said_ns, stamp_ns=stamp_ns, groups=groups))
        until(lambda: read.q[0] == sequence, lambda: link.read(read))
        return [int(ns) - said_ns for ns in read.group_received_ns]

    assert shown(1, 5_000, (4_900, 4_000, 4_500)) == [-100, -1_000, -500]
    # it says more slowly what it measured; what it shows again was bounded better before
    assert shown(2, 8_000, (7_000, 7_500, 4_500)) == [-100, -500, -500]
    # one that is older than what was shown is taken for that; nothing is younger than its frame
    assert shown(3, 9_000, (6_000, 9_700, 4_500)) == [-3_000, 0, -500]


def test_an_answer_to_what_was_never_said_is_no_observation(link: ZmqLink, device: Device) -> None:
    greet(link, device)
    read = show(link, device, observation(2, 7))
    device.say(observation(3, 2**62))
    until(lambda: link.malformed == 1, lambda: link.read(read))
    assert read.q[0] == 2.0


def test_what_answers_nothing_has_no_age_and_is_not_used(link: ZmqLink, device: Device) -> None:
    greet(link, device)
    assert show(link, device, observation(2, 0)).group_sequence.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"\xc1",
        b"\x93\x01\x02\x03",
        encode(observation(3, 8, groups=())),
        encode(observation(3, 8, groups=(GroupSample(3, 3, (1.0,)),) * 3)),
        encode(welcome(1)),
    ],
)
def test_what_is_no_observation_of_this_robot_changes_nothing(
    link: ZmqLink, device: Device, odd: bytes
) -> None:
    greet(link, device)
    show(link, device, observation(2, 7))
    device.say(odd)
    read = show(link, device, observation(4, 9))
    assert read.q[0] == 4.0
    assert link.session is not None and link.session.welcome.session == SESSION


def test_frames_that_cannot_be_read_are_told_once_for_each_digit_of_their_number(
    link: ZmqLink, device: Device
) -> None:
    greet(link, device)
    link.news()
    told: list[str] = []
    for number in range(1, 13):
        device.say(b"\xc1")
        before = number - 1
        until(lambda: link.malformed > before, lambda: link.read(inputs()))  # noqa: B023
        told += link.news()
    assert [text.split()[:2] for text in told] == [["1", "frames"], ["10", "frames"]]


def test_another_sessions_and_older_observations_change_nothing(
    link: ZmqLink, device: Device
) -> None:
    greet(link, device)
    show(link, device, observation(5, 7))
    device.say(observation(9, 7, session=SESSION + 1))
    device.say(observation(4, 7))
    read = show(link, device, observation(6, 7))
    assert read.q[0] == 6.0 and read.group_sequence.tolist()[0] == 2


def test_a_device_that_never_ends_does_not_keep_the_tick(link: ZmqLink, device: Device) -> None:
    greet(link, device)
    nested = encode(observation(3, 8, groups=(GroupSample(3, 3, (1.0,) * 1000),) * 7))
    for _ in range(200):
        device.say(nested)
    time.sleep(0.2)
    link.read(inputs())
    # some of them, not all: the rest is for the ticks to come
    assert 0 < link.malformed < 200


def test_what_was_left_for_later_is_waited_for_without_a_new_frame(
    link: ZmqLink, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    greet(link, device)
    for _ in range(3):
        device.say(b"\xc1")
    device.say(observation(2, 7))
    time.sleep(0.2)
    # as if this process had been kept from its core while it took the first of them
    monkeypatch.setattr(zmq_link, "_RECEIVE_NS", 0)
    begun_ns = time.monotonic_ns()
    assert link.wait(begun_ns + 5_000_000_000)
    assert time.monotonic_ns() - begun_ns < 1_000_000_000
    assert link.malformed == 3


def test_signals_come_once_and_in_order(link: ZmqLink, device: Device) -> None:
    greet(link, device)

    def signal(number: int, outcome: OutcomeCode) -> Signal:
        kind = SignalCode.OUTCOME
        return Signal(session=SESSION, number=number, kind=kind, outcome=outcome, target=())

    for number in (1, 1, 3, 2, 1, 3):
        device.say(signal(number, OutcomeCode(number)))
    show(link, device, observation(2, 7))
    expected = [
        TaskSignal(SignalKind.OUTCOME, SignalSource.DRIVER, Outcome(number)) for number in (1, 2, 3)
    ]
    assert list(link.signals()) == expected
    assert list(link.signals()) == []
    # only a sign of life acknowledges them, and an armed robot gets one in between
    link.arm(3)
    link.write(tick_command(3))
    link.write(tick_command(3))
    until(lambda: device.last(Heartbeat).signals_seen == 3, device.listen)
    until(lambda: len([m for m in device.heard if isinstance(m, Command)]) == 2, device.listen)
    beats = [m for m in device.heard if isinstance(m, Heartbeat) and m.signals_seen == 3]
    assert len(beats) == 1


def test_a_session_that_is_over_there_is_greeted_anew(link: ZmqLink, device: Device) -> None:
    """A device that gave us up answers every beat with an ERROR: that is no sign of life."""
    greet(link, device)
    device.heard.clear()
    error = Error(session=SESSION, type=2, code=DropCode.FOREIGN, text="no such session")

    def turn() -> None:
        link.write(None)
        link.read(inputs())
        device.listen()
        device.say(error)

    until(lambda: any(isinstance(message, Hello) for message in device.heard), turn)


def test_a_link_is_lost_before_its_lease_is(link: ZmqLink, device: Device) -> None:
    greet(link, device)
    link.require_lease(LEASE_NS)
    with pytest.raises(LinkError, match=r"link_lost_after_s is 0\.4.*lease ends after 0.4 s"):
        link.require_lease(LEASE_NS + 1)


# -- what is sent ---------------------------------------------------------------------------------


def test_a_command_goes_out_as_the_tick_made_it(link: ZmqLink, device: Device) -> None:
    greet(link, device)
    show(link, device, observation(2, 7))
    link.arm(3)
    link.write(tick_command(3))
    until(lambda: any(isinstance(m, Command) for m in device.heard), device.listen)
    arm, command = device.last(Arm), device.last(Command)
    # above the 5 that the device had reached, and the same for both
    assert (arm.epoch, command.epoch) == (6, 6)
    assert command.count > arm.count
    assert (command.answers_sequence, command.answers_stamp_ns) == (2, 1_000_000_002)
    assert (command.q, command.dq) == ((0.5,) * 7, (0.1,) * 7)
    link.write(tick_command(4))
    until(lambda: device.last(Command).epoch == 7, device.listen)


def test_a_stop_at_the_device_needs_an_arm_above_its_epoch(link: ZmqLink, device: Device) -> None:
    greet(link, device)
    link.arm(3)
    show(link, device, observation(2, 7, DeviceState.STOPPED, epoch=40))
    link.write(tick_command(4))
    until(lambda: any(isinstance(m, Command) for m in device.heard), device.listen)
    # nobody armed: it is older than the stop, whatever the tick counts
    assert device.last(Command).epoch == 7
    link.arm(5)
    until(lambda: device.last(Arm).epoch == 41, device.listen)


def test_only_the_envelopes_certificate_is_sent(link: ZmqLink, device: Device) -> None:
    greet(link, device)
    with pytest.raises(LinkError, match="certificate"):
        link.write(tick_command(3).command)  # type: ignore[arg-type]


def test_a_silent_device_is_greeted_anew_and_its_goodbye_comes(
    link: ZmqLink, device: Device
) -> None:
    first = greet(link, device)
    until(lambda: link.session is None, lambda: link.read(inputs()))
    device.heard.clear()
    second = greet(link, device)
    assert second.nonce != first.nonce
    link.close()
    until(lambda: any(isinstance(m, Release) for m in device.heard), device.listen)


def test_a_refusal_names_what_differs(link: ZmqLink, device: Device) -> None:
    def turn() -> None:
        link.write(None)
        device.listen()

    until(lambda: any(isinstance(message, Hello) for message in device.heard), turn)
    hello = device.last(Hello)
    code = Refusal.ROBOT_HASH
    device.say(
        Refused(nonce=hello.nonce, code=code, text="another robot", yours="aa", mine="bb")
    )
    with pytest.raises(LinkError, match="robot hash, 'another robot': we have 'aa', it has 'bb'"):
        link.connect(2.0)
