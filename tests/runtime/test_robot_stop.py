"""What counts as having stopped the robot: its own word of rest, and not a later one's."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from runtime.robot_codes import DeviceState, StopCategory
from runtime.robot_stop import Device, Wish
from runtime.robot_wire import Stop, StopReport, decode_from_client, encode

WISH = Wish("anna", "the cable is loose", StopCategory.TWO)


class Robot:
    """A robot in the test's hands, and who stops it."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.bind(endpoint)
        dealer = self._context.socket(zmq.DEALER)
        dealer.connect(endpoint)
        self.stopper = Device(dealer, WISH)
        self._sockets = (self.socket, dealer)

    def heard(self) -> Stop:
        """Return the stop as it arrives."""
        while not self.socket.poll(10):
            self.stopper.turn(time.monotonic())
        self.routing, data = self.socket.recv_multipart()
        message = decode_from_client(data)
        assert isinstance(message, Stop)
        return message

    def say(self, number: int, state: DeviceState, *, at_rest: bool) -> None:
        """Report, and let it be heard."""
        report = StopReport(
            id=number, accepted=True, category=StopCategory.TWO, epoch=9, state=state,
            at_rest=at_rest, speed_max=0.0, stamp_ns=5, text=state.name,
        )  # fmt: skip
        self.socket.send_multipart([self.routing, encode(report)])
        time.sleep(0.05)
        self.stopper.turn(time.monotonic())

    def close(self) -> None:
        for socket in self._sockets:
            socket.close(0)
        self._context.term()


@pytest.fixture
def robot(tmp_path: Path) -> Iterator[Robot]:
    made = Robot(f"ipc://{tmp_path}/robot")
    yield made
    made.close()


def test_rest_is_what_the_robot_says_of_our_stop_and_while_nobody_has_armed_it(
    robot: Robot,
) -> None:
    stop = robot.heard()
    assert (stop.who, stop.why) == (WISH.who, WISH.why) and stop.id > 0
    robot.say(stop.id + 1, DeviceState.STOPPED, at_rest=True)
    assert robot.stopper.said() == "the robot did not answer"
    robot.say(stop.id, DeviceState.STOPPING, at_rest=False)
    assert "STOPPING, still moving" in robot.stopper.said() and not robot.stopper.at_rest
    # the second stands, but may move at any time; the last is somebody else's doing
    seen = []
    for state, at_rest in ((1, False), (1, True), (4, True), (1, False)):
        robot.say(stop.id, DeviceState(state), at_rest=at_rest)
        seen.append(robot.stopper.at_rest)
    assert seen == [False, False, True, True]
    assert "STOPPED, at rest" in robot.stopper.said()


def test_what_is_no_report_is_passed_over(robot: Robot) -> None:
    robot.heard()
    for frame in (b"", b"\xc1", b"\xff" * 100):
        robot.socket.send_multipart([robot.routing, frame])
    time.sleep(0.05)
    robot.stopper.turn(time.monotonic())
    assert robot.stopper.report is None
    assert robot.stopper.said() == "the robot did not answer"
