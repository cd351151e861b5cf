"""In real time the base thinks in a process of its own, and nothing that it does stops the servo.

Every worker here is a real process, the robot is the simulated Panda, and time is real.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from runtime.errors import StartRefused
from runtime.events import EventKind
from runtime.faults import Fault
from runtime.messages import Mode, Outcome, Request, TickRecord
from tests.daemon_kit import lives, wait_gone
from tests.runtime.control_kit import (
    assert_judged_clean,
    faults,
    panda,
    settled,
    trained_base,
)
from tests.runtime.strange_worker import ASKED_FOR, SLOW_S
from tests.runtime.worker_kit import LENIENT, PERIOD_NS, RealRig, answers, committed, strange

MAX_AGE_NS = 120_000_000
# 200 ms in line would be a hundred missed ticks at once; less is the machine's
NOISE_TICKS = 75


@contextmanager
def rig(how: str, after: int = 4) -> Iterator[RealRig]:
    running = RealRig(strange(how, after))
    try:
        yield running
    finally:
        running.close()
    wait_gone(running.worker.pid)


def until_fault(running: RealRig, name: str, limit: int = 1000) -> TickRecord:
    return running.until(lambda record: name in faults(record), limit)


def seen(rows: Any, fault: Fault) -> np.ndarray[Any, Any]:
    return np.flatnonzero(rows["faults"][:, 0] >> int(fault) & 1)


def assert_went_on(rows: Any) -> None:
    """The servo ticked through it all: no gap as long as the call, hardly any deadline missed."""
    assert rows["missed_ticks"].max() < NOISE_TICKS
    assert rows["missed_ticks"].sum() < 0.3 * len(rows)
    assert np.median(np.diff(rows["now_ns"][:, 0])) == pytest.approx(PERIOD_NS, rel=0.1)


def assert_stale_within_one_tick(rows: Any) -> int:
    """The first tick in which the action is too old says so; return its row."""
    first = int(seen(rows, Fault.BASE_STALE)[0])
    now_ns = rows["now_ns"][:, 0]
    in_charge_ns = now_ns[np.argmax(rows["mode"][:, 0] == Mode.BASE)]
    age_ns = now_ns - np.maximum(rows["base_observed_ns"][:, 0], in_charge_ns)
    assert age_ns[first] > MAX_AGE_NS >= age_ns[first - 1]
    assert rows["mode"][first, 0] == Mode.HOLD
    return first


def test_a_healthy_worker_answers_in_the_next_tick_and_reaches_the_goal() -> None:
    running = RealRig(committed(), trained_base(), LENIENT)
    try:
        running.until(lambda record: record.outcome.item() == Outcome.SUCCESS, 12_000)
    finally:
        running.close()
    rows = running.table()
    taken = answers(rows)
    assert len(taken) > 10
    behind = rows["now_ns"][taken - 1, 0] == rows["base_observed_ns"][taken, 0]
    assert behind.mean() > 0.5, "in line every answer enters the next tick"
    # whatever it answered late, it answered what it was asked
    due = rows["now_ns"][rows["policy_due"][:, 0] != 0, 0]
    assert np.isin(rows["base_observed_ns"][taken, 0], due).all()
    assert (rows["base_inference_ns"][taken] > 0).all()
    assert_judged_clean(running)


def test_the_worker_answers_what_the_base_answers_in_line() -> None:
    running = RealRig(committed(), trained_base(), LENIENT)
    try:
        running.until(lambda record: record.base_sequence.item() == 5, 6000)
    finally:
        running.close()
    rows = running.table()
    record, out = running.tick.record, np.zeros(rows["base_action"].shape[1])
    for index in answers(rows):
        (asked,) = np.flatnonzero(rows["now_ns"][:, 0] == rows["base_observed_ns"][index, 0])
        record.raw[:] = running.sink.rows[asked]
        trained_base().act(record, out)
        assert out.tobytes() == rows["base_action"][index].tobytes()
        assert trained_base().unfamiliarity == rows["base_unfamiliarity"][index, 0]


def test_a_base_that_hangs_for_ever_holds_the_robot_and_not_the_servo() -> None:
    with rig("hang") as running:
        running.begin()
        until_fault(running, "BASE_STALE")
        running.run(600)
        rows = running.table()
        first = assert_stale_within_one_tick(rows)
        assert (rows["action"][first - 1] == ASKED_FOR).all()
        assert rows["base_sequence"][-1, 0] == 4
        assert_went_on(rows)
        assert settled(running.tick.record)
        assert_judged_clean(running)
        (note,) = [e.text for e in running.sink.events if "has not answered for 1.0 s" in e.text]
        assert f"process {running.worker.pid}" in note
        begin_s = time.monotonic()
    assert time.monotonic() - begin_s < 5.0


def test_a_slow_base_is_stale_until_it_answers_and_the_servo_goes_on() -> None:
    with rig("slow") as running:
        running.begin()
        until_fault(running, "BASE_STALE")
        running.run(700)
    rows = running.table()
    assert_stale_within_one_tick(rows)
    assert_went_on(rows)
    late = answers(rows)[4:]
    assert len(late) >= 2, "it is asked again"
    age_ns = rows["now_ns"][late, 0] - rows["base_observed_ns"][late, 0]
    assert (age_ns > SLOW_S * 1e9).all()
    assert (rows["base_inference_ns"][late] > SLOW_S * 1e9).all()
    assert_judged_clean(running)


def test_a_base_that_raises_holds_by_name_with_its_traceback() -> None:
    with rig("raise") as running:
        running.begin()
        assert until_fault(running, "BASE_FAILED").mode[0] == Mode.HOLD
    (text,) = [e.text for e in running.sink.events if e.kind is EventKind.TRACEBACK]
    assert "no answer today" in text
    assert "strange_worker" in text


@pytest.mark.parametrize("how", ["crash", "kill -9"])
def test_a_worker_that_dies_is_named_and_stays_latched(how: str) -> None:
    with rig("crash" if how == "crash" else "never") as running:
        running.begin()
        running.until(lambda record: record.base_sequence.item() == 3)
        if how == "kill -9":
            os.kill(running.worker.pid, signal.SIGKILL)
            killed = len(running.sink.rows)
        assert until_fault(running, "BASE_FAILED").mode[0] == Mode.HOLD
        if how == "kill -9":
            # noticed when the next question is due, one policy step later at most
            assert len(running.sink.rows) - killed <= 25 + 2
        running.run(400)
        assert settled(running.tick.record)
        running.port.ask(Request.REARM)
        running.until_mode(Mode.BASE, 3)
        # whoever re-arms without a worker is told again, before anything moved
        assert until_fault(running, "BASE_FAILED", 30).mode[0] == Mode.HOLD
        assert_went_on(running.table())
        assert_judged_clean(running)
    notes = [e.text for e in running.sink.events if "worker" in e.text]
    assert len(notes) == 2
    assert "is not started again" in notes[0]
    assert "start it anew" in notes[0]


def test_a_worker_that_cannot_load_refuses_the_start() -> None:
    with pytest.raises(StartRefused, match="ended before it was ready"):
        RealRig(strange("never", 0)[:-3])
    with pytest.raises(StartRefused, match="another policy than control"):
        RealRig(strange("never", 0), trained_base(), panda())


CONTROL = """
import time
from tests.runtime.worker_kit import RealRig, strange

running = RealRig(strange("hang", 0))
running.worker.ask(running.tick.record)
print(running.worker.pid, flush=True)
time.sleep(100)
"""


def test_a_worker_does_not_outlive_control_even_when_it_hangs() -> None:
    control = subprocess.Popen([sys.executable, "-c", CONTROL], stdout=subprocess.PIPE, text=True)
    assert control.stdout is not None
    with control.stdout:
        number = int(control.stdout.readline())
        assert lives(number)
        control.kill()
        control.wait()
    wait_gone(number)
