"""Who else was kept from the core: a process that does nothing but wake up on it.

It runs above the control loop's priority on the loop's own core and needs no lock, socket, file or
memory of anybody. What keeps it from waking keeps everything from running there: the machine under
us, not a process of ours. A tick that was missed in such a gap is told apart by it; a gap that a
learner provokes in the kernel still shows, as more of them under that learner.
"""

import gc
import os
import signal
import struct
import subprocess
import sys
import time
from types import FrameType
from typing import Self

import numpy as np

WAKE_S = 0.001
GAP_NS = 500_000
_PAIR = struct.Struct("=qq")

Gaps = np.ndarray[tuple[int, int], np.dtype[np.int64]]


class CoreWitness:
    """The process, while the block runs; `gaps` after it."""

    def __init__(self, cpu: int, priority: int) -> None:
        words = [sys.executable, "-m", __name__, str(cpu), str(priority)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE)
        self.gaps: Gaps = np.zeros((0, 2), dtype=np.int64)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        data = self._process.communicate()[0]
        self.gaps = np.frombuffer(data, dtype=np.int64).reshape(-1, 2)

    def saw(self, from_ns: int, to_ns: int) -> bool:
        """Whether the core stood still for some time between two instants (CLOCK_MONOTONIC)."""
        return bool(np.any((self.gaps[:, 0] < to_ns) & (self.gaps[:, 1] > from_ns)))


def _watch(cpu: int, priority: int) -> None:
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    found = bytearray()

    def leave(_number: int, _frame: FrameType | None) -> None:
        sys.stdout.buffer.write(found)
        sys.stdout.buffer.flush()
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    gc.freeze()
    gc.disable()
    due_ns = time.monotonic_ns() + round(WAKE_S * 1e9)
    while True:
        time.sleep(WAKE_S)
        now_ns = time.monotonic_ns()
        if now_ns - due_ns > GAP_NS:
            found += _PAIR.pack(due_ns, now_ns)
        due_ns = now_ns + round(WAKE_S * 1e9)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), int(sys.argv[2]))
