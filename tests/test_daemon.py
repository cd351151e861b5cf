"""Whole daemons, as real processes: who may start one, what stops it, and what it leaves behind."""

import os
import re
import signal
import time
from pathlib import Path

import numpy as np

from runtime.control_process import ENDED_BY_STOP
from runtime.errors import RecordError, StartRefused
from runtime.events import EventKind
from runtime.faults import Fault
from runtime.messages import Mode, Outcome, Phase, Request, SignalSource
from runtime.modes import ARMED
from runtime.record_format import socket_folder
from runtime.supervisor import CONTROL_DIED
from tests.daemon_kit import (
    LIBRARY_LINES,
    Daemon,
    assert_complete,
    assert_ended_at_rest,
    children,
    daemon,
    libraries,
    lives,
    trimtab,
    wait_gone,
    write_config,
)

CONTROL = "runtime.control_process"
RECORDER = "runtime.recorder_process"
# the peg stays in the hole and presses: nothing counts as a success, and time is plenty
IN_CONTACT = {"sim.task.success_depth_m": 0.2, "episode.steps": 2000, "sim.field": "nominal"}
SLOW_HOMING = {"control.homing_speed_share": 0.01, "sim.start_offset_rad": 0.2}
SLOW_RESET = {"episode.speed_m_s": 0.002}


def assert_stopped_well(robot: Daemon, code: int = ENDED_BY_STOP) -> None:
    """Exit code, sentence, record complete, robot at rest and no longer armed."""
    said = robot.end()
    assert said.code == code, said
    assert "Traceback" not in said.err
    record = robot.record()
    assert_complete(record)
    assert not record.truncated
    assert_ended_at_rest(record)
    assert Mode(int(record.scalar("mode")[-1])) not in ARMED


def text_of(robot: Daemon) -> str:
    """Return all remarks in the record."""
    events = robot.record().events
    return "\n".join(e.text for e in events if e.kind in (EventKind.NOTE, EventKind.MARK))


# -- nobody has armed it ------------------------------------------------------------------------


def test_a_daemon_waits_disarmed_is_alone_and_obeys_its_operator(tmp_path: Path) -> None:
    config = write_config(tmp_path, {**IN_CONTACT, **SLOW_HOMING})
    with daemon(config) as robot:
        robot.wait_for_mode(Mode.READY)
        _holds_no_torch(robot)
        _refuses_a_second(robot)
        _obeys(robot)
        robot.signal(signal.SIGINT)
        assert_stopped_well(robot)
        said = robot.said()
    assert "stopped: a stop was asked for; the robot is at rest" in said.err
    _stands_in_the_record(robot)


def _holds_no_torch(robot: Daemon) -> None:
    mapped = libraries(robot.child(CONTROL))
    assert "onnxruntime" in mapped
    assert not any(line in mapped for line in LIBRARY_LINES)


def _refuses_a_second(robot: Daemon) -> None:
    before = children(robot.process.pid)
    with daemon(robot.config, "--arm") as second:
        said = second.end()
    assert said.code == StartRefused.exit_code
    assert "already driven by the daemon with process number" in said.err
    assert str(robot.process.pid) in said.err
    assert children(robot.process.pid) == before
    # neither did it ask the first daemon to arm, nor take its sockets away
    assert robot.wait_for(lambda _: True).mode == Mode.READY.name


def _obeys(robot: Daemon) -> None:
    config = ("--config", robot.config)
    refused = trimtab("mark", "nonsense", *config)
    assert refused.code == 2
    assert "allowed are" in refused.err
    assert trimtab("mark", "note", "hello from a person", *config).code == 0
    armed = trimtab("ask", "arm", *config)
    assert armed.code == 0
    assert "HOMING" in armed.out
    robot.wait_for_mode(Mode.HOMING)
    again = trimtab("ask", "arm", *config)
    assert again.code == StartRefused.exit_code
    assert "request ARM refused in mode HOMING: allowed in READY" in again.err
    assert trimtab("ask", "stop", *config).code == 0
    robot.wait_for_mode(Mode.STOPPED)
    assert trimtab("ask", "arm", *config).code == StartRefused.exit_code
    _ask_until_granted(robot, "rearm", Mode.READY)
    _ask_until_granted(robot, "arm", Mode.HOMING)
    moving = trimtab("ask", "disarm", *config)
    assert moving.code == StartRefused.exit_code
    assert "DISARM refused in mode HOMING: the robot still moves" in moving.err
    assert trimtab("ask", "stop", *config).code == 0
    # disarmed, yet the stop is still latched: only re-arming makes it ready again
    _ask_until_granted(robot, "disarm", Mode.DISARMED)
    _ask_until_granted(robot, "rearm", Mode.READY)


