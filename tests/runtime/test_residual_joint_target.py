"""A residual on absolute joint targets: added to the base's current target, never to an old one."""

import numpy as np
import pytest

from policies.base import OnnxBasePolicy
from policies.residual import LearnedResidual
from runtime.gate_wire import Grant
from runtime.interfaces import ResidualAnswer
from runtime.layout import Floats
from runtime.messages import Mode, Stage, TickRecord, new_inputs
from runtime.wiring import build_tick, load_base, load_deployment
from tests.planar.kit import CONFIG, INVARIANTS
from tests.runtime.gate_kit import LearningRig, with_residual
from tests.runtime.invariant_checker import check

# the contract's, written again
SCALE, OFFSET = np.array([1.6, 1.0, 0.6]), np.array([-0.9, 1.35, 0.6])
DT_S = 0.004
RAMP_TICKS, STEP_TICKS = 125, 5


class Constant(LearnedResidual):
    """Asks for as much as it may."""

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        out.action[:] = [0.1, -0.1, 0.05]
        out.takes_part = True


@pytest.fixture(scope="module")
def rig() -> LearningRig:
    deployment = with_residual(load_deployment(CONFIG))
    base = load_base(deployment)
    assert isinstance(base, OnnxBasePolicy)
    rig = LearningRig(deployment=deployment, base=base, residual_type=Constant, field=None)
    rig.loop._keyframe()
    rig.until_mode(Mode.HOMING)
    rig.gate.allow(Stage.ADAPTIVE)
    rig.until_mode(Mode.ADAPTIVE)
    rig.run(RAMP_TICKS + 2 * STEP_TICKS)
    return rig


def test_every_target_is_the_base_s_own_plus_the_residual(rig: LearningRig) -> None:
    table = rig.table()
    acting = (table["mode"][:, 0] == Mode.ADAPTIVE) & (table["episode_step"][:, 0] > 0)
    rows = table[acting]
    assert len(set(rows["base_sequence"][:, 0].tolist())) > 20
    asked = rows["base_action"] + rows["authority"] * rows["residual_action"]
    assert rows["action"] == pytest.approx(asked)
    assert (rows["authority"][-1] == 1.0).all()
    assert 5 < len(set(rows["authority"][:, 0].tolist())) <= 33
    wanted = rows["action"] * SCALE + OFFSET
    # well inside the set-point's reach of 0.4 rad
    near = (np.abs(wanted - rows["setpoint_measured"]) < 0.3) & (np.abs(rows["action"]) < 1.0)
    assert near.sum() > 100
    assert rows["setpoint"][near] == pytest.approx(wanted[near])
    assert rows["action_executed"][near] == pytest.approx(rows["action"][near])
    far = np.abs(wanted - rows["setpoint_measured"]) > 0.5
    assert far.any()
    assert (np.abs(rows["action_executed"] - rows["action"])[far] > 0.05).all()


def test_its_commands_keep_the_invariants(rig: LearningRig) -> None:
    table = rig.table()
    sent = table["command_sent"][:, 0] != 0
    assert sent.sum() > 500
    first = int(np.flatnonzero(sent)[0])
    assert sent[first:].all()
    # the reference was set to the measured pose of the tick in which commands begin
    commands = np.concatenate((table["q"][first : first + 1], table["q_applied"][first:]))
    assert not check(commands, DT_S, INVARIANTS, [0]).violations


def test_it_replays_bit_for_bit(rig: LearningRig) -> None:
    tick, inputs = build_tick(rig.deployment, rig.base.contract), new_inputs(rig.sizes)
    tick.restore(rig.sink.events[0].data)
    for row in rig.sink.rows:
        inputs.raw[:] = row[: len(inputs.raw)]
        assert tick.step(inputs).raw == row
