"""Control's end of the gate: grants at their step, roll-backs, orders, the age of the weights."""

import time
from collections.abc import Iterator

import msgspec
import pytest

from runtime.events import EventKind
from runtime.gate_client import GateConnection
from runtime.gate_line import Line
from runtime.gate_wire import Beat, FromControl, Grant, Offer, Progress, Taken
from runtime.messages import Phase, Stage
from runtime.orders import Orders
from runtime.record_format import RecorderPlace
from runtime.wire import Order, OrderKind, Rollback
from tests.runtime.gate_line_kit import (
    ACTIONS,
    Taker,
    events_of,
    heard,
    send,
    snapshot,
)

ALL = [1.0] * ACTIONS
NOTHING = [0.0] * ACTIONS
ADAPTIVE = Grant(Stage.ADAPTIVE, ALL)
S_NS = 1_000_000_000


@pytest.fixture
def orders() -> Orders:
    return Orders(residual=True)


@pytest.fixture
def control(
    place: RecorderPlace, gate: Line[FromControl], orders: Orders
) -> Iterator[GateConnection]:
    connection = GateConnection(place, ACTIONS, lost_after_s=0.3, orders=orders)
    yield connection
    connection.close()


def stages(control: GateConnection, taker: Taker, steps: range) -> list[Stage]:
    """Return the stage that holds after each policy step."""
    found = []
    for step in steps:
        events_of(control, taker, step)
        found.append(control.grant.stage)
    return found


# -- grants -------------------------------------------------------------------------------------


def test_in_lockstep_a_grant_holds_from_its_step_on(
    paced: GateConnection, gate: Line[FromControl]
) -> None:
    observe, warm = Grant(Stage.OBSERVE, NOTHING), Grant(Stage.WARM, NOTHING, at_step=3)
    send(gate, observe, warm, Grant(Stage.EXPLORE, ALL, at_step=5), Progress(100, 1))
    observed, warmed, explored = Stage.OBSERVE, Stage.WARM, Stage.EXPLORE
    assert stages(paced, Taker(), range(1, 7)) == [
        *[observed] * 2, *[warmed] * 2, *[explored] * 2
    ]  # fmt: skip


def test_a_newer_grant_that_is_due_stands_for_those_that_wait(
    paced: GateConnection, gate: Line[FromControl]
) -> None:
    send(gate, Grant(Stage.EXPLORE, ALL, at_step=4), Grant(Stage.WARM, NOTHING), Progress(100, 1))
    assert stages(paced, Taker(), range(1, 6)) == [Stage.WARM] * 5


def test_a_lost_learner_is_known_before_the_grants_step(
    paced: GateConnection, gate: Line[FromControl]
) -> None:
    send(gate, Grant(Stage.OBSERVE, NOTHING, learner_lost=True, at_step=50), Progress(100, 1))
    events_of(paced, Taker(), 1)
    assert paced.health().learner_lost


def test_in_real_time_a_grant_holds_at_once(
    control: GateConnection, gate: Line[FromControl]
) -> None:
    send(gate, Grant(Stage.ADAPTIVE, ALL, at_step=1000))
    events_of(control, Taker())
    assert control.grant.stage is Stage.ADAPTIVE


def test_only_grants_that_change_stage_trial_share_or_reason_are_recorded(
    control: GateConnection, gate: Line[FromControl]
) -> None:
    said = [
        Grant(Stage.OBSERVE, NOTHING, share=0.0),
        Grant(Stage.OBSERVE, NOTHING, share=0.0, noise_share=0.5),
        Grant(Stage.OBSERVE, NOTHING, share=0.0, why="it never succeeds"),
        Grant(Stage.EXPLORE, ALL, share=0.0),
        Grant(Stage.EXPLORE, ALL, share=0.5),
        Grant(Stage.EXPLORE, ALL, share=0.5, trial=1),
    ]
    recorded = []
    for grant in said:
        send(gate, grant, grant)
        recorded += [
            msgspec.json.decode(event.text, type=Grant)
            for event in events_of(control, Taker())
            if event.kind is EventKind.GRANT
        ]
    assert recorded == [said[0], *said[2:]]


# -- the way back ---------------------------------------------------------------------------------


def test_the_way_back_waits_until_nothing_has_authority(
    control: GateConnection, gate: Line[FromControl]
) -> None:
    taker = Taker()
    taker.version = 5
    back = Offer(snapshot(3), 1, back=True, trial=2, why="success fell")
    send(gate, back, Offer(snapshot(6), 1))
    assert not events_of(control, taker, authority=0.5)
    assert taker.version == 5
    events = events_of(control, taker)
    rollback, *live = events
    assert msgspec.json.decode(rollback.text, type=Rollback) == Rollback(3, 5, 2, "success fell")
    assert [event.kind for event in events] == [
        EventKind.ROLLBACK, EventKind.SNAPSHOT, EventKind.SNAPSHOT
    ]  # fmt: skip
    assert [event.data for event in live] == [snapshot(3), snapshot(6)]
    assert [heard(gate, Taken), heard(gate, Taken)] == [Taken(3), Taken(6)]


