"""The other ends of link_latency's sockets, each a process of its own.

`link`: the daemon's link and the least tick that there can be, paced by the robot or by its own
clock. `echo`: as many bytes there and back over the same sockets and options, and nothing else.
Both are scheduled as a daemon's loop is.
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from runtime.config import Config, load_config, load_robot
from runtime.envelope.certificate import ENVELOPE_SEAL, Certificate
from runtime.messages import Command, Device, GroupSize, Sizes, new_inputs
from runtime.realtime import enter_realtime, quiet_garbage_collector
from runtime.robot_socket import open_socket
from runtime.zmq_link import ZmqLink, open_link
from runtime.zmq_spec import ZmqConfig
from runtime.zmq_threads import new_context
from tests.benchmarks.kit import CONFIG_FILE

VALID_NS = 20_000_000
_POLL_MS = 100
_PATIENCE_NS = 100_000_000
_MOST = 2_000_000


def settings(block: str) -> Config:
    """Return the config with a JSON text as its block `zmq`."""
    data = load_config(CONFIG_FILE).model_dump() | {"zmq": msgspec.json.decode(block)}
    return Config.model_validate(data)


class LeastTick:
    """A tick that commands where the robot is. What it took stands in `took_ns` by the sequence of
    the observation that it answers: what a daemon's record says as the stage `step`."""

    def __init__(self, config: Config) -> None:
        robot = load_robot(config, CONFIG_FILE)
        groups = tuple(GroupSize(g.name, g.size) for g in config.observations.groups)
        link = open_link(config, CONFIG_FILE, robot, 4.0, lockstep=False, field=None, seed=None)
        assert isinstance(link, ZmqLink)
        self.link = link
        self.inputs = new_inputs(Sizes(len(robot.joints), 4, 4, groups))
        self.took_ns = np.zeros(_MOST, dtype=np.int64)
        self._epoch = 1
        self._number = 0
        self._still = [0.0] * len(robot.joints)
        self._asked_s = 0.0

    def step(self, answered: int) -> Certificate:
        """Return the command that answers what was read last, the device's sample `answered`."""
        begun_ns = time.monotonic_ns()
        inputs = self.inputs
        self._number += 1
        answers, stamp_ns = int(inputs.group_sequence[0]), int(inputs.group_device_stamp_ns[0])
        command = Command(
            self._epoch, self._number, answers, stamp_ns, VALID_NS, inputs.q.tolist(), self._still
        )
        certified = Certificate(command, ENVELOPE_SEAL)
        self.took_ns[answered % _MOST] = time.monotonic_ns() - begun_ns
        return certified

    def run(self, period_ns: int, ended: Callable[[], bool]) -> None:
        """Tick whenever an observation arrives; with a `period_ns`, by our own clock instead."""
        known, due_ns = 0, time.monotonic_ns()
        while not ended():
            if self.link.session is None or self.link.session.observation is None:
                self.link.write(None)
            if period_ns:
                due_ns = max(due_ns + period_ns, time.monotonic_ns())
                time.sleep(max(0, due_ns - time.monotonic_ns()) * 1e-9)
            else:
                self.link.wait(time.monotonic_ns() + _PATIENCE_NS)
            self.link.read(self.inputs)
            number, session = int(self.inputs.group_sequence[0]), self.link.session
            if number == known or session is None or session.observation is None:
                # greeted, but nothing that came answers us yet: say something
                self.link.write(None)
                continue
            known = number
            self.link.write(self.step(session.observation.groups[0].sequence))
            if session.device is Device.HOLDING and time.monotonic() - self._asked_s > 0.5:
                self._asked_s, self._epoch = time.monotonic(), self._epoch + 1
                self.link.arm(self._epoch)


def echo(config: Config, robot: ZmqConfig, ended: Callable[[], bool]) -> None:
    """Answer each frame with as many bytes as its first four say, over the link's own socket."""
    context = new_context(max(1, config.realtime.priority - 1))
    socket = open_socket(context, config, robot, CONFIG_FILE)
    enter_realtime(config.realtime)
    greeted = False
    while not ended():
        if not socket.poll(_POLL_MS):
            if not greeted:
                socket.send(b"")
            continue
        greeted = True
        socket.send(bytes(int.from_bytes(socket.recv()[:4], "big")))
    socket.close(0)
    context.term()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.link_clients")
    parser.add_argument("who", choices=["link", "echo"])
    parser.add_argument("zmq", help="the block of the config, as JSON")
    parser.add_argument("--took", type=Path, help="where a link's times of its ticks go (.npy)")
    parser.add_argument("--period-ns", type=int, default=0, help="a link's own; 0: the robot's")
    options = parser.parse_args()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    config = settings(options.zmq)
    assert config.zmq is not None
    quiet_garbage_collector()
    if options.who == "echo":
        echo(config, config.zmq, ended.is_set)
        return 0
    tick = LeastTick(config)
    enter_realtime(config.realtime)
    tick.run(options.period_ns, ended.is_set)
    np.save(options.took, tick.took_ns, allow_pickle=False)
    tick.link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
