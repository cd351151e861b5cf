"""An arm that stands outside its workspace box may only move back in, once a person says so."""

from dataclasses import replace
from typing import Any

import numpy as np

from runtime.config import BoxConfig
from runtime.envelope.guards import WORKSPACE
from runtime.messages import Mode, Request, TickRecord
from tests.runtime.control_kit import Rig, assert_judged_clean, faults, panda, settled

HOME_M = (0.5, 0.0)


def outside_at_start() -> Any:
    """Return a deployment whose arm starts well outside a narrow box around its home."""
    deployment = panda()
    config = deployment.config
    box = BoxConfig(low_m=(0.3, -0.05, 0.0), high_m=(0.7, 0.05, 0.9))
    sim = {**config.sim, "start_offset_rad": 0.2}
    guards = config.guards.model_copy(update={"workspace": box})
    return replace(deployment, config=config.model_copy(update={"guards": guards, "sim": sim}))


def held(record: TickRecord) -> bool:
    return record.mode[0] == Mode.HOLD and settled(record)


def test_it_is_held_until_re_armed_then_homes_and_is_guarded_again() -> None:
    rig = Rig(deployment=outside_at_start())
    record = rig.until(held)
    # the envelope may have kept the way home from leading further out first
    assert faults(record) - {"ENVELOPE_LIMITED"} == {"WORKSPACE_GUARD"}
    outside = float(record.guard_margin[WORKSPACE])
    assert outside < 0.0
    record = rig.run(1000)
    assert record.mode[0] == Mode.HOLD, "without a person it stays held"
    rig.port.ask(Request.REARM)
    rig.until_mode(Mode.HOMING)
    record = rig.until(lambda seen: seen.guard_margin[WORKSPACE] >= 0.0 and settled(seen))
    assert record.mode[0] == Mode.HOMING
    assert abs(record.tool_position_in_base_m[1] - HOME_M[1]) < 0.02
    seen = rig.table()["guard_margin"][:, WORKSPACE]
    assert seen.min() > outside - 0.05, "it never went much further out"
    assert_judged_clean(rig)
    assert rig.tick._monitors.state.workspace_floor == 0.0, "inside again, the guard is whole"


def test_further_out_is_held_again() -> None:
    rig = Rig(deployment=outside_at_start())
    rig.until(held)
    rig.port.ask(Request.REARM)
    rig.until_mode(Mode.HOMING)
    force = np.array([0.0, 40.0 * np.sign(rig.link.plant.tip.y_m), 0.0])  # type: ignore[attr-defined]
    rig.link.plant.push(force)  # type: ignore[attr-defined]
    record = rig.until_mode(Mode.HOLD, 500)
    assert "WORKSPACE_GUARD" in faults(record)
