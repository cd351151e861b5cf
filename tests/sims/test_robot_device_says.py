"""What the simulated device does about stops and faults, and what it tells of itself."""

import numpy as np
import pytest

from runtime.robot_codes import (
    DeviceState,
    DropCode,
    OutcomeCode,
    Refusal,
    SignalCode,
    StopCategory,
)
from runtime.robot_wire import (
    Error,
    Refused,
    Signal,
    StopReport,
    decode_from_device,
    encode,
)
from sims.robot_log import Dropped, ExecutionLog, Stopped
from tests.sims.device_kit import (
    FAST,
    MS,
    PERIOD_NS,
    Bench,
    Client,
    armed,
    reports,
    state_of,
    statuses,
    stop,
)


@pytest.fixture
def client() -> Client:
    return Client(Bench())


def test_a_stop_brakes_latches_and_is_reported_until_the_robot_was_seen_at_rest() -> None:
    client = armed()
    client.move(FAST, 20)
    waiting = [client.command() for _ in range(50)]
    ((routing, report),) = client.bench.give(b"who", stop(7))
    assert routing == b"who" and isinstance(report, StopReport)
    assert report.accepted and not report.at_rest and report.epoch == client.epoch + 1
    assert report.speed_max == pytest.approx(0.5)
    assert {client.dropped(command) for command in waiting[:5]} == {DropCode.OLD_EPOCH}
    every = []
    for period in range(120):
        every += [(period, r) for r in reports(client.bench.step())]
        if every and every[-1][1].at_rest:
            break
    gaps = np.diff([period for period, _ in every[:-1]])
    assert np.all(gaps == 20 * MS // PERIOD_NS)
    assert [r.at_rest for _, r in every] == [False] * (len(every) - 1) + [True]
    assert state_of(client) is DeviceState.STOPPED
    assert client.bench.device.follower.executed == 20
    assert not reports(client.bench.step(50))


def test_the_same_stop_again_is_answered_and_changes_nothing() -> None:
    client = armed()
    client.give(stop(7))
    epoch = client.bench.device.epoch
    client.alive(60)
    client.taken(client.arm())
    armed_epoch = client.bench.device.epoch
    ((_, report),) = client.give(stop(7))
    assert isinstance(report, StopReport) and report.state is DeviceState.ARMED
    assert client.bench.device.epoch == armed_epoch > epoch
    assert len([e for e in client.bench.entries if isinstance(e, Stopped)]) == 1
    assert not reports(client.bench.step(20))


def test_a_stop_without_a_number_is_acted_on_each_time() -> None:
    client = armed()
    client.give(stop(0))
    client.alive(60)
    client.taken(client.arm())
    epoch = client.bench.device.epoch
    client.give(stop(0))
    assert state_of(client) is DeviceState.STOPPING
    assert client.bench.device.epoch == epoch + 1


def test_what_it_cannot_do_it_does_as_well_as_it_can_and_says_so() -> None:
    client = armed()
    client.move(FAST, 3)
    ((_, report),) = client.give(stop(1, StopCategory.ONE))
    assert isinstance(report, StopReport)
    assert not report.accepted and report.category is StopCategory.TWO
    assert "category 1" in report.text
    assert state_of(client) is DeviceState.STOPPING


def test_a_stop_while_it_rests_is_not_reported_before_it_was_watched() -> None:
    client = Client(Bench())
    client.join()
    ((_, report),) = client.give(stop(1))
    assert isinstance(report, StopReport) and not report.at_rest


def test_a_drive_that_is_not_ready_takes_no_commander_and_keeps_a_stop_latched() -> None:
    client = armed()
    client.move(FAST, 3)
    client.bench.ready = False
    client.step()
    assert state_of(client) is DeviceState.FAULT
    client.give(stop(3))
    assert state_of(client) is DeviceState.FAULT
    client.taken(client.release())
    ((_, answer),) = client.give(client.hello())
    assert isinstance(answer, Refused) and answer.code is Refusal.NOT_NOW
    client.bench.ready = True
    client.bench.step(60)
    assert state_of(client) is DeviceState.STOPPED


def test_signals_are_numbered_and_repeated_until_they_were_seen(client: Client) -> None:
    client.join()
    client.bench.device.signal(SignalCode.RESET_BEGIN, target=(1.0, 2.0))
    client.bench.device.signal(SignalCode.OUTCOME, OutcomeCode.SUCCESS)

    def told(periods: int) -> list[list[int]]:
        sent = []
        for _ in range(periods):
            found = [m.number for _, m in client.bench.step() if isinstance(m, Signal)]
            sent.append(found)
        return sent

    assert told(1) == [[1, 2]]
    assert told(25) == [[]] * 24 + [[1, 2]]
    client.look(client.bench.out)
    client.taken(client.heartbeat(signals_seen=1))
    assert [n for n in told(26) if n] == [[2]]
    client.look(client.bench.out)
    client.taken(client.heartbeat(signals_seen=2))
    assert not [n for n in told(30) if n]


def test_only_sixteen_signals_go_out_at_once_the_oldest_first(client: Client) -> None:
    client.join()
    for _ in range(20):
        client.bench.device.signal(SignalCode.EPISODE_BEGIN)
    numbers = [m.number for _, m in client.bench.step() if isinstance(m, Signal)]
    assert numbers == list(range(1, 17))


def test_status_comes_with_every_change_of_state_and_once_a_second(client: Client) -> None:
    client.join()
    sent = []
    for _ in range(1000):
        client.taken(client.heartbeat())
        client.step()
        sent += statuses(client.bench.out)
    assert len(sent) == 2
    client.give(stop(9))
    (status,) = statuses(client.bench.step())
    assert (status.state, status.stop_id, status.stop_who) == (DeviceState.STOPPED, 9, "somebody")


def test_errors_say_why_at_most_ten_a_second_and_counts_go_on(client: Client) -> None:
    client.join()
    client.heartbeat()
    answers = []
    for _ in range(30):
        answers += client.give(client.command(epoch=0))
    codes = [message.code for _, message in answers if isinstance(message, Error)]
    assert codes == [DropCode.NOT_ARMED] * 10
    assert client.bench.device.drops[DropCode.NOT_ARMED] == 30
    client.bench.now_ns += 1000 * MS
    assert len(client.give(client.command())) == 1


def test_a_malformed_frame_is_told_of_only_to_who_has_a_session(client: Client) -> None:
    device, now_ns = client.bench.device, client.bench.now_ns
    assert device.malformed(b"one", "nonsense", now_ns) == []
    client.join()
    ((_, error),) = device.malformed(b"one", "nonsense", now_ns)
    assert isinstance(error, Error)
    assert (error.session, error.code) == (client.session, DropCode.MALFORMED)
    assert device.drops[DropCode.MALFORMED] == 2


def test_everything_it_says_is_a_message_of_the_protocol() -> None:
    client = armed()
    client.move(FAST, 3)
    client.bench.device.signal(SignalCode.RESET_BEGIN, target=(1.0,))
    client.give(stop(1))
    for _, message in client.bench.step():
        assert decode_from_device(encode(message)) == message


def test_values_that_are_not_finite_are_sent_as_they_are(client: Client) -> None:
    client.join()
    client.bench.q[0] = np.nan
    client.step()
    assert client.seen is not None
    assert np.isnan(client.seen.groups[0].values[0])
    client.bench.dq[0] = np.nan
    client.alive(2)
    assert client.dropped(client.arm()) is DropCode.NOT_AT_REST


def test_the_log_is_bounded_and_says_what_it_lost() -> None:
    log = ExecutionLog(size=2)
    for number in range(3):
        log.add(Dropped(number, 0, 0, 0, 0, 0, ""))
    assert log.lost == 1
    assert [entry.now_ns for entry in log.drain()] == [1, 2]
