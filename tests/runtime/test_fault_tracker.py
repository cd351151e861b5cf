"""Debounce, dwell, latching and precedence, at the boundary values."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.fault_tracker import FaultTracker, TrackerState, names
from runtime.faults import ROWS, Clear, Fault, Response, Row

MS = 1_000_000


def row(
    fault: Fault = Fault.TORQUE_GUARD,
    response: Response = Response.HOLD,
    debounce: int = 1,
    clear: Clear = Clear.WHEN_CLEAR,
    dwell_s: float = 0.0,
) -> Row:
    return Row(fault, response, debounce, clear, dwell_s, "A sentence.")


def bit(fault: Fault = Fault.TORQUE_GUARD) -> int:
    return 1 << int(fault)


def responses(tracker: FaultTracker, seen: Sequence[int], step_ns: int = 2 * MS) -> list[Response]:
    return [tracker.update(c, i * step_ns, False) for i, c in enumerate(seen)]


def test_every_fault_has_one_row_and_every_row_is_a_fault() -> None:
    assert [r.fault for r in ROWS] == list(Fault)
    assert [int(f) for f in Fault] == list(range(len(Fault)))


def test_debounce_acts_on_the_exact_tick_and_starts_again_after_a_gap() -> None:
    tracker = FaultTracker([row(debounce=3)])
    on, hold = bit(), Response.HOLD
    none = Response.NONE
    assert responses(tracker, [on, on, 0, on, on, on, on]) == [none] * 5 + [hold, hold]


def test_a_new_tracker_remembers_nothing() -> None:
    assert FaultTracker([row(), row(Fault.LINK_LOST)]).state == TrackerState([0, 0], [0, 0], 0)


@pytest.mark.parametrize("between", [0, bit(Fault.LINK_LOST)])
def test_a_gap_starts_the_debounce_again_whatever_else_is_seen(between: int) -> None:
    tracker = FaultTracker([row(debounce=2), row(Fault.LINK_LOST, Response.WARN)])
    for conditions in (bit(), between, bit()):
        tracker.update(conditions, 0, False)
        assert not tracker.active & bit()
    tracker.update(bit(), 0, False)
    assert tracker.active & bit()


def test_a_gap_starts_the_debounce_again_beside_an_active_fault() -> None:
    tracker = FaultTracker([row(debounce=3), row(Fault.LINK_LOST, clear=Clear.NEVER)])
    tracker.update(bit(Fault.LINK_LOST), 0, False)
    for conditions in (bit(), bit(), 0, bit(), bit()):
        tracker.update(conditions, 0, False)
        assert not tracker.active & bit()


def test_debounce_of_one_acts_at_once_and_when_clear_ends_at_once() -> None:
    tracker = FaultTracker([row()])
    assert responses(tracker, [0, bit(), 0]) == [Response.NONE, Response.HOLD, Response.NONE]


@pytest.mark.parametrize(("gone_ms", "active"), [(198, True), (199, True), (200, False)])
def test_dwell_counts_from_the_last_tick_that_saw_the_condition(gone_ms: int, active: bool) -> None:
    tracker = FaultTracker([row(clear=Clear.AFTER_DWELL, dwell_s=0.2)])
    tracker.update(bit(), 0, False)
    tracker.update(bit(), 50 * MS, False)
    tracker.update(0, 100 * MS, False)
    tracker.update(0, (50 + gone_ms) * MS, False)
    assert bool(tracker.active) is active


def test_a_condition_that_comes_back_restarts_the_dwell_whatever_its_debounce() -> None:
    tracker = FaultTracker([row(debounce=2, clear=Clear.AFTER_DWELL, dwell_s=0.2)])
    tracker.update(bit(), 0, False)
    tracker.update(bit(), 2 * MS, False)
    tracker.update(0, 150 * MS, False)
    tracker.update(bit(), 152 * MS, False)
    tracker.update(0, 202 * MS, False)
    assert tracker.active == bit()
    tracker.update(0, 352 * MS, False)
    assert tracker.active == 0


def test_a_latched_fault_waits_for_rearm_and_for_its_condition_to_go() -> None:
    tracker = FaultTracker([row(clear=Clear.ON_REARM, response=Response.STOP)])
    tracker.update(bit(), 0, False)
    assert tracker.update(0, 10**12, False) is Response.STOP
    assert tracker.update(bit(), 10**12, True) is Response.STOP
    assert tracker.update(0, 10**12, True) is Response.NONE


def test_never_means_never() -> None:
    tracker = FaultTracker([row(clear=Clear.NEVER)])
    tracker.update(bit(), 0, False)
    assert tracker.update(0, 10**15, True) is Response.HOLD


def test_the_worst_active_response_wins_in_any_order() -> None:
    rows = [
        row(Fault.LINK_LOST, Response.STOP, clear=Clear.ON_REARM),
        row(Fault.SEQUENCE_GAP, Response.WARN),
        row(Fault.RESIDUAL_NOT_FINITE, Response.DROP_RESIDUAL),
        row(Fault.BASE_STALE, Response.HOLD),
    ]
    for order in (rows, rows[::-1]):
        tracker = FaultTracker(order)
        warn, drop = bit(Fault.SEQUENCE_GAP), bit(Fault.RESIDUAL_NOT_FINITE)
        assert tracker.update(warn, 0, False) is Response.WARN
        assert tracker.update(warn | drop, 0, False) is Response.DROP_RESIDUAL
        assert tracker.update(warn | drop | bit(Fault.BASE_STALE), 0, False) is Response.HOLD
        assert tracker.update(bit(Fault.LINK_LOST), 0, False) is Response.STOP
        assert tracker.update(warn, 0, False) is Response.STOP
        assert names(tracker.active) == ["SEQUENCE_GAP", "LINK_LOST"]


class Model:
    """The table read aloud, per fault, with nothing shared with the tracker."""

    def __init__(self, row: Row) -> None:
        self.row, self.run, self.last_ns, self.active = row, 0, 0, False

    def tick(self, seen: bool, now_ns: int, rearm: bool) -> None:
        if seen:
            self.run, self.last_ns = self.run + 1, now_ns
            self.active = self.active or self.run >= self.row.debounce_ticks
            return
        self.run = 0
        gone_ns = now_ns - self.last_ns
        over = {
            Clear.WHEN_CLEAR: True,
            Clear.AFTER_DWELL: gone_ns >= round(self.row.dwell_s * 1e9),
            Clear.ON_REARM: rearm,
            Clear.NEVER: False,
        }
        self.active = self.active and not over[self.row.clear]


TICKS = st.lists(
    st.tuples(st.integers(0, 2 ** len(Fault) - 1), st.integers(1, 300), st.booleans()),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(TICKS)
def test_the_real_table_does_what_it_says_and_clears_no_latched_fault_by_itself(
    ticks: list[tuple[int, int, bool]],
) -> None:
    tracker, now_ns = FaultTracker(ROWS), 0
    models = [Model(r) for r in ROWS]
    latched = sum(bit(r.fault) for r in ROWS if r.clear in (Clear.ON_REARM, Clear.NEVER))
    for conditions, wait_ms, rearm in ticks:
        now_ns += wait_ms * MS
        before = tracker.active
        response = tracker.update(conditions, now_ns, rearm)
        if not rearm:
            assert before & latched & ~tracker.active == 0
        for model in models:
            model.tick(bool(conditions >> model.row.fault & 1), now_ns, rearm)
            assert bool(tracker.active >> model.row.fault & 1) is model.active, model.row.fault
        worst = max((m.row.response for m in models if m.active), default=Response.NONE)
        assert response is worst
