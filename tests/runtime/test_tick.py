"""The whole tick on the real Panda in lockstep: hand-overs, stops, exceptions, keyframes."""

import math
import random
import tracemalloc

import numpy as np
import pytest

from runtime.events import EventKind
from runtime.faults import Response
from runtime.messages import (
    Mode,
    Outcome,
    Phase,
    Request,
    SignalKind,
    SignalSource,
    TaskSignal,
    TickInputs,
)
from runtime.wiring import build_tick
from tests.runtime.control_kit import (
    BEGIN,
    DT_S,
    Rig,
    assert_judged_clean,
    changed,
    faults,
    noise,
    panda,
    settled,
    still,
)

LONG = changed(panda(), episode={"steps": 100_000})


# -- arming and stopping ----------------------------------------------------------------------


def test_nothing_is_commanded_before_the_arm_request() -> None:
    rig = Rig(arm=False)
    record = rig.run(50)
    assert record.mode[0] == Mode.READY
    assert not rig.table()["command_sent"].any()
    assert rig.link.plant.device.holding  # type: ignore[attr-defined]


@pytest.mark.parametrize("armed_before", [False, True])
def test_a_stop_while_ready_latches_without_a_command(armed_before: bool) -> None:
    """A stop before the robot was ever armed has nothing to brake, and an old reference of an
    earlier arming must not come back to life."""
    rig = Rig(arm=armed_before)
    if armed_before:
        rig.until_mode(Mode.HOMING)
        rig.run(700)
        rig.until(settled)
        rig.port.ask(Request.DISARM)
        rig.until_mode(Mode.READY, 5)
        assert not rig.run(5).command_sent[0]
    else:
        rig.run(5)
    rig.port.ask(Request.STOP)
    record = rig.run(1)
    assert record.mode[0] == Mode.STOPPED
    first = len(rig.sink.rows) - 1
    rig.run(100)
    assert not rig.table()["command_sent"][first:].any()
    assert not rig.table()["step_raised"].any()
    rig.port.ask(Request.REARM)
    assert rig.run(1).mode[0] == Mode.READY
    rig.port.ask(Request.ARM)
    assert rig.run(1).mode[0] == Mode.HOMING
    assert_judged_clean(rig)


def test_epoch_rises_with_every_arm_stop_and_rearm_and_never_otherwise() -> None:
    rig = Rig(deployment=LONG)
    rig.begin()
    rig.run(100)
    rig.port.ask(Request.STOP)
    rig.until(settled)
    rig.port.ask(Request.REARM)
    rig.run(3)
    rig.port.ask(Request.ARM)
    rig.run(3)
    rows = rig.table()
    epoch, mode = rows["epoch"][:, 0], rows["mode"][:, 0]
    rises = np.flatnonzero(np.diff(epoch)) + 1
    assert [Mode(int(mode[i])).name for i in rises] == ["HOMING", "STOPPED", "READY", "HOMING"]
    assert np.diff(epoch).max() == 1
    assert not rows["command_sent"][mode == Mode.READY].any()
    assert_judged_clean(rig)


def test_a_rearm_while_the_arm_still_brakes_is_refused_and_keeps_the_fault() -> None:
    rig = Rig(noise(3), LONG)
    rig.begin()
    rig.run(300)
    rig.port.ask(Request.STOP)
    assert rig.run(1).mode[0] == Mode.STOPPED
    rig.port.ask(Request.REARM)
    record = rig.run(1)
    assert record.mode[0] == Mode.STOPPED
    assert record.request_refused[0]
    assert "OPERATOR_STOP" in faults(record)


# -- hand-overs --------------------------------------------------------------------------------


def test_hand_overs_at_random_moments_keep_every_invariant() -> None:
    rng = random.Random(5)
    rig = Rig(noise(4), LONG)
    rig.begin()
    for _ in range(25):
        rig.run(rng.randrange(1, 120))
        choice = rng.choice(["stop", "hold", "nan", "outcome", "begin", "rearm"])
        if choice == "stop":
            rig.port.ask(Request.STOP)
        elif choice == "hold":
            # a recorder that is lost for a moment holds the arm in the middle of everything
            rig.sink.said = type(rig.sink.said)(dropped=0, lost=True)
            rig.run(rng.randrange(1, 150))
            rig.sink.said = type(rig.sink.said)(dropped=0, lost=False)
        elif choice == "nan":
            rig.loop._inputs.base_action[0] = math.nan
        elif choice == "outcome":
            rig.port.signal(TaskSignal(SignalKind.OUTCOME, SignalSource.OPERATOR, Outcome.UNKNOWN))
        elif choice == "begin":
            rig.port.signal(BEGIN)
        if rig.tick.state.mode is Mode.STOPPED and choice == "rearm":
            rig.until(settled)
            rig.port.ask(Request.REARM)
            rig.run(2)
            rig.port.ask(Request.ARM)
            rig.run(2)
            rig.port.signal(BEGIN)
    visited = {Mode(int(m)).name for m in rig.table()["mode"][:, 0]}
    assert {"HOMING", "BASE", "HOLD", "STOPPED", "READY"} <= visited
    assert not rig.table()["step_raised"].any()
    assert_judged_clean(rig)


