"""What operators may say of the residual, over the real chain of processes."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from runtime.control_process import ENDED_BY_STOP
from runtime.errors import ConfigError, StartRefused
from runtime.events import EventKind
from runtime.faults import Fault, Response
from runtime.messages import Mode, Stage
from runtime.record_format import RecorderStatus
from runtime.records import Record
from runtime.wire import Order, OrderKind
from tests.daemon_kit import ROOT, Daemon, Said, daemon, trimtab, write_config

GATE = "runtime.gate_process"
QUICK: dict[str, object] = {
    "base.file": str(ROOT / "policies" / "bases" / "peg.onnx"),
    "gate.simulation_field": None,
    "gate.replay_s": 0.5,
    "gate.lineage": "lineage",
    "sim.field": "nominal",
}
# in this order; the gate is stopped before the last
ORDERS = (
    Order(OrderKind.DROP, "anna"),
    Order(OrderKind.RESUME, "anna"),
    Order(OrderKind.SHADOW, "ben"),
    Order(OrderKind.DROP, "cleo"),
)
pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Worked:
    """What is left of the run, and what was said in it."""

    code: int
    record: Record
    config: Path
    running: Said
    refused: dict[str, Said]


def held(status: RecorderStatus) -> bool:
    return status.residual is not None and status.residual.held


def say(robot: Daemon, patch: pytest.MonkeyPatch, order: Order) -> None:
    patch.setenv("LOGNAME", order.who)
    said = trimtab("residual", order.kind.value, "--config", robot.config)
    assert said.code == 0, said


def speak(robot: Daemon, patch: pytest.MonkeyPatch) -> tuple[Said, dict[str, Said]]:
    """Say all that is said in the run, with the commands that people use."""
    config = ("--config", robot.config)
    drop, resume, shadow, drop_again = ORDERS
    robot.wait_for(lambda status: status.residual is not None and status.episode > 0)
    refused = {"pin": trimtab("residual", "pin", 7, *config)}
    say(robot, patch, drop)
    robot.wait_for(held)
    refused["shadow"] = trimtab("residual", "shadow", *config)
    say(robot, patch, resume)
    robot.wait_for(lambda status: not held(status))
    say(robot, patch, shadow)
    robot.wait_for_mode(Mode.SHADOW)
    gate = robot.child(GATE)
    os.kill(gate, signal.SIGSTOP)
    say(robot, patch, drop_again)
    robot.wait_for(held)
    os.kill(gate, signal.SIGCONT)
    running = trimtab("residual", "status", *config)
    robot.signal(signal.SIGINT)
    return running, refused


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Worked:
    config = write_config(tmp_path_factory.mktemp("orders"), QUICK)
    with daemon(config, "--arm", "--residual") as robot, pytest.MonkeyPatch.context() as patch:
        running, refused = speak(robot, patch)
        return Worked(robot.end().code, robot.record(), config, running, refused)


def test_the_record_says_who_ordered_what(worked: Worked) -> None:
    assert worked.code == ENDED_BY_STOP
    said = [e for e in worked.record.events if e.kind is EventKind.ORDER]
    assert [msgspec.json.decode(e.text, type=Order) for e in said] == list(ORDERS)


def test_a_drop_acts_in_its_own_tick_with_and_without_a_gate(worked: Worked) -> None:
    record, bit = worked.record, 1 << Fault.RESIDUAL_HELD
    ticks = record.scalar("tick")
    said = {e.tick: e.text for e in record.events if e.kind is EventKind.ORDER}
    dropped = False
    for tick, text in said.items():
        before, dropped = dropped, "drop" in text or (dropped and "resume" not in text)
        row = int(np.searchsorted(ticks, tick))
        assert bool(record.scalar("residual_held")[row]) is dropped
        assert bool(record.scalar("residual_held")[row - 1]) is before
        if dropped:
            assert record.scalar("faults_seen")[row] & bit
            assert record.scalar("response")[row] >= Response.DROP_RESIDUAL
            assert not record.column("authority")[row].any()


def test_a_shadow_moves_nothing(worked: Worked) -> None:
    record = worked.record
    shadow = record.scalar("residual_stage") == Stage.SHADOW
    assert (record.scalar("mode")[shadow] == Mode.SHADOW).any()
    assert not record.column("authority")[shadow].any()


def test_what_cannot_be_is_refused_with_what_can(worked: Worked) -> None:
    pin, shadow = worked.refused["pin"], worked.refused["shadow"]
    assert pin.code == ConfigError.exit_code
    assert "version 7 never passed" in pin.err and "nothing has passed yet" in pin.err
    assert shadow.code == StartRefused.exit_code and "resume` first" in shadow.err


def test_status_while_it_runs_and_afterwards(worked: Worked) -> None:
    assert ", running" in worked.running.out
    assert "shadow (ben), drop (cleo)" in worked.running.out
    assert "RESIDUAL_HELD" in worked.running.out
    after = trimtab("residual", "status", "--config", worked.config)
    assert ", ended" in after.out and "shadow (ben), drop (cleo)" in after.out
    told = json.loads(trimtab("residual", "status", "--config", worked.config, "--json").out)
    assert told["now"]["status"]["held"] is True and told["now"]["running"] is False
    assert told["version"] == 0


def test_history_tells_of_orders_with_who(worked: Worked) -> None:
    told = json.loads(trimtab("residual", "history", "--config", worked.config, "--json").out)
    orders = [(one["words"], one["why"]) for one in told if one["what"] == "order"]
    assert orders == [(order.kind.value, f"says {order.who}") for order in ORDERS]
    shown = trimtab("residual", "history", "--config", worked.config).out
    assert "order: shadow" in shown and "says ben" in shown


def test_a_robot_without_a_residual_says_so(tmp_path: Path) -> None:
    config = write_config(tmp_path, QUICK)
    with daemon(config, "--arm") as robot:
        robot.wait_for(lambda status: status.episode > 0)
        refused = trimtab("residual", "drop", "--config", config)
        assert refused.code == StartRefused.exit_code
        assert "runs without a residual" in refused.err
        assert "base works alone" in trimtab("residual", "status", "--config", config).out
        robot.signal(signal.SIGINT)
        robot.end()
    assert not [e for e in robot.record().events if e.kind is EventKind.ORDER]