def _ask_until_granted(robot: Daemon, what: str, *modes: Mode) -> None:
    """Ask again while the arm has not come to rest yet."""
    deadline_s = time.monotonic() + 10.0
    while trimtab("ask", what, "--config", robot.config).code:
        assert time.monotonic() < deadline_s, f"{what} is never granted"
        time.sleep(0.05)
    robot.wait_for_mode(*modes)


def _stands_in_the_record(robot: Daemon) -> None:
    record = robot.record()
    mode, sent = record.scalar("mode"), record.scalar("command_sent").astype(bool)
    armed = np.flatnonzero(record.scalar("request") == Request.ARM)
    # nothing moved before a person asked for it
    assert not sent[: armed[0]].any()
    assert record.scalar("request_refused")[armed[1]]
    assert mode[armed[0]] == Mode.HOMING
    assert np.diff(record.scalar("epoch")).min() >= 0
    texts = text_of(robot)
    assert "hello from a person" in texts
    assert "asks for ARM" in texts
    assert "asks for STOP" in texts


# -- Ctrl-C at any moment -----------------------------------------------------------------------


def test_ctrl_c_while_homing(tmp_path: Path) -> None:
    with daemon(write_config(tmp_path, SLOW_HOMING), "--arm") as robot:
        robot.wait_for_mode(Mode.HOMING)
        robot.signal(signal.SIGINT)
        assert_stopped_well(robot)


def test_sigterm_in_contact_and_marks_before(tmp_path: Path) -> None:
    config = write_config(tmp_path, {**IN_CONTACT, "episode.steps": 250})
    with daemon(config, "--arm", "--seed", "5") as robot:
        robot.wait_for(lambda status: status.episode_step > 100)
        marked = trimtab("mark", "success", "it is in", "--config", robot.config)
        assert marked.code == 0
        robot.wait_for(lambda status: status.episode == 2 and status.episode_step > 100)
        robot.signal(signal.SIGTERM)
        assert_stopped_well(robot)
        record = robot.record()
        force_n = np.linalg.norm(record.column("observation_force"), axis=1)
        # the fault came while the peg was pressed into the hole
        running = record.scalar("phase") == Phase.RUNNING
        assert force_n[running][-200:].max() > 5.0
        ended = np.flatnonzero(record.scalar("outcome"))
        assert record.scalar("outcome")[ended[0]] == Outcome.SUCCESS
        assert record.scalar("outcome_source")[ended[0]] == SignalSource.MARK
        assert "it is in" in text_of(robot)
        assert record.header.seeds == {"sim": 5}
        assert record.header.link["field"] == "nominal"


def test_ctrl_c_during_a_reset_to_control_alone(tmp_path: Path) -> None:
    with daemon(write_config(tmp_path, SLOW_RESET), "--arm") as robot:
        robot.wait_for(lambda status: status.phase == Phase.RESETTING.name)
        os.kill(robot.child(CONTROL), signal.SIGINT)
        assert_stopped_well(robot)
        assert robot.record().header.seeds == {"sim": 1}


def test_ctrl_c_in_real_time_and_what_the_system_granted(tmp_path: Path) -> None:
    with daemon(write_config(tmp_path), "--arm", "--clock", "realtime") as robot:
        robot.wait_for_mode(Mode.HOMING)
        robot.signal(signal.SIGINT)
        assert robot.end().code == ENDED_BY_STOP
    record = robot.record()
    assert_ended_at_rest(record)
    assert record.scalar("mode")[-1] == Mode.STOPPED
    notes = [event for event in record.events if event.text.startswith("real time: ")]
    assert len(notes) == 1
    assert notes[0].now_ns > 0
    assert ("warning: " in text_of(robot)) == ("warning: " in robot.said().err)


def test_ctrl_c_before_anything_was_loaded(tmp_path: Path) -> None:
    with daemon(write_config(tmp_path), "--arm") as robot:
        deadline_s = time.monotonic() + 10.0
        while CONTROL not in children(robot.process.pid):
            assert time.monotonic() < deadline_s
        robot.signal(signal.SIGINT)
        said = robot.end()
    assert said.code != 0
    assert not list(robot.records.glob("*/*"))


