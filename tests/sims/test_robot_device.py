"""The simulated device, rule by rule of the protocol."""

import msgspec
import numpy as np
import pytest

from runtime.robot_codes import (
    DeviceState,
    DropCode,
    Refusal,
    Role,
)
from runtime.robot_wire import (
    OtherHello,
    Refused,
    Welcome,
)
from sims.robot_sessions import MAX_SESSIONS
from tests.sims.device_kit import (
    BOUNDS,
    DECELERATION_RAD_S2,
    DT_S,
    FAST,
    LEASE_NS,
    MS,
    PERIOD_NS,
    SPEED_RAD_S,
    WATCHDOG_NS,
    Bench,
    Client,
    armed,
    reports,
    state_of,
    stop,
)


@pytest.fixture
def client() -> Client:
    return Client(Bench())


def test_hello_is_answered_the_same_way_again_and_a_session_is_the_connections(
    client: Client,
) -> None:
    hello = client.hello()
    first = client.give(hello)
    assert client.give(hello) == first
    ((_, welcome),) = first
    assert isinstance(welcome, Welcome) and welcome.session > 0
    assert [(g.name, g.size) for g in welcome.groups] == [("joints", 6), ("force", 3)]
    client.session = welcome.session
    client.step()
    other = Client(client.bench, b"two")
    other.session, other.seen = client.session, client.seen
    assert other.dropped(other.heartbeat()) is DropCode.FOREIGN
    client.taken(client.heartbeat())


def test_hello_said_again_keeps_its_session_and_after_that_begins_another(client: Client) -> None:
    hello = client.hello()
    ((_, first),) = client.give(hello)
    for _ in range(3):
        client.bench.step(LEASE_NS // PERIOD_NS - 1)
        ((_, again),) = client.give(hello)
        assert again == first
    client.bench.step(LEASE_NS // PERIOD_NS + 1)
    ((_, other),) = client.give(hello)
    assert isinstance(first, Welcome) and isinstance(other, Welcome)
    assert other.session != first.session


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"robot_hash": b"x" * 32}, Refusal.ROBOT_HASH),
        ({"contract_hash": b"x" * 32}, Refusal.CONTRACT_HASH),
        ({"robot_hash": b"x" * 32, "contract_hash": b"x" * 32}, Refusal.ROBOT_HASH),
    ],
)
def test_another_robot_or_contract_is_refused_with_both_values(
    client: Client, changes: dict[str, bytes], code: Refusal
) -> None:
    ((_, answer),) = client.give(msgspec.structs.replace(client.hello(), **changes))
    assert isinstance(answer, Refused)
    assert answer.code is code
    assert answer.yours == (b"x" * 32).hex() and answer.mine in {b"r".hex() * 32, b"c".hex() * 32}
    assert not client.bench.step()


def test_another_version_is_refused_and_said(client: Client) -> None:
    ((_, answer),) = client.bench.device.receive(b"one", OtherHello(7, 5), client.bench.now_ns)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.nonce, answer.yours, answer.mine) == (Refusal.VERSION, 5, "7", "1")


def test_a_second_commander_is_refused_while_the_lease_lives(client: Client) -> None:
    client.join()
    second = Client(client.bench, b"two")
    ((_, answer),) = second.give(second.hello())
    assert isinstance(answer, Refused) and answer.code is Refusal.LEASE
    assert "w has held" in answer.text
    client.taken(client.release())
    second.join()


