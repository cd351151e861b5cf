"""The residual in the real loop: what it adds, when it may, how it is swapped, and its replay."""

import math

import numpy as np
import pytest

from runtime.events import EventKind
from runtime.gate_wire import Grant
from runtime.interfaces import GateHealth, ResidualAnswer
from runtime.layout import Floats
from runtime.messages import Mode, Request, Stage, TickRecord, new_inputs
from runtime.residual_spec import RegionConfig
from runtime.wiring import build_tick
from tests.runtime.control_kit import Rig, assert_judged_clean, faults
from tests.runtime.gate_kit import LearningRig, explored, with_residual

# the committed contract's, written again
BOUND = 0.6
SCALE = np.array([0.015, 0.015, 0.015, 0.06])
RAMP_TICKS = 250
STEP_TICKS = 25


class Pusher:
    """A residual that asks for a constant, or misbehaves."""

    refused = 0
    version = 3

    def __init__(self, action: float) -> None:
        self.action = action
        self.raises = False

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        if self.raises:
            raise RuntimeError("the residual broke")
        out.action[:] = self.action
        out.takes_part = True

    def offer(self, data: bytes) -> str:
        return "never"

    def go_back(self, data: bytes) -> str:
        return "never"


def begun(stage: Stage, share: float = 1.0, action: float = 0.2) -> tuple[LearningRig, Pusher]:
    pusher = Pusher(action)
    rig = LearningRig(residual=pusher)
    rig.until_mode(Mode.HOMING)
    rig.gate.allow(stage, share)
    rig.begin_episode()
    return rig, pusher


def test_without_a_gate_the_base_runs_alone() -> None:
    pusher = Pusher(0.3)
    rig = Rig(residual=pusher)
    rig.begin()
    record = rig.run(100)
    assert record.residual_action.tolist() == [0.3] * 4
    assert not record.authority.any()
    assert not record.action.any()


@pytest.mark.parametrize(
    ("stage", "mode"),
    [
        (Stage.OBSERVE, Mode.BASE),
        (Stage.WARM, Mode.BASE),
        (Stage.EXPLORE, Mode.ADAPTIVE),
        (Stage.SHADOW, Mode.SHADOW),
        (Stage.ADAPTIVE, Mode.ADAPTIVE),
    ],
)
def test_the_stage_decides_the_mode_and_whether_it_acts(stage: Stage, mode: Mode) -> None:
    rig, _ = begun(stage)
    record = rig.run(RAMP_TICKS + 2 * STEP_TICKS)
    assert record.mode[0] == mode
    assert record.residual_action.tolist() == [0.2] * 4
    acts = mode is Mode.ADAPTIVE
    assert record.authority.tolist() == [float(acts)] * 4
    assert record.action.tolist() == [0.2 * acts] * 4


def test_the_ramp_is_no_faster_than_the_config_says_and_a_grant_is_reached() -> None:
    rig, _ = begun(Stage.ADAPTIVE, 0.7)
    seen = [float(rig.run(1).authority[0]) for _ in range(RAMP_TICKS)]
    assert all(share <= (tick + 3) / RAMP_TICKS for tick, share in enumerate(seen))
    assert sorted(seen) == seen
    assert seen[-1] == 0.7
    # few different sums: each costs an inverse kinematics
    assert len(set(seen)) <= 0.7 * 32 + 2


def test_a_change_of_authority_changes_the_sum_within_the_step() -> None:
    rig, _ = begun(Stage.ADAPTIVE)
    record = rig.run(RAMP_TICKS)
    rig.until(lambda r: bool(r.policy_due[0]))
    record = rig.run(5)
    step = int(record.base_sequence[0])
    rig.gate.allow(Stage.ADAPTIVE, 0.25)
    record = rig.run(2)
    assert record.base_sequence[0] == step
    assert record.authority.tolist() == [0.25] * 4
    assert record.action.tolist() == [0.05] * 4
    assert_judged_clean(rig)


