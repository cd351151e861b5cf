"""The line between control and the process in which the base policy thinks, both of its ends.

One datagram each way: the record's own bytes are the question; the answer is when it was finished,
the distance from training, a flag, the action, and a traceback where inference raised. A socket
wakes the other end, orders the memory, and says by its end that the worker is gone; sharing memory
would save a copy of some kilobytes and need a socket beside it all the same.
"""

import hashlib
import os
import select
import signal
import socket
import struct
import subprocess
import time
import traceback
from collections.abc import Sequence

import numpy as np

from runtime.errors import StartRefused
from runtime.interfaces import BaseAnswer, BasePolicy
from runtime.messages import TickRecord
from runtime.policy_contract import PolicyInterface
from runtime.realtime import die_with_parent

# observed_ns of the record, finished_ns on CLOCK_MONOTONIC, unfamiliarity, whether it failed
_HEAD = struct.Struct("<qqdq")
_TRACEBACK_MAX_BYTES = 4000
_FLOAT_BYTES = 8
_END_LIMIT_S = 1.0


def greeting(contract: PolicyInterface, record: TickRecord) -> bytes:
    """Return what both ends must agree on: the policy's contract, its test answers and statistics
    included, and the size of a question."""
    what = f"{contract.model_dump_json()} {len(record.raw)}"
    return hashlib.sha256(what.encode()).digest()


def serve(line: socket.socket, base: BasePolicy, record: TickRecord) -> None:
    """The worker's end: answer every question about `record`, whose bytes each of them replaces,
    until control is gone."""
    out = np.zeros(len(record.base_action))
    line.send(greeting(base.contract, record))
    while line.recv_into(record.raw):
        failure = b""
        try:
            base.act(record, out)
        except Exception:
            failure = traceback.format_exc().encode()[-_TRACEBACK_MAX_BYTES:]
        head = _HEAD.pack(
            record.now_ns.item(), time.monotonic_ns(), base.unfamiliarity, bool(failure)
        )
        line.send(head + out.tobytes() + failure)


def line_pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a line: datagrams that come whole and in order, and an end of file."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class BaseLine:
    """Control's end: asks a worker and never waits for it longer than the slack of a period.

    A worker that is gone, or says what nobody asked, is not started again: every question is then
    answered at once, as one that failed, with the reason.

    Args:
        command: the worker's command line; the number of its end's file descriptor is appended.
        actions: how many numbers an action has.
        slack_ns: how long after a tick woke it may still wait for an answer.
    """

    def __init__(self, command: Sequence[str], actions: int, slack_ns: int) -> None:
        ours, theirs = line_pair()
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                # Ctrl-C asks for an orderly stop of control; nobody else shall hear it
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        self._line = ours
        self._slack_ns = slack_ns
        self._size = _HEAD.size + actions * _FLOAT_BYTES
        self._buffer = bytearray(self._size + _TRACEBACK_MAX_BYTES)
        self._action = np.frombuffer(self._buffer, np.float64, actions, _HEAD.size)
        self._answer = BaseAnswer(np.zeros(actions))
        self._observed_ns = self._asked_ns = 0
        self._lost = ""

    @property
    def pid(self) -> int:
        """The worker's process number."""
        return self._process.pid

    def wait_ready(self, contract: PolicyInterface, record: TickRecord, limit_s: float) -> None:
        """Wait until the worker has loaded the policy; before the loop, never in it.

        Raises:
            StartRefused: it ended, took too long, or loaded another policy.
        """
        self._line.settimeout(limit_s)
        try:
            said = self._line.recv(len(self._buffer))
        except TimeoutError:
            raise StartRefused(
                f"the base policy's worker was not ready within {limit_s:g} s; start again on a "
                "machine that is less busy, or look into the policy file"
            ) from None
        except OSError:
            said = b""
        if not said:
            raise StartRefused(
                "the base policy's worker ended before it was ready; its own words are above"
            )
        if said != greeting(contract, record):
            raise StartRefused(
                "the base policy's worker loaded another policy than control: the file was "
                "replaced meanwhile; start again"
            )
        self._line.setblocking(False)

    def ask(self, record: TickRecord) -> None:
        """Ask about a record; its bytes are copied. One question at a time."""
        self._observed_ns = record.now_ns.item()
        self._asked_ns = time.monotonic_ns()
        if self._lost:
            return
        try:
            self._line.send(record.raw)
        except OSError:
            self._lose()

    def look(self, woke_ns: int = 0) -> BaseAnswer | None:
        """Return the answer, reused by the next look, or None while there is none.

        `woke_ns`: when this tick was due, CLOCK_MONOTONIC; it may wait until `slack_ns` after it.
        The answer's inference time lasts from the question to when the worker was finished.
        """
        if self._lost:
            return self._refused()
        wait_ns = woke_ns + self._slack_ns - time.monotonic_ns()
        if wait_ns > 0:
            select.select((self._line,), (), (), wait_ns * 1e-9)
        try:
            size = self._line.recv_into(self._buffer)
        except BlockingIOError:
            return None
        except OSError:
            size = 0
        if size > 0:
            return self._read(size)
        self._lose()
        return self._refused()

    def close(self) -> None:
        """Let the worker go; one that hangs is killed."""
        self._line.close()
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self, size: int) -> BaseAnswer:
        observed_ns, finished_ns, unfamiliarity, failed = _HEAD.unpack_from(self._buffer)
        if size < self._size or observed_ns != self._observed_ns:
            self._lost = "answered what nobody asked"
            return self._refused()
        answer = self._answer
        answer.inference_ns = finished_ns - self._asked_ns
        answer.unfamiliarity = unfamiliarity
        answer.lost = False
        answer.failure = ""
        if failed:
            answer.failure = self._buffer[self._size : size].decode(errors="replace")
        else:
            answer.action[:] = self._action
        return answer

    def _lose(self) -> None:
        """Note that the worker is gone, and how, as far as the kernel knows by now."""
        code = self._process.poll()
        how = "is gone"
        if code is not None:
            how = f"ended with code {code}" if code >= 0 else f"was killed by signal {-code}"
        self._lost = how

    def _refused(self) -> BaseAnswer:
        answer = self._answer
        answer.lost = True
        answer.failure = (
            f"the base policy's worker {self._lost} and is not started again while the loop runs: "
            "stop the daemon, look for the cause, start it anew"
        )
        return answer


def join_line(number: int, parent: int) -> socket.socket:
    """Return the worker's end from its file descriptor, in a process that dies with `parent`."""
    die_with_parent(parent, signal.SIGKILL)
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    os.set_inheritable(number, False)
    return socket.socket(fileno=number)
