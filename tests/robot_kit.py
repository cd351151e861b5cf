"""Robots in processes of their own, and a hand that commands any link for a while."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.clock import seconds_to_ns
from runtime.config import Config, load_config, load_robot
from runtime.envelope.certificate import ENVELOPE_SEAL, Certificate
from runtime.interfaces import Link
from runtime.layout import Floats
from runtime.messages import Command, GroupSize, Sizes, TaskSignal, new_inputs
from runtime.robot_hashes import contract_hash, robot_hash
from runtime.robot_spec import RobotSpec
from runtime.zmq_link import open_link

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config.yaml"
DRIVER = ROOT / "sims" / "minimal_driver.py"
# slow, and a patient watchdog: a test on a busy machine is no client that fell silent
SERVO_HZ = 100.0
PATIENT = "watchdog_s: 0.1\nlease_s: 2.0\n"
VALID_NS = 100_000_000


@dataclass(frozen=True)
class Setup:
    """What a client needs to open a robot: the config with its block `zmq`, its file, its spec."""

    config: Config
    robot: RobotSpec
    file: Path = CONFIG

    def link(self, **changes: Any) -> Link:
        """Open the robot; `changes`: in the block `zmq`."""
        assert self.config.zmq is not None
        block = self.config.zmq.model_copy(update=changes)
        config = self.config.model_copy(update={"zmq": block})
        return open_link(
            config, self.file, self.robot, 4.0, lockstep=False, field=None, seed=None
        )

    @property
    def groups(self) -> tuple[GroupSize, ...]:
        return tuple(GroupSize(g.name, g.size) for g in self.config.observations.groups)


def slow_config(folder: Path, block: dict[str, Any]) -> tuple[Path, Setup]:
    """Write the config at SERVO_HZ; return its file, and a client's with `block` as `zmq`."""
    file, text = folder / "config.yaml", CONFIG.read_text(encoding="utf-8")
    assert "servo_hz: 500.0" in text
    file.write_text(text.replace("servo_hz: 500.0", f"servo_hz: {SERVO_HZ}"), encoding="utf-8")
    read = load_config(file)
    config = Config.model_validate(read.model_dump() | {"zmq": block})
    return file, Setup(config, load_robot(config, file), file)


@contextmanager
def process(command: Sequence[str], ready: str = "") -> Iterator["subprocess.Popen[str]"]:
    """Run a command until the block ends; `ready`: the line that it says first."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            if ready:
                assert running.stdout is not None
                assert running.stdout.readline().strip() == ready
            yield running
            assert running.poll() is None, "it died"
        finally:
            running.terminate()


@contextmanager
def bridge(
    folder: Path, block: dict[str, Any], faults: str = "", endpoint: str = ""
) -> Iterator[tuple[Setup, "subprocess.Popen[str]"]]:
    """Run the simulated hardware. `block`: the client's `zmq`; `faults`: more lines of its own."""
    endpoint = endpoint or f"ipc://{folder}/own/robot"
    config, setup = slow_config(folder, {"endpoint": endpoint, **block})
    file = folder / "bridge.yaml"
    file.write_text(PATIENT + faults, encoding="utf-8")
    command = [sys.executable, "-m", "sims.bridge_process", "--config", str(config)]
    command += ["--bridge", str(file), "--field", "nominal", "--endpoint", endpoint]
    with process(command, ready=f"robot at {endpoint}") as running:
        yield setup, running


@contextmanager
def minimal_driver(folder: Path) -> Iterator[tuple[Setup, "subprocess.Popen[str]"]]:
    """Run the template for hardware makers, and describe its toy as a client must."""
    endpoint = f"ipc://{folder}/own/robot"
    read = load_config(CONFIG)
    data = read.model_dump() | {"zmq": {"endpoint": endpoint}}
    bare = read.observations.model_copy(update={"groups": ()})
    config = Config.model_validate(data).model_copy(update={"observations": bare})
    spec = load_robot(config, CONFIG)
    first, second = (spec.joints[i].model_copy(update={"name": "ab"[i]}) for i in (0, 1))
    robot = spec.model_copy(update={"name": "toy", "joints": (first, second)})
    hashes = robot_hash(robot).hex(), contract_hash(("a", "b"), [], 2_000_000).hex()
    with process([sys.executable, "-I", str(DRIVER), endpoint, *hashes]) as running:
        yield Setup(config, robot), running


