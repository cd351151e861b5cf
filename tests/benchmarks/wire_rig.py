"""What the benchmarks of a whole daemon and its robot share: who grows, who died, who attends.

Everything is read from outside: from /proc, from the status socket and from the record.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

import msgspec
import numpy as np
import zmq

from runtime.arming import Arming
from runtime.faults import Response
from runtime.messages import STAGES, Mode, Outcome
from runtime.operator_port import OperatorClient
from runtime.record_format import RecorderStatus, socket_folder
from runtime.records import Record
from tests.daemon_kit import Daemon, children

GROWTH_MAX = 1.1
START_S = 120.0
BRIDGE_ROLE = "sims.bridge_process"
CONTROL = "runtime.control_process"
_KIB = 1024
_NS_PER_MS = 1e6
_LATENESS = STAGES.index("lateness")


@dataclass(frozen=True)
class Sample:
    """One look at a process: seconds since the first look, resident MiB, descriptors, threads."""

    at_s: float
    memory_mib: float
    descriptors: int
    threads: int


class ProcessWatch:
    """Samples processes by role. `numbers`: the process numbers that each role has had."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = defaultdict(list)
        self.numbers: dict[str, list[int]] = defaultdict(list)
        self._begun_s = time.monotonic()

    def look(self, processes: Mapping[str, int]) -> None:
        """Take one sample of each process, by role; one that has gone meanwhile has none."""
        at_s = time.monotonic() - self._begun_s
        for role, number in processes.items():
            if number not in self.numbers[role]:
                self.numbers[role].append(number)
            with suppress(OSError):
                self.samples[role].append(sample(number, at_s))

    @property
    def restarted(self) -> dict[str, int]:
        """How often each role that did not keep its process got another one."""
        return {role: len(seen) - 1 for role, seen in self.numbers.items() if len(seen) > 1}

    def rows(self) -> list["Growth"]:
        """Return what each role used after the first quarter and at the end."""
        return [growth(role, samples) for role, samples in sorted(self.samples.items())]


@dataclass(frozen=True)
class Growth:
    """What a process used: medians over a tenth of the time, after the first quarter and at the
    end, and how the two compare (largest of memory, descriptors and threads)."""

    role: str
    samples: int
    memory_mib: tuple[float, float]
    descriptors: tuple[float, float]
    threads: tuple[float, float]
    ratio: float

    def line(self) -> str:
        """Return the row of the table."""
        pairs = (
            (self.memory_mib, "MiB"),
            (self.descriptors, "descriptors"),
            (self.threads, "threads"),
        )
        words = [f"{early:.0f} -> {late:.0f} {unit}" for (early, late), unit in pairs]
        return f"  {self.role:<28} {', '.join(words)}: x{self.ratio:.3f}"


def sample(number: int, at_s: float) -> Sample:
    """Look at a process of this machine once. Raises OSError when it is gone."""
    process = Path(f"/proc/{number}")
    lines = (process / "status").read_text(encoding="ascii").splitlines()
    status = dict(line.split(":", 1) for line in lines)
    if "VmRSS" not in status:
        raise ProcessLookupError(f"process {number} has ended")
    memory_mib = int(status["VmRSS"].split()[0]) / _KIB
    descriptors = len(list((process / "fd").iterdir()))
    return Sample(at_s, memory_mib, descriptors, int(status["Threads"]))


