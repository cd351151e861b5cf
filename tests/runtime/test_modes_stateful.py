"""Fault tracker and mode machine together, driven by anything: what latches stays, a stop wins.

The machine knows the table only as people read it. What is checked holds for every table row.
"""

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from runtime.fault_tracker import FaultTracker, TrackerState
from runtime.faults import ROWS, Clear, Fault, Response
from runtime.messages import Mode, Request
from runtime.modes import ModeFacts, next_mode, rearms

MS = 1_000_000
TICK_NS = 2 * MS
LATCHED = {row.fault for row in ROWS if row.clear in (Clear.ON_REARM, Clear.NEVER)}
ACTING = (Mode.BASE, Mode.SHADOW, Mode.ADAPTIVE)
FAULTS = st.sets(st.sampled_from(list(Fault)), max_size=3)
FACTS = st.builds(
    ModeFacts,
    preflight_ok=st.booleans(),
    at_rest=st.booleans(),
    can_start=st.booleans(),
    running=st.booleans(),
    stage=st.sampled_from(ACTING),
)
REQUESTS = st.sampled_from(list(Request))


class AnyDay(RuleBasedStateMachine):
    """A robot's day, tick by tick: conditions come and go, people ask, facts change."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = FaultTracker(ROWS)
        self.mode = Mode.DISARMED
        self.now_ns = 0
        self.run = dict.fromkeys(Fault, 0)
        self.seen_ns = dict.fromkeys(Fault, 0)
        self.active: set[Fault] = set()
        self.response = Response.NONE

    @rule(seen=FAULTS, ticks=st.integers(1, 12), facts=FACTS, request=REQUESTS)
    def some_ticks(
        self, seen: set[Fault], ticks: int, facts: ModeFacts, request: Request
    ) -> None:
        """The same conditions for some ticks; the request in the first of them."""
        for tick in range(ticks):
            self.tick(seen, facts, request if tick == 0 else Request.NONE)

    @rule(wait_ms=st.integers(0, 1200), facts=FACTS)
    def quiet(self, wait_ms: int, facts: ModeFacts) -> None:
        """Nothing is wrong for a while."""
        self.now_ns += wait_ms * MS
        self.tick(set(), facts, Request.NONE)

    @rule(running=st.booleans(), stage=st.sampled_from(ACTING))
    def a_good_day(self, running: bool, stage: Mode) -> None:
        """Everything is well, and an operator brings the robot to work."""
        facts = ModeFacts(True, True, True, running, stage)
        for request in (Request.NONE, Request.REARM, Request.NONE, Request.ARM):
            # longer than any dwell
            self.now_ns += 1500 * MS
            self.tick(set(), facts, request)
            self.tick(set(), facts, Request.NONE)
        assert not self.active
        assert self.mode is (stage if running else Mode.HOMING)

    @rule(fault=st.sampled_from(list(Fault)))
    def at_work(self, fault: Fault) -> None:
        """One fault, from work, as long as it takes to act."""
        self.a_good_day(running=True, stage=Mode.ADAPTIVE)
        facts = ModeFacts(True, False, True, True, Mode.ADAPTIVE)
        for _ in range(ROWS[fault].debounce_ticks):
            self.tick({fault}, facts, Request.NONE)
        expected = {
            Response.WARN: Mode.ADAPTIVE,
            Response.DROP_RESIDUAL: Mode.BASE,
            Response.HOLD: Mode.HOLD,
            Response.STOP: Mode.STOPPED,
        }
        assert self.mode is expected[ROWS[fault].response]

    @rule()
    def keyframe(self) -> None:
        """Go on in another tracker, from plain data."""
        packed = msgspec.msgpack.encode(self.tracker.state)
        self.tracker = FaultTracker(ROWS)
        self.tracker.state = msgspec.msgpack.decode(packed, type=TrackerState)

    def tick(self, seen: set[Fault], facts: ModeFacts, request: Request) -> None:
        """One tick, and what must hold between the one before and this one."""
        self.now_ns += TICK_NS
        before, before_mode = set(self.active), self.mode
        rearm = rearms(before_mode, request, facts)
        conditions = sum(1 << fault for fault in seen)
        self.response = self.tracker.update(conditions, self.now_ns, rearm)
        self.active = {fault for fault in Fault if self.tracker.active >> fault & 1}
        self.mode, refused = next_mode(before_mode, request, self.response, facts)

        for fault in Fault:
            self.run[fault] = self.run[fault] + 1 if fault in seen else 0
            self.seen_ns[fault] = self.now_ns if fault in seen else self.seen_ns[fault]
        came, went = self.active - before, before - self.active
        assert all(self.run[fault] >= ROWS[fault].debounce_ticks for fault in came)
        assert not went & seen, "no fault goes while its condition holds"
        assert rearm or not went & LATCHED, "no latched fault goes without a person"
        assert request is Request.REARM or not rearm
        if rearm:
            assert self.active & LATCHED <= seen, "a person's re-arm clears what is over"
            assert before_mode is not Mode.STOPPED or (facts.at_rest and facts.preflight_ok)
        self.judge_mode(before_mode, request, refused, facts)

    def judge_mode(
        self, before: Mode, request: Request, refused: bool, facts: ModeFacts
    ) -> None:
        """Who may move the arm, and who may not."""
        moving = before in (*ACTING, Mode.HOMING, Mode.HOLD)
        if self.response is Response.STOP:
            assert self.mode in (Mode.STOPPED, Mode.DISARMED)
            assert self.mode is Mode.STOPPED or before is Mode.DISARMED or not moving
        if self.response is Response.HOLD and moving:
            assert self.mode in (Mode.HOLD, Mode.DISARMED)
        if self.response >= Response.DROP_RESIDUAL:
            assert self.mode not in (Mode.SHADOW, Mode.ADAPTIVE)
        if before is Mode.STOPPED and self.mode is not before:
            assert request in (Request.REARM, Request.DISARM)
            assert facts.at_rest
            assert not refused
        if moving and self.mode in (Mode.DISARMED, Mode.READY):
            assert facts.at_rest
        if self.mode in (*ACTING, Mode.HOMING, Mode.HOLD) and not moving:
            assert (before, request) == (Mode.READY, Request.ARM)

    @invariant()
    def the_worst_wins(self) -> None:
        """The response is that of the worst active row."""
        rows = [ROWS[fault].response for fault in self.active]
        assert self.response is max(rows, default=Response.NONE)

    @invariant()
    def a_condition_that_lasts_acts(self) -> None:
        """Debounce is the longest that a fault may wait."""
        for fault, ticks in self.run.items():
            assert (ticks >= ROWS[fault].debounce_ticks) <= (fault in self.active)

    @invariant()
    def what_clears_by_itself_is_over_in_time(self) -> None:
        """WHEN_CLEAR at once; AFTER_DWELL after its dwell, to the tick."""
        for fault in self.active:
            row, gone_ns = ROWS[fault], self.now_ns - self.seen_ns[fault]
            if row.clear is Clear.WHEN_CLEAR:
                assert gone_ns == 0
            if row.clear is Clear.AFTER_DWELL:
                assert gone_ns < row.dwell_s * 1e9


def test_no_order_of_events_breaks_the_table() -> None:
    machine = settings(max_examples=60, stateful_step_count=40, derandomize=True, deadline=None)
    run_state_machine_as_test(AnyDay, settings=machine)
