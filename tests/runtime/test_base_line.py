"""Control's end of the line against workers that say the wrong thing, too little, or nothing."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from runtime.base_line import BaseLine, greeting
from runtime.errors import StartRefused
from runtime.messages import new_record
from tests.daemon_kit import wait_gone
from tests.runtime.control_kit import panda_sizes, trained_base

ACTIONS = 4
SLACK_NS = 30_000_000
START_LIMIT_S = 20.0

# a worker in another language could be written from this: one message each way
BEGIN = """
import socket, struct, sys, time
line = socket.socket(fileno=int(sys.argv[1]))
line.send(bytes.fromhex({greeting!r}))
question = line.recv(100_000)
"""
ANSWER = "line.send(struct.pack('<qqdq', {seen}, time.monotonic_ns(), 0.5, {failed}) + {rest})\n"
WAIT = "line.recv(100_000)\n"
ACTION = f"struct.pack('<{ACTIONS}d', 1, 2, 3, 4)"
NOW_NS = 12_345


@contextmanager
def line_to(*words: str) -> Iterator[BaseLine]:
    """Yield a line that was asked once about a record of NOW_NS."""
    contract, record = trained_base().contract, new_record(panda_sizes())
    code = BEGIN.format(greeting=greeting(contract, record).hex()) + "".join(words)
    line = BaseLine([sys.executable, "-c", code], ACTIONS, SLACK_NS)
    try:
        line.wait_ready(contract, record, START_LIMIT_S)
        record.now_ns[0] = NOW_NS
        line.ask(record)
        yield line
    finally:
        line.close()
    wait_gone(line.pid)


def answer(seen: int = NOW_NS, failed: int = 0, rest: str = ACTION) -> str:
    return ANSWER.format(seen=seen, failed=failed, rest=rest)


def long_look(line: BaseLine) -> object:
    """Look as long as it takes: the slack of a tick that is due in a while."""
    return line.look(time.monotonic_ns() + 5_000_000_000)


def test_an_answer_is_read_with_its_time_and_its_distance() -> None:
    with line_to(answer(), WAIT) as line:
        said = long_look(line)
        assert said is not None
        assert line._answer is said
        assert line._answer.action.tolist() == [1, 2, 3, 4]
        assert line._answer.unfamiliarity == 0.5
        assert 0 < line._answer.inference_ns < 10_000_000_000
        assert line._answer.failure == ""


def test_a_failure_keeps_the_action_before_and_brings_its_traceback() -> None:
    words = [answer(), WAIT, answer(failed=1, rest="bytes(32) + b'it broke'"), WAIT]
    with line_to(*words) as line:
        long_look(line)
        record = new_record(panda_sizes())
        record.now_ns[0] = NOW_NS
        line.ask(record)
        long_look(line)
        assert line._answer.failure == "it broke"
        assert not line._answer.lost
        assert line._answer.action.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "wrong",
    [answer(seen=NOW_NS - 1), answer(rest="b''"), "line.send(b'?')\n"],
    ids=["another record", "no action", "one byte"],
)
def test_who_says_what_nobody_asked_is_heard_no_more(wrong: str) -> None:
    with line_to(wrong, answer(), WAIT) as line:
        for _ in range(3):
            long_look(line)
            assert line._answer.lost
            assert "answered what nobody asked" in line._answer.failure
            assert not np.any(line._answer.action)


def test_nobody_is_waited_for_longer_than_the_slack() -> None:
    with line_to(WAIT) as line:
        begin_ns = time.monotonic_ns()
        assert line.look(begin_ns) is None
        waited_ns = time.monotonic_ns() - begin_ns
        assert SLACK_NS <= waited_ns < 20 * SLACK_NS
        begin_ns = time.monotonic_ns()
        assert line.look() is None
        assert time.monotonic_ns() - begin_ns < SLACK_NS


def test_a_worker_that_is_never_ready_refuses_the_start() -> None:
    contract, record = trained_base().contract, new_record(panda_sizes())
    line = BaseLine([sys.executable, "-c", "import time; time.sleep(100)"], ACTIONS, SLACK_NS)
    with pytest.raises(StartRefused, match=r"not ready within 0\.2 s"):
        line.wait_ready(contract, record, 0.2)
    line.close()
    wait_gone(line.pid)
