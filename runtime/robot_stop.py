"""A stop from outside: to the daemon and straight to the robot, until somebody sees it at rest.

The two ways are independent: a daemon that hangs, is overloaded or gone does not keep the robot
from hearing it (PROTOCOL.md, section 8), and a robot without a protocol hears it from its daemon.
"""

import secrets
import time
from dataclasses import dataclass

import zmq

from runtime.errors import UNREADABLE
from runtime.messages import Request
from runtime.operator_port import OperatorClient
from runtime.robot_codes import DeviceState, StopCategory
from runtime.robot_wire import Stop, StopReport, WireError, clipped, decode_from_device, encode
from runtime.wire import OperatorReply, OperatorRequest

_AGAIN_S = 0.05
_ASK_AGAIN_S = 0.25
# how much longer a robot at rest waits for its daemon's word
_DAEMON_S = 0.5
_POLL_MS = 5
# in any other state somebody has armed it since
_STOPPED = (DeviceState.STOPPING, DeviceState.STOPPED, DeviceState.FAULT)


@dataclass(frozen=True)
class Wish:
    """What is asked for, by whom, and why."""

    who: str
    why: str
    category: StopCategory


class Device:
    """The robot's own controller, asked over a socket of our own. `report`: its newest."""

    def __init__(self, socket: "zmq.Socket[bytes]", wish: Wish) -> None:
        self._socket = socket
        self._stop = Stop(
            id=secrets.randbits(62) + 1,
            category=wish.category,
            who=clipped(wish.who),
            why=clipped(wish.why),
        )
        self._due_s = 0.0
        self.report: StopReport | None = None

    @property
    def at_rest(self) -> bool:
        """It reports that it measured rest after our stop, and was not armed again since."""
        seen = self.report
        return seen is not None and seen.at_rest and seen.state in _STOPPED

    def turn(self, now_s: float) -> None:
        """Send the stop until it is answered, and read what it answers."""
        # any single frame may be lost, the report of rest as well
        if not self.at_rest and now_s >= self._due_s:
            self._due_s = now_s + _AGAIN_S
            try:
                self._socket.send(encode(self._stop), zmq.NOBLOCK)
            except zmq.Again:
                # nobody is connected yet
                self._due_s = now_s
        while self._socket.poll(0):
            self._hear(self._socket.recv_multipart(zmq.NOBLOCK))

    def _hear(self, frames: list[bytes]) -> None:
        try:
            message = decode_from_device(frames[0] if len(frames) == 1 else b"")
        except WireError:
            return
        # seen at rest is seen: what somebody does with the robot afterwards does not change it
        if self.at_rest:
            return
        if isinstance(message, StopReport) and message.id == self._stop.id:
            self.report = message

    def said(self) -> str:
        """Return its last report in words."""
        if self.report is None:
            return "the robot did not answer"
        state, speed = self.report.state.name, self.report.speed_max
        rest = "at rest" if self.report.at_rest else f"still moving at {speed:.3f} rad/s"
        as_asked = "" if self.report.accepted else f"; as category {self.report.category.value}"
        text = f" ({self.report.text!r})" * bool(self.report.text)
        return f"the robot: {state}, {rest}{as_asked}{text}"


class Daemon:
    """The running daemon, asked as an operator asks. `reply`: its newest."""

    def __init__(self, client: OperatorClient, wish: Wish) -> None:
        self._client = client
        self._request = OperatorRequest(Request.STOP, wish.who, wish.why)
        self._due_s = 0.0
        self.reply: OperatorReply | None = None

    @property
    def at_rest(self) -> bool:
        """It says that reference and measured robot stand still."""
        return self.reply is not None and self.reply.accepted and self.reply.at_rest

    def turn(self, now_s: float) -> None:
        """Ask, and ask again while the robot comes to rest."""
        if now_s >= self._due_s:
            self._due_s = now_s + _ASK_AGAIN_S
            self._client.send(self._request)
        try:
            self.reply = self._client.receive() or self.reply
        except UNREADABLE:
            return

    def said(self) -> str:
        """Return its last reply in words."""
        if self.reply is None:
            return "the daemon did not answer"
        mode = "" if self.reply.mode is None else self.reply.mode.name
        rest = "at rest" if self.reply.at_rest else "not yet at rest"
        return f"the daemon: {mode}, {rest}"


def stop(device: Device | None, daemon: Daemon, wait_s: float) -> bool:
    """Ask both until the robot is seen at rest, for at most `wait_s`; return whether it was.

    Where the robot has a controller of its own only that one's word counts: what the daemon
    measured may be old.
    """
    asked: list[Device | Daemon] = [daemon] if device is None else [device, daemon]
    judge = asked[0]
    end_s = time.monotonic() + wait_s
    while (now_s := time.monotonic()) < end_s:
        resting = judge.at_rest
        for one in asked:
            one.turn(now_s)
        if judge.at_rest and daemon.reply is not None:
            break
        if judge.at_rest and not resting:
            end_s = min(end_s, now_s + _DAEMON_S)
        time.sleep(_POLL_MS * 1e-3)
    return judge.at_rest
