"""A whole daemon in real time: where its base thinks, and what becomes of the two without each
other."""

import os
import signal
from pathlib import Path

import pytest

from runtime.events import EventKind
from runtime.messages import Mode
from tests.daemon_kit import (
    LIBRARY_LINES,
    Daemon,
    assert_ended_at_rest,
    children,
    daemon,
    libraries,
    lives,
    wait_gone,
    write_config,
)

CONTROL = "runtime.control_process"
WORKER = "runtime.base_worker"
REAL_TIME = ("--arm", "--clock", "realtime")


def worker_of(robot: Daemon) -> int:
    return children(robot.child(CONTROL))[WORKER]


def test_the_worker_is_nobodys_equal_and_its_death_holds_the_robot(tmp_path: Path) -> None:
    with daemon(write_config(tmp_path), *REAL_TIME) as robot:
        robot.wait_for_mode(Mode.BASE)
        worker = worker_of(robot)
        assert os.sched_getscheduler(worker) == os.SCHED_OTHER
        assert not any(line in libraries(worker) for line in LIBRARY_LINES)
        os.kill(worker, signal.SIGKILL)
        status = robot.wait_for_mode(Mode.HOLD)
        assert "BASE_FAILED" in status.faults
        robot.signal(signal.SIGTERM)
        robot.end()
    record = robot.record()
    assert_ended_at_rest(record)
    (note,) = [e.text for e in record.events if "worker" in e.text and e.kind is EventKind.NOTE]
    assert "was killed by signal 9 and is not started again" in note


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_no_worker_outlives_control(tmp_path: Path, number: signal.Signals) -> None:
    with daemon(write_config(tmp_path), *REAL_TIME) as robot:
        robot.wait_for_mode(Mode.BASE)
        worker = worker_of(robot)
        # frozen, it can do nothing about its own end
        os.kill(worker, signal.SIGSTOP)
        assert lives(worker)
        os.kill(robot.child(CONTROL), number)
        robot.end()
        wait_gone(worker)


def test_in_lockstep_there_is_no_worker(tmp_path: Path) -> None:
    with daemon(write_config(tmp_path), "--arm") as robot:
        robot.wait_for_mode(Mode.BASE)
        assert not children(robot.child(CONTROL))
        robot.signal(signal.SIGTERM)
        robot.end()