def test_recovery_out_of_a_hold_starts_from_what_was_applied() -> None:
    rig = Rig(noise(9), LONG)
    rig.begin()
    rig.run(200)
    rig.loop._inputs.base_action[:] = math.nan
    record = rig.run(1)
    assert record.mode[0] == Mode.HOLD
    assert faults(record) >= {"BASE_NOT_FINITE"}
    rig.until_mode(Mode.BASE, 400)
    assert rig.run(150).mode[0] == Mode.BASE
    rows = rig.table()
    step = np.abs(np.diff(rows["q_applied"], axis=0)).max()
    assert step < 2.61 * 0.95 * DT_S * (1 + 1e-6)
    assert_judged_clean(rig)


def test_nothing_that_was_observed_before_the_take_over_is_executed() -> None:
    rig = Rig(lambda record: np.ones(len(record.action)), LONG)
    rig.until_mode(Mode.HOMING)
    # an action of an earlier life lies in the inputs, sequence and all
    inputs = rig.loop._inputs
    inputs.base_action[:] = 1.0
    inputs.base_sequence[0] = 40
    inputs.base_observed_ns[0] = inputs.now_ns[0]
    rig.run(5)
    rig.port.signal(BEGIN)
    record = rig.run(1)
    assert record.mode[0] == Mode.BASE
    assert not record.action.any()
    assert record.episode_step[0] == 0
    # nor one that arrives late, with a newer number but from before
    inputs.base_sequence[0] += 5
    inputs.base_observed_ns[0] = record.now_ns[0] - 1
    record = rig.run(1)
    assert not record.action.any()
    assert record.episode_step[0] == 0


def test_a_policy_outside_its_start_envelope_is_refused_by_name() -> None:
    rig = Rig(deployment=LONG)
    start = rig.base.contract.start
    tight = start.model_copy(update={"position_max_rad": (9.0, 9.0, 9.0, -2.9, 9.0, 9.0, 9.0)})
    rig.base.contract = rig.base.contract.model_copy(update={"start": tight})  # type: ignore[misc]
    rig.loop._parts.tick._settings = type(rig.tick._settings)(
        **{**vars(rig.tick._settings), "start": tight}
    )
    rig.until_mode(Mode.HOMING)
    rig.port.signal(BEGIN)
    record = rig.run(1)
    assert record.mode[0] == Mode.HOLD
    assert faults(record) == {"START_REFUSED"}
    assert record.outcome[0] == Outcome.ABORT
    notes = [e.text for e in rig.sink.events if e.kind is EventKind.NOTE]
    assert any("joint4" in note and "-2.9000" in note for note in notes)
    rig.run(300)
    assert rig.tick.state.mode is Mode.HOLD
    rig.port.ask(Request.REARM)
    assert rig.run(1).mode[0] == Mode.HOMING


def test_an_interrupted_reset_is_not_ready() -> None:
    rig = Rig()
    rig.until(lambda record: bool(record.phase[0] == Phase.RESETTING))
    rig.run(50)
    rig.sink.said = type(rig.sink.said)(dropped=0, lost=True)
    rig.until_mode(Mode.HOLD, 5)
    rig.sink.said = type(rig.sink.said)(dropped=0, lost=False)
    rig.until_mode(Mode.HOMING, 700)
    record = rig.run(100)
    assert record.phase[0] != Phase.READY
    assert_judged_clean(rig)


# -- what the device does by itself -------------------------------------------------------------


def silence(rig: Rig, patch: pytest.MonkeyPatch) -> None:
    """Let no sample arrive; the commands answer ever older ones."""

    def nothing(inputs: TickInputs) -> None:
        return

    patch.setattr(rig.link, "read", nothing)