def test_back_to_version_0_needs_no_snapshot(
    control: GateConnection, gate: Line[FromControl]
) -> None:
    taker = Taker()
    taker.version = 4
    send(gate, Offer(b"", 1, back=True, trial=1, why="nothing better"))
    rollback, live = events_of(control, taker)
    assert taker.version == 0
    assert msgspec.json.decode(rollback.text, type=Rollback).version == 0
    assert (live.kind, live.data) == (EventKind.SNAPSHOT, b"")
    assert heard(gate, Taken) == Taken(0)


def test_a_way_back_to_what_is_live_tells_its_trial_and_hands_nothing_over(
    control: GateConnection, gate: Line[FromControl]
) -> None:
    taker = Taker()
    taker.version = 3
    send(gate, Offer(snapshot(3), 1, back=True, trial=2, why="asked for again"))
    (event,) = events_of(control, taker)
    told = msgspec.json.decode(event.text, type=Rollback)
    assert (event.kind, told) == (EventKind.ROLLBACK, Rollback(3, 3, 2, "asked for again"))
    assert heard(gate, Taken) == Taken(3)


# -- the age of the weights ----------------------------------------------------------------------


def test_weights_age_while_it_learns_until_a_snapshot_goes_live(
    control: GateConnection, gate: Line[FromControl]
) -> None:
    taker = Taker()

    def age_at(now_s: int, phase: Phase = Phase.RUNNING) -> float:
        events_of(control, taker, now_ns=now_s * S_NS, phase=phase)
        return control.health().weights_age_ns / S_NS

    send(gate, ADAPTIVE)
    assert [age_at(100), age_at(200)] == [0.0, 0.0]
    send(gate, Grant(Stage.EXPLORE, ALL, learning=True))
    assert [age_at(300), age_at(310)] == [0.0, 10.0]
    send(gate, Offer(snapshot(1), 1))
    assert [age_at(320), age_at(327)] == [0.0, 7.0]
    # a robot that rests gives nothing to learn from
    assert [age_at(9000, Phase.WAITING), age_at(9001)] == [7.0, 8.0]
    send(gate, Offer(snapshot(2), 1))
    assert age_at(9002) == 0.0
    send(gate, ADAPTIVE)
    assert age_at(400) == 0.0


# -- orders --------------------------------------------------------------------------------------


def test_a_drop_holds_at_once_and_without_a_gate(control: GateConnection, orders: Orders) -> None:
    assert not control.health().held
    orders.take(Order(OrderKind.DROP, "somebody"))
    assert control.health().held
    orders.take(Order(OrderKind.RESUME, "somebody"))
    assert not control.health().held


def test_a_shadow_moves_nothing_whatever_the_gate_grants(
    control: GateConnection, gate: Line[FromControl], orders: Orders
) -> None:
    send(gate, ADAPTIVE)
    events_of(control, Taker())
    orders.take(Order(OrderKind.SHADOW, "somebody"))
    assert (control.grant.stage, control.grant.authority) == (Stage.SHADOW, NOTHING)
    # the loop takes a grant over when it is another object
    assert control.grant is control.grant
    send(gate, Grant(Stage.EXPLORE, ALL, trial=3))
    events_of(control, Taker())
    assert control.grant == Grant(Stage.SHADOW, NOTHING, trial=3)


def test_after_resume_the_gate_must_grant_again(
    control: GateConnection, gate: Line[FromControl], orders: Orders
) -> None:
    send(gate, Grant(Stage.ADAPTIVE, ALL, trial=2))
    events_of(control, Taker())
    orders.take(Order(OrderKind.DROP, "somebody"))
    orders.take(Order(OrderKind.RESUME, "somebody"))
    # the trial stays: a smaller one would forget what counts against the residual
    assert control.grant == Grant(Stage.OBSERVE, NOTHING, trial=2)
    send(gate, Grant(Stage.ADAPTIVE, ALL, trial=2))
    events_of(control, Taker())
    assert control.grant == Grant(Stage.ADAPTIVE, ALL, trial=2)


def test_a_beat_tells_a_restarted_gate_what_it_must_go_on_from(
    control: GateConnection, gate: Line[FromControl], orders: Orders
) -> None:
    taker = Taker()
    taker.version = 3
    orders.take(Order(OrderKind.PIN, "somebody", 2))
    send(gate, Grant(Stage.OBSERVE, NOTHING, trial=6), Offer(snapshot(2), 1, back=True, trial=5))
    events_of(control, taker, 9)
    while list(gate.received(100)):
        time.sleep(0.01)
    time.sleep(0.1)
    events_of(control, taker, 9)
    assert heard(gate, Beat) == Beat(9, 2, trial=6, rolled=5, pinned=2)