@pytest.mark.parametrize("base", [[0.05, -0.05, 0.0, 0.05], [0.9, -0.9, 0.0, 0.9]])
def test_executed_is_the_step_of_the_set_point_in_action_units(base: list[float]) -> None:
    rig = LearningRig(lambda _: np.array(base), residual=Pusher(0.2))
    rig.until_mode(Mode.HOMING)
    rig.gate.allow(Stage.ADAPTIVE)
    rig.begin_episode()
    rig.run(RAMP_TICKS)
    before = rig.until(lambda r: bool(r.policy_due[0])).setpoint.copy()
    record = rig.run(3)
    asked = np.array(base) + 0.2
    assert record.action == pytest.approx(asked)
    assert record.action_executed == pytest.approx((record.setpoint - before) / SCALE, abs=1e-9)
    if base[0] < 0.1:
        assert record.action_executed == pytest.approx(asked)
    else:
        # the contract's action ends at 1, and the set-point's reach ends before that
        assert np.abs(record.action_executed).max() < 1.0


@pytest.mark.parametrize(
    ("fault", "damage"),
    [
        ("RESIDUAL_FAILED", lambda pusher: setattr(pusher, "raises", True)),
        ("RESIDUAL_NOT_FINITE", lambda pusher: setattr(pusher, "action", math.nan)),
        ("RESIDUAL_OUT_OF_BOUND", lambda pusher: setattr(pusher, "action", -0.601)),
    ],
)
def test_a_residual_that_misbehaves_is_dropped_in_that_tick_and_comes_back_by_ramp(
    fault: str, damage: object
) -> None:
    rig, pusher = begun(Stage.ADAPTIVE)
    rig.run(RAMP_TICKS + STEP_TICKS)
    assert callable(damage)
    damage(pusher)
    record = rig.until(lambda r: bool(r.faults[0]), 2 * STEP_TICKS)
    assert faults(record) == {fault}
    assert record.mode[0] == Mode.BASE
    assert not record.authority.any()
    assert record.action.tolist() == [0.0] * 4
    pusher.action, pusher.raises = 0.2, False
    assert not rig.run(2 * STEP_TICKS).authority.any()
    rig.port.ask(Request.REARM)
    record = rig.until_mode(Mode.ADAPTIVE, 5)
    assert record.authority[0] <= 1 / 32
    assert rig.run(RAMP_TICKS).authority.tolist() == [1.0] * 4
    assert_judged_clean(rig)


def test_a_residual_that_raises_does_not_fail_the_base() -> None:
    rig, pusher = begun(Stage.ADAPTIVE)
    pusher.raises = True
    record = rig.until(lambda r: bool(r.residual_failed[0]), 2 * STEP_TICKS)
    assert not record.base_failed[0]
    assert not record.residual_action.any()
    assert any("the residual broke" in e.text for e in rig.sink.events)
    assert record.mode[0] == Mode.BASE


def test_outside_its_region_it_has_no_authority() -> None:
    rig = LearningRig(residual=Pusher(0.2))
    x = float(rig.until_mode(Mode.HOMING).tool_position_in_base_m[0])
    beside = RegionConfig(low_m=(x + 0.1, -9.0, -9.0), high_m=(x + 9.0, 9.0, 9.0), edge_m=0.01)
    rig = LearningRig(deployment=with_residual(region=beside), residual=Pusher(0.2))
    rig.until_mode(Mode.HOMING)
    rig.gate.allow(Stage.ADAPTIVE)
    rig.begin_episode()
    record = rig.run(RAMP_TICKS + STEP_TICKS)
    assert record.mode[0] == Mode.ADAPTIVE
    assert record.region_share[0] == 0.0
    assert not record.authority.any()
    assert not record.action.any()


def test_lost_companions_and_a_refusal_never_stop_the_base() -> None:
    rig = LearningRig()
    rig.begin()
    rig.run(10)
    rig.gate.said = GateHealth(gate_lost=True, learner_lost=True)
    rig.gate.offers = [b"garbage"]
    record = rig.run(2)
    assert faults(record) == {"GATE_LOST", "LEARNER_LOST", "SNAPSHOT_REFUSED"}
    assert record.mode[0] == Mode.BASE
    assert "no snapshot" in rig.gate.answers[0]
    rig.gate.said = GateHealth()
    assert faults(rig.run(2)) == {"GATE_LOST", "LEARNER_LOST"}
    # their dwell is a second
    assert faults(rig.run(500)) == set()


