"""Simulated hardware: the MuJoCo robot in a process of its own and in real time, behind a socket.

    python -m sims.bridge_process --config config.yaml [--endpoint ipc://...] [--log FILE]

It speaks runtime/PROTOCOL.md and knows nothing of the daemon. A period that this process is too
late for is skipped, not caught up: the simulated robot stands still in it, its clock runs on.
"""

import argparse
import gc
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtime.clock import seconds_to_ns
from runtime.config import Config, RealtimeConfig, load_config, load_robot, resolve
from runtime.errors import TrimtabError
from runtime.realtime import enter_realtime
from runtime.record_format import socket_folder
from runtime.robot_hashes import contract_hash, robot_hash
from runtime.robot_spec import RobotSpec
from runtime.robot_wire import WireError, decode_from_client, encode
from sims.bridge_config import BridgeConfig, read_bridge
from sims.bridge_robot import BridgedRobot, DriftingClock
from sims.bridge_socket import DeviceSocket, bound
from sims.config import SimConfig, load_sim
from sims.link import GROUPS
from sims.network_faults import Direction
from sims.plant import Plant
from sims.robot_device import Outgoing, RobotDevice
from sims.robot_log import ExecutionLog
from sims.robot_motion import bounds_of
from sims.robot_sessions import RobotFacts

FRAMES_A_PERIOD = 256
LOG_EVERY_S = 0.05
NS_PER_MS = 1_000_000


