"""How the faults of the matrix are made: at the wire, by signals, by strangers. Each is a context
manager that yields a Shot, which afterwards says when it was and how often it acted."""

import os
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from runtime.robot_codes import Refusal, StopCategory
from runtime.robot_wire import Command, Refused, Stop, encode
from sims.robot_log import Period
from tests.benchmarks.matrix_rig import WATCHDOG_NS, NotReady, Rig
from tests.benchmarks.wire_damage import Hurt, HurtGroup, Way
from tests.benchmarks.wire_proxy import Again, Break, Forge
from tests.daemon_kit import ROOT, wait_gone
from tests.sims.wire_client import WireClient

FORGED = 100
_BURSTS, _BURST_FRAMES, _BURST_EVERY_S = 12, 40, 0.02
_SLOW_S, _SLOW_PAUSE_S, _SLOW_TIMES = 0.03, 0.07, 8
_NOTE_S = 2.0


@dataclass
class Shot:
    """`begin_ns`: from before it took effect; `acted`: how often it did; `said`: more of that."""

    begin_ns: int
    acted: int = 0
    said: str = ""


Injector = Callable[[Rig], AbstractContextManager[Shot]]


def wire(
    to_robot: Hurt | None = None, to_client: Hurt | None = None, group: HurtGroup | None = None
) -> Injector:
    """The proxy hurts what passes it."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[Shot]:
        shot = Shot(rig.tell(Break(to_robot, to_client, group)).now_ns)
        yield shot
        shot.acted = rig.tell(Break()).acted

    return inject


def frames(way: Way, message: int, *, to_robot: bool, delay_s: float = 0.0) -> Injector:
    """Hurt messages of one type (0: all) in one direction."""
    hurt = Hurt(way, message, delay_s)
    return wire(to_robot=hurt) if to_robot else wire(to_client=hurt)


def frozen(who: Callable[[Rig], Sequence[int]], *, resumed: float = 0.0) -> Injector:
    """SIGSTOP, and SIGCONT at the end. `resumed`: they sleep so long before the trial begins."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[Shot]:
        numbers = who(rig)
        shot = Shot(time.monotonic_ns())
        for number in numbers:
            os.kill(number, signal.SIGSTOP)
        try:
            shot.acted = sum(_stopped(number) for number in numbers)
            if resumed:
                time.sleep(resumed)
                shot.begin_ns = time.monotonic_ns()
                _resume(numbers)
            yield shot
        finally:
            _resume(numbers)

    return inject


def killed(who: Callable[[Rig], Sequence[int]], *, again: bool = False) -> Injector:
    """SIGKILL. `again`: at once another daemon is started."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[Shot]:
        numbers = who(rig)
        shot = Shot(time.monotonic_ns())
        for number in numbers:
            os.kill(number, signal.SIGKILL)
        wait_gone(*numbers)
        shot.acted = len(numbers)
        if again:
            rig.daemon.process.wait(20)
            rig.revive_daemon()
        yield shot

    return inject


@contextmanager
def switched(rig: Rig) -> Iterator[Shot]:
    """What the scene put into the control process, by SIGUSR2."""
    shot, number = Shot(time.monotonic_ns()), rig.control()
    os.kill(number, signal.SIGUSR2)
    before = _note(rig.notes, 1)
    yield shot
    os.kill(number, signal.SIGUSR2)
    shot.acted = _note(rig.notes, 0) - before


@contextmanager
def slow_worker(rig: Rig) -> Iterator[Shot]:
    """The base's process hangs for a moment, again and again."""
    shot, number = Shot(time.monotonic_ns()), rig.worker()
    for _ in range(_SLOW_TIMES):
        os.kill(number, signal.SIGSTOP)
        shot.acted += _stopped(number)
        time.sleep(_SLOW_S)
        os.kill(number, signal.SIGCONT)
        time.sleep(_SLOW_PAUSE_S)
    yield shot


@contextmanager
def disk_full(rig: Rig) -> Iterator[Shot]:
    """The recorder's files must not grow any more."""
    segment = max(rig.config.parent.glob("out/records/*/*.mcap"), key=lambda f: f.stat().st_mtime)
    number, size = rig.child("runtime.recorder_process"), segment.stat().st_size
    shot = Shot(time.monotonic_ns())
    resource.prlimit(number, resource.RLIMIT_FSIZE, (size, size))
    yield shot
    shot.acted = int(segment.stat().st_size <= size)
    shot.said = f"{segment.stat().st_size - size} bytes more were written"


