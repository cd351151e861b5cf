"""Ticks on the robot's own beat: one whenever it has measured something (see also realtime.Pacer).

What it measured is then answered at once, and not at the next deadline of a clock that runs beside
the robot's: no sample waits, none is skipped, none is answered twice.
"""

import time
from collections.abc import Callable

from runtime.realtime import Wake

# a robot whose clock runs faster than ours by no more than this is followed
_FASTER_SHARE = 0.001
# periods without news after which a tick comes all the same: to notice that nothing comes
_PATIENCE = 2


class RobotPacer:
    """Wakes when news came, or two periods after the last wake-up without.

    The reference moves on by one period with every tick, so a robot that measures more often must
    not make it faster: on average ticks come no more often than the period, but for a thousandth.

    Args:
        wait: waits for news until a time of the clock; returns at once where there are some.
        period_ns: the nominal distance of two ticks, > 0.
        now_ns: the clock, for tests.
        sleep_s: sleeps for seconds, for tests.
    """

    def __init__(
        self,
        wait: Callable[[int], object],
        period_ns: int,
        now_ns: Callable[[], int] = time.monotonic_ns,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        self._news = wait
        self._period_ns = period_ns
        self._step_ns = round(period_ns * (1 - _FASTER_SHARE))
        self._now_ns = now_ns
        self._sleep_s = sleep_s
        self._woke_ns: int | None = None
        self._earliest_ns = 0

    def wait(self) -> Wake:
        """Return when there are news and it is time, or when news do not come.

        Late is what wakes after the patience is over: before that it is the robot who is late, not
        we. Whole periods of it are missed.
        """
        first = self._woke_ns is None
        begun_ns = self._now_ns() if self._woke_ns is None else self._woke_ns
        limit_ns = begun_ns + _PATIENCE * self._period_ns
        self._news(limit_ns)
        now_ns = self._not_before(self._earliest_ns)
        # who came late is not followed by two at once: at most half a period is caught up
        catch_up_ns = now_ns + self._period_ns // 2
        self._earliest_ns = max(self._earliest_ns + self._step_ns, catch_up_ns)
        self._woke_ns = now_ns
        late_ns = max(0, now_ns - limit_ns)
        return Wake(0, 0) if first else Wake(late_ns, late_ns // self._period_ns)

    def _not_before(self, time_ns: int) -> int:
        now_ns = self._now_ns()
        while now_ns < time_ns:
            self._sleep_s((time_ns - now_ns) * 1e-9)
            now_ns = self._now_ns()
        return now_ns
