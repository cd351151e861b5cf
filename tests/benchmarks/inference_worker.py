"""Where the base thinks in real time: `python -m tests.benchmarks.inference_worker`.

The committed base is asked every 25th tick of a servo of 500 Hz whose tick takes a tenth of a
millisecond, in line, in a thread and in a process of its own; the three take turns. Asked to
answered is what the loop sees: from the question until the answer is in its hands; in time is what
came within the slack of its tick. Then the fourth call hangs for a while without letting go of the
interpreter, as native code may, and is seen from the servo.
"""

import argparse
import ctypes
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from runtime.base_line import BaseLine, greeting, join_line, line_pair, serve
from runtime.interfaces import BaseAnswer, BasePolicy
from runtime.layout import Floats
from runtime.messages import Sizes, TickRecord, new_record
from runtime.policy_contract import PolicyInterface
from runtime.realtime import Pacer, quiet_garbage_collector
from runtime.wiring import load_base, load_deployment, sizes_for
from tests.benchmarks.kit import CONFIG_FILE, load_text

PERIOD_NS = 2_000_000
SLACK_NS = 1_500_000
TICK_NS = 100_000
TICKS_PER_STEP = 25
HANG_S = 0.2
HANG_AT = 4
_START_S = 60.0


class Hanging:
    """The base, whose call number `at` holds the interpreter for HANG_S; 0: none does."""

    def __init__(self, inner: BasePolicy, at: int) -> None:
        self._inner = inner
        self._at = at
        self._calls = 0
        self._libc = ctypes.PyDLL(None)

    @property
    def contract(self) -> PolicyInterface:
        return self._inner.contract

    @property
    def unfamiliarity(self) -> float:
        return self._inner.unfamiliarity

    def act(self, record: TickRecord, out: Floats) -> None:
        self._calls += 1
        if self._calls == self._at:
            self._libc.usleep(round(HANG_S * 1e6))
        self._inner.act(record, out)


class Way(Protocol):
    """How the base is asked."""

    def ask(self, record: TickRecord) -> None: ...

    def look(self, woke_ns: int = 0) -> BaseAnswer | None: ...

    def close(self) -> None: ...


class InLine:
    """Asked in the servo's own thread."""

    def __init__(self, base: BasePolicy, actions: int) -> None:
        self._base = base
        self._answer = BaseAnswer(np.zeros(actions))

    def ask(self, record: TickRecord) -> None:
        self._base.act(record, self._answer.action)

    def look(self, woke_ns: int = 0) -> BaseAnswer | None:
        return self._answer

    def close(self) -> None:
        pass


class InThread:
    """Asked over the same line, whose other end is a thread's."""

    def __init__(self, base: BasePolicy, record: TickRecord, actions: int) -> None:
        self._line, theirs = line_pair()
        self._answer = BaseAnswer(np.zeros(actions))
        self._buffer = bytearray(10_000)
        self._thread = threading.Thread(target=self._serve, args=(theirs, base, record))
        self._thread.start()
        assert self._line.recv(100) == greeting(base.contract, record)
        self._line.setblocking(False)

    @staticmethod
    def _serve(line: socket.socket, base: BasePolicy, record: TickRecord) -> None:
        with line:
            serve(line, base, record)

    def ask(self, record: TickRecord) -> None:
        self._line.send(record.raw)

    def look(self, woke_ns: int = 0) -> BaseAnswer | None:
        wait_ns = woke_ns + SLACK_NS - time.monotonic_ns()
        if wait_ns > 0:
            select.select((self._line,), (), (), wait_ns * 1e-9)
        try:
            self._line.recv_into(self._buffer)
        except BlockingIOError:
            return None
        return self._answer

    def close(self) -> None:
        self._line.close()
        self._thread.join()


@dataclass
class Servo:
    """What a servo saw. Times in us."""

    answer_us: list[float] = field(default_factory=list)
    late_us: list[float] = field(default_factory=list)
    in_time: int = 0
    asked: int = 0
    missed: int = 0
    gap_us: float = 0.0

    def line(self, name: str) -> str:
        answer, late = np.array(self.answer_us), np.array(self.late_us)
        return (
            f"{name:26} {_marks(answer)} {self.in_time / max(1, self.asked):7.1%} "
            f"{_marks(late)} {self.missed:7d} {self.gap_us / 1e3:8.1f}"
        )


