"""A robot in a test's own hands, for the daemon's socket."""

from pathlib import Path
from typing import TypeVar

import zmq

from runtime.config import Config, load_config
from runtime.messages import GroupSize
from runtime.robot_codes import DeviceState
from runtime.robot_wire import (
    FromClient,
    FromDevice,
    Group,
    GroupSample,
    Observation,
    Welcome,
    decode_from_client,
    encode,
)
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
