"""The pacer on a clock of its own, and what the operating system is asked for."""

import ctypes
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import realtime
from runtime.config import RealtimeConfig
from runtime.errors import StartRefused
from runtime.realtime import Pacer, Wake

ROOT = Path(__file__).parents[2]
PERIOD_NS = 2_000_000
CONFIG = RealtimeConfig(priority=50, cpu=None, lock_memory=False, require=False, spin_us=100.0)


class FakeTime:
    """A clock that work, sleeping and every reading move forward."""

    def __init__(self, oversleep_ns: int = 0, reading_ns: int = 40) -> None:
        self.now = 10**12
        self.oversleep_ns = oversleep_ns
        self.reading_ns = reading_ns
        self.slept_ns: list[int] = []

    def now_ns(self) -> int:
        self.now += self.reading_ns
        return self.now

    def sleep_s(self, seconds: float) -> None:
        self.slept_ns.append(round(seconds * 1e9))
        self.now += round(seconds * 1e9) + self.oversleep_ns


def pacer(clock: FakeTime, spin_ns: int = 100_000) -> Pacer:
    return Pacer(PERIOD_NS, spin_ns, clock.now_ns, clock.sleep_s)


@settings(deadline=None)
@given(
    work_ns=st.lists(st.integers(0, 7 * PERIOD_NS), min_size=1, max_size=60),
    oversleep_ns=st.integers(0, 3 * PERIOD_NS),
    spin_ns=st.integers(0, PERIOD_NS // 4),
    reading_ns=st.integers(1000, 5000),
)
def test_deadlines_are_served_once_or_counted(
    work_ns: list[int], oversleep_ns: int, spin_ns: int, reading_ns: int
) -> None:
    clock = FakeTime(oversleep_ns, reading_ns)
    paced = pacer(clock, spin_ns)
    assert paced.wait() == Wake(0, 0)
    origin = clock.now
    served = 0
    for work in work_ns:
        clock.now += work
        wake = paced.wait()
        served += 1 + wake.missed
        # a burst would serve a deadline twice, or one that is not the latest to have passed
        assert 0 <= wake.lateness_ns < PERIOD_NS
        assert clock.now - wake.lateness_ns == origin + served * PERIOD_NS
    assert served == (clock.now - origin) // PERIOD_NS


def test_quick_work_keeps_the_rate_exactly() -> None:
    clock = FakeTime()
    paced = pacer(clock)
    paced.wait()
    begin = clock.now
    wakes = []
    for _ in range(1000):
        clock.now += 300_000
        wakes.append(paced.wait())
    assert all(wake.missed == 0 and wake.lateness_ns < 2 * clock.reading_ns for wake in wakes)
    assert abs(clock.now - begin - 1000 * PERIOD_NS) < 2 * clock.reading_ns


@pytest.mark.parametrize(
    ("late_ns", "expected"),
    [
        (PERIOD_NS + 1, Wake(1, 0)),
        (2 * PERIOD_NS - 1, Wake(PERIOD_NS - 1, 0)),
        (2 * PERIOD_NS, Wake(0, 1)),
        (4 * PERIOD_NS + 7, Wake(7, 3)),
    ],
)
def test_a_late_tick_runs_at_once_and_whole_periods_are_misses(
    late_ns: int, expected: Wake
) -> None:
    clock = FakeTime(reading_ns=0)
    paced = pacer(clock)
    paced.wait()
    clock.now += late_ns
    assert paced.wait() == expected
    assert clock.slept_ns == []


def test_it_sleeps_until_the_spin_begins() -> None:
    clock = FakeTime(reading_ns=10)
    paced = pacer(clock, spin_ns=100_000)
    paced.wait()
    paced.wait()
    assert clock.slept_ns == [PERIOD_NS - 100_000 - 10]


@pytest.mark.parametrize(("period", "spin", "name"), [(0, 0, "period_ns"), (5, -1, "spin_ns")])
def test_impossible_pace_is_refused_by_name(period: int, spin: int, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Pacer(period, spin)


def test_it_paces_on_the_real_clock() -> None:
    paced = Pacer(PERIOD_NS, 100_000)
    paced.wait()
    begin = time.monotonic_ns()
    passed = sum(1 + paced.wait().missed for _ in range(50))
    assert abs(time.monotonic_ns() - begin - passed * PERIOD_NS) < 2 * PERIOD_NS


def refuse(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operating system that grants nothing."""
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.usefixtures("refused")
def test_what_is_refused_is_named_with_the_way_out() -> None:
    facts = realtime.enter_realtime(replace_config(cpu=0, lock_memory=True, core_wake_us=0))
    assert (facts.priority, facts.cpu, facts.memory_locked) == (0, None, False)
    assert facts.core_wake_us is None
    text = "\n".join(facts.warnings)
    for word in ("timer slack", "ulimit -l", "realtime.cpu 0", "allowed here", "ulimit -r"):
        assert word in text
    assert "/dev/cpu_dma_latency cannot be held (Operation not permitted)" in text
    assert "realtime.core_wake_us: null" in text


@pytest.mark.usefixtures("refused")
def test_what_is_not_asked_for_is_not_refused() -> None:
    facts = realtime.enter_realtime(CONFIG)
    assert facts.core_wake_us is None
    assert "cpu_dma_latency" not in "\n".join(facts.warnings)


@pytest.mark.usefixtures("refused")
def test_require_refuses_to_start() -> None:
    with pytest.raises(StartRefused, match=r"realtime\.require is true.*SCHED_FIFO priority 50"):
        realtime.enter_realtime(replace_config(require=True))


@pytest.mark.usefixtures("refused")
def test_a_kernel_without_prctl_cannot_promise_to_end_children() -> None:
    with pytest.raises(StartRefused, match="prctl"):
        realtime.die_with_parent(os.getppid())


def replace_config(**changes: object) -> RealtimeConfig:
    return CONFIG.model_copy(update=changes)


def in_child(code: str) -> str:
    """Run `code` in a process of its own: these settings are for a process's whole life."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_granted_settings_hold_and_children_do_not_inherit() -> None:
    said = in_child(
        "import os, subprocess, sys\n"
        "from runtime.config import RealtimeConfig\n"
        "from runtime.realtime import enter_realtime\n"
        "cpu = min(os.sched_getaffinity(0))\n"
        "facts = enter_realtime(RealtimeConfig(priority=5, cpu=cpu, lock_memory=True,\n"
        "                                      require=False, spin_us=0.0))\n"
        "fifo = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO\n"
        "ask = 'import os; print(os.sched_getscheduler(0) == os.SCHED_OTHER)'\n"
        "child = subprocess.run([sys.executable, '-c', ask], capture_output=True, text=True)\n"
        "locked = 'VmLck:\\t       0 kB' not in open('/proc/self/status').read()\n"
        "print(fifo == bool(facts.priority), os.sched_getaffinity(0) == {facts.cpu},\n"
        "      locked == facts.memory_locked, child.stdout.strip())\n"
    )
    assert said == "True True True True"


def test_cores_stay_awake_as_long_as_the_process_lives() -> None:
    """The kernel's own word: what reading the file gives is what it holds to."""
    if not os.access(realtime.CORE_WAKE_FILE, os.R_OK | os.W_OK):
        pytest.skip(f"this machine does not let us hold {realtime.CORE_WAKE_FILE}")
    said = in_child(
        "import struct\n"
        "from runtime.config import RealtimeConfig\n"
        "from runtime.realtime import CORE_WAKE_FILE, enter_realtime\n"
        "held = lambda: struct.unpack('i', CORE_WAKE_FILE.read_bytes()[:4])[0]\n"
        "before = held()\n"
        "facts = enter_realtime(RealtimeConfig(priority=5, lock_memory=False, require=False,\n"
        "                                      spin_us=0.0, core_wake_us=7))\n"
        "print(facts.core_wake_us, held() == min(before, 7))\n"
    )
    assert said == "7 True"
    other = struct.unpack("i", realtime.CORE_WAKE_FILE.read_bytes()[:4])[0]
    assert other == 0 or other > 7, "the request outlived its process"


def test_the_collector_stays_quiet() -> None:
    said = in_child(
        "import gc\n"
        "from runtime.realtime import quiet_garbage_collector\n"
        "quiet_garbage_collector()\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 0)"
    )
    assert said == "False True"


def test_a_child_does_not_outlive_its_parent() -> None:
    child = (
        "import os, sys, time\n"
        "from runtime.realtime import die_with_parent\n"
        "die_with_parent(int(sys.argv[1]))\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(60)"
    )
    parent = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())],\n"
        "                         stdout=subprocess.PIPE, text=True)\n"
        "print(child.stdout.readline().strip(), flush=True)\n"
        "os._exit(0)"
    )
    grandchild = int(in_child(parent))
    wait_until(lambda: not runs(grandchild))


def test_a_parent_that_is_gone_already_is_noticed() -> None:
    said = in_child(
        "from runtime.errors import StartRefused\n"
        "from runtime.realtime import die_with_parent\n"
        "try:\n"
        "    die_with_parent(999999999)\n"
        "except StartRefused as error:\n"
        "    print(error)"
    )
    assert "(999999999) is already gone" in said


def runs(pid: int) -> bool:
    """True while the process exists and is more than a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it still has not happened"
        time.sleep(0.01)
