"""From conditions seen in a tick to faults that act: debounce, dwell, latching, precedence."""

from collections.abc import Sequence

import msgspec

from runtime.clock import seconds_to_ns
from runtime.faults import Clear, Fault, Response, Row


class TrackerState(msgspec.Struct):
    """Everything the tracker remembers. Lists hold one entry per row of the table."""

    seen_ticks: list[int]
    last_seen_ns: list[int]
    active: int = 0


class FaultTracker:
    """Applies the fault table to each tick's conditions. Pure: time is an argument."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = tuple(rows)
        self._dwell_ns = [seconds_to_ns(row.dwell_s) for row in self._rows]
        self.state = TrackerState([0] * len(self._rows), [0] * len(self._rows))

    def update(self, conditions: int, now_ns: int, rearm: bool) -> Response:
        """Take this tick's conditions (bit mask of Fault) and return the worst active response.

        `rearm`: an operator re-arms in this tick, which clears ON_REARM faults whose condition
        is gone.
        """
        state = self.state
        if not (conditions or state.active):
            if any(state.seen_ticks):
                state.seen_ticks[:] = [0] * len(self._rows)
            return Response.NONE
        worst = Response.NONE
        for index, row in enumerate(self._rows):
            bit = 1 << row.fault
            if conditions & bit:
                state.seen_ticks[index] += 1
                state.last_seen_ns[index] = now_ns
                if state.seen_ticks[index] >= row.debounce_ticks:
                    state.active |= bit
            else:
                state.seen_ticks[index] = 0
                if state.active & bit and self._clears(index, row, now_ns, rearm):
                    state.active &= ~bit
            if state.active & bit and row.response > worst:
                worst = row.response
        return worst

    def _clears(self, index: int, row: Row, now_ns: int, rearm: bool) -> bool:
        if row.clear is Clear.WHEN_CLEAR:
            return True
        if row.clear is Clear.AFTER_DWELL:
            return now_ns - self.state.last_seen_ns[index] >= self._dwell_ns[index]
        if row.clear is Clear.ON_REARM:
            return rearm
        return False

    @property
    def active(self) -> int:
        """Bit mask of the faults that act now."""
        return self.state.active


def names(mask: int) -> list[str]:
    """Return the names of the faults in a bit mask, in table order."""
    return [fault.name for fault in Fault if mask >> fault & 1]
