"""Every way down: for each trigger a run that it, and no other, stops; and what a grant brings."""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from runtime.events import EventKind
from runtime.faults import ROWS, Fault, Response
from runtime.gate_wire import Grant, References
from runtime.interfaces import GateHealth, ResidualAnswer
from runtime.layout import Floats
from runtime.messages import Mode, Outcome, Phase, Stage, TickRecord, new_inputs
from runtime.wiring import build_tick
from sims.injection import INJECTORS
from tests.runtime.control_kit import assert_judged_clean, faults
from tests.runtime.gate_kit import LearningRig, with_residual
from tests.sims.kit import with_short_memory

DROPS = [row.fault for row in ROWS if row.response is Response.DROP_RESIDUAL]
TRIGGERS = [*DROPS, Fault.RESIDUAL_SATURATED, Fault.DEADLINES_MISSED]
# the committed row's dwell and authority's ramp, in ticks
DWELL_TICKS, RAMP_TICKS, STEP_TICKS = 500, 250, 25


def swaying(record: TickRecord) -> Floats:
    """Actions that keep the tool moving to and fro."""
    turn = float(record.episode_step[0]) * 0.5
    return np.array([0.3 * math.sin(turn + i) for i in range(len(record.action))])


class Gentle:
    """A residual that asks for a little, to and fro."""

    version, refused = 1, 0

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        out.action[:] = 0.1 * math.sin(float(record.episode_step[0]))
        out.noise[:] = 0.0
        out.takes_part = True

    def offer(self, data: bytes) -> str:
        return "never"

    def go_back(self, data: bytes) -> str:
        return "never"


def trusted() -> LearningRig:
    """A rig whose residual acts, with full authority and some steps behind it."""
    rig = LearningRig(swaying, with_short_memory(with_residual()), residual=Gentle())
    rig.until_mode(Mode.HOMING)
    rig.gate.allow(Stage.ADAPTIVE)
    rig.begin_episode()
    assert rig.run(RAMP_TICKS + 5 * STEP_TICKS).authority.all()
    return rig


def dropping(mask: int) -> set[str]:
    """Return the active faults that take the residual away, or more."""
    rows = {row.fault: row for row in ROWS}
    return {
        fault.name
        for fault in Fault
        if mask >> fault & 1 and rows[fault].response >= Response.DROP_RESIDUAL
    }


@pytest.mark.parametrize("fault", TRIGGERS, ids=lambda fault: fault.name)
def test_a_run_that_this_and_nothing_else_stops(fault: Fault) -> None:
    rig = trusted()
    injector = INJECTORS[fault]()
    rig.loop._parts = injector.attach(rig.loop._parts)
    # the same run without it keeps its residual
    assert rig.run(2 * STEP_TICKS).authority.all()
    assert injector.acted == 0
    seen: set[str] = set()
    injector.active = True
    for _ in range(2000):
        record = rig.run(1)
        seen |= dropping(int(record.faults[0]))
        if not record.authority.all() and record.phase[0] == Phase.RUNNING:
            break
        assert record.authority.all() or record.phase[0] != Phase.RUNNING
    assert injector.acted
    if fault is Fault.RESIDUAL_SATURATED:
        assert record.authority.tolist() == [0.0, 1.0, 1.0, 1.0]
        assert (seen, faults(record) & {fault.name}) == (set(), {fault.name})
        assert record.mode[0] == Mode.ADAPTIVE
    else:
        assert not record.authority.any()
        assert seen == {fault.name}
        # what misses its deadlines holds the arm as well
        assert record.mode[0] == (Mode.HOLD if fault is Fault.DEADLINES_MISSED else Mode.BASE)
    assert_judged_clean(rig)


