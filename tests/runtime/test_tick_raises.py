"""Exceptions at every stage of the step: what goes out, what follows, what is recorded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime.events import EventKind
from runtime.messages import Mode, Outcome, Request
from tests.runtime.control_kit import (
    DT_S,
    Rig,
    assert_judged_clean,
    changed,
    faults,
    noise,
    panda,
    settled,
)

LONG = changed(panda(), episode={"steps": 100_000})


# -- exceptions --------------------------------------------------------------------------------

STAGES: dict[str, Callable[[Rig], tuple[Any, str]]] = {
    "monitors": lambda rig: (rig.tick._monitors, "look"),
    "measurement": lambda rig: (rig.tick._arm, "look"),
    "guards": lambda rig: (rig.tick._guards, "margins"),
    "episodes": lambda rig: (rig.tick._episodes, "update"),
    "faults": lambda rig: (rig.tick._tracker, "update"),
    "mode": lambda rig: (rig.tick, "_change_mode"),
    "setpoints": lambda rig: (rig.tick._motion.parts.setpoints, "act"),
    "trajectory": lambda rig: (rig.tick._motion.parts.trajectory, "next"),
    "plan": lambda rig: (rig.tick._motion.parts.trajectory, "move_to"),
    "envelope": lambda rig: (rig.tick._motion.parts.envelope, "admit"),
    "after the envelope": lambda rig: (rig.tick, "_write"),
}


@pytest.mark.parametrize("stage", list(STAGES))
def test_an_exception_anywhere_sends_the_kept_stop_and_then_stops(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(noise(7), LONG)
    rig.begin()
    rig.run(260)
    part, name = STAGES[stage](rig)
    kept = [r.stop_a for r in rig.tick._motion.parts.envelope._issued]
    before = rig.table()[-1]

    def explode(*args: object, **keys: object) -> None:
        raise ZeroDivisionError(f"injected in {stage}")

    with monkeypatch.context() as patch:
        patch.setattr(part, name, explode)
        for _ in range(60):
            kept = [r.stop_a for r in rig.tick._motion.parts.envelope._issued]
            before = rig.table()[-1]
            record = rig.run(1)
            if record.step_raised[0]:
                break
        else:
            raise AssertionError("it never raised")
        # the command of that tick is the next step of the stop that the last good tick kept
        assert record.command_sent[0]
        v = before["dq_applied"] + np.array(kept) * DT_S
        assert np.abs(record.q_applied - (before["q_applied"] + v * DT_S)).max() < 1e-12
        assert record.mode[0] == Mode.BASE
        assert not record.policy_due[0]
        assert record.outcome[0] == Outcome.NONE
    record = rig.run(1)
    assert faults(record) >= {"TICK_RAISED"}
    assert record.mode[0] == Mode.STOPPED
    traces = [e.text for e in rig.sink.events if e.kind is EventKind.TRACEBACK]
    assert len(traces) == 1
    assert f"injected in {stage}" in traces[0]
    rig.until(settled)
    rig.port.ask(Request.REARM)
    assert rig.run(1).mode[0] == Mode.READY
    assert_judged_clean(rig)


def test_a_step_that_always_raises_still_comes_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(noise(8), LONG)
    rig.begin()
    rig.run(260)

    def explode(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(rig.tick, "_measure", explode)
    record = rig.run(400)
    assert record.step_raised[0]
    assert not record.dq_applied.any()
    assert np.abs(rig.link.plant.dq).max() < 0.02  # type: ignore[attr-defined]
    assert_judged_clean(rig)


@pytest.mark.parametrize("name", ["rest_at", "q_target"])
def test_an_arming_that_raises_commands_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(arm=False)
    rig.run(5)
    parts = rig.tick._motion.parts

    def explode(*args: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        if name == "rest_at":
            patch.setattr(parts.envelope, "rest_at", explode)
        else:
            patch.setattr(parts.setpoints, "start_at", explode)
        rig.port.ask(Request.ARM)
        record = rig.run(1)
        assert record.step_raised[0]
        assert not record.command_sent[0]
    record = rig.run(50)
    assert record.mode[0] == Mode.STOPPED
    assert not rig.table()["command_sent"].any()
