"""The loop around the tick: what enters it, what it records, how it ends."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from runtime.clock import seconds_to_ns
from runtime.events import EventKind
from runtime.faults import Fault
from runtime.interfaces import RecorderHealth
from runtime.layout import Floats
from runtime.loop import EpisodesDone
from runtime.messages import (
    STAGES,
    Mode,
    Outcome,
    Phase,
    Request,
    SignalKind,
    SignalSource,
    TaskSignal,
    TickInputs,
    TickRecord,
)
from tests.runtime.control_kit import BEGIN, Rig, changed, noise, panda, trained_base

LONG = changed(panda(), episode={"steps": 100_000})


def faults(record: TickRecord) -> set[str]:
    return {f.name for f in Fault if int(record.faults[0]) >> f & 1}


def test_the_stage_times_of_a_tick_stand_in_the_next_ticks_inputs() -> None:
    rig = Rig(deployment=LONG)
    rig.begin()
    record = rig.run(1)
    stages = dict(zip(STAGES, record.stage_ns.tolist(), strict=True))
    assert stages["lateness"] == 0
    for name in ("read", "step", "write", "record", "policy"):
        assert 0 < stages[name] < 50_000_000, name


def test_a_policy_acts_every_step_and_its_action_enters_the_next_tick() -> None:
    rig = Rig(lambda record: np.full(len(record.action), 0.25), LONG)
    rig.begin()
    rig.run(110)
    rows = rig.table()
    due = np.flatnonzero(rows["policy_due"][:, 0])
    assert np.diff(due).tolist() == [25] * (len(due) - 1)
    taken = np.flatnonzero(np.diff(rows["base_sequence"][:, 0])) + 1
    assert taken.tolist() == (due + 1).tolist()
    assert rows["base_observed_ns"][taken, 0].tolist() == rows["now_ns"][due, 0].tolist()
    assert (rows["action"][taken] == 0.25).all()
    assert rig.base.asked == len(due)  # type: ignore[attr-defined]


def test_a_policy_that_raises_holds_by_name_until_rearmed() -> None:
    rig = Rig(noise(1), LONG)
    rig.begin()
    rig.run(60)
    answer = rig.base.answer  # type: ignore[attr-defined]

    def explode(record: TickRecord) -> None:
        raise ZeroDivisionError("no answer today")

    rig.base.answer = explode  # type: ignore[attr-defined]
    record = rig.until_mode(Mode.HOLD, 30)
    assert faults(record) == {"BASE_FAILED"}
    assert not record.step_raised[0]
    texts = [e.text for e in rig.sink.events if e.kind is EventKind.TRACEBACK]
    assert len(texts) == 1
    assert "no answer today" in texts[0]
    rig.base.answer = answer  # type: ignore[attr-defined]
    assert rig.run(400).mode[0] == Mode.HOLD
    rig.port.ask(Request.REARM)
    assert rig.run(1).mode[0] == Mode.BASE
    # what failed before the re-arm is not held against what comes after it
    assert rig.run(100).mode[0] == Mode.BASE
    assert not rig.verdict().violations


def test_keyframes_come_at_the_start_every_second_and_after_what_broke(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(deployment=LONG)
    rig.loop._keyframe()
    rig.begin()

    def frames() -> list[int]:
        return [e.tick for e in rig.sink.events if e.kind is EventKind.KEYFRAME]

    # the second one took the first ticks along while the daemon stood ready
    assert frames() == [0, 1]
    rig.run(1000)
    assert {500, 1000} <= set(frames())
    rig.sink.said = RecorderHealth(dropped=2, lost=False)
    record = rig.run(1)
    assert faults(record) == {"RECORD_DROPPED"}
    assert frames()[-1] == int(record.tick[0])
    with monkeypatch.context() as patch:
        patch.setattr(rig.tick, "_measure", lambda _: 1 // 0)
        record = rig.run(1)
    assert frames()[-1] == int(record.tick[0])


def mark(number: int) -> TaskSignal:
    return TaskSignal(SignalKind.OUTCOME, SignalSource.MARK, Outcome(number))


def test_more_signals_than_a_tick_takes_wait_for_the_next_in_order() -> None:
    rig = Rig(deployment=LONG)
    rig.begin()
    late = TaskSignal(SignalKind.RESET_BEGIN, SignalSource.OPERATOR)
    for _ in range(6):
        rig.port.signal(late)
    rig.port.signal(mark(Outcome.SUCCESS))
    first = rig.run(1)
    assert np.count_nonzero(first.signal_kind) == 4
    second = rig.run(1)
    assert np.count_nonzero(second.signal_kind) == 3
    assert second.outcome[0] == Outcome.SUCCESS
    assert not rig.run(1).signal_kind.any()


def test_an_arm_request_before_the_first_tick_is_answered_not_lost() -> None:
    rig = Rig(arm=False)
    rig.port.ask(Request.ARM)
    rig.run(1)
    assert rig.run(1).mode[0] == Mode.HOMING


class Ending:
    """Runs `loop.run`, and ends it from within after a number of ticks."""

    def __init__(self, rig: Rig, after: int) -> None:
        self.rig, self.left = rig, after

    def __call__(self) -> bool:
        self.left -= 1
        if self.left == 0:
            self.rig.loop.end()
        return False


@pytest.mark.parametrize("after", [1, 2, 30, 700, 1500])
def test_an_end_at_any_moment_leaves_the_robot_at_rest(after: int) -> None:
    rig = Rig(noise(5), LONG)
    rig.port.signal(BEGIN)
    rig.loop._is_done = Ending(rig, after)
    assert rig.loop.run() is False
    plant = rig.link.plant  # type: ignore[attr-defined]
    assert np.abs(plant.dq).max() <= 0.02 or after < 3
    rows = rig.table()
    assert not rows["dq_applied"][-1].any()
    assert rows["mode"][-1, 0] not in (Mode.HOMING, Mode.BASE, Mode.HOLD)
    if after >= 3:
        assert rows["mode"][-1, 0] == Mode.STOPPED
        assert not rig.verdict().violations


def test_a_planned_end_disarms_at_rest_and_says_so() -> None:
    rig = Rig(base=trained_base())
    done = EpisodesDone(2)
    rig.loop._is_done = lambda: done(rig.tick)
    assert rig.loop.run() is True
    rows = rig.table()
    outcomes = rows["outcome"][:, 0]
    assert np.count_nonzero(outcomes) == 2
    assert rows["mode"][-1, 0] == Mode.DISARMED
    assert not rows["dq_applied"][-1].any()
    assert not rows["command_sent"][-1].any()
    assert rows["phase"][-1, 0] != Phase.RUNNING
    assert not rig.verdict().violations


def test_a_planned_end_that_never_comes_to_rest_becomes_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(deployment=LONG)
    rig.until_mode(Mode.HOMING)
    rig.done = True
    # seconds pass with every look at the clock
    clock: Iterator[float] = iter(range(1, 10_000_000))
    monkeypatch.setattr("runtime.loop.time.monotonic", lambda: next(clock) / 50)
    monkeypatch.setattr(rig.loop, "_stands", lambda: False)
    assert rig.loop.run() is False
    assert rig.table()["mode"][-1, 0] == Mode.STOPPED


def test_a_lost_supervisor_stops_the_robot_and_ends_the_loop() -> None:
    rig = Rig(noise(2), LONG)
    rig.begin()
    rig.run(100)
    rig.port.supervisor_lost = True
    rig.loop.run()
    rows = rig.table()
    assert rows["mode"][-1, 0] == Mode.STOPPED
    assert not rows["dq_applied"][-1].any()


def test_time_is_the_links_and_ticks_count_on() -> None:
    rig = Rig(deployment=LONG)
    rig.begin()
    rig.run(50)
    rows = rig.table()
    assert np.diff(rows["tick"][:, 0]).tolist() == [1] * (len(rows) - 1)
    assert set(np.diff(rows["now_ns"][:, 0]).tolist()) == {seconds_to_ns(0.002)}


# -- the wall clock ----------------------------------------------------------------------------

HOUR_NS = 3_600_000_000_000


def test_a_step_of_the_wall_clock_is_said_and_changes_nothing() -> None:
    plain, stepped = Rig(noise(5), LONG), Rig(noise(5), LONG)
    read = stepped.link.read

    def read_later(inputs: TickInputs) -> None:
        read(inputs)
        tick = inputs.tick.item()
        inputs.wall_offset_ns[0] = HOUR_NS * ((tick > 100) - 2 * (tick > 300))

    stepped.link.read = read_later  # type: ignore[method-assign]
    for rig in (plain, stepped):
        rig.begin()
        rig.run(600)
    before, after = plain.table(), stepped.table()
    said = 1 << Fault.WALL_CLOCK_STEPPED
    assert np.flatnonzero(after["faults"][:, 0] & said).tolist() == [101, 301]
    excused = {"wall_offset_ns", "stage_ns", "faults", "faults_seen", "response"}
    for name in before.dtype.names:
        if name not in excused:
            assert before[name].tobytes() == after[name].tobytes(), name
    assert ((after["faults"] & ~said) == before["faults"]).all()


def test_in_real_time_the_wall_clock_is_read_beside_our_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(deployment=LONG)
    assert rig.run(3).wall_offset_ns[0] == 0, "simulated time knows no wall clock"
    monkeypatch.setattr(rig.loop, "_simulated_time", False)
    seen = rig.run(1).wall_offset_ns.item()
    assert abs(seen - (time.time_ns() - time.monotonic_ns())) < 1_000_000_000
    # whoever was interrupted between two clocks does not compare them
    monkeypatch.setattr("runtime.loop._READING_MAX_NS", -1)
    assert rig.run(5).wall_offset_ns.item() == seen


# -- what comes with an action -----------------------------------------------------------------


def test_distance_from_training_and_time_taken_enter_with_the_action() -> None:
    rig = Rig(deployment=LONG)
    base = rig.base

    def answer(record: TickRecord) -> Floats:
        base.unfamiliarity = 7.0  # type: ignore[misc]
        rig.link.write(None)
        return np.zeros(len(record.action))

    rig.base.answer = answer  # type: ignore[attr-defined]
    rig.begin()
    rig.until(lambda record: record.base_sequence[0] == 1, 60)
    rows = rig.table()
    first = int(np.flatnonzero(rows["base_sequence"][:, 0])[0])
    assert rows["base_unfamiliarity"][first, 0] == 7.0
    assert rows["base_inference_ns"][first, 0] == seconds_to_ns(0.002)
    assert rows["base_unfamiliarity"][first - 1, 0] == 0.0
