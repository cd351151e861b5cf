"""The processes beside control that may die and come back: the gate and the learner.

Neither holds the robot's lock nor moves anything, so the supervisor may start them again at will;
control goes on without them meanwhile.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import TrimtabError
from runtime.record_format import RecorderPlace

_PAUSE_S = 1.0
SETTLED_S = 60.0
DEATHS_MAX = 5


@dataclass(frozen=True)
class Companion:
    """What is started: its name for people, its command line, and the cores it is kept to (none:
    any)."""

    name: str
    command: list[str]
    cpus: frozenset[int] = frozenset()


class Deaths:
    """How often a process died in a row, none of them after it had settled. `now_s`: its birth."""

    def __init__(self, now_s: float) -> None:
        self.begun_s = now_s
        self._in_a_row = 0

    def again(self, now_s: float) -> bool:
        """Count a death, and the birth that follows; False after too many: it has a cause."""
        settled = now_s - self.begun_s > SETTLED_S
        self._in_a_row = 1 if settled else self._in_a_row + 1
        self.begun_s = now_s
        return self._in_a_row <= DEATHS_MAX


@dataclass
class _Running:
    """A companion's process."""

    companion: Companion
    process: "subprocess.Popen[bytes]"
    deaths: Deaths
    given_up: bool = False


def gate_command(
    place: RecorderPlace, lineage: Path, *, learner: bool, shadow: bool = False
) -> list[str]:
    """Return the command line of a gate process. `learner`: one is expected; `shadow`: nothing
    that was learnt shall move the robot."""
    words = _words("runtime.gate_process", place, lineage)
    return [*words, *["--learner"] * learner, *["--shadow"] * shadow]


def learner_command(place: RecorderPlace, lineage: Path) -> list[str]:
    """Return the command line of a learner process, which needs the extra `learn`."""
    return _words("policies.learner_process", place, lineage)


def companions(
    place: RecorderPlace,
    lineage: Path,
    *,
    learn: bool,
    control_cpu: int | None,
    shadow: bool = False,
) -> list[Companion]:
    """Return who works beside control: always the gate, and the learner where one shall learn.
    `shadow`: what was learnt is computed and moves nothing.

    `control_cpu`: the core that control is pinned to, which they leave alone if they can: a
    system call of theirs may hold up even the real-time scheduler.
    """
    cpus = cpus_beside(control_cpu)
    gate = Companion("gate", gate_command(place, lineage, learner=learn, shadow=shadow), cpus)
    learner = Companion("learner", learner_command(place, lineage), cpus)
    return [gate, learner] if learn else [gate]


def cpus_beside(control_cpu: int | None) -> frozenset[int]:
    """Return the cores for everybody else; none (which means any) where there is no choice."""
    if control_cpu is None:
        return frozenset()
    return frozenset(os.sched_getaffinity(0) - {control_cpu})


def _words(module: str, place: RecorderPlace, lineage: Path) -> list[str]:
    options = {
        "--run": place.run,
        "--folder": place.folder,
        "--sockets": place.sockets,
        "--lineage": lineage,
        "--parent": os.getpid(),
    }
    return [sys.executable, "-m", module, *(str(w) for pair in options.items() for w in pair)]


class Companions:
    """Keeps companions alive. `say`: tells a person one sentence."""

    def __init__(self, companions: Sequence[Companion], say: Callable[[str], None]) -> None:
        self._companions = companions
        self._say = say
        self._running: list[_Running] = []
        self.restarts: dict[str, int] = {}

    def start(self) -> None:
        """Start all of them."""
        for companion in self._companions:
            process = _start(companion)
            self._running.append(_Running(companion, process, Deaths(time.monotonic())))

    def keep(self) -> None:
        """Start again whoever died, unless it said that it cannot work, or dies all the time."""
        for one in self._running:
            code = one.process.poll()
            if code is not None and not one.given_up:
                self._revive(one, code)

    def end(self, limit_s: float) -> None:
        """Ask all of them to end, wait, then insist."""
        for one in self._running:
            one.process.terminate()
        deadline_s = time.monotonic() + limit_s
        for one in self._running:
            try:
                one.process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()

    def _revive(self, one: _Running, code: int) -> None:
        name, now_s = one.companion.name, time.monotonic()
        refused = code > TrimtabError.exit_code
        if not refused and now_s - one.deaths.begun_s < _PAUSE_S:
            return
        if refused or not one.deaths.again(now_s):
            one.given_up = True
            self._say(f"the {name} {ended(code)} and is not started again: the robot goes on")
            return
        self._say(f"the {name} {ended(code)}; starting another")
        self.restarts[name] = self.restarts.get(name, 0) + 1
        one.process = _start(one.companion)


def _start(companion: Companion) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        companion.command, start_new_session=True, stdin=subprocess.DEVNULL
    )
    if companion.cpus:
        os.sched_setaffinity(process.pid, companion.cpus)
    return process


def ended(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
