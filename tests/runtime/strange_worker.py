"""A worker whose base misbehaves after some questions. `python -m tests.runtime.strange_worker`.

Words: how, after how many answers, the parent's process number, the line's number.
"""

import ctypes
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from runtime.base_line import join_line, serve
from runtime.layout import Floats
from runtime.messages import TickRecord, new_record
from tests.runtime.control_kit import Base, panda_sizes

SLOW_S = 0.2
ASKED_FOR = 0.3


def hang() -> None:
    """Never come back, and never let go of the interpreter, as native code may."""
    ctypes.PyDLL(None).sleep(100_000)


def slow() -> None:
    time.sleep(SLOW_S)


def explode() -> None:
    raise ZeroDivisionError("no answer today")


WAYS: dict[str, Callable[[], object]] = {
    "hang": hang,
    "slow": slow,
    "crash": os.abort,
    "raise": explode,
    "never": lambda: None,
}


def main() -> None:
    how, after, parent, line = sys.argv[1:]
    asked = 0

    def answer(record: TickRecord) -> Floats:
        nonlocal asked
        asked += 1
        if asked > int(after):
            WAYS[how]()
        return np.full(len(record.action), ASKED_FOR)

    with join_line(int(line), int(parent)) as end:
        serve(end, Base(answer), new_record(panda_sizes()))


if __name__ == "__main__":
    main()
