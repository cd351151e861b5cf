"""What the robot's link costs a tick: `python -m tests.benchmarks.link_latency`.

This process is the robot: the simulated device with drives that follow at once. In every period it
sends an observation and waits for the command that answers it; half a period later it sends as many
bytes to a bare echo (DEALER) and waits for as many as a command has. The link's time is that from
just before the send to just after the receive, less the time that the tick took itself, as the
client measured it; so reading, decoding, encoding and both sockets are in it. ipc and tcp, without
and with CURVE, each beside its like; every sample of the link has one of the echo next to it.

All three are scheduled as they are at work, under SCHED_FIFO where that is granted. Judged is a
client paced by the robot. One paced by its own clock is shown beside it: there an observation also
waits for the next tick, up to a period.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from runtime.clock import seconds_to_ns
from runtime.config import load_config, load_robot
from runtime.curve_keys import make_keys
from runtime.realtime import enter_realtime, quiet_garbage_collector
from runtime.robot_codes import DeviceState
from runtime.robot_hashes import contract_hash, robot_hash
from runtime.robot_wire import (
    Command,
    FromDevice,
    GroupSample,
    Observation,
    WireError,
    decode_from_client,
    encode,
)
from sims.bridge_config import BridgeConfig, CurveConfig
from sims.bridge_socket import DeviceSocket, bound
from sims.robot_device import Measured, RobotDevice
from sims.robot_log import ExecutionLog
from sims.robot_motion import bounds_of
from sims.robot_sessions import RobotFacts
from tests.benchmarks.kit import CONFIG_FILE, REPOSITORY, load_text

SAMPLES = 100_000
RATIO_MAX = 1.5
WARM_UP = 200
PERIOD_US = 2000
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
JUDGED = ("p50", "p99")
WAYS = ("ipc", "tcp", "ipc+curve", "tcp+curve")
PACINGS = ("robot", "clock")
_ANSWER_NS = seconds_to_ns(1.0)
_START_S = 30.0

Times = np.ndarray[Any, np.dtype[np.float64]]


class EasyRobot:
    """A device whose drives are where they are told to be, and that knows when what was sent."""

    def __init__(self, period_ns: int) -> None:
        config = load_config(CONFIG_FILE)
        robot = load_robot(config, CONFIG_FILE)
        self._groups = tuple((g.name, g.size) for g in config.observations.groups)
        period_said_ns = seconds_to_ns(1.0 / config.control.servo_hz)
        facts = RobotFacts(
            robot=robot.name,
            joints=robot.joint_names,
            groups=self._groups,
            period_ns=period_said_ns,
            watchdog_ns=100_000_000,
            lease_ns=2_000_000_000,
            robot_hash=robot_hash(robot),
            contract_hash=contract_hash(robot.joint_names, self._groups, period_said_ns),
        )
        home = np.array([joint.home_rad for joint in robot.joints])
        self._log = ExecutionLog()
        draw = iter(range(1, 10**6)).__next__
        self.device = RobotDevice(facts, bounds_of(robot), home, draw, self._log)
        self._number = 0

    def step(self, now_ns: int) -> list[tuple[bytes, FromDevice]]:
        """Begin a period; return what is to be sent."""
        self._log.drain()
        self._number += 1
        q = self.device.target_rad.copy()
        still = np.zeros_like(q)
        joints = (*q.tolist(), *still.tolist(), *still.tolist())
        groups = [GroupSample(self._number, now_ns, joints)]
        groups += [GroupSample(self._number, now_ns, (0.0,) * size) for _, size in self._groups]
        return self.device.step(now_ns, Measured(q, still, tuple(groups)))


@dataclass
class Exchanges:
    """What one way of connecting took; times in ns by sample, sequences of the link's."""

    way: str
    observation_bytes: int = 0
    command_bytes: int = 0
    sequences: list[int] = field(default_factory=list)
    link_ns: list[int] = field(default_factory=list)
    echo_ns: list[int] = field(default_factory=list)
    unanswered: int = 0


