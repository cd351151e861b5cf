"""A tiny client of the robot protocol over a real socket, by plain pyzmq."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import zmq

from runtime.robot_codes import Role, StopCategory
from runtime.robot_wire import (
    Arm,
    Command,
    FromClient,
    FromDevice,
    Heartbeat,
    Hello,
    Observation,
    Refused,
    Release,
    Stop,
    StopReport,
    Welcome,
    decode_from_device,
    encode,
)

WAIT_S = 20.0


class WireClient:
    """Connects on entering; `seen` is every message of the device, newest last."""

    def __init__(self, endpoint: str, robot_hash: bytes, contract_hash: bytes) -> None:
        self._hashes: dict[str, Any] = {"robot_hash": robot_hash, "contract_hash": contract_hash}
        self._endpoint = endpoint
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 16), (zmq.IMMEDIATE, 1)):
            self.socket.setsockopt(option, value)
        self.seen: list[FromDevice] = []
        self.welcome: Welcome | None = None
        self.now: Observation | None = None
        self.count = 0

    def __enter__(self) -> Self:
        self.socket.connect(self._endpoint)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close(0)
        self._context.term()

    def send(self, message: FromClient) -> None:
        self.socket.send(encode(message))

    def take(self, wait_ms: int = 1) -> list[FromDevice]:
        """Return what has come, waiting a little for the first."""
        found: list[FromDevice] = []
        while self.socket.poll(0 if found else wait_ms):
            message = decode_from_device(self.socket.recv())
            if isinstance(message, Observation):
                self.now = message
            found.append(message)
        self.seen += found
        return found

    def until(
        self, done: Callable[[FromDevice], bool], beat: Callable[[], None] = lambda: None
    ) -> FromDevice:
        """Take messages until one is what is waited for; `beat` is called all the while."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            beat()
            for message in self.take(5):
                if done(message):
                    return message
        raise AssertionError(f"nothing came; the last were {self.seen[-3:]}")

    def hello(self, nonce: int = 1, role: Role = Role.COMMANDER) -> Welcome | Refused:
        """Ask for a session, every half second until it is answered; return the answer."""
        next_s = 0.0

        def ask() -> None:
            nonlocal next_s
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + 0.5
                self.send(Hello(nonce=nonce, role=role, who="a test", **self._hashes))

        answer = self.until(
            lambda message: isinstance(message, Welcome | Refused) and message.nonce == nonce, ask
        )
        assert isinstance(answer, Welcome | Refused)
        if isinstance(answer, Welcome):
            self.welcome, self.count = answer, 0
            self.until(lambda message: isinstance(message, Observation))
        return answer

    def head(self) -> dict[str, Any]:
        assert self.welcome is not None and self.now is not None
        self.count += 1
        return {
            "session": self.welcome.session,
            "count": self.count,
            "stamp_ns": time.monotonic_ns(),
            "answers_stamp_ns": self.now.stamp_ns,
        }

    def heartbeat(self) -> None:
        self.send(Heartbeat(signals_seen=0, **self.head()))

    def release(self) -> None:
        self.send(Release(**self.head()))

    def arm(self) -> int:
        """Arm, as often as it takes, once the robot rests; return the epoch."""
        assert self.now is not None
        epoch = self.now.epoch + 1
        next_s = 0.0

        def ask() -> None:
            nonlocal next_s
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + 0.05
                self.send(Arm(epoch=epoch, who="a test", **self.head()))

        self.until(lambda message: isinstance(message, Observation) and message.state == 1, ask)
        return epoch

    def command(self, q: list[float], dq: list[float], epoch: int) -> None:
        assert self.now is not None
        self.send(
            Command(
                epoch=epoch,
                answers_sequence=self.now.sequence,
                valid_for_ns=100_000_000,
                q=tuple(q),
                dq=tuple(dq),
                **self.head(),
            )
        )

    def send_stop(self, number: int) -> None:
        self.send(Stop(id=number, category=StopCategory.TWO, who="a test", why="to see it"))

    def live(self) -> None:
        """Take what has come, and say that this client is there."""
        self.take(0)
        self.heartbeat()

    def stop(self, number: int, beat: Callable[[], None] = lambda: None) -> StopReport:
        """Stop, and wait until the robot was seen at rest."""
        self.send_stop(number)
        report = self.until(
            lambda m: isinstance(m, StopReport) and m.id == number and m.at_rest, beat
        )
        assert isinstance(report, StopReport)
        return report
