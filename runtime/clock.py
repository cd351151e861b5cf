"""Time as an argument: int nanoseconds on a monotonic clock that may be real or simulated."""

import time
from typing import Protocol

NS_PER_S = 1_000_000_000


def seconds_to_ns(seconds: float) -> int:
    """Return `seconds` as int nanoseconds, rounded to the nearest."""
    return round(seconds * NS_PER_S)


class Clock(Protocol):
    """Whatever tells the loop what time it is."""

    def now_ns(self) -> int:
        """Return nanoseconds since an arbitrary, fixed origin; never goes backwards."""
        ...


class MonotonicClock:
    """CLOCK_MONOTONIC: unmoved by wall-clock steps."""

    def now_ns(self) -> int:
        """Return CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()


class LockstepClock:
    """Simulated time: advances only when the simulation does."""

    def __init__(self) -> None:
        self._now_ns = 0

    def now_ns(self) -> int:
        """Return the simulated time in nanoseconds."""
        return self._now_ns

    def advance(self, step_ns: int) -> None:
        """Move time forward by `step_ns` (> 0).

        Raises:
            ValueError: `step_ns` is not positive.
        """
        if step_ns <= 0:
            raise ValueError(f"time moves forward only: step_ns is {step_ns}, must be > 0")
        self._now_ns += step_ns
