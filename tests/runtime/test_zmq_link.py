"""The daemon's socket to a robot: whom it greets, what it refuses, and what it makes of answers."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import zmq

from runtime import zmq_link
from runtime.config import Config, load_config, load_robot
from runtime.envelope.certificate import ENVELOPE_SEAL, Certificate
from runtime.errors import ConfigError, LinkError
from runtime.messages import Command as TickCommand
from runtime.messages import (
    GroupSize,
    Outcome,
    SignalKind,
    SignalSource,
    Sizes,
    TaskSignal,
    TickInputs,
    new_inputs,
)
from runtime.robot_codes import DeviceState, OutcomeCode, Refusal, SignalCode
from runtime.robot_hashes import robot_hash
from runtime.robot_socket import OPTIONS
from runtime.robot_wire import (
    Arm,
    Command,
    FromClient,
    FromDevice,
    Group,
    GroupSample,
    Heartbeat,
    Hello,
    Observation,
    Refused,
    Release,
    Signal,
    Welcome,
    decode_from_client,
    encode,
)
from runtime.zmq_link import ZmqLink, open_link
from tests.benchmarks.kit import CONFIG_FILE

JOINTS = 7
GROUPS = (GroupSize("force", 3), GroupSize("task", 4))
SESSION, LEASE_NS = 77, 400_000_000
Message = TypeVar("Message", bound=FromClient)


class Device:
    """A robot in the test's own hands: it says what it is told to say, and nothing by itself."""

    def __init__(self, endpoint: str) -> None:
        self.context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(endpoint)
        self.routing = b""
        self.heard: list[FromClient] = []

    def say(self, message: FromDevice | bytes) -> None:
        data = message if isinstance(message, bytes) else encode(message)
        self.socket.send_multipart([self.routing, data])

    def listen(self) -> None:
        while self.socket.poll(1):
            self.routing, data = self.socket.recv_multipart()
            message = decode_from_client(data)
            assert isinstance(message, FromClient)
            self.heard.append(message)

    def last(self, kind: type[Message]) -> Message:
        self.listen()
        return [message for message in self.heard if isinstance(message, kind)][-1]

    def close(self) -> None:
        self.socket.close()
        self.context.term()


def welcome(nonce: int, session: int = SESSION, epoch: int = 5) -> Welcome:
    joints = tuple(f"joint{i + 1}" for i in range(JOINTS))
    groups = (Group("joints", 3 * JOINTS), Group("force", 3), Group("task", 4))
    return Welcome(
        nonce=nonce,
        session=session,
        epoch=epoch,
        robot="panda",
        simulated=True,
        period_ns=2_000_000,
        lease_ns=LEASE_NS,
        watchdog_ns=20_000_000,
        joints=joints,
        groups=groups,
    )


def observation(
    sequence: int, answers_ns: int, state: DeviceState = DeviceState.IDLE, **changes: object
) -> Observation:
    stamp_ns = 1_000_000_000 + sequence
    joints = tuple(0.01 * i + sequence for i in range(3 * JOINTS))
    values: dict[str, object] = {
        "session": SESSION,
        "sequence": sequence,
        "stamp_ns": stamp_ns,
        "answers_stamp_ns": answers_ns,
        "state": state,
        "epoch": 5,
        "executed_count": 0,
        "groups": (
            GroupSample(sequence, stamp_ns, joints),
            GroupSample(sequence, stamp_ns, (1.0, 2.0, 3.0)),
            GroupSample(9, stamp_ns - 500, (0.1, 0.2, 0.3, 0.4)),
        ),
    }
    return Observation(**(values | changes))  # type: ignore[arg-type]


def settings(folder: Path) -> tuple[Config, str]:
    config = load_config(CONFIG_FILE)
    endpoint = f"ipc://{folder}/robot"
    zmq_block = {"endpoint": endpoint, "connect_s": 0.3}
    data = config.model_dump() | {"zmq": zmq_block}
    return Config.model_validate(data), endpoint


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


# -- the start ------------------------------------------------------------------------------------


def open_(config: Config, **changes: object) -> ZmqLink:
    robot = load_robot(config, CONFIG_FILE)
    asked: dict[str, object] = {"lockstep": False, "field": None, "seed": None}
    return open_link(config, CONFIG_FILE, robot, 4.0, **(asked | changes))  # type: ignore[arg-type]


def test_nobody_there_is_said_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"no robot answers within 0\.3 s.*start its driver"):
        open_(settings(tmp_path)[0])


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
    with pytest.raises(LinkError, match="robot hash, another robot: we have aa, it has bb"):
        link.connect(2.0)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (None, "needs the block `zmq`"),
        ({"endpoint": "udp://127.0.0.1:5555"}, "allowed are ipc:// and tcp://"),
        ({"endpoint": "tcp://192.0.2.1:5555"}, "without keys"),
        ({"endpoint": "tcp://127.0.0.1:5555"}, "loopback: true"),
        ({"endpoint": "tcp://robot.example:5555", "loopback": True}, "without keys"),
    ],
)
def test_what_others_could_reach_is_refused(block: dict[str, object] | None, said: str) -> None:
    data = load_config(CONFIG_FILE).model_dump() | {"zmq": block}
    with pytest.raises(ConfigError, match=said):
        open_(Config.model_validate(data))


@pytest.mark.parametrize("changes", [{"lockstep": True}, {"field": "field"}, {"seed": 1}])
def test_a_robot_keeps_its_own_time_and_place(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="keeps its own time and place"):
        open_(settings(tmp_path)[0], **changes)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    curve = {"secret_key": str(tmp_path / "none"), "device_key": str(tmp_path / "none")}
    block = {"endpoint": "tcp://192.0.2.1:5555", "curve": curve}
    data = load_config(CONFIG_FILE).model_dump() | {"zmq": block}
    with pytest.raises(ConfigError, match="which does not exist"):
        open_(Config.model_validate(data))
    (tmp_path / "none").write_text("no key\n")
    with pytest.raises(ConfigError, match="trimtab keys"):
        open_(Config.model_validate(data))


def test_the_options_are_set_before_the_connection(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = settings(tmp_path)
    seen: list[int | bytes] = []

    class Watched(zmq.Socket[bytes]):
        def connect(self, addr: str) -> "zmq.Socket[bytes]":  # type: ignore[override]
            seen.extend(self.getsockopt(option) for option in OPTIONS)
            return super().connect(addr)  # type: ignore[return-value]

    monkeypatch.setattr(zmq.Context, "_socket_class", Watched)
    with pytest.raises(LinkError):
        open_(config)
    assert seen == list(OPTIONS.values())
    assert robot_hash(load_robot(config, CONFIG_FILE)) == device.last(Hello).robot_hash
