"""Being on time: absolute deadlines, the scheduler, memory, and not outliving one's parent."""

import ctypes
import gc
import os
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.config import RealtimeConfig
from runtime.errors import StartRefused

# from linux/prctl.h and bits/mman-linux.h
_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
_MCL_CURRENT = 1
_MCL_FUTURE = 2

# the kernel's PM QoS: holds the lowest of what everybody who has it open wrote, int32, microseconds
CORE_WAKE_FILE = Path("/dev/cpu_dma_latency")

_TIMER_SLACK_NS = 1  # as exact as the kernel allows; a real-time scheduler ignores slack anyway


@dataclass(frozen=True)
class Wake:
    """One wake-up. `lateness_ns`: after the deadline it serves; `missed`: deadlines skipped since
    the wake-up before."""

    lateness_ns: int
    missed: int


class Paces(Protocol):
    """Says when the next tick begins."""

    def wait(self) -> Wake:
        """Return when it does."""
        ...


class Pacer:
    """Wakes at origin + k * period on CLOCK_MONOTONIC; the first wake-up is the origin.

    A deadline that has passed with its whole period is skipped and counted, never caught up:
    wake-ups plus misses are the deadlines that passed, and no two wake-ups serve the same one.
    (Re-arming from "now" instead drifts: it ran 477.7 Hz for 500.)

    Args:
        period_ns: distance of deadlines, > 0.
        spin_ns: how long before a deadline sleeping gives way to spinning, >= 0. Sleep alone wakes
            some ten microseconds late; the price of a spin is that share of a core.
        now_ns: the clock, for tests.
        sleep_s: sleeps for seconds, for tests.

    Raises:
        ValueError: `period_ns` or `spin_ns` is out of range.
    """

    def __init__(
        self,
        period_ns: int,
        spin_ns: int,
        now_ns: Callable[[], int] = time.monotonic_ns,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        if not (period_ns > 0):
            raise ValueError(f"period_ns is {period_ns}, must be > 0")
        if not (spin_ns >= 0):
            raise ValueError(f"spin_ns is {spin_ns}, must be >= 0")
        self._period_ns = period_ns
        self._spin_ns = spin_ns
        self._now_ns = now_ns
        self._sleep_s = sleep_s
        self._deadline_ns: int | None = None

    def wait(self) -> Wake:
        """Return at the next deadline, or at once when it has passed."""
        if self._deadline_ns is None:
            self._deadline_ns = self._now_ns()
            return Wake(0, 0)
        deadline_ns = self._deadline_ns + self._period_ns
        late_ns = self._wait_until(deadline_ns) - deadline_ns
        missed, lateness_ns = divmod(late_ns, self._period_ns)
        self._deadline_ns = deadline_ns + missed * self._period_ns
        return Wake(lateness_ns, missed)

    def _wait_until(self, deadline_ns: int) -> int:
        """Return the first reading of the clock at or after `deadline_ns`."""
        now_ns = self._now_ns()
        sleep_ns = deadline_ns - self._spin_ns - now_ns
        if sleep_ns > 0:
            self._sleep_s(sleep_ns * 1e-9)
            now_ns = self._now_ns()
        while now_ns < deadline_ns:
            now_ns = self._now_ns()
        return now_ns


@dataclass(frozen=True)
class RealtimeFacts:
    """What the operating system granted, for the header of a record.

    `priority`: of SCHED_FIFO, 0 without it. `cpu`: the core we are pinned to, if any.
    `core_wake_us`: how long a core may take to wake, None where nothing was asked or granted.
    `warnings`: one sentence for everything that was asked for and refused.
    """

    priority: int
    cpu: int | None
    memory_locked: bool
    core_wake_us: int | None
    warnings: tuple[str, ...]


def enter_realtime(config: RealtimeConfig) -> RealtimeFacts:
    """Give the calling thread its priority and core, the process its memory, and keep all cores
    as awake as is asked for until the process ends.

    Call it last before the loop: libraries have made their threads by then, and those must not
    run at our priority on our core. Processes started later do not inherit the priority.

    Raises:
        StartRefused: something was refused and the config has realtime.require.
    """
    warnings: list[str] = []
    if _prctl(_PR_SET_TIMERSLACK, _TIMER_SLACK_NS):
        warnings.append("the timer slack cannot be set: sleeping may wake 50 microseconds late")
    memory_locked = config.lock_memory and _lock_memory(warnings)
    core_wake_us = config.core_wake_us if _stay_awake(config.core_wake_us, warnings) else None
    cpu = config.cpu if _pin(config.cpu, warnings) else None
    priority = config.priority if _schedule(config.priority, warnings) else 0
    if config.require and warnings:
        raise StartRefused(
            "realtime.require is true, but " + "; ".join(warnings) + ". Grant it, or set "
            "realtime.require to false"
        )
    return RealtimeFacts(priority, cpu, memory_locked, core_wake_us, tuple(warnings))


def grants(priority: int) -> bool:
    """Return whether the operating system gives a thread of ours SCHED_FIFO with this priority.

    For libraries that end the process where it refuses their threads; asked of our own first.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError:
        return False
    os.sched_setscheduler(0, policy, parameters)
    return True


def quiet_garbage_collector() -> None:
    """Collect once, then never again: a collection in the loop would cost milliseconds.

    The loop makes no reference cycles, so nothing piles up; call it when everything is loaded.
    """
    gc.collect()
    gc.freeze()
    gc.disable()


def die_with_parent(parent_pid: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Let the kernel send this process a signal when its parent's main thread ends.

    Args:
        parent_pid: the process that started this one, as it knew itself.
        number: the signal. One of its own tells this death from a request to end: a parent that
            is killed thread by thread still seems to live when the signal arrives.

    Raises:
        StartRefused: the parent is already gone, or the kernel does not know how.
    """
    if _prctl(_PR_SET_PDEATHSIG, number):
        raise StartRefused("this system cannot tell a process that its parent ended (prctl)")
    # the parent may have ended before the kernel was told
    if os.getppid() != parent_pid:
        raise StartRefused(f"the process that started this one ({parent_pid}) is already gone")


def _lock_memory(warnings: list[str]) -> bool:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) == 0:
            return True
        reason = os.strerror(ctypes.get_errno())
    except (OSError, AttributeError) as error:
        reason = str(error)
    warnings.append(
        f"memory cannot be locked ({reason}): a page fault may delay a tick; "
        "needs CAP_IPC_LOCK or a higher memlock limit (ulimit -l)"
    )
    return False