# -- kill -9 ------------------------------------------------------------------------------------


def test_a_killed_control_process_is_reported_and_never_restarted(tmp_path: Path) -> None:
    with daemon(write_config(tmp_path, IN_CONTACT), "--arm") as robot:
        robot.wait_for_mode(Mode.BASE)
        recorder = robot.child(RECORDER)
        os.kill(robot.child(CONTROL), signal.SIGKILL)
        before_s = time.monotonic()
        said = robot.end()
        assert time.monotonic() - before_s < 5.0
        assert said.code == CONTROL_DIED
        assert "the control process was killed by SIGKILL and is not started again" in said.err
        assert not lives(recorder)
        record = robot.record()
        # the recorder closed its file
        assert not record.truncated
        assert_complete(record)


def test_a_killed_recorder_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    with daemon(write_config(tmp_path), "--arm", "--episodes", "4") as robot:
        robot.wait_for_mode(Mode.BASE)
        os.kill(robot.child(RECORDER), signal.SIGKILL)
        said = robot.end()
    assert said.code == 0, said
    assert "the recorder was killed by SIGKILL; starting another" in said.err
    record = robot.record()
    # in lockstep nothing is ever dropped, whoever dies
    assert_complete(record)
    assert len(record.paths) == 2
    assert np.count_nonzero(record.scalar("outcome")) == 4
    assert_ended_at_rest(record)


def test_without_its_supervisor_control_stops_and_leaves(tmp_path: Path) -> None:
    with daemon(write_config(tmp_path, IN_CONTACT), "--arm") as robot:
        robot.wait_for_mode(Mode.BASE)
        left = children(robot.process.pid)
        robot.signal(signal.SIGKILL)
        robot.end()
        wait_gone(*left.values())
        record = robot.record()
        assert_complete(record)
        assert not record.truncated
        assert_ended_at_rest(record)
        assert record.scalar("mode")[-1] == Mode.STOPPED
        assert record.scalar("faults")[-1] >> Fault.SUPERVISOR_LOST & 1
        assert "stopped: the supervisor is gone; the robot is at rest" in robot.said().err


def test_after_the_whole_tree_was_killed_the_next_start_says_what_is_missing(
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path, IN_CONTACT)
    with daemon(config, "--arm") as robot:
        robot.wait_for(lambda status: status.episode_step > 50)
        for number in [*children(robot.process.pid).values(), robot.process.pid]:
            os.kill(number, signal.SIGKILL)
        robot.process.wait()
        record = robot.record()
    assert record.truncated
    with daemon(config) as again:
        again.wait_for_mode(Mode.READY)
        again.signal(signal.SIGINT)
        said = again.end().err
    found = re.search(r"(\d+) of its (\d+) records.* are not readable; (\d+) had been ack", said)
    assert found, said
    missing, made, acknowledged = map(int, found.groups())
    assert acknowledged <= len(record) == made - missing
    # half a second before the kill may be gone; in lockstep that is some thousand ticks
    assert missing < 6000


# -- a full disk --------------------------------------------------------------------------------


def test_a_recorder_that_cannot_write_stops_the_run(tmp_path: Path) -> None:
    config = write_config(tmp_path, IN_CONTACT)
    with daemon(config, "--arm", file_bytes_max=1_500_000) as robot:
        said = robot.end()
    assert said.code == ENDED_BY_STOP, said
    assert "cannot be written" in said.err or "File too large" in said.err
    assert f"ended with code {RecordError.exit_code} and is not started again" in said.err
    assert "the recorder failed" in said.err
    assert "the robot is at rest" in said.err
    record = robot.record()
    assert_complete(record)
    again = trimtab("replay", robot.records)
    assert again.code == 0, again


# -- real robots --------------------------------------------------------------------------------


def test_only_a_simulated_robot_is_armed_from_the_command_line(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"link": "tests.odd_links:open_real_looking"})
    with daemon(config, "--arm") as robot:
        said = robot.end()
    assert said.code == StartRefused.exit_code
    assert "--arm: this link drives a real robot" in said.err
    assert "trimtab ask arm" in said.err
    assert not list(robot.records.glob("*/*"))


def test_sockets_lie_in_a_folder_of_our_own() -> None:
    folder = socket_folder("test-folder")
    try:
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        folder.rmdir()
