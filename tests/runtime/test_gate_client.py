"""Control's end of the gate, against a gate in the test's own hands."""

import threading
import time
from collections.abc import Iterator

import pytest
import zmq

from runtime.errors import StartRefused
from runtime.events import Event, EventKind
from runtime.gate_client import GateConnection
from runtime.gate_line import Line
from runtime.gate_wire import (
    Beat,
    FromControl,
    Grant,
    Offer,
    Progress,
    Taken,
    encode,
    from_control,
)
from runtime.messages import Stage
from runtime.record_format import RecorderPlace
from tests.runtime.gate_line_kit import (
    ACTIONS,
    EXPLORE,
    Taker,
    after,
    heard,
    record_at,
    send,
    snapshot,
)


@pytest.fixture
def control(place: RecorderPlace, gate: Line[FromControl]) -> Iterator[GateConnection]:
    connection = GateConnection(place, ACTIONS, lost_after_s=0.3)
    yield connection
    connection.close()


def test_nothing_is_granted_before_the_gate_spoke(control: GateConnection) -> None:
    assert control.grant == Grant(Stage.OBSERVE, [0.0, 0.0])
    time.sleep(0.4)
    assert control.health().gate_lost


def test_grants_arrive_and_the_gate_hears_beats(
    control: GateConnection, gate: Line[FromControl]
) -> None:
    deadline_s = time.monotonic() + 10.0
    # on a busy machine half a second may pass between a grant and the look at it
    while control.grant != EXPLORE or control.health().gate_lost:
        assert time.monotonic() < deadline_s
        send(gate, EXPLORE)
        control.after(record_at(0), Taker())
    taker = Taker()
    taker.version = 4
    beats: list[FromControl] = []
    while Beat(12, 4) not in beats:
        assert time.monotonic() < deadline_s
        control.after(record_at(12, 4), taker)
        gate.socket.poll(20)
        beats += gate.received(10)


def test_a_grant_of_another_size_is_ignored(
    control: GateConnection, gate: Line[FromControl]
) -> None:
    send(gate, Grant(Stage.ADAPTIVE, [1.0]))
    assert "a grant of 1 numbers is ignored" in "".join(after(control, Taker()))
    assert control.grant.stage is Stage.OBSERVE


def test_an_offer_goes_live_is_recorded_and_its_first_use_is_told(
    control: GateConnection, gate: Line[FromControl]
) -> None:
    send(gate, EXPLORE, Offer(snapshot(3), 1))
    taker = Taker()
    deadline_s = time.monotonic() + 5.0
    events: list[Event] = []
    while not events and time.monotonic() < deadline_s:
        events = [
            e for e in control.after(record_at(1), taker) if e.kind is EventKind.SNAPSHOT
        ]
    (event,) = events
    assert event.data == snapshot(3)
    assert (event.tick, event.now_ns) == (1001, 7)
    assert "version 3, child of 0" in event.text
    assert heard(gate, Taken) == Taken(3)
    control.after(record_at(2, version=3, now_ns=99), taker)
    assert heard(gate, Taken) == Taken(3, first_use_ns=99)
    control.after(record_at(3, version=3, now_ns=100), taker)
    with pytest.raises(AssertionError):
        heard(gate, Taken, 0.2)


def test_a_refusal_is_recorded_and_told(control: GateConnection, gate: Line[FromControl]) -> None:
    send(gate, Offer(snapshot(3), 1), Offer(b"garbage", 1))
    text = "\n".join(after(control, Taker("it is too wild")))
    assert "verdict: version 3 is refused by control: it is too wild" in text
    assert "are no snapshot" in text
    assert heard(gate, Taken) == Taken(3, "it is too wild")


def test_garbage_is_said_once_and_a_flood_does_not_eat_the_tick(
    control: GateConnection, gate: Line[FromControl]
) -> None:
    send(gate, EXPLORE)
    after(control, Taker())
    no_text = encode(Progress(1, 2, "xx")).replace(b"xx", b"\xff\xfe")
    endless = b"\x81\xa1x" + b"\x91" * 3000 + b"\x90"
    for data in (no_text, endless, *[b"\xffgarbage"] * 500):
        gate.socket.send(data, zmq.NOBLOCK)
    begin_s = time.monotonic()
    said = after(control, Taker())
    assert time.monotonic() - begin_s < 1.0
    assert len([text for text in said if "cannot be understood" in text]) == 1


# -- lockstep -----------------------------------------------------------------------------------


def test_in_lockstep_the_robot_waits_for_the_learner(
    paced: GateConnection, gate: Line[FromControl]
) -> None:
    send(gate, EXPLORE, Progress(10, 1))
    taker = Taker()
    begin_s = time.monotonic()
    paced.after(record_at(15), taker)
    assert time.monotonic() - begin_s < 0.4
    threading.Timer(0.4, send, (gate, Progress(11, 2))).start()
    begin_s = time.monotonic()
    paced.after(record_at(16), taker)
    assert 0.3 < time.monotonic() - begin_s < 5.0


def test_in_lockstep_an_offer_goes_live_at_its_step_and_not_before(
    paced: GateConnection, gate: Line[FromControl]
) -> None:
    send(gate, EXPLORE, Offer(snapshot(1), 1, at_step=8), Progress(100, 1))
    taker = Taker()
    live = []
    for step in range(1, 12):
        after(paced, taker, step)
        live.append(taker.version)
    assert live == [0] * 7 + [1] * 4


def test_in_lockstep_who_is_lost_is_not_waited_for_again(
    paced: GateConnection, gate: Line[FromControl]
) -> None:
    send(gate, EXPLORE)
    paced.wait_ready(5.0)
    begin_s = time.monotonic()
    said = [event.text for event in paced.after(record_at(50), Taker())]
    assert 0.3 < time.monotonic() - begin_s < 5.0
    assert any("not waited for" in text for text in said)
    begin_s = time.monotonic()
    for step in range(51, 60):
        paced.after(record_at(step), Taker())
    assert time.monotonic() - begin_s < 0.3


def test_a_stop_ends_the_wait(paced: GateConnection, gate: Line[FromControl]) -> None:
    send(gate, EXPLORE)
    paced.wait_ready(5.0)
    threading.Timer(0.1, paced.stop_waiting).start()
    begin_s = time.monotonic()
    paced.after(record_at(50), Taker())
    assert time.monotonic() - begin_s < 0.45


def test_it_does_not_start_without_gate_or_learner(
    paced: GateConnection, gate: Line[FromControl]
) -> None:
    with pytest.raises(StartRefused, match="the gate is not ready"):
        paced.wait_ready(0.2)
    send(gate, Grant(Stage.OBSERVE, [0.0, 0.0], learner_lost=True))
    with pytest.raises(StartRefused, match="the learner is not ready"):
        paced.wait_ready(0.3)
    send(gate, EXPLORE)
    paced.wait_ready(5.0)


def test_what_the_gate_reads_survives_the_wire() -> None:
    for message in (Taken(3, "why", 4), Beat(1, 2)):
        assert from_control.decode(encode(message)) == message