def _stay_awake(core_wake_us: int | None, warnings: list[str]) -> bool:
    if core_wake_us is None:
        return False
    try:
        # never closed: the kernel forgets the request with the descriptor
        os.write(os.open(CORE_WAKE_FILE, os.O_WRONLY), struct.pack("i", core_wake_us))
    except OSError as error:
        warnings.append(
            f"{CORE_WAKE_FILE} cannot be held ({error.strerror}): a core that fell asleep between "
            "two ticks may wake late; needs write access to it, or realtime.core_wake_us: null"
        )
        return False
    return True


def _pin(cpu: int | None, warnings: list[str]) -> bool:
    if cpu is None:
        return False
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        allowed = ", ".join(str(number) for number in sorted(os.sched_getaffinity(0)))
        warnings.append(
            f"realtime.cpu {cpu} cannot be used ({error.strerror}); allowed here: {allowed}"
        )
        return False
    return True


def _schedule(priority: int, warnings: list[str]) -> bool:
    try:
        # threads and processes that start later are none of the loop's business
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except OSError as error:
        warnings.append(
            f"SCHED_FIFO priority {priority} was refused ({error.strerror}): other processes may "
            "delay a tick; needs CAP_SYS_NICE or a higher rtprio limit (ulimit -r)"
        )
        return False
    return True


def _prctl(option: int, value: int) -> int:
    """Return 0 on success, as prctl(2) does."""
    try:
        zero = ctypes.c_ulong(0)
        return int(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), zero, zero, zero))
    except (OSError, AttributeError):
        return -1
