"""The whole control tick on the simulated robot, with people, policies and faults in any order."""

import math
from collections.abc import Callable

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from runtime.faults import ROWS, Clear, Fault, Response
from runtime.layout import Floats
from runtime.messages import Mode, Request, TickRecord
from runtime.operator_port import ScriptedPort
from sims.injection import INJECTORS
from tests.runtime.control_kit import BEGIN, Rig, assert_judged_clean, noise, still

TICKS_MIN = 3000
# one at a time between trajectory generator and envelope
INJECTED = (
    Fault.JOINTS_STALE, Fault.GROUP_STALE, Fault.OBSERVATION_NOT_FINITE, Fault.LINK_LOST,
    Fault.OBSERVATION_IMPLAUSIBLE, Fault.BASE_NOT_FINITE, Fault.BASE_FAILED, Fault.TICK_RAISED,
    Fault.RECORDER_LOST, Fault.OPERATOR_STOP, Fault.TOOL_SPEED_GUARD, Fault.TRACKING_GUARD,
)  # fmt: skip
LATCHED = sum(1 << r.fault for r in ROWS if r.clear in (Clear.ON_REARM, Clear.NEVER))
ACTING = (Mode.BASE, Mode.SHADOW, Mode.ADAPTIVE)
ARMED = (*ACTING, Mode.HOMING, Mode.HOLD)


def absurd(record: TickRecord) -> Floats:
    """Ask for what no robot can do."""
    return np.full(len(record.action), (1e300, -1e300, math.inf, 0.5)[int(record.tick[0]) % 4])


ANSWERS: dict[str, Callable[[TickRecord], Floats]] = {
    "still": still,
    "noise": noise(3),
    "absurd": absurd,
    "nan": lambda record: np.full(len(record.action), math.nan),
}
COUNTS = st.integers(5, 60)


class AnyRun(RuleBasedStateMachine):
    """One robot, one loop; `ticks` counts those of all runs."""

    ticks = 0

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        parts = self.rig.loop._parts
        self.injectors = {fault: INJECTORS[fault]() for fault in INJECTED}
        for injector in self.injectors.values():
            parts = injector.attach(parts)
        self.rig.loop._parts = parts
        self.rig.loop.tick_once()
        self.rig.begin()
        self.mode, self.epoch, self.sequence, self.faults = Mode.DISARMED, 0, 0, 0
        self.remember()

    @property
    def port(self) -> ScriptedPort:
        assert isinstance(self.rig.port, ScriptedPort)
        return self.rig.port

    def remember(self) -> None:
        """Keep what the next tick is compared with."""
        record = self.rig.tick.record
        self.mode, self.faults = Mode(int(record.mode[0])), int(record.faults[0])
        self.epoch, self.sequence = int(record.epoch[0]), int(record.command_sequence[0])

    # -- what may happen --------------------------------------------------------------------------

    @rule(count=COUNTS)
    def go_on(self, count: int) -> None:
        """Nothing new."""
        for _ in range(count):
            self.tick()

    @rule(request=st.sampled_from(list(Request)), count=COUNTS)
    def somebody_asks(self, request: Request, count: int) -> None:
        """A request, allowed or not."""
        self.port.ask(request)
        self.go_on(count)

    @rule(count=COUNTS)
    def back_to_work(self, count: int) -> None:
        """What an operator does after a stop."""
        for request in (Request.REARM, Request.ARM):
            self.port.ask(request)
            self.go_on(count)
        self.port.signal(BEGIN)
        self.go_on(count)

    @rule(name=st.sampled_from(sorted(ANSWERS)), count=COUNTS)
    def another_policy(self, name: str, count: int) -> None:
        """The policy changes its mind."""
        self.rig.base.answer = ANSWERS[name]  # type: ignore[attr-defined]
        self.go_on(count)

    @rule(fault=st.sampled_from(INJECTED), during=COUNTS, after=COUNTS)
    def something_breaks(self, fault: Fault, during: int, after: int) -> None:
        """A fault for a while."""
        self.injectors[fault].active = True
        self.go_on(during)
        self.injectors[fault].active = False
        self.go_on(after)

    @rule()
    def keyframe(self) -> None:
        """Saved, restored, nothing changed."""
        saved = self.rig.tick.save()
        self.rig.tick.restore(saved)
        assert self.rig.tick.save() == saved

    # -- what must hold ---------------------------------------------------------------------------

    def tick(self) -> None:
        """One tick, compared with the one before."""
        record = self.rig.loop.tick_once()
        AnyRun.ticks += 1
        mode, response = Mode(int(record.mode[0])), Response(int(record.response[0]))
        assert np.isfinite(record.q_applied).all()
        assert record.epoch[0] >= self.epoch
        assert record.command_sequence[0] > self.sequence
        if mode is Mode.STOPPED and self.mode is not Mode.STOPPED:
            assert record.epoch[0] > self.epoch, "what was sent before a stop is void"
        if record.request[0] != Request.REARM:
            assert not self.faults & LATCHED & ~int(record.faults[0])
        if not record.step_raised[0]:
            assert not (response >= Response.HOLD and mode in ACTING)
            assert not (response is Response.STOP and mode in ARMED)
        if mode in ARMED and self.mode not in ARMED:
            assert record.request[0] == Request.ARM
        assert not (record.command_sent[0] and mode in (Mode.DISARMED, Mode.READY))
        self.remember()

    def teardown(self) -> None:
        """Every command that was sent, judged."""
        assert_judged_clean(self.rig)


def test_no_order_of_events_breaks_a_run() -> None:
    AnyRun.ticks = 0
    machine = settings(max_examples=5, stateful_step_count=30, derandomize=True, deadline=None)
    run_state_machine_as_test(AnyRun, settings=machine)
    print(f"{AnyRun.ticks} ticks")
    assert AnyRun.ticks >= TICKS_MIN