def _marks(values: Floats) -> str:
    return " ".join(f"{np.quantile(values, q):8.0f}" for q in (0.5, 0.99, 1.0))


def run_servo(way: Way, record: TickRecord, ticks: int, into: Servo) -> None:
    """Tick and ask; a late answer is looked for in each later tick."""
    pacer = Pacer(PERIOD_NS, 100_000)
    asked_ns, before_ns = 0, time.monotonic_ns()
    for tick in range(ticks):
        wake = pacer.wait()
        woke_ns = time.monotonic_ns()
        if tick > TICKS_PER_STEP:
            into.late_us.append(wake.lateness_ns / 1e3)
            into.missed += wake.missed
            into.gap_us = max(into.gap_us, (woke_ns - before_ns) / 1e3)
        before_ns = woke_ns
        while time.monotonic_ns() - woke_ns < TICK_NS:
            pass
        answer = way.look() if asked_ns else None
        if answer is None and asked_ns == 0 and tick % TICKS_PER_STEP == 0:
            record.now_ns[0] = asked_ns = time.monotonic_ns()
            way.ask(record)
            answer = way.look(woke_ns - wake.lateness_ns)
            into.asked += 1
            into.in_time += answer is not None and time.monotonic_ns() - woke_ns < PERIOD_NS
        if answer is not None:
            into.answer_us.append((time.monotonic_ns() - asked_ns) / 1e3)
            asked_ns = 0


def ways(base: BasePolicy, sizes: Sizes, hang_at: int) -> dict[str, Callable[[], Way]]:
    """Return what makes each way, by name."""
    actions = len(base.contract.action.names)

    def in_process() -> BaseLine:
        words = ["-m", "tests.benchmarks.inference_worker", "--hang-at", str(hang_at)]
        line = BaseLine(
            [sys.executable, *words, "--parent", str(os.getpid()), "--line"], actions, SLACK_NS
        )
        line.wait_ready(base.contract, new_record(sizes), _START_S)
        return line

    return {
        "in line": lambda: InLine(Hanging(base, hang_at), actions),
        "thread": lambda: InThread(Hanging(base, hang_at), new_record(sizes), actions),
        "process": in_process,
    }


def work(parent: int, line: int, hang_at: int) -> None:
    """Be the process that the base thinks in."""
    with join_line(line, parent) as end:
        deployment = load_deployment(CONFIG_FILE)
        base = load_base(deployment)
        quiet_garbage_collector()
        serve(end, Hanging(base, hang_at), new_record(sizes_for(deployment, base.contract)))


def measure(seconds: float, turns: int) -> list[str]:
    """Let the three take turns, then let each hang once; return printable lines."""
    deployment = load_deployment(CONFIG_FILE)
    base = load_base(deployment)
    sizes = sizes_for(deployment, base.contract)
    record = new_record(sizes)
    ticks = round(seconds * 1e9 / PERIOD_NS)
    seen: dict[str, Servo] = {}
    for _ in range(turns):
        for name, make in ways(base, sizes, 0).items():
            _run(make(), record, ticks, seen.setdefault(name, Servo()))
    for name, make in ways(base, sizes, HANG_AT).items():
        hung = seen.setdefault(f"{name}, hangs {HANG_S:g} s", Servo())
        _run(make(), record, round(0.8e9 / PERIOD_NS), hung)
    return [servo.line(name) for name, servo in seen.items()]


def _run(way: Way, record: TickRecord, ticks: int, into: Servo) -> None:
    try:
        run_servo(way, record, ticks, into)
    finally:
        way.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--hang-at", type=int, default=0)
    parser.add_argument("--parent", type=int)
    parser.add_argument("--line", type=int)
    options = parser.parse_args()
    if options.line is not None:
        work(options.parent, options.line, options.hang_at)
        return 0
    quiet_garbage_collector()
    print(f"{'us':26} {'asked to answered':26} {'in time':>7} {'tick late':26}  missed  gap, ms")
    print(" " * 26 + f"{'p50':>9}{'p99':>9}{'max':>9}{'':8}{'p50':>9}{'p99':>9}{'max':>9}")
    print("\n".join(measure(options.seconds, options.turns)))
    print(load_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
