"""What people say of the residual: what is taken, what holds, who is answered."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from runtime.events import EventKind
from runtime.operator_port import OperatorClient, OperatorPort, operator_client
from runtime.orders import Orders
from runtime.wire import Order, OrderKind, decode_message, encode

PIN, DROP, RESUME, SHADOW = (
    Order(OrderKind.PIN, "anna", 3),
    Order(OrderKind.DROP, "ben"),
    Order(OrderKind.RESUME, "anna"),
    Order(OrderKind.SHADOW, "cleo"),
)


def after(*said: Order) -> Orders:
    orders = Orders(residual=True)
    for order in said:
        assert orders.take(order) == ""
    return orders


def test_they_hold_until_resume() -> None:
    orders = after(PIN, SHADOW, DROP)
    assert (orders.dropped, orders.shadow, orders.pinned) == (True, True, 3)
    assert orders.words == "pin 3 (anna), shadow (cleo), drop (ben)"
    orders.take(RESUME)
    assert (orders.dropped, orders.shadow, orders.pinned) == (False, False, 0)
    assert (orders.words, orders.resumed) == ("", 1)


def test_the_newest_pin_holds() -> None:
    orders = after(PIN, Order(OrderKind.PIN, "ben", 5))
    assert (orders.pinned, orders.words) == (5, "pin 5 (ben)")


@pytest.mark.parametrize("order", [PIN, SHADOW])
def test_what_was_dropped_must_be_resumed_first(order: Order) -> None:
    orders = after(DROP)
    assert "`trimtab residual resume` first" in orders.take(order)
    assert orders.dropped and not orders.shadow and not orders.pinned
    assert orders.words == "drop (ben)"


@pytest.mark.parametrize("version", [0, -1])
def test_versions_count_from_one(version: int) -> None:
    assert "count from 1" in after().take(Order(OrderKind.PIN, "anna", version))


@pytest.mark.parametrize("order", [PIN, DROP, RESUME, SHADOW])
def test_a_robot_without_a_residual_says_so(order: Order) -> None:
    orders = Orders(residual=False)
    assert "runs without a residual" in orders.take(order)
    assert not orders.dropped and not orders.resumed


# -- over the socket ----------------------------------------------------------------------------


@pytest.fixture
def orders() -> Orders:
    return Orders(residual=True)


@pytest.fixture
def port(tmp_path: Path, orders: Orders) -> Iterator[OperatorPort]:
    opened = OperatorPort(tmp_path, 3, orders)
    yield opened
    opened.close()


@pytest.fixture
def client(tmp_path: Path, port: OperatorPort) -> Iterator[OperatorClient]:
    with operator_client(tmp_path) as opened:
        yield opened


def test_orders_come_back_as_they_went() -> None:
    assert decode_message(encode(PIN)) == PIN


def test_an_order_holds_when_it_arrives_is_recorded_and_answered(
    port: OperatorPort, client: OperatorClient, orders: Orders
) -> None:
    client.send(DROP)
    # somebody said something: a loop that stands idle must run a tick
    assert port.wait(5.0)
    assert orders.dropped
    (event,) = port.events(7, 99)
    assert (event.kind, event.tick, event.now_ns) == (EventKind.ORDER, 7, 99)
    assert msgspec.json.decode(event.text, type=Order) == DROP
    assert port.events(8, 100) == []
    # the answer crosses a socket in its own time
    while (reply := client.receive()) is None:
        port.poll()
    assert reply.accepted and "base works alone" in reply.text


def test_what_is_refused_is_answered_and_not_recorded(
    port: OperatorPort, client: OperatorClient, orders: Orders
) -> None:
    client.send(Order(OrderKind.PIN, "anna", 0))
    while (reply := client.receive()) is None:
        port.poll()
    assert not reply.accepted and "count from 1" in reply.text
    assert port.events(1, 1) == []
    assert not orders.pinned


def test_without_orders_a_port_has_no_residual(tmp_path: Path) -> None:
    port = OperatorPort(tmp_path, 3)
    with operator_client(tmp_path) as client:
        client.send(DROP)
        while (reply := client.receive()) is None:
            port.poll()
    assert "without a residual" in reply.text
    port.close()