def flooded(endpoint: Callable[[Rig], str]) -> Injector:
    """Garbage, oversized and valid messages, as fast as a socket takes them."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[Shot]:
        shot = Shot(time.monotonic_ns())
        words = [sys.executable, "-m", "tests.benchmarks.residual_flood", endpoint(rig)]
        process = subprocess.Popen(words, cwd=ROOT)
        try:
            yield shot
            used_s = sum(map(float, Path(f"/proc/{process.pid}/stat").read_text().split()[13:15]))
            shot.acted = int(used_s > 0.0 and process.poll() is None)
            shot.said = f"{used_s / os.sysconf('SC_CLK_TCK'):.2f} s of CPU time spent on flooding"
        finally:
            process.kill()
            process.wait()

    return inject


@contextmanager
def hogged(rig: Rig) -> Iterator[Shot]:
    """Somebody with more priority takes the loop's core away, half of the time."""
    cpu = max(os.sched_getaffinity(0))
    words = [sys.executable, "-m", "tests.benchmarks.core_hog", str(cpu), "60", "0.03", "0.03"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        shot = Shot(int(process.stdout.readline()))
        yield shot
        process.terminate()
        shot.acted = int(process.communicate()[0])


@contextmanager
def second_commander(rig: Rig) -> Iterator[Shot]:
    """Somebody else wants the lease, and commands in the name of who holds it."""
    session = next(e.session for e in reversed(rig.entries()) if isinstance(e, Period))
    robot, contract = rig.hashes()
    shot = Shot(time.monotonic_ns())
    with WireClient(rig.back, robot, contract) as client:
        for _ in range(5):
            answer = client.hello(nonce=secrets.randbelow(2**62) + 1)
            refused = isinstance(answer, Refused) and answer.code is Refusal.LEASE
            shot.acted += refused
            client.send(_stolen(session))
        yield shot
    shot.said = f"refused {shot.acted} times"


def _stolen(session: int) -> Command:
    """Return a command of somebody else's session, as new as can be."""
    now_ns, zeros = time.monotonic_ns(), (0.0,) * 7
    return Command(
        session=session, count=2**40, stamp_ns=now_ns, answers_stamp_ns=now_ns, epoch=2**40,
        answers_sequence=1, valid_for_ns=WATCHDOG_NS, q=zeros, dq=zeros,
    )  # fmt: skip


def replayed(*, conversation: bool) -> Injector:
    """What the daemon said before is said again, on its connection and on another."""

    @contextmanager
    def inject(rig: Rig) -> Iterator[Shot]:
        shot = Shot(rig.look().now_ns)
        for number in range(_BURSTS):
            order = Again(_BURST_FRAMES, conversation, another=bool(number % 2))
            shot.acted += rig.tell(order).sent
            time.sleep(_BURST_EVERY_S)
        yield shot

    return inject


@contextmanager
def stopped_in_flight(rig: Rig) -> Iterator[Shot]:
    """STOP at the robot, and behind it commands that are new in everything but their epoch."""
    stop = Stop(
        id=secrets.randbelow(2**62) + 1, category=StopCategory.TWO, who="fault matrix", why="a test"
    )
    told = rig.tell(Forge(FORGED, encode(stop)))
    shot = Shot(told.now_ns, told.sent)
    yield shot


def _resume(numbers: Sequence[int]) -> None:
    for number in numbers:
        os.kill(number, signal.SIGCONT)


def _stopped(number: int) -> bool:
    """Whether the kernel has stopped a process by now."""
    end_s = time.monotonic() + 1.0
    while time.monotonic() < end_s:
        stat = Path(f"/proc/{number}/stat").read_text()
        if stat.rpartition(")")[2].split()[0] == "T":
            return True
        time.sleep(0.0005)
    return False


def _note(file: Path, active: int) -> int:
    """Return how often the injector in the control process has acted, once it was switched."""
    end_s = time.monotonic() + _NOTE_S
    while time.monotonic() < end_s:
        lines = file.read_text().splitlines()
        if lines and lines[-1].startswith(f"{active} "):
            return int(lines[-1].split()[1])
        time.sleep(0.005)
    raise NotReady(f"the injector in the control process was not switched to {active}")