def growth(role: str, samples: list[Sample]) -> Growth:
    """Compare the tenth after the first quarter with the last tenth."""
    tenth, quarter = max(1, len(samples) // 10), len(samples) // 4
    early, late = samples[quarter : quarter + tenth], samples[-tenth:]

    def both(name: str) -> tuple[float, float]:
        first, last = ([float(getattr(one, name)) for one in part] for part in (early, late))
        return median(first), median(last)

    memory, descriptors, threads = (both(n) for n in ("memory_mib", "descriptors", "threads"))
    ratio = max(late / early for early, late in (memory, descriptors, threads))
    return Growth(role, len(samples), memory, descriptors, threads, ratio)


def processes_of(robot: Daemon, bridge: int | None = None) -> dict[str, int]:
    """Return all processes of a daemon, and the robot's, by the module that they run."""
    found = {"runtime.cli": robot.process.pid}
    with suppress(OSError):
        found |= children(robot.process.pid)
        found |= children(found[CONTROL]) if CONTROL in found else {}
    return found if bridge is None else {**found, BRIDGE_ROLE: bridge}


class Attendant:
    """A person beside the robot, who re-arms it after every stop and every lasting hold.

    `rearms`: how often; `status`: the newest that the recorder told; `said`: refusals, and why it
    was armed again.
    """

    def __init__(self, robot_id: str) -> None:
        self._client = OperatorClient(socket_folder(robot_id))
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.connect(f"ipc://{socket_folder(robot_id)}/status")
        self.said: list[str] = []
        self.status: RecorderStatus | None = None
        self._arming = self._new()
        self._before = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._client.close()

    @property
    def rearms(self) -> int:
        """How often the robot was armed again."""
        return self._before + self._arming.rearms

    def look(self) -> None:
        """Take the newest status, and ask for what is wanted; never blocks."""
        while self._socket.poll(0):
            self.status = msgspec.msgpack.decode(self._socket.recv(), type=RecorderStatus)
            self._arming.see(_blocked(self.status), self.status.faults)
        self._arming.ask(self._client)
        if self._arming.gave_up:
            self._before += self._arming.rearms
            self._arming = self._new()

    def _new(self) -> Arming:
        return Arming(arm=False, goes_on=True, say=self.said.append)


def _blocked(status: RecorderStatus) -> str:
    """Return the mode; HOLD where a fault from the start keeps a ready robot from being armed."""
    held = status.mode == Mode.READY.name and status.response == Response.HOLD.name
    return Mode.HOLD.name if held else status.mode


def attend(
    robot: Daemon,
    seconds: float,
    attendant: Attendant,
    each: Callable[[], None],
    every_s: float = 0.1,
) -> None:
    """Stay beside a running daemon for `seconds`, or until it ends; call `each` all the while."""
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s and robot.process.poll() is None:
        attendant.look()
        each()
        time.sleep(every_s)


def await_mode(robot: Daemon, attendant: Attendant, *modes: Mode) -> None:
    """Wait until a daemon is in one of `modes` (none: any), however busy the machine is.

    Raises:
        SystemExit: it ended, or did not get there in START_S.
    """
    names = {mode.name for mode in modes or Mode}
    end_s = time.monotonic() + START_S
    while attendant.status is None or attendant.status.mode not in names:
        if robot.process.poll() is not None or time.monotonic() > end_s:
            raise SystemExit(f"waited in vain: {attendant.status}, {robot.said()}")
        attendant.look()
        time.sleep(0.05)


@contextmanager
def attendant_of(robot: Daemon) -> Iterator[Attendant]:
    """Yield a person beside a running daemon."""
    with Attendant(robot.robot_id) as attendant:
        yield attendant


@dataclass(frozen=True)
class Lateness:
    """How late ticks began, ms, and how many deadlines were skipped, in one part of a record."""

    ticks: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    missed: int

    def text(self) -> str:
        """Return it in words."""
        return (
            f"late p50 {self.p50_ms:.3f}, p99 {self.p99_ms:.3f}, p99.9 {self.p999_ms:.3f}, "
            f"max {self.max_ms:.2f} ms of {self.ticks} ticks, {self.missed} deadlines missed"
        )


def lateness(record: Record, begin: int, end: int) -> Lateness:
    """Return how late the ticks [begin, end) of a record were: from the first deadline that was due
    to the tick that served it or a later one."""
    # a record has the times of the tick before it, and counts the deadlines that were skipped then
    inside = slice(begin + 1, end)
    missed = record.scalar("missed_ticks")[inside]
    period_ns = 1e9 / record.header.servo_hz
    late_ms = (record.column("stage_ns")[inside, _LATENESS] + missed * period_ns) / _NS_PER_MS
    if not len(late_ms):
        return Lateness(0, 0.0, 0.0, 0.0, 0.0, 0)
    p50, p99, p999 = np.percentile(late_ms, (50, 99, 99.9)).tolist()
    return Lateness(len(late_ms), p50, p99, p999, float(late_ms.max()), int(missed.sum()))


def outcomes_between(record: Record, begin_ns: int, end_ns: int) -> dict[str, int]:
    """Return how many episodes ended how between two instants of the daemon's clock."""
    now_ns, said = record.scalar("now_ns"), record.scalar("outcome")
    inside = said[(begin_ns <= now_ns) & (now_ns < end_ns) & (said != Outcome.NONE)]
    return {one.name: int((inside == one).sum()) for one in Outcome if (inside == one).any()}
