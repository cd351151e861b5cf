"""One daemon per robot: the lock is held by whoever has it open, and by nobody else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import StartRefused
from runtime.lockfile import RobotLock

HOLD = "import sys; sys.stdin.read()"


def test_a_second_one_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    first = RobotLock(tmp_path, "arm-1")
    with pytest.raises(StartRefused, match=rf"'arm-1'.*process number {os.getpid()}.*robot_id"):
        RobotLock(tmp_path, "arm-1")
    first.close()
    RobotLock(tmp_path, "arm-1").close()


def test_it_lasts_as_long_as_any_process_that_inherited_it(tmp_path: Path) -> None:
    lock = RobotLock(tmp_path, "arm-1")
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, pass_fds=(lock.fd,)
    )
    lock.close()
    with pytest.raises(StartRefused):
        RobotLock(tmp_path, "arm-1")
    child.kill()
    child.communicate()
    RobotLock(tmp_path, "arm-1").close()


def test_a_child_takes_over_what_it_was_given(tmp_path: Path) -> None:
    lock = RobotLock(tmp_path, "arm-1")
    handed_down = os.dup(lock.fd)
    child = RobotLock(tmp_path, "arm-1", inherited=handed_down)
    lock.close()
    with pytest.raises(StartRefused, match=str(os.getpid())):
        RobotLock(tmp_path, "arm-1")
    child.close()
    RobotLock(tmp_path, "arm-1").close()


def test_another_file_is_no_lock(tmp_path: Path) -> None:
    RobotLock(tmp_path, "arm-1").close()
    (tmp_path / "other").touch()
    other = os.open(tmp_path / "other", os.O_RDWR)
    with pytest.raises(StartRefused, match="is not the lock"):
        RobotLock(tmp_path, "arm-1", inherited=other)
    os.close(other)
    with pytest.raises(StartRefused, match="is not the lock"):
        RobotLock(tmp_path, "arm-1", inherited=other)


def test_a_lock_left_by_the_dead_is_free(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("999999")
    lock = RobotLock(tmp_path, "arm-1")
    assert (tmp_path / "lock").read_text() == str(os.getpid())
    lock.close()