def test_the_lease_ends_by_silence_and_the_robot_brakes() -> None:
    client = armed()
    client.move(FAST, 20)
    second = Client(client.bench, b"two")
    client.bench.step(LEASE_NS // PERIOD_NS - 1)
    ((_, answer),) = second.give(second.hello())
    assert isinstance(answer, Refused)
    client.bench.step(3)
    second.join()
    assert client.dropped(client.heartbeat()) is DropCode.FOREIGN


def test_a_lost_lease_takes_away_what_was_armed() -> None:
    client = armed()
    epoch = client.bench.device.epoch
    client.taken(client.release())
    assert state_of(client) is DeviceState.BRAKING
    assert client.bench.device.epoch == epoch + 1


def test_an_observer_may_look_and_stop_and_nothing_else(client: Client) -> None:
    watcher = Client(client.bench, b"two", Role.OBSERVER)
    watcher.join()
    watcher.alive(60)
    for message in (watcher.arm(), watcher.command()):
        assert watcher.dropped(message) is DropCode.FOREIGN
    client.join()
    assert reports(watcher.give(stop(1)))
    assert state_of(client) is DeviceState.STOPPING
    watcher.taken(watcher.release())
    assert watcher.dropped(watcher.heartbeat()) is DropCode.FOREIGN
    client.taken(client.heartbeat())


def test_sessions_are_bounded_and_one_place_is_a_commanders(client: Client) -> None:
    for number in range(MAX_SESSIONS - 1):
        Client(client.bench, bytes([number]), Role.OBSERVER).join()
    ((_, answer),) = client.give(Client(client.bench, b"one more", Role.OBSERVER).hello())
    assert isinstance(answer, Refused) and answer.code is Refusal.NOT_NOW
    client.join()


def test_counts_must_rise_and_stamps_must_be_ones_that_were_sent(client: Client) -> None:
    client.join()
    good = client.heartbeat()
    client.taken(good)
    assert client.dropped(good) is DropCode.REPEATED
    made_up = msgspec.structs.replace(client.heartbeat(), answers_stamp_ns=client.bench.now_ns - 1)
    assert client.dropped(made_up) is DropCode.STALE
    assert client.dropped(msgspec.structs.replace(made_up, answers_stamp_ns=0)) is DropCode.REPEATED
    none = msgspec.structs.replace(client.heartbeat(), answers_stamp_ns=0)
    assert client.dropped(none) is DropCode.STALE


@pytest.mark.parametrize(
    ("valid_ns", "age_ns", "dropped"),
    [
        (WATCHDOG_NS, WATCHDOG_NS, False),
        (WATCHDOG_NS, WATCHDOG_NS + 1, True),
        (10 * WATCHDOG_NS, WATCHDOG_NS + 1, True),
        (5 * MS, 5 * MS, False),
        (5 * MS, 5 * MS + 1, True),
    ],
)
def test_a_command_is_as_old_as_what_it_answers(valid_ns: int, age_ns: int, dropped: bool) -> None:
    client = armed()
    command = msgspec.structs.replace(client.command(), valid_for_ns=valid_ns)
    client.bench.now_ns += age_ns
    if dropped:
        assert client.dropped(command) is DropCode.STALE
    else:
        client.taken(command)


def test_an_old_arm_is_dropped(client: Client) -> None:
    client.join()
    client.alive(55)
    arm = client.arm()
    client.bench.now_ns += 200 * MS + 1
    assert client.dropped(arm) is DropCode.STALE


def test_arming_wants_rest_a_higher_epoch_and_nothing_else_going_on(client: Client) -> None:
    client.join()
    assert client.dropped(client.arm()) is DropCode.NOT_AT_REST
    client.alive(55)
    assert client.dropped(client.arm(client.epoch)) is DropCode.OLD_EPOCH
    client.bench.dq = np.array([0.0, 0.02])
    client.alive(1)
    assert client.dropped(client.arm()) is DropCode.NOT_AT_REST
    client.alive(50)
    assert client.dropped(client.arm(client.bench.device.epoch + 2)) is DropCode.LIMITS
    client.taken(client.arm())
    assert client.dropped(client.arm(client.bench.device.epoch + 1)) is DropCode.NOT_AT_REST


def test_an_arming_from_before_a_stop_does_not_undo_it(client: Client) -> None:
    """It was on its way, or repeated because nobody had answered it."""
    client.join()
    client.alive(55)
    arm = client.arm()
    client.give(stop(1))
    client.alive(60)
    assert state_of(client) is DeviceState.STOPPED
    assert client.dropped(client.renewed(arm)) is DropCode.OLD_EPOCH
    assert state_of(client) is DeviceState.STOPPED


def test_an_epoch_cannot_run_away() -> None:
    client = armed()
    epoch = client.bench.device.epoch
    command = client.command()
    assert client.dropped(msgspec.structs.replace(command, epoch=epoch + 2**32 + 1)) is (
        DropCode.LIMITS
    )
    client.taken(msgspec.structs.replace(client.command(), epoch=epoch + 2**32))


def test_the_first_command_begins_where_the_robot_stands() -> None:
    client = armed()
    assert client.dropped(client.command(client.bench.q + 0.051)) is DropCode.JUMP
    client.step()
    assert np.all(client.bench.device.target_rad == 0.0)
    client.taken(client.command(client.bench.q + 0.049))


def test_a_command_is_executed_in_the_next_period_and_the_newest_wins() -> None:
    client = armed()
    client.taken(client.command(np.array([0.001, 0.0])))
    client.taken(client.command(np.array([0.002, 0.0])))
    client.step()
    assert client.bench.device.target_rad.tolist() == [0.002, 0.0]
    follower = client.bench.device.follower
    assert (follower.offered, follower.executed, follower.withdrawn) == (2, 1, 1)
    client.step()
    assert client.seen is not None and client.seen.executed_count == client.count


@pytest.mark.parametrize(
    ("q", "dq", "code"),
    [
        ([0.0], [0.0], DropCode.LENGTH),
        ([0.0, 0.0], [0.0], DropCode.LENGTH),
        ([float("nan"), 0.0], [0.0, 0.0], DropCode.NOT_FINITE),
        ([0.0, 0.0], [0.0, float("inf")], DropCode.NOT_FINITE),
        ([0.0, 0.0], [SPEED_RAD_S * 1.001, 0.0], DropCode.LIMITS),
        ([0.0, 0.0], [SPEED_RAD_S, 0.0], None),
        ([1.001, 0.0], [0.0, 0.0], DropCode.LIMITS),
        ([0.05, 0.0], [0.0, 0.0], DropCode.LIMITS),
    ],
)
def test_what_a_command_may_not_say(
    q: list[float], dq: list[float], code: DropCode | None
) -> None:
    client = armed()
    client.taken(client.command())
    client.step()
    command = msgspec.structs.replace(client.command(), q=tuple(q), dq=tuple(dq))
    if code is None:
        client.taken(command)
    else:
        assert client.dropped(command) is code
        client.step()
        assert np.all(client.bench.device.target_rad == 0.0)


def test_a_command_must_leave_room_to_stop() -> None:
    """Three periods of coasting and v^2 / 2a, by hand: 1.8 rad/s needs 0.0108 + 0.162 rad."""
    at, speed = np.array([1.0 - 0.0108 - 0.162, 0.0]), np.array([1.8, 0.0])
    assert BOUNDS.refusal(at - 1e-9, speed, DT_S) is None
    assert BOUNDS.refusal(at + 1e-6, speed, DT_S)


def test_without_commands_it_coasts_for_three_periods_then_brakes_as_its_drives_can() -> None:
    client = armed()
    client.move(FAST, 20)
    before = client.bench.device.target_rad
    epoch = client.bench.device.epoch
    client.bench.step(60)
    did = [period.did for period in client.bench.periods[-60:]]
    assert did[:4] == ["coast"] * 3 + ["brake"]
    targets = np.array([before, *(p.target_rad for p in client.bench.periods[-60:])])
    speeds = np.diff(targets, axis=0) / DT_S
    assert np.allclose(speeds[:3], FAST)
    slower = np.diff(np.abs(speeds[2:]), axis=0)
    assert np.all(slower >= -DECELERATION_RAD_S2 * DT_S - 1e-9) and np.all(slower <= 1e-9)
    braked = FAST * np.abs(FAST) / 2 / DECELERATION_RAD_S2
    assert np.allclose(targets[-1] - targets[3], braked, atol=1e-3)
    assert client.bench.device.epoch == epoch + 1
    assert client.dropped(client.command()) in (DropCode.OLD_EPOCH, DropCode.STALE)


def test_it_brakes_sooner_when_what_the_last_command_answers_is_old() -> None:
    client = armed()
    client.move(FAST, 5)
    seen = client.seen
    for _ in range(9):
        client.move(FAST, 1)
        client.seen = seen
    assert client.bench.periods[-1].did == "command"
    client.bench.step(2)
    assert [p.did for p in client.bench.periods[-2:]] == ["coast", "brake"]


def test_periods_that_passed_unused_count_as_silent() -> None:
    client = armed()
    client.move(FAST, 5)
    client.bench.step(skipped=3)
    assert client.bench.periods[-1].did == "brake"


def test_armed_without_any_command_does_not_last_for_ever() -> None:
    client = armed()
    epoch = client.bench.device.epoch
    client.alive(LEASE_NS // PERIOD_NS)
    assert state_of(client) is DeviceState.ARMED
    client.alive(2)
    assert client.bench.device.epoch == epoch + 1
    assert state_of(client) is DeviceState.IDLE


def test_a_higher_epoch_is_taken_over_and_nothing_older_is_executed() -> None:
    client = armed()
    late = client.command(np.array([0.001, 0.0]))
    held = client.command(np.zeros(2), epoch=client.epoch + 3)
    client.taken(held)
    late = msgspec.structs.replace(late, count=client.count + 1)
    client.count += 1
    assert client.dropped(late) is DropCode.OLD_EPOCH
    assert client.bench.device.epoch == client.epoch + 3