def test_what_is_over_is_given_back_after_its_dwell_and_by_the_ramp() -> None:
    rig = trusted()
    rig.gate.said = GateHealth(held=True)
    assert not rig.run(1).authority.any(), "in this very tick"
    rig.gate.said = GateHealth()
    assert not rig.run(DWELL_TICKS - 2).authority.any()
    assert rig.run(RAMP_TICKS // 2).authority.any()
    assert not rig.tick.record.authority.all() or rig.tick.record.authority.max() < 1.0
    assert rig.run(RAMP_TICKS).authority.tolist() == [1.0] * 4


def test_what_a_grant_says_stands_in_the_record() -> None:
    rig = trusted()
    said = References(
        own=(7, 9), base=(3, 8), base_limited=0.1, base_pressed=0.2, critic_gap=-0.3,
        update_ratio=0.4,
    )  # fmt: skip
    rig.gate.grant = msgspec.structs.replace(rig.gate.grant, trial=5, references=said)
    rig.gate.said = GateHealth(weights_age_ns=11, held=True)
    record = rig.run(1)
    assert record.residual_trial.tolist() == [5]
    assert (record.own_reference.tolist(), record.base_reference.tolist()) == ([7, 9], [3, 8])
    assert record.base_limited_share.tolist() == [0.1]
    assert record.base_pressed_share.tolist() == [0.2]
    assert record.critic_gap.tolist() == [-0.3]
    assert record.update_ratio.tolist() == [0.4]
    assert record.weights_age_ns.tolist() == [11]
    assert record.residual_held.tolist() == [1]
    assert faults(record) >= {"RESIDUAL_HELD"}


def test_a_gate_that_is_let_go_leaves_nothing_to_judge_by() -> None:
    rig = trusted()
    said = References(own=(7, 9), critic_gap=9.0)
    rig.gate.grant = msgspec.structs.replace(rig.gate.grant, trial=5, references=said)
    rig.run(1)

    def broken(record: TickRecord, residual: object) -> None:
        raise OSError("the gate broke")

    rig.gate.after = broken  # type: ignore[method-assign,assignment]
    record = rig.run(2)
    assert record.residual_trial[0] == record.critic_gap[0] == 0
    assert record.own_reference.tolist() == [0, 0]


def test_without_a_residual_in_the_config_nothing_is_watched() -> None:
    chosen = with_residual()
    bare = replace(chosen, config=chosen.config.model_copy(update={"residual": None}))
    tick = build_tick(bare, LearningRig().base.contract)
    rig = LearningRig(swaying, residual=Gentle())
    inputs = new_inputs(rig.sizes)
    inputs.residual_held[0], inputs.critic_gap[0] = True, math.nan
    mask = int(tick.step(inputs).faults_seen[0])
    held, misjudged = 1 << Fault.RESIDUAL_HELD, 1 << Fault.CRITIC_MISJUDGES
    assert not mask & (held | misjudged)
    mask = int(rig.tick.step(inputs).faults_seen[0])
    assert mask & held
    assert mask & misjudged


def test_a_run_with_evidence_replays_bit_for_bit_from_every_keyframe() -> None:
    rig = trusted()
    for fault in (Fault.RESIDUAL_SATURATED, Fault.SUCCESS_FELL):
        injector = INJECTORS[fault]()
        rig.loop._parts = injector.attach(rig.loop._parts)
        injector.active = True
        rig.run(700)
        injector.active = False
    table = rig.table()
    assert table["success_evidence"].max() == 1.0
    assert 0.0 < table["saturated_share"].max() < 1.0
    assert Outcome.FAILURE in table["outcome"]
    tick, inputs = build_tick(rig.deployment, rig.base.contract), new_inputs(rig.sizes)
    keyframes = {e.tick: e.data for e in rig.sink.events if e.kind is EventKind.KEYFRAME}
    first, compared = int(table["tick"][0, 0]), 0
    for number, data in keyframes.items():
        tick.restore(data)
        for row in rig.sink.rows[number + 1 - first :]:
            inputs.raw[:] = row[: len(inputs.raw)]
            assert tick.step(inputs).raw == row
            compared += 1
    assert compared > len(rig.sink.rows)
