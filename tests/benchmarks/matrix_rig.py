"""The processes of the fault matrix: robot, wire and daemon, and what brings them back to work.

Robot and daemon are the product's own processes, in real time, each with its own evidence: what the
robot executed, and the daemon's record. The proxy on the wire between them is ours.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import zmq
from ruamel.yaml import YAML

from runtime.config import load_config, load_robot
from runtime.errors import LinkError
from runtime.faults import Fault
from runtime.messages import Mode, Request
from runtime.operator_port import operator_client
from runtime.record_format import RecorderPlace, RecorderStatus, socket_folder
from runtime.records import Record, read_record
from runtime.robot_codes import DeviceState
from runtime.robot_hashes import contract_hash, robot_hash
from runtime.robot_spec import RobotSpec
from runtime.wire import OperatorRequest
from sims.link import GROUPS
from sims.robot_log import Entry, read_log
from tests.benchmarks.matrix_daemon import CONTROL as INJECTED_CONTROL
from tests.benchmarks.wire_proxy import Break, Look, Order, Orders, Told
from tests.daemon_kit import ROOT, TRIMTAB, Daemon, children, lives, write_config

CONTROL, WORKER = "runtime.control_process", "runtime.base_worker"
RECORDER, GATE = "runtime.recorder_process", "runtime.gate_process"
LEARNER = "policies.learner_process"
PERIOD_NS = 2_000_000
# the protocol's own defaults; the drives are as real as this machine lets them be
WATCHDOG_NS, LEASE_S = 20_000_000, 0.5
BRIDGE: Mapping[str, object] = {
    "watchdog_s": WATCHDOG_NS * 1e-9,
    "lease_s": LEASE_S,
    "realtime": {"priority": 40, "lock_memory": True, "require": False, "spin_us": 0.0,
                 "core_wake_us": 0},
}
_SLOWEST_RAD_S = (0.1, 0.4)
_START_S, _READY_S, _END_S = 90.0, 90.0, 30.0
_ASK_S = 1.0
_PATIENCE_S = 1.5
_WORKING = (Mode.BASE.name, Mode.SHADOW.name, Mode.ADAPTIVE.name)


class NotReady(Exception):
    """The arm did not come to work (again) in time."""


@dataclass(frozen=True)
class Scene:
    """What a row runs in. `words`: of `trimtab run`; `changes` of the config; `fault`: of
    matrix_control, none: the product's control process; `episode_s` of the person at the robot;
    `authority`: work means that the residual has some."""

    words: tuple[str, ...] = ()
    changes: Mapping[str, object] = field(default_factory=dict)
    fault: str = ""
    episode_s: float = 4.0
    authority: bool = False


class Rig:
    """One robot, one wire, and one daemon after the other."""

    def __init__(
        self, folder: Path, scene: Scene, prepare: Callable[[Path], None]
    ) -> None:
        self.scene = scene
        self._stack = ExitStack()
        self.config = write_config(
            folder,
            {"link": "runtime.zmq_link:open_link", "zmq": {}, **scene.changes},
        )
        self._robot_id = load_config(self.config).robot_id
        self.sockets = socket_folder(self._robot_id)
        self.back = f"ipc://{self.sockets}/robot"
        front = f"ipc://{self.sockets}/wire"
        self._add_endpoint(front)
        self.log = folder / "executed.jsonl"
        self._bridge_file = folder / "bridge.yaml"
        with self._bridge_file.open("w", encoding="utf-8") as stream:
            YAML().dump({**BRIDGE, "episode_s": scene.episode_s}, stream)
        self.notes = folder / "notes.txt"
        self.notes.touch()
        prepare(self.config)
        self._orders = Orders(zmq.Context.instance(), f"ipc://{self.sockets}/orders")
        self._stack.callback(self._orders.close)
        self.bridge_starts_ns: list[int] = []
        self.bridge = self._start_bridge()
        words = [front, self.back, f"ipc://{self.sockets}/orders"]
        self.proxy = self._start_waiting("tests.benchmarks.wire_proxy", words)
        self.daemon = self._start_daemon()
        self.daemons = [self.daemon]

    def _add_endpoint(self, front: str) -> None:
        text = self.config.read_text(encoding="utf-8")
        yaml = YAML(typ="safe").load(text)
        yaml["zmq"] = {"endpoint": front}
        with self.config.open("w", encoding="utf-8") as stream:
            YAML().dump(yaml, stream)

    # -- processes ------------------------------------------------------------------------------

    def _start_waiting(self, module: str, words: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a module of ours and wait until it says something."""
        command = [sys.executable, "-m", module, *words]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._stack.callback(_end, process)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise NotReady(f"{module} did not start; its own words are above")
        return process

    def _start_bridge(self) -> "subprocess.Popen[str]":
        self.bridge_starts_ns.append(time.monotonic_ns())
        words = ["--config", str(self.config), "--bridge", str(self._bridge_file)]
        words += ["--log", str(self.log), "--field", "nominal", "--endpoint", self.back]
        return self._start_waiting("sims.bridge_process", words)

    def _start_daemon(self) -> Daemon:
        program = TRIMTAB
        if self.scene.fault:
            program = (sys.executable, "-m", "tests.benchmarks.matrix_daemon")
            os.environ["TRIMTAB_MATRIX_FAULT"] = self.scene.fault
            os.environ["TRIMTAB_MATRIX_NOTES"] = str(self.notes)
        words = ["--clock", "realtime", "--arm", "--steps", 1_000_000, *self.scene.words]
        started = Daemon(self.config, words, program=program)
        self._stack.callback(started.close)
        return started

    def control(self) -> int:
        """Return the process number of control."""
        return self.child(INJECTED_CONTROL if self.scene.fault else CONTROL)

    def child(self, module: str) -> int:
        """Return the process number of a child of the supervisor, waiting for its (re)start."""
        return _child(self.daemon.process.pid, module)

    def worker(self) -> int:
        """Return the process number of control's base worker."""
        return _child(self.control(), WORKER)

    def everybody(self) -> list[int]:
        """Return every process of robot, wire and daemon."""
        ours = [self.daemon.process.pid, *children(self.daemon.process.pid).values()]
        return [*ours, self.worker(), self.proxy.pid, self.bridge.pid]

    def revive_bridge(self) -> None:
        """Start the robot again where it died."""
        if self.bridge.poll() is not None:
            self.bridge = self._start_bridge()

    def revive_daemon(self, status: RecorderStatus | None = None) -> None:
        """Start a new daemon where the one before is over, or says that it is no longer whole."""
        worker_died = status is not None and Fault.BASE_FAILED.name in status.faults
        said = self.daemon.said()
        over = self.daemon.process.poll() is not None or "is not started again" in said.err
        if not (over or worker_died):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.daemon.process.send_signal(signal.SIGTERM)
            self.daemon.process.wait(_END_S)
        self.daemon.close()
        self.daemon = self._start_daemon()
        self.daemons.append(self.daemon)

    # -- orders ---------------------------------------------------------------------------------

    def tell(self, order: Order) -> Told:
        """Tell the proxy."""
        return self._orders.give(order)

    def look(self) -> Told:
        """Return what the proxy sees."""
        return self.tell(Look())

    def ask(self, request: Request) -> bool:
        """Ask the daemon for something; return whether it was granted."""
        with operator_client(self.sockets) as client, contextlib.suppress(LinkError):
            return client.ask(OperatorRequest(request, "fault matrix"), _ASK_S).accepted
        return False

    def status(self) -> RecorderStatus | None:
        """Return the newest status, waiting a moment for one."""
        newest = None
        while self.daemon._status.poll(0 if newest else 300):
            newest = msgspec.msgpack.decode(self.daemon._status.recv(), type=RecorderStatus)
        return newest

    # -- work -----------------------------------------------------------------------------------

    def bring_to_work(self, chance: random.Random) -> None:
        """Do what a person would until the arm works and moves; raises NotReady."""
        self.tell(Break())
        self.revive_bridge()
        deadline_s = time.monotonic() + (_START_S if self.scene.authority else _READY_S)
        held_since_s, seen = 0.0, ["no status"]
        while time.monotonic() < deadline_s:
            status = self.status()
            self.revive_daemon(status)
            if status is None:
                continue
            seen.append(f"{status.mode} {status.faults} {self.look()}")
            held = status.mode == Mode.HOLD.name
            held_since_s = (held_since_s or time.monotonic()) if held else 0.0
            if status.mode == Mode.STOPPED.name:
                self.ask(Request.REARM)
            elif status.mode == Mode.READY.name:
                _ = self.ask(Request.ARM) or self.ask(Request.REARM)
            elif held and time.monotonic() - held_since_s > _PATIENCE_S:
                self.ask(Request.REARM)
            elif self._works(status) and self._moves(chance):
                return
        raise NotReady(f"the arm does not work: {seen[-3:]}; {self.daemon.said().err[-500:]}")

    def _works(self, status: RecorderStatus) -> bool:
        if status.mode not in _WORKING:
            return False
        residual = status.residual
        return not self.scene.authority or (residual is not None and residual.authority > 0.0)

    def _moves(self, chance: random.Random) -> bool:
        """Wait until a joint is as fast as chance wants; False if it is not within half a second
        (the status is younger than that)."""
        wanted = chance.uniform(*_SLOWEST_RAD_S)
        end_s = time.monotonic() + 0.5
        while time.monotonic() < end_s:
            told = self.look()
            if told.state == DeviceState.ARMED and told.speed_rad_s >= wanted:
                return True
            time.sleep(0.002)
        return False

    # -- what is left ---------------------------------------------------------------------------

    def end(self) -> None:
        """End daemon and robot in order, so that both have written everything."""
        self.tell(Break())
        if self.daemon.process.poll() is None:
            self.daemon.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.daemon.process.wait(_END_S)
        self.bridge.terminate()
        self.bridge.wait(_END_S)

    def close(self) -> None:
        """Leave nothing behind."""
        self._stack.close()

    def entries(self) -> list[Entry]:
        """Return what the robot executed."""
        return read_log(self.log.read_text(encoding="utf-8"))

    def records(self) -> list[Record]:
        """Return the record of every daemon, oldest first."""
        folder = self.config.parent / "out" / "records"
        runs = sorted(folder.iterdir()) if folder.is_dir() else []
        return [read_record(run) for run in runs if any(run.glob("*.mcap"))]

    def spec(self) -> RobotSpec:
        """Return the robot's spec."""
        return load_robot(load_config(self.config), self.config)

    def hashes(self) -> tuple[bytes, bytes]:
        """Return the robot's hash and the contract's, as a client has them."""
        robot, groups = self.spec(), [(group.name, group.size) for group in GROUPS]
        return robot_hash(robot), contract_hash(robot.joint_names, groups, PERIOD_NS)

    def place(self) -> RecorderPlace:
        """Return where the daemon's own sockets are."""
        return RecorderPlace("matrix", self.config.parent, self.sockets)


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _child(parent: int, module: str) -> int:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        number = children(parent).get(module)
        if number is not None and lives(number):
            return number
        time.sleep(0.02)
    raise NotReady(f"{module} is not there")
