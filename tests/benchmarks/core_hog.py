"""Takes a core away from everybody below its priority, in bursts: `core_hog CPU PRIORITY ON OFF`.

ON and OFF are seconds. Prints when it begins (ns, CLOCK_MONOTONIC), and how many bursts there were
when it is told to end.
"""

import os
import signal
import sys
import time
from types import FrameType


def main() -> None:
    cpu, priority = map(int, sys.argv[1:3])
    on_s, off_s = map(float, sys.argv[3:5])
    bursts = 0

    def leave(number: int, frame: FrameType | None) -> None:
        sys.stdout.write(f"{bursts}\n")
        sys.stdout.flush()
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    sys.stdout.write(f"{time.monotonic_ns()}\n")
    sys.stdout.flush()
    while True:
        end_s = time.monotonic() + on_s
        while time.monotonic() < end_s:
            pass
        bursts += 1
        time.sleep(off_s)


if __name__ == "__main__":
    main()