class Hand:
    """Reads a link and commands it in the stead of a tick. `inputs`: what was read last."""

    def __init__(
        self, link: Link, joints: int, groups: tuple[GroupSize, ...], tick_s: float
    ) -> None:
        self.link = link
        self.inputs = new_inputs(Sizes(joints, 4, 4, groups))
        self.lockstep = link.describe().lockstep
        self.tick_s = tick_s
        self.epoch = 1
        self.heard: list[TaskSignal] = []
        self._sequence = 0
        self.until(lambda: bool((self.inputs.group_sequence > 0).all()))

    def read(self) -> Floats:
        """Read; return where the joints are (rad)."""
        self.link.read(self.inputs)
        return self.inputs.q.astype(np.float64)

    def certificate(
        self,
        q: Sequence[float],
        dq: Sequence[float] | None = None,
        epoch: int | None = None,
        stamp_ns: int | None = None,
    ) -> Certificate:
        """Forge a certificate that answers what was read last, or what had another stamp."""
        self._sequence += 1
        stamp_ns = int(self.inputs.group_device_stamp_ns[0]) if stamp_ns is None else stamp_ns
        answers = int(self.inputs.group_sequence[0])
        epoch = self.epoch if epoch is None else epoch
        still = [0.0] * len(q)
        command = Command(
            epoch, self._sequence, answers, stamp_ns, VALID_NS, list(q), list(dq or still)
        )
        return Certificate(command, ENVELOPE_SEAL)

    def tick(self, certified: Certificate | None = None) -> Floats:
        """One tick: write, wait, read; return where the joints are (rad)."""
        self.link.write(certified)
        self.heard.extend(self.link.signals())
        if not self.lockstep:
            time.sleep(self.tick_s)
        return self.read()

    def until(self, done: Callable[[], bool], limit_s: float = 20.0) -> None:
        """Tick without a command until `done`."""
        end_s = time.monotonic() + limit_s
        while not done():
            assert time.monotonic() < end_s, "it never came to that"
            self.tick()

    def go(self, seconds: float, make: Callable[[], Certificate | None]) -> Floats:
        """Tick for a while, sending what `make` gives; return where the joints are (rad)."""
        begin_ns = self.link.clock.now_ns()
        q = self.read()
        while self.link.clock.now_ns() - begin_ns < seconds_to_ns(seconds):
            q = self.tick(make())
        return q

    def at_rest(self) -> bool:
        """Whether nothing moved for longer than a drive needs to say so."""
        before = self.read()
        after = self.go(0.15, lambda: None)
        return bool(np.abs(after - before).max() < 1e-3)

    def arm(self) -> Floats:
        """Arm with a fresh epoch, at rest; return where the robot is (rad)."""
        self.until(self.at_rest)
        self.epoch += 1
        self.link.arm(self.epoch)
        return self.read()

    def ramp(self, start: Floats, away_rad: Floats, seconds: float, **changes: int) -> Floats:
        """Command an even way, as the newest observation comes, no faster than any drive can;
        `changes`: in the commands. Return where the joints are (rad)."""
        begin_ns, clock = self.link.clock.now_ns(), self.link.clock
        pace, share, q = away_rad / seconds, 0.0, start
        while share < 1.0:
            share = min((clock.now_ns() - begin_ns) / seconds_to_ns(seconds), 1.0)
            speed = pace if share < 1.0 else 0 * pace
            there = start + share * away_rad
            q = self.tick(self.certificate(there.tolist(), speed.tolist(), **changes))
        return q

    def move(self, away_rad: Floats, seconds: float) -> tuple[Floats, Floats]:
        """Move evenly by `away_rad` [n]; again where a busy machine was too late. Returns where it
        began and where it is (rad); the robot may still move."""
        for _ in range(10):
            start = self.arm()
            self.ramp(start, away_rad, seconds)
            hold = (start + away_rad).tolist()
            ended = self.go(0.2, lambda: self.certificate(hold))  # noqa: B023 - called at once
            if np.abs(ended - start).max() > 0.8 * np.abs(away_rad).max():
                return start, ended
        raise AssertionError("ten times the commands came too late")