def test_after_the_device_let_go_the_reference_begins_anew_where_the_arm_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The device's watchdog holds at the last target that it took; our reference, had it gone on
    braking, would pull the arm elsewhere with the first command after the pause."""
    rig = Rig(noise(2), LONG)
    rig.begin()
    rig.run(180)
    with monkeypatch.context() as patch:
        silence(rig, patch)
        rig.run(30)
    rows = rig.table()[-30:]
    age_ns = rows["now_ns"][:, 0] - rows["group_received_ns"][:, 0]
    # 20 ms is how long the config lets a command live
    assert (rows["command_sent"][:, 0] == (age_ns <= 20_000_000)).all()
    assert rows["mode"][-1, 0] == Mode.HOLD
    first = rig.until(lambda record: bool(record.command_sent[0]), 500)
    assert np.abs(first.q_applied - first.q).max() == 0.0
    assert not first.dq_applied.any()
    assert np.abs(first.dq).max() <= 0.02
    rig.until_mode(Mode.BASE, 300)
    assert rig.run(200).mode[0] == Mode.BASE
    assert not rig.table()["step_raised"].any()
    assert_judged_clean(rig)


def test_a_link_that_stays_away_stops_and_only_a_person_arms_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(noise(2), LONG)
    rig.begin()
    rig.run(180)
    with monkeypatch.context() as patch:
        silence(rig, patch)
        record = rig.run(60)
    assert record.mode[0] == Mode.STOPPED
    assert faults(record) >= {"LINK_LOST", "JOINTS_STALE"}
    sent = len(rig.sink.rows)
    rig.run(300)
    assert not rig.table()["command_sent"][sent:].any()
    rig.port.ask(Request.REARM)
    assert rig.run(1).mode[0] == Mode.READY
    rig.port.ask(Request.ARM)
    record = rig.run(1)
    assert record.mode[0] == Mode.HOMING
    assert np.abs(record.q_applied - record.q).max() < 1e-3
    assert_judged_clean(rig)


def test_a_hold_does_not_relax_towards_where_the_arm_was_seen_last() -> None:
    rig = Rig(noise(2), LONG)
    rig.begin()
    rig.run(180)
    frozen = rig.link.read

    def not_a_number(inputs: TickInputs) -> None:
        frozen(inputs)
        inputs.q[2] = math.nan

    rig.link.read = not_a_number  # type: ignore[method-assign]
    rig.until(lambda record: not record.dq_applied.any(), 300)
    stood = rig.tick.record.q_applied.copy()
    record = rig.run(200)
    assert record.mode[0] == Mode.HOLD
    assert (record.q_applied == stood).all()


# -- the base ----------------------------------------------------------------------------------


def test_a_base_that_goes_silent_holds_by_name_and_recovers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(noise(2), LONG)
    rig.begin()
    rig.run(100)
    inputs = rig.loop._inputs
    with monkeypatch.context() as patch:
        patch.setattr(rig.loop, "_think", lambda _: None)
        record = rig.until_mode(Mode.HOLD, 200)
    assert faults(record) >= {"BASE_STALE"}
    age_ns = int(record.now_ns[0] - inputs.base_observed_ns[0])
    assert 120_000_000 < age_ns <= 122_000_000
    rig.until_mode(Mode.BASE, 400)
    assert rig.run(200).mode[0] == Mode.BASE
    assert_judged_clean(rig)


# -- determinism -------------------------------------------------------------------------------


def test_a_keyframe_in_the_middle_goes_on_bit_for_bit() -> None:
    rig = Rig(noise(6), LONG, field="field")
    rig.begin()
    moments = {int(t) for t in np.random.default_rng(1).integers(1, 900, 12)}
    saved: dict[int, bytes] = {}
    for tick in range(900):
        if tick in moments:
            saved[len(rig.sink.rows)] = rig.tick.save()
        if tick == 300:
            rig.loop._inputs.base_action[0] = math.inf
        if tick == 700:
            rig.port.ask(Request.STOP)
        rig.run(1)
    size = len(rig.loop._inputs.raw)
    for start, state in saved.items():
        twin = build_tick(rig.deployment, rig.base.contract)
        twin.restore(state)
        inputs = rig.loop._inputs
        for row in rig.sink.rows[start : start + 150]:
            inputs.raw[:] = row[:size]
            assert bytes(twin.step(inputs).raw) == row


def test_two_runs_with_one_seed_are_equal_bit_for_bit() -> None:
    runs = []
    for _ in range(2):
        rig = Rig(noise(6), LONG, field="field")
        rig.begin()
        rig.run(400)
        rows = rig.table().copy()
        rows["stage_ns"] = 0
        runs.append(rows)
    for name in runs[0].dtype.names:
        assert runs[0][name].tobytes() == runs[1][name].tobytes(), name


# -- what it costs -----------------------------------------------------------------------------


def test_memory_does_not_grow() -> None:
    rig = Rig(deployment=LONG)
    rig.begin()
    rig.run(200)
    inputs = rig.loop._inputs
    steps = rig.tick

    def turn(count: int) -> None:
        for _ in range(count):
            inputs.tick[0] += 1
            inputs.now_ns[0] += 2_000_000
            inputs.group_received_ns[:] = inputs.now_ns[0]
            inputs.link_received_ns[0] = inputs.now_ns[0]
            inputs.base_observed_ns[0] = inputs.now_ns[0]
            inputs.base_sequence[0] += inputs.tick[0] % 25 == 0
            steps.step(inputs)

    turn(500)
    tracemalloc.start()
    try:
        turn(500)
        before, _ = tracemalloc.get_traced_memory()
        turn(6000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert steps.state.mode is Mode.BASE
    assert after - before < 20_000


def test_an_honest_still_policy_is_never_limited() -> None:
    rig = Rig(still, LONG)
    rig.begin()
    rig.run(500)
    assert not rig.table()["limited_by"].any()
    assert rig.table()["response"].max() <= Response.WARN
