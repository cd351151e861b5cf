"""Real sockets: what is refused, who is answered, what overtakes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

from runtime.errors import LinkError
from runtime.events import EventKind
from runtime.messages import Mode, Outcome, Request, SignalKind, SignalSource, TaskSignal
from runtime.operator_port import OperatorClient, OperatorPort, endpoint, operator_client
from runtime.wire import (
    MAX_MESSAGE_BYTES,
    Correction,
    Heartbeat,
    OperatorReply,
    OperatorRequest,
    OperatorSignal,
    decode_message,
    encode,
)

SUCCESS = TaskSignal(SignalKind.OUTCOME, SignalSource.MARK, Outcome.SUCCESS)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[OperatorPort]:
    opened = OperatorPort(tmp_path, setpoint_size=3)
    yield opened
    opened.close()


@pytest.fixture
def client(tmp_path: Path, port: OperatorPort) -> Iterator[OperatorClient]:
    with operator_client(tmp_path) as opened:
        yield opened


def polled(port: OperatorPort) -> OperatorPort:
    port.poll()
    return port


def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.001)


def reply_to(port: OperatorPort, client: OperatorClient) -> OperatorReply:
    found: list[OperatorReply] = []

    def look() -> bool:
        port.poll()
        reply = client.receive()
        found.extend([reply] if reply is not None else [])
        return bool(found)

    until(look)
    return found[0]


def next_request(port: OperatorPort) -> Request:
    asked = Request.NONE

    def look() -> bool:
        nonlocal asked
        port.poll()
        asked = port.request()
        return asked is not Request.NONE

    until(look)
    return asked


@pytest.mark.parametrize("message", [Heartbeat(), OperatorRequest(Request.ARM, "a")])
def test_messages_come_back_as_they_went(message: Heartbeat | OperatorRequest) -> None:
    assert decode_message(encode(message)) == message


def test_a_request_is_answered_with_what_became_of_it(
    port: OperatorPort, client: OperatorClient
) -> None:
    client.send(OperatorRequest(Request.ARM, "ada"))
    assert next_request(port) is Request.ARM
    assert port.request() is Request.NONE
    port.answer(True, Mode.READY, "arm refused: why", at_rest=True)
    assert reply_to(port, client) == OperatorReply(
        False, Mode.READY, "arm refused: why", at_rest=True
    )
    events = port.events(7, 99)
    assert [(e.tick, e.now_ns, e.text) for e in events] == [(7, 99, "ada asks for ARM")]
    assert port.events(8, 100) == []
    # nobody waits for a second answer
    port.answer(False, Mode.HOMING, "", at_rest=False)
    assert client.receive() is None


def test_a_stop_overtakes_whatever_waits_before_it(
    port: OperatorPort, client: OperatorClient
) -> None:
    for asked in (Request.ARM, Request.DISARM, Request.REARM, Request.STOP):
        client.send(OperatorRequest(asked, "ada"))
    seen: list[Request] = []
    until(lambda: len(polled(port)._requests) == 4)
    seen = [port.request() for _ in range(5)]
    assert seen == [Request.STOP, Request.ARM, Request.DISARM, Request.REARM, Request.NONE]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\xc1",
        b"hello",
        encode({"type": "request", "request": 99, "who": "x"}),
        encode({"type": "request"}),
        encode({"type": "dance"}),
        encode([1, 2, 3]),
        # what msgspec calls none of its own errors
        encode(OperatorRequest(Request.STOP, "xx")).replace(b"xx", b"\xff\xfe"),
        b"\x81\xa1x" + b"\x91" * 3000 + b"\x90",
        encode(OperatorRequest(Request.STOP, "x"))[:-1],
    ],
)
def test_garbage_is_refused_and_changes_nothing(
    port: OperatorPort, client: OperatorClient, garbage: bytes
) -> None:
    client._socket.send(garbage)
    reply = reply_to(port, client)
    assert not reply.accepted
    assert "not understood" in reply.text
    assert port.request() is Request.NONE
    assert port.signals() == []
    assert port.events(1, 1) == []


def test_a_message_that_is_too_long_costs_its_sender_the_connection(
    tmp_path: Path, port: OperatorPort
) -> None:
    rude: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    rude.setsockopt(zmq.LINGER, 0)
    rude.connect(endpoint(tmp_path))
    rude.send(encode(OperatorRequest(Request.STOP, "x" * MAX_MESSAGE_BYTES)))
    with operator_client(tmp_path) as client:
        client.send(OperatorRequest(Request.DISARM, "ada"))
        assert next_request(port) is Request.DISARM
    assert port.request() is Request.NONE
    rude.close()


def signal(**changes: object) -> OperatorSignal:
    fields = {"kind": SignalKind.RESET_BEGIN, "source": SignalSource.OPERATOR, **changes}
    return OperatorSignal("ada", TaskSignal(**fields), "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (signal(target=(1.0, 2.0)), ("2 numbers", "allowed: 3")),
        (signal(target=(1.0, float("nan"), 2.0)), ("not finite",)),
        (signal(target=(1.0, float("inf"), 2.0)), ("not finite",)),
        (signal(source=SignalSource.DRIVER), ("DRIVER", "OPERATOR, MARK")),
        (signal(source=SignalSource.PREDICATE), ("PREDICATE", "OPERATOR, MARK")),
    ],
)
def test_a_signal_that_cannot_be_used_is_refused_with_the_reason(
    port: OperatorPort, client: OperatorClient, message: OperatorSignal, words: tuple[str, ...]
) -> None:
    client.send(message)
    reply = reply_to(port, client)
    assert not reply.accepted
    for word in words:
        assert word in reply.text
    assert port.signals() == []


def test_signals_and_texts_are_taken_in_order_and_told(
    port: OperatorPort, client: OperatorClient
) -> None:
    client.send(OperatorSignal("ada", SUCCESS, "it clicked"))
    client.send(signal(target=(1.0, 2.0, 3.0)))
    client.send(OperatorSignal("ada", None, "just a note"))
    told: list[str] = []

    def look() -> bool:
        port.poll()
        told.extend(event.text for event in port.events(1, 1))
        return len(told) == 3

    until(look)
    assert [s.kind for s in port.signals()] == [SignalKind.OUTCOME, SignalKind.RESET_BEGIN]
    assert told == ["ada: OUTCOME SUCCESS it clicked", "ada: RESET_BEGIN NONE", "ada: just a note"]
    assert port.signals() == []


def test_an_outcome_of_an_earlier_episode_goes_to_the_record_and_not_to_the_tick(
    port: OperatorPort, client: OperatorClient
) -> None:
    client.send(OperatorSignal("ada", SUCCESS, "it fell out", episode=12))
    assert reply_to(port, client).accepted
    word, mark = port.events(5, 6)
    assert (word.kind, mark.kind) == (EventKind.OUTCOME, EventKind.MARK)
    said = msgspec.json.decode(word.text, type=Correction)
    assert said == Correction(episode=12, outcome="SUCCESS", who="ada")
    assert mark.text == "ada: OUTCOME SUCCESS of episode 12 it fell out"
    assert port.signals() == []


@pytest.mark.parametrize(
    ("kind", "episode"), [(SignalKind.EPISODE_BEGIN, 3), (SignalKind.OUTCOME, -1)]
)
def test_only_an_outcome_can_be_of_an_earlier_episode(
    port: OperatorPort, client: OperatorClient, kind: SignalKind, episode: int
) -> None:
    client.send(OperatorSignal("ada", TaskSignal(kind, SignalSource.MARK), episode=episode))
    reply = reply_to(port, client)
    assert not reply.accepted
    assert str(episode) in reply.text
    assert port.signals() == []


def test_a_flood_starves_neither_the_tick_nor_a_stop(tmp_path: Path, port: OperatorPort) -> None:
    with operator_client(tmp_path) as flood, operator_client(tmp_path) as person:
        for _ in range(900):
            flood.send(OperatorRequest(Request.ARM, "flood"))
        until(lambda: len(polled(port)._requests) >= 8)
        person.send(OperatorRequest(Request.STOP, "ada"))
        time.sleep(0.05)
        longest_s, asked = 0.0, []
        for _ in range(10):
            begin = time.perf_counter()
            port.poll()
            longest_s = max(longest_s, time.perf_counter() - begin)
            asked.append(port.request())
        # both senders are served in turns, so the stop is there within a tick or two
        assert Request.STOP in asked[:3]
        assert longest_s < 0.02


def test_what_waits_is_bounded_and_the_rest_is_refused(
    port: OperatorPort, client: OperatorClient
) -> None:
    refused: set[str] = set()

    def look() -> bool:
        # as fast as the port takes, so that no queue between them overflows
        client.send(OperatorRequest(Request.ARM, "flood"))
        client.send(OperatorSignal("flood", SUCCESS))
        port.poll()
        while (reply := client.receive()) is not None:
            if not reply.accepted:
                refused.add(reply.text.split(" wait already")[0])
        return len(refused) == 2

    until(look)
    assert refused == {"64 requests", "64 signals"}
    assert len(port._requests) == len(port._signals) == 64
    # and a stop is taken even then
    client.send(OperatorRequest(Request.STOP, "ada"))
    until(lambda: len(polled(port)._requests) == 65)
    assert port.request() is Request.STOP
    assert port.request() is Request.ARM


def test_the_supervisor_is_lost_only_after_it_was_there(
    port: OperatorPort, client: OperatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not port.supervisor_lost
    client.heartbeat()
    until(lambda: polled(port)._heartbeat_ns)
    assert not port.supervisor_lost
    beat = port._heartbeat_ns
    monkeypatch.setattr(time, "monotonic_ns", lambda: beat + 1_000_000_000)
    assert not port.supervisor_lost
    monkeypatch.setattr(time, "monotonic_ns", lambda: beat + 1_000_000_001)
    assert port.supervisor_lost


def test_waiting_ends_when_something_comes(port: OperatorPort, client: OperatorClient) -> None:
    assert not port.wait(0.01)
    client.send(OperatorRequest(Request.ARM, "ada"))
    assert port.wait(5.0)
    port.poll()
    assert port.wait(0.0)


def test_words_for_the_record_end_waiting_and_heartbeats_do_not(
    port: OperatorPort, client: OperatorClient
) -> None:
    client.heartbeat()
    assert not port.wait(0.2)
    client.send(OperatorSignal("ada", text="just a note"))
    assert port.wait(5.0)
    (event,) = port.events(1, 1)
    assert event.text == "ada: just a note"
    assert not port.wait(0.0)


def test_asking_a_daemon_that_is_not_there_says_so(tmp_path: Path) -> None:
    with operator_client(tmp_path) as client, pytest.raises(LinkError, match="trimtab run"):
        client.ask(OperatorRequest(Request.ARM, "ada"), 0.05)


def test_whoever_asked_and_left_does_no_harm(tmp_path: Path, port: OperatorPort) -> None:
    with operator_client(tmp_path) as client:
        client.send(OperatorRequest(Request.ARM, "ada"))
        assert next_request(port) is Request.ARM
    time.sleep(0.02)
    port.answer(False, Mode.HOMING, "", at_rest=False)
