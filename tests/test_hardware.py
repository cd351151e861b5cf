"""A whole daemon and the robot behind its socket, as processes: driving it, and stopping it."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import LinkError
from runtime.events import EventKind
from runtime.faults import Fault
from runtime.messages import Device, Mode, Outcome
from runtime.robot_codes import DeviceState
from sims.robot_log import Arrived, Entry, Period, Stopped
from tests.daemon_kit import (
    Daemon,
    Said,
    assert_kept_invariants,
    daemon,
    trimtab,
    write_config,
)
from tests.hardware_kit import hardware, hardware_config

CONTROL = "runtime.control_process"
WHY = "the cable is loose"
REST_RAD_S = 0.01
RUN = ("--clock", "realtime", "--arm")


def stop(config: Path, *words: object) -> Said:
    return trimtab("stop", WHY, "--config", config, *words)


def granted(what: str, config: Path) -> None:
    """Ask for it until it is granted: on a machine that stalls a hold may be in the way."""
    end_s = time.monotonic() + 10.0
    while (said := trimtab("ask", what, "--config", config)).code:
        assert time.monotonic() < end_s, said
        time.sleep(0.2)


def moves(robot: Daemon) -> None:
    """Wait until the arm is under way."""
    robot.wait_for_mode(Mode.HOMING, Mode.BASE)


def executed_after(entries: list[Entry], stopped: Stopped) -> list[Entry]:
    """Return commands and periods of a command after a stop."""
    since = entries[entries.index(stopped) :]
    return [
        entry
        for entry in since
        if isinstance(entry, Arrived) or (isinstance(entry, Period) and entry.did == "command")
    ]


def the_stop(entries: list[Entry]) -> Stopped:
    (found,) = [entry for entry in entries if isinstance(entry, Stopped)]
    return found


def test_the_job_runs_over_the_wire(tmp_path: Path) -> None:
    config = hardware_config(tmp_path)
    with (
        hardware(config, None, "--field", "nominal") as robot,
        daemon(config, *RUN, "--episodes", 1) as run,
    ):
        run.process.wait(90.0)
        assert run.said().code == 0, run.said()
        robot.end()
        record = run.record()
        outcomes = record.scalar("outcome")
        assert (outcomes == Outcome.SUCCESS).sum() == 1
        assert_kept_invariants(record)
        # what the device executed last was the daemon's, of the daemon's epoch and later ones
        followed = record.scalar("device") == Device.FOLLOWS
        assert followed[record.scalar("mode") == Mode.BASE].mean() > 0.9
        periods = [entry for entry in robot.entries() if isinstance(entry, Period)]
        assert sum(period.did == "command" for period in periods) > 0.9 * len(outcomes) / 4
        assert periods[-1].state == DeviceState.IDLE


def test_a_stop_reaches_the_robot_and_its_daemon_and_nothing_older_is_executed(
    tmp_path: Path,
) -> None:
    config = hardware_config(tmp_path)
    with hardware(config) as robot, daemon(config, *RUN, "--steps", 100_000) as run:
        moves(run)
        said = stop(config)
        assert said.code == 0, said
        assert "the robot: STOPPED, at rest" in said.out and "the daemon: STOPPED" in said.out
        # latched: nobody but a person ends it
        assert trimtab("ask", "arm", "--config", config).code != 0
        granted("rearm", config)
        granted("arm", config)
        moves(run)
        run.signal(signal.SIGTERM)
        run.end()
        robot.end()
        entries, record = robot.entries(), run.record()
    stopped = the_stop(entries)
    assert WHY in stopped.why and stopped.who
    again = next(
        entry
        for entry in entries[entries.index(stopped) :]
        if isinstance(entry, Arrived)
    )
    assert again.epoch > stopped.epoch
    between = entries[: entries.index(again)]
    assert executed_after(between, stopped) == []
    kinds = (EventKind.MARK, EventKind.NOTE)
    texts = [event.text for event in record.events if event.kind in kinds]
    assert any("asks for STOP" in text and WHY in text for text in texts)
    assert any("the robot was stopped by" in text and WHY in text for text in texts)
    seen = int(np.bitwise_or.reduce(record.scalar("faults")))
    assert seen >> Fault.OPERATOR_STOP & 1
    assert_kept_invariants(record)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_stop_does_not_need_the_daemon(tmp_path: Path, number: signal.Signals) -> None:
    config = hardware_config(tmp_path)
    with hardware(config) as robot, daemon(config, *RUN, "--steps", 100_000) as run:
        moves(run)
        control = run.child(CONTROL)
        os.kill(control, number)
        said = stop(config)
        robot.end()
        entries = robot.entries()
    assert said.code == 0, said
    assert "the robot: STOPPED, at rest" in said.out
    assert "the daemon did not answer" in said.out
    stopped = the_stop(entries)
    assert executed_after(entries, stopped) == []
    assert [e for e in entries if isinstance(e, Period)][-1].speed_max_rad_s <= REST_RAD_S


def test_a_robot_that_nobody_sees_at_rest_is_not_called_stopped(tmp_path: Path) -> None:
    config = hardware_config(tmp_path)
    with hardware(config) as robot, daemon(config, *RUN, "--steps", 100_000) as run:
        moves(run)
        robot.process.send_signal(signal.SIGSTOP)
        said = stop(config, "--wait", 1.0)
        robot.process.send_signal(signal.SIGCONT)
    # the daemon stops, but what it last measured is old
    assert said.code == LinkError.exit_code
    assert "the robot did not answer" in said.out and "emergency stop" in said.err


@pytest.mark.parametrize("number", [None, signal.SIGSTOP])
def test_without_a_controller_of_its_own_the_daemon_s_word_counts(
    tmp_path: Path, number: signal.Signals | None
) -> None:
    config = write_config(tmp_path)
    with daemon(config, *RUN, "--steps", 100_000) as run:
        moves(run)
        if number is not None:
            os.kill(run.child(CONTROL), number)
        said = stop(config, "--wait", 3.0)
    assert (said.code == 0) is (number is None), said
    assert ("at rest" in said.out) is (number is None)
