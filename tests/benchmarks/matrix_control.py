"""The control process with one fault in its loop that SIGUSR2 switches on and off.

    python -m tests.benchmarks.matrix_control ... (control's own options)

TRIMTAB_MATRIX_FAULT names the fault, TRIMTAB_MATRIX_NOTES the file that gets a line with every
switch: on or off, and how often it has acted.
"""

import math
import os
import signal
import sys
import time
from types import FrameType
from typing import Any
from unittest.mock import patch

from runtime import control_process
from runtime.clock import NS_PER_S
from runtime.interfaces import ResidualAnswer
from runtime.layout import Floats
from runtime.loop import ControlLoop, LoopParts
from runtime.wiring import build_loop
from sims.inside_injectors import BaseNotFinite
from sims.learning_injectors import ResidualNotFinite

STEP_NS = 3600 * NS_PER_S


class BaseInfinite(BaseNotFinite):
    """The base asks for infinity."""

    def _damage(self, out: Floats) -> None:
        out[0] = math.inf


class ResidualInfinite(ResidualNotFinite):
    """The residual asks for infinity."""

    def _damage(self, out: ResidualAnswer) -> None:
        out.action[0] = -math.inf


class SteppedClock:
    """Somebody sets the time of day of this process, an hour forward and later back again: all that
    asks Python for it gets the other one."""

    def __init__(self) -> None:
        self._time_ns = time.time_ns
        self.active = False
        self.acted = 0

    def attach(self, parts: LoopParts) -> LoopParts:
        """Put another clock in place of Python's."""
        time.time_ns = self._now_ns
        time.time = lambda: self._now_ns() * 1e-9
        return parts

    def _now_ns(self) -> int:
        self.acted += self.active
        return self._time_ns() + STEP_NS * self.active


FAULTS: dict[str, type[Any]] = {
    "base_nan": BaseNotFinite,
    "base_inf": BaseInfinite,
    "residual_nan": ResidualNotFinite,
    "residual_inf": ResidualInfinite,
    "clock_step": SteppedClock,
}


def main() -> int:
    injector = FAULTS[os.environ["TRIMTAB_MATRIX_FAULT"]]()
    notes = os.open(os.environ["TRIMTAB_MATRIX_NOTES"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def built(*parts: Any) -> ControlLoop:
        loop = build_loop(*parts)
        loop._parts = injector.attach(loop._parts)
        return loop

    def switch(number: int, frame: FrameType | None) -> None:
        injector.active = not injector.active
        os.write(notes, f"{int(injector.active)} {injector.acted}\n".encode())

    signal.signal(signal.SIGUSR2, switch)
    # in the module that looks it up, not where it is from
    with patch.object(control_process, "build_loop", built):
        return control_process.main()


if __name__ == "__main__":
    sys.exit(main())