class Bridge:
    """Moves frames between socket and robot, through the network that the config describes.

    `skipped`: periods that were not simulated because this process was too late.
    """

    def __init__(self, socket: DeviceSocket, robot: BridgedRobot, config: BridgeConfig) -> None:
        self._socket = socket
        self._robot = robot
        self._clock = DriftingClock(time.monotonic_ns(), config.clock_drift_ppm)
        self._to_robot = Direction(config.to_robot, config.network_seed)
        self._to_client = Direction(config.to_client, config.network_seed + 1)
        self.skipped = 0

    def run(self, done: Callable[[], bool]) -> None:
        """Run in real time until `done`."""
        period_ns = self._robot.plant.period_ns
        deadline_ns = time.monotonic_ns()
        while not done():
            self._listen_until(deadline_ns)
            skipped = (time.monotonic_ns() - deadline_ns) // period_ns
            self.skipped += skipped
            self._send(self._robot.step(self._now_ns(), skipped))
            self._robot.simulate()
            deadline_ns += (skipped + 1) * period_ns

    def _now_ns(self) -> int:
        return self._clock.of(time.monotonic_ns())

    def _listen_until(self, deadline_ns: int) -> None:
        """Take frames as they come, at most FRAMES_A_PERIOD, until a time of this machine's."""
        left = FRAMES_A_PERIOD
        while True:
            left -= self._take(left)
            wait_ns = deadline_ns - time.monotonic_ns()
            if wait_ns <= 0:
                return
            if left > 0 and wait_ns >= NS_PER_MS:
                self._socket.raw.poll(wait_ns // NS_PER_MS)
            else:
                time.sleep(wait_ns * 1e-9)

    def _take(self, most: int) -> int:
        """Take what has arrived, at most so many frames; return how many."""
        taken = 0
        for frame in self._socket.frames(most):
            taken += 1
            self._to_robot.send(frame, self._now_ns())
        for routing, payload in self._to_robot.due(self._now_ns()):
            self._deliver(routing, payload)
        self._flush()
        return taken

    def _deliver(self, routing: bytes, payload: bytes) -> None:
        device, now_ns = self._robot.device, self._now_ns()
        try:
            message = decode_from_client(payload)
        except WireError as error:
            self._send(device.malformed(routing, str(error), now_ns))
        else:
            self._send(device.receive(routing, message, now_ns))

    def _send(self, messages: list[Outgoing]) -> None:
        for routing, message in messages:
            self._to_client.send((routing, encode(message)), self._now_ns())
        self._flush()

    def _flush(self) -> None:
        for routing, payload in self._to_client.due(self._now_ns()):
            self._socket.send(routing, payload)


@dataclass(frozen=True)
class Setup:
    """All that a bridge is made of, read and checked."""

    config: Config
    config_file: Path
    robot: RobotSpec
    sim: SimConfig
    bridge: BridgeConfig

    @property
    def endpoint(self) -> str:
        """Where it binds."""
        default = f"ipc://{socket_folder(self.config.robot_id)}/robot"
        return self.bridge.endpoint or default


def read_setup(options: argparse.Namespace) -> Setup:
    """Read the files that the options name; raises ConfigError."""
    config_file = Path(options.config)
    config = load_config(config_file)
    sim = load_sim(config, options.field, options.seed)
    bridge = read_bridge(options.bridge) if options.bridge else sim.bridge
    changes = {
        "endpoint": options.endpoint or bridge.endpoint,
        "loopback": options.loopback or bridge.loopback,
    }
    return Setup(
        config,
        config_file,
        load_robot(config, config_file),
        sim,
        bridge.model_copy(update=changes),
    )


def build_robot(setup: Setup, log: ExecutionLog) -> BridgedRobot:
    """Return the simulated robot that the files describe; raises ConfigError."""
    robot = setup.robot
    mjcf = resolve(robot.tool.mjcf, setup.config_file)
    plant = Plant(mjcf, robot, setup.sim, setup.config.control.servo_hz)
    groups = tuple((group.name, group.size) for group in GROUPS)
    facts = RobotFacts(
        robot=robot.name,
        joints=robot.joint_names,
        groups=groups,
        period_ns=plant.period_ns,
        watchdog_ns=seconds_to_ns(setup.bridge.watchdog_s),
        lease_ns=seconds_to_ns(setup.bridge.lease_s),
        robot_hash=robot_hash(robot),
        contract_hash=contract_hash(robot.joint_names, groups, plant.period_ns),
    )
    device = RobotDevice(
        facts, bounds_of(robot), plant.q.copy(), lambda: secrets.randbelow(2**62) + 1, log
    )
    return BridgedRobot(
        plant, device, setup.bridge.episode_s, seconds_to_ns(setup.bridge.bus_s)
    )


@contextmanager
def written(log: ExecutionLog, file: Path | None) -> Iterator[None]:
    """Write the log to `file` as it grows, one JSON object a line, away from the robot's loop."""
    ended = threading.Event()

    def write() -> None:
        with (file or Path("/dev/null")).open("ab", buffering=0) as stream:
            while not ended.wait(LOG_EVERY_S):
                stream.write(_lines(log))
            stream.write(_lines(log))

    writer = threading.Thread(target=write, name="log")
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def _lines(log: ExecutionLog) -> bytes:
    return b"".join(msgspec.json.encode(entry) + b"\n" for entry in log.drain())


def be_on_time(config: RealtimeConfig | None) -> None:
    """Let nothing of this machine keep the robot."""
    # what is there now stays: a full collection of it would take several periods
    gc.collect()
    gc.freeze()
    if config is None:
        return
    for warning in enter_realtime(config).warnings:
        sys.stderr.write(f"{warning}\n")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sims.bridge_process", description=__doc__)
    parser.add_argument("--config", required=True, help="the daemon's config.yaml")
    parser.add_argument("--bridge", type=Path, help="a file in the stead of sim.bridge")
    parser.add_argument("--endpoint", help="where to bind, in the stead of the config's")
    parser.add_argument("--loopback", action="store_true", help="allow 127.0.0.1 without keys")
    parser.add_argument("--field", help="which of sim.fields to simulate")
    parser.add_argument("--seed", type=int, help="in the stead of sim.seed")
    parser.add_argument("--log", type=Path, help="what the robot executed, a JSON object a line")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run a bridge until SIGTERM or SIGINT; return the exit code."""
    ended = threading.Event()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    options, log = _options(arguments), ExecutionLog()
    try:
        setup = read_setup(options)
        robot = build_robot(setup, log)
        with bound(setup.endpoint, setup.bridge) as socket, written(log, options.log):
            sys.stdout.write(f"robot at {setup.endpoint}\n")
            sys.stdout.flush()
            be_on_time(setup.bridge.realtime)
            Bridge(socket, robot, setup.bridge).run(ended.is_set)
    except TrimtabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