class Bench:
    """The robot's two sockets, and the exchanges over them."""

    def __init__(self, way: str, robot: EasyRobot, link: DeviceSocket, echo: DeviceSocket) -> None:
        self._robot, self._link, self._echo = robot, link, echo
        self._echo_to = b""
        self.told = Exchanges(way)

    def run(self, samples: int, period_ns: int) -> None:
        """Exchange until there are `samples` of each, after a warm-up in which both arrive."""
        deadline_ns, end_s = time.monotonic_ns(), time.monotonic() + _START_S
        warm = 0
        while len(self.told.link_ns) < samples:
            link_ns, sequence = self._command()
            _sleep_until(deadline_ns + period_ns // 2)
            echo_ns = self._bytes_back()
            armed = self._robot.device.state is DeviceState.ARMED
            warm += armed and echo_ns is not None
            if warm > WARM_UP and link_ns is not None and echo_ns is not None:
                self.told.sequences.append(sequence)
                self.told.link_ns.append(link_ns)
                self.told.echo_ns.append(echo_ns)
            elif warm > WARM_UP:
                self.told.unanswered += 1
            assert warm > WARM_UP or time.monotonic() < end_s, "a client never came"
            deadline_ns = max(deadline_ns + period_ns, time.monotonic_ns())
            _sleep_until(deadline_ns)

    def _command(self) -> tuple[int | None, int]:
        """Send an observation; return how long its command took (ns), and its sequence."""
        sent_ns = sequence = 0
        for routing, message in self._robot.step(time.monotonic_ns()):
            frame = encode(message)
            if isinstance(message, Observation):
                sequence, self.told.observation_bytes = message.sequence, len(frame)
                sent_ns = time.monotonic_ns()
            self._link.send(routing, frame)
        end_ns = time.monotonic_ns() + _ANSWER_NS
        # with nobody there only what comes in this period is taken
        while self._link.raw.poll(_left_ms(end_ns) if sent_ns else 1):
            routing, payload = self._link.raw.recv_multipart()
            received_ns = time.monotonic_ns()
            if self._take(routing, payload) == sequence and sent_ns:
                self.told.command_bytes = len(payload)
                return received_ns - sent_ns, sequence
        return None, sequence

    def _take(self, routing: bytes, payload: bytes) -> int:
        """Let the device have a frame; return which observation it answers as a command, else 0."""
        try:
            message = decode_from_client(payload)
        except WireError:
            return 0
        for to, answer in self._robot.device.receive(routing, message, time.monotonic_ns()):
            self._link.send(to, encode(answer))
        return message.answers_sequence if isinstance(message, Command) else 0

    def _bytes_back(self) -> int | None:
        """Send as many bytes as an observation has; return how long the echo took (ns)."""
        if not self._echo_to or not self.told.command_bytes:
            for routing, _ in self._echo.frames(256):
                self._echo_to = routing
            return None
        told = self.told
        frame = told.command_bytes.to_bytes(4, "big") + bytes(told.observation_bytes - 4)
        sent_ns = time.monotonic_ns()
        self._echo.send(self._echo_to, frame)
        while self._echo.raw.poll(_left_ms(sent_ns + _ANSWER_NS)):
            _, payload = self._echo.raw.recv_multipart()
            received_ns = time.monotonic_ns()
            # not one of its greetings
            if len(payload) == told.command_bytes:
                return received_ns - sent_ns
        return None


def _left_ms(end_ns: int) -> int:
    return max(0, (end_ns - time.monotonic_ns()) // 1_000_000)


def _sleep_until(deadline_ns: int) -> None:
    time.sleep(max(0, deadline_ns - time.monotonic_ns()) * 1e-9)


@contextmanager
def clients(
    block: Callable[[str], str], took: Path, period_ns: int
) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Run the link's client, by a clock of its own with a `period_ns`, and the echo."""
    module = [sys.executable, "-m", "tests.benchmarks.link_clients"]
    link = [*module, "link", block("robot"), "--took", str(took), "--period-ns", str(period_ns)]
    echo = [*module, "echo", block("echo")]
    running = [subprocess.Popen(each, cwd=REPOSITORY) for each in (link, echo)]
    try:
        yield running
    finally:
        for one in running:
            one.terminate()
        for one in running:
            assert one.wait(30) == 0, "a client died"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def measure(way: str, pacing: str, samples: int, period_ns: int) -> dict[str, Any]:
    """Return the row of one way of connecting, and of whose clock the client ticks by."""
    transport, _, keyed = way.partition("+")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        endpoints = {
            who: f"ipc://{folder}/{who}" if transport == "ipc" else f"tcp://127.0.0.1:{free_port()}"
            for who in ("robot", "echo")
        }
        curve, ours = _keys(folder) if keyed else (None, None)

        def block(who: str) -> str:
            return json.dumps({"endpoint": endpoints[who], "loopback": True, "curve": ours,
                               "connect_s": _START_S})  # fmt: skip

        robot = EasyRobot(period_ns)
        # the device's threads as a bridge's are; the process itself is main's business
        realtime = load_config(CONFIG_FILE).realtime
        bridge = BridgeConfig(loopback=True, curve=curve, realtime=realtime)
        took = folder / "took.npy"
        with bound(endpoints["robot"], bridge) as link, bound(endpoints["echo"], bridge) as echo:
            bench = Bench(way, robot, link, echo)
            with clients(block, took, period_ns if pacing == "clock" else 0):
                bench.run(samples, period_ns)
        return row(bench.told, pacing, np.load(took, allow_pickle=False))


def _keys(folder: Path) -> tuple[CurveConfig, dict[str, str]]:
    keys, allowed = folder / "keys", folder / "allowed"
    allowed.mkdir()
    robot, daemon = make_keys("robot", keys), make_keys("daemon", keys)
    (allowed / "daemon.key").write_bytes(daemon.public.read_bytes())
    device = CurveConfig(secret_key=str(robot.secret), allowed=str(allowed))
    return device, {"secret_key": str(daemon.secret), "device_key": str(robot.public)}


def row(
    told: Exchanges, pacing: str, took_ns: np.ndarray[Any, np.dtype[np.int64]]
) -> dict[str, Any]:
    """Return what the exchanges say, times in us."""
    tick = took_ns[np.array(told.sequences) % len(took_ns)]
    assert (tick > 0).all(), "a tick's own time is missing"
    link_us = (np.array(told.link_ns) - tick) / 1e3
    echo_us = np.array(told.echo_ns) / 1e3
    link, echo = spread_us(link_us), spread_us(echo_us)
    ratios = {name: link[name] / echo[name] for name in SHARES}
    return {
        "way": told.way,
        "pacing": pacing,
        "samples": len(told.link_ns),
        "unanswered": told.unanswered,
        "observation_bytes": told.observation_bytes,
        "command_bytes": told.command_bytes,
        "tick_us": spread_us(tick / 1e3),
        "link_us": link,
        "echo_us": echo,
        "ratio": ratios,
        "reached": pacing == "clock" or all(ratios[name] <= RATIO_MAX for name in JUDGED),
    }


def spread_us(values: Times) -> dict[str, float]:
    return {name: float(np.quantile(values, share)) for name, share in SHARES.items()}


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'':10}{'us':>8}" + "".join(f"{name:>10}" for name in SHARES)]
    for each in rows:
        for what in ("link_us", "echo_us", "ratio"):
            figures = "".join(f"{each[what][name]:10.2f}" for name in SHARES)
            lines.append(f"{each['way']:10}{what.removesuffix('_us'):>8}{figures}")
        judged = "shown" if each["pacing"] == "clock" else "reached"
        lines.append(f"{'':10}{each['samples']} samples, {each['unanswered']} unanswered, "
                     f"{each['observation_bytes']} and {each['command_bytes']} bytes, "
                     f"paced by the {each['pacing']}: "
                     f"{judged if each['reached'] else 'NOT REACHED'}")  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.link_latency")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--period-us", type=int, default=PERIOD_US)
    parser.add_argument("--way", choices=WAYS, action="append", help="only this one")
    parser.add_argument("--pacing", choices=PACINGS, action="append", help="only this one")
    parser.add_argument("--out", type=Path, default=Path("out/link_latency.json"))
    options = parser.parse_args()
    before = load_text()
    quiet_garbage_collector()
    for warning in enter_realtime(load_config(CONFIG_FILE).realtime).warnings:
        print(warning, file=sys.stderr)
    period_ns = 1000 * options.period_us
    rows = [
        measure(way, pacing, options.samples, period_ns)
        for way in options.way or WAYS
        for pacing in options.pacing or PACINGS
    ]
    print(table(rows))
    result = {"ways": rows, "period_us": options.period_us, "ratio_max": RATIO_MAX,
              "load": [before, load_text()]}  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(each["reached"] for each in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
