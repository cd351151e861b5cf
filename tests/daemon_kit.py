"""What the tests of whole daemons share: a config of one's own, real processes, the last ticks."""

import atexit
import contextlib
import io
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from ruamel.yaml import YAML

from runtime.cli import main
from runtime.messages import Mode
from runtime.record_format import RecorderStatus, socket_folder
from runtime.records import Record, read_record
from runtime.robot_spec import RobotSpec
from tests.runtime.invariant_checker import JointInvariants, check

ROOT = Path(__file__).resolve().parents[1]
TRIMTAB = (sys.executable, "-m", "runtime.cli")
START_LIMIT_S = 90.0
END_LIMIT_S = 30.0
LIBRARY_LINES = ("libtorch", "torch/_C", "site-packages/torch/")


def write_config(folder: Path, changes: Mapping[str, object] | None = None) -> Path:
    """Write the repository's config with `changes` (dotted key: value) and a new robot id."""
    config = YAML(typ="safe").load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    config["robot_id"] = f"test-{secrets.token_hex(5)}"
    for key, value in (changes or {}).items():
        *path, last = key.split(".")
        block = config
        for name in path:
            block = block[name]
        block[last] = value
    # not earlier: the next daemon looks there for what the one before left behind
    atexit.register(shutil.rmtree, socket_folder(config["robot_id"]), ignore_errors=True)
    file = folder / "config.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML().dump(config, stream)
    return file


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def trimtab(*words: object) -> Said:
    """Run the command line inside this process (no daemon: those are real processes)."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    before = sys.argv
    sys.argv = ["trimtab", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.argv = before
    return Said(code, out.getvalue(), err.getvalue())


class Daemon:
    """A `trimtab run` of our own, with its record, its children and its status."""

    def __init__(
        self,
        config: Path,
        words: Sequence[object],
        file_bytes_max: int | None = None,
        prefix: Sequence[str] = (),
        program: Sequence[str] = TRIMTAB,
    ) -> None:
        self.config = config
        self.robot_id = str(YAML(typ="safe").load(config.read_text(encoding="utf-8"))["robot_id"])
        self.records = config.parent / "out" / "records"
        name = secrets.token_hex(3)
        self._texts = [config.parent / f"{name}-{what}.txt" for what in ("out", "err")]
        command = [*prefix, *program, "run", "--config", config, *words]
        with self._texts[0].open("w") as out, self._texts[1].open("w") as err:
            self.process = subprocess.Popen(
                [str(word) for word in command], cwd=ROOT, stdout=out, stderr=err
            )
        if file_bytes_max is not None:
            limits = (file_bytes_max, file_bytes_max)
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, limits)
        self._status: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        self._status.setsockopt(zmq.LINGER, 0)
        self._status.setsockopt(zmq.RECONNECT_IVL, 20)
        self._status.setsockopt(zmq.SUBSCRIBE, b"")
        self._status.connect(f"ipc://{socket_folder(self.robot_id)}/status")

    def wait_for(self, condition: Callable[[RecorderStatus], bool]) -> RecorderStatus:
        """Wait until the recorder tells of something new, or fail with what the daemon said."""
        while self._status.poll(0):
            self._status.recv()
        deadline_s = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline_s:
            if self._status.poll(50):
                status = msgspec.msgpack.decode(self._status.recv(), type=RecorderStatus)
                if condition(status):
                    return status
            assert self.process.poll() is None, f"ended too early: {self.said()}"
        raise AssertionError(f"waited in vain: {self.said()}")

    def wait_for_mode(self, *modes: Mode) -> RecorderStatus:
        """Wait until the daemon is in one of `modes`."""
        names = {mode.name for mode in modes}
        return self.wait_for(lambda status: status.mode in names)

    def child(self, module: str) -> int:
        """Return the process number of the child that runs `module`."""
        return children(self.process.pid)[module]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)

    def end(self) -> Said:
        """Wait for the end."""
        self.process.wait(END_LIMIT_S)
        return self.said()

    def said(self) -> Said:
        """Return what was said so far."""
        out, err = (text.read_text(encoding="utf-8") for text in self._texts)
        code = self.process.poll()
        return Said(-1000 if code is None else code, out, err)

    def record(self) -> Record:
        """Read the only run's record."""
        (run,) = (path for path in self.records.iterdir() if path.is_dir())
        return read_record(run)

    def close(self) -> None:
        """Leave nothing behind."""
        left = list(children(self.process.pid).values()) if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for number in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self._status.close()


