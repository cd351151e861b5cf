"""What tests of the planar arm share: its files, a daemon of its own, and its limits by hand."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray

from runtime.record_format import RecorderPlace, RecorderStatus, socket_folder
from runtime.records import Record, read_record
from tests.runtime.invariant_checker import JointInvariants, Verdict, check

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "tests/planar/config.yaml"
DT_S = 0.004
REST_RAD_S = 0.02
# the command limits of arm.yaml, written again: rad, rad/s, rad/s^2, rad/s^3
INVARIANTS = [
    JointInvariants(-2.75, 2.75, 1.8, 10.8, 1080.0),
    JointInvariants(-2.75, 2.75, 2.25, 13.5, 1350.0),
    JointInvariants(-2.75, 2.75, 2.7, 18.0, 1800.0),
]


class Daemon:
    """A config file of a robot id of its own, and `trimtab` commands on it as processes."""

    def __init__(self, folder: Path, robot_id: str) -> None:
        self.config = folder / "config.yaml"
        text = CONFIG.read_text(encoding="utf-8")
        self.config.write_text(text.replace("planar-sim", robot_id), encoding="utf-8")
        self.records = folder / "out/records"
        self.sockets = socket_folder(robot_id)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start `trimtab WORDS --config ...`; its files may lie in any folder, our code here."""
        command = [sys.executable, "-m", "runtime.cli", *words]
        if words[0] != "replay":
            command += ["--config", str(self.config)]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *words: str) -> tuple[int, str, str]:
        """Run a command to its end; return exit code, stdout and stderr."""
        return end_of(self.start(*words))

    def json(self, *words: str) -> Any:
        """Run a command that must succeed; return the JSON that it printed."""
        code, out, errors = self.call(*words, "--json")
        assert code == 0, errors
        return json.loads(out)

    def record(self) -> Record:
        """Return the newest record."""
        return read_record(max(self.records.iterdir()))

    @contextmanager
    def running(self, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """Yield `trimtab run`; whatever the test does, nothing of it is left."""
        process = self.start("run", *words)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                end_of(process)

    def wait_for(
        self,
        process: "subprocess.Popen[str]",
        condition: Callable[[RecorderStatus], bool],
        limit_s: float = 20.0,
    ) -> None:
        """Wait for a status of the running daemon that fulfils `condition`."""
        endpoint = RecorderPlace("any", self.records, self.sockets).status_endpoint
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.SUB)
        last: RecorderStatus | None = None
        try:
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.SUBSCRIBE, b"")
            socket.connect(endpoint)
            deadline_s = time.monotonic() + limit_s
            while time.monotonic() < deadline_s:
                assert process.poll() is None, f"the daemon ended: {end_of(process)}"
                if socket.poll(100):
                    last = msgspec.msgpack.decode(socket.recv(), type=RecorderStatus)
                    if condition(last):
                        return
        finally:
            socket.close()
        raise AssertionError(f"waited {limit_s} s in vain; the last status was {last}")

    def close(self) -> None:
        """Remove the socket folder."""
        shutil.rmtree(self.sockets, ignore_errors=True)


def end_of(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for the end; return exit code, stdout and stderr."""
    out, errors = process.communicate(timeout=30.0)
    return process.returncode, out, errors


def verdict(record: Record) -> Verdict:
    """Judge every command of a record by INVARIANTS.

    Where commands begin, the reference was set to the measured pose of that very tick; the pose
    goes in front, or the first command would pass for the place where the arm stood.
    """
    sent = record.scalar("command_sent") != 0
    rows: list[NDArray[np.float64]] = []
    starts, count = [], 0
    for begin in np.flatnonzero(np.diff(sent.astype(np.int8), prepend=0) == 1):
        length = int(np.argmin(np.append(sent[begin:], False)))
        starts.append(count)
        rows += [record.column("q")[begin : begin + 1]]
        rows += [record.column("q_applied")[begin : begin + length]]
        count += 1 + length
    return check(np.concatenate(rows), DT_S, INVARIANTS, starts)