def learning() -> LearningRig:
    """A run with noise, two snapshots, a smaller grant and a fault; keyframes as in any run."""
    rig = LearningRig(
        lambda _: np.array([0.2, -0.1, 0.0, 0.1]),
        explored(clean_share=0.0, segment_steps=5, horizon_episodes=2),
        seed=3,
    )
    rig.loop._keyframe()
    rig.until_mode(Mode.HOMING)
    rig.gate.allow(Stage.EXPLORE)
    rig.begin_episode()
    rig.run(400)
    assert rig.offer(1, 0, push=0.3) == ""
    rig.run(400)
    assert rig.offer(2, 1, push=0.5) == ""
    rig.gate.allow(Stage.ADAPTIVE, 0.8)
    rig.run(300)
    rig.gate.offers = [b"garbage"]
    rig.run(300)
    return rig


@pytest.fixture(scope="module")
def learned() -> LearningRig:
    return learning()


def test_a_run_with_a_swap_in_it_replays_bit_for_bit_from_every_keyframe(
    learned: LearningRig,
) -> None:
    rig = learned
    table = rig.table()
    assert set(table["residual_version"][:, 0].tolist()) == {0, 1, 2}
    assert table["residual_noise"].any()
    assert table["action_executed"].any()
    assert [e.kind for e in rig.sink.events].count(EventKind.SNAPSHOT) == 2
    tick, inputs = build_tick(rig.deployment, rig.base.contract), new_inputs(rig.sizes)
    keyframes = {e.tick: e.data for e in rig.sink.events if e.kind is EventKind.KEYFRAME}
    assert len(keyframes) >= 3
    first = int(table["tick"][0, 0])
    compared = 0
    for number, data in keyframes.items():
        tick.restore(data)
        for row in rig.sink.rows[number + 1 - first :]:
            inputs.raw[:] = row[: len(inputs.raw)]
            assert tick.step(inputs).raw == row
            compared += 1
    assert compared > len(rig.sink.rows)
    assert_judged_clean(rig)


def test_a_seed_means_the_same_run(learned: LearningRig) -> None:
    def told(rig: LearningRig) -> bytes:
        table = rig.table()
        return bytes(b"".join(table[name].tobytes() for name in ("residual_action", "q_applied")))

    assert told(learned) == told(learning())


def test_noise_and_action_stay_inside_the_bound_and_are_recorded(learned: LearningRig) -> None:
    table = learned.table()
    assert np.abs(table["residual_action"]).max() <= BOUND
    assert 0.0 < np.abs(table["residual_noise"]).max() <= BOUND
    away = table["residual_takes_part"][:, 0] == 0
    assert not table["residual_action"][away].any()


def test_a_gate_that_raises_is_let_go_with_all_that_it_granted() -> None:
    rig, _ = begun(Stage.ADAPTIVE)
    assert rig.run(RAMP_TICKS + STEP_TICKS).authority.all()

    def broken(record: TickRecord, residual: object) -> None:
        raise OSError("the gate broke")

    rig.gate.after = broken  # type: ignore[method-assign,assignment]
    record = rig.run(2)
    assert faults(record) == {"GATE_LOST"}
    assert record.mode[0] == Mode.BASE
    assert not record.authority.any()
    assert record.action.tolist() == [0.0] * 4
    assert rig.run(STEP_TICKS).mode[0] == Mode.BASE
    assert sum("the gate broke" in e.text for e in rig.sink.events) == 1
    assert_judged_clean(rig)


def test_a_grant_of_what_is_no_share_counts_as_nothing() -> None:
    rig, _ = begun(Stage.ADAPTIVE)
    rig.run(RAMP_TICKS)
    rig.gate.grant = Grant(Stage.ADAPTIVE, [math.nan, 1.5, -0.5, 0.5])
    assert rig.run(STEP_TICKS).authority.tolist() == [0.0, 0.0, 0.0, 0.5]