@contextmanager
def daemon(
    config: Path, *words: object, file_bytes_max: int | None = None, prefix: Sequence[str] = ()
) -> Iterator[Daemon]:
    """Yield a running daemon; nothing of it is left afterwards. `prefix`: words before its command,
    such as those that start it in another network."""
    running = Daemon(config, words, file_bytes_max, prefix)
    try:
        yield running
    finally:
        running.close()


def children(parent: int) -> dict[str, int]:
    """Return the `python -m` children of a process: module, process number."""
    found: dict[str, int] = {}
    for number in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{number}/cmdline").read_bytes().decode().split("\0")
            if "-m" in words:
                found[words[words.index("-m") + 1]] = int(number)
    return found


def lives(number: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_gone(*numbers: int, limit_s: float = 15.0) -> None:
    """Wait until none of the processes runs any more, or fail."""
    deadline_s = time.monotonic() + limit_s
    while any(lives(number) for number in numbers):
        assert time.monotonic() < deadline_s, f"still there: {[n for n in numbers if lives(n)]}"
        time.sleep(0.02)


def libraries(number: int) -> str:
    """Return what a live process has mapped into its memory."""
    return Path(f"/proc/{number}/maps").read_text()


def limits_of(record: Record) -> list[JointInvariants]:
    """Return the command limits from the robot spec that the record carries."""
    spec = RobotSpec.model_validate(json.loads(record.header.robot), strict=False)
    return [
        JointInvariants(
            limit.position_min_rad,
            limit.position_max_rad,
            limit.velocity_max_rad_s,
            limit.acceleration_max_rad_s2,
            limit.jerk_max_rad_s3,
        )
        for limit in spec.command_limits()
    ]


def assert_kept_invariants(record: Record) -> None:
    """Judge every command that was sent, from the first to the last.

    A reference begins, at rest and where the robot was measured, with the first command after a
    tick without one; an epoch that is raised later continues it.
    """
    sent = record.scalar("command_sent").astype(bool)
    begins = np.flatnonzero(sent & ~np.concatenate(([False], sent[:-1])))
    ends = np.flatnonzero(sent & ~np.concatenate((sent[1:], [False]))) + 1
    dt_s, limits = 1.0 / record.header.servo_hz, limits_of(record)
    for begin, end in zip(begins, ends, strict=True):
        commands = record.column("q_applied")[begin:end]
        verdict = check(np.vstack((record.column("q")[begin], commands)), dt_s, limits)
        assert verdict.violations == ()


def assert_ended_at_rest(record: Record) -> None:
    """The reference stands in the last ticks, the robot with it, and the way there was legal."""
    assert_kept_invariants(record)
    last = record.column("q_applied")[-3:]
    if record.scalar("command_sent")[-3:].all():
        assert np.ptp(last, axis=0).max() == 0.0
    assert not record.column("dq_applied")[-1].any()
    assert np.abs(record.column("dq")[-1]).max() < 0.05


def assert_complete(record: Record) -> None:
    """Nothing is missing between the first tick and the last."""
    assert record.gaps == ()
    assert record.scalar("tick")[0] == 1
    assert not record.scalar("records_dropped").any()


def json_of(said: Said) -> Any:
    """Return what a command with --json said."""
    return json.loads(said.out)
