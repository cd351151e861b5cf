"""The device's own safety: epochs, sequences, age, watchdog, latency."""

import math

import numpy as np

from runtime.messages import Command
from sims.device import CommandReceiver

PERIOD_NS = 2_000_000
VALID_NS = 20_000_000
START = np.zeros(2)


def receiver(latency_s: float = 0.0) -> CommandReceiver:
    return CommandReceiver(START, PERIOD_NS, latency_s)


def command(epoch: int, sequence: int, value: float, stamp_ns: int = 0) -> Command:
    return Command(epoch, sequence, sequence, stamp_ns, VALID_NS, [value, -value], [0.0, 0.0])


def test_holds_the_start_until_the_first_command() -> None:
    device = receiver()
    assert [device.holding, (device.next_target(0) == START).all()] == [True, True]
    assert device.accept(command(0, 1, 0.5), 0)
    assert not device.holding
    assert device.next_target(0).tolist() == [0.5, -0.5]


def test_older_epoch_is_dropped_whatever_its_sequence() -> None:
    device = receiver()
    device.accept(command(2, 10, 0.5), 0)
    assert not device.accept(command(1, 11, 0.9), 0)
    assert device.dropped_old_epoch == 1
    assert device.next_target(0).tolist() == [0.5, -0.5]
    # a new epoch may begin its count again
    assert device.accept(command(3, 1, 0.7), 0)


def test_repeated_and_older_sequence_is_dropped() -> None:
    device = receiver()
    device.accept(command(0, 5, 0.5), 0)
    assert not device.accept(command(0, 5, 0.9), 0)
    assert not device.accept(command(0, 4, 0.9), 0)
    assert device.dropped_old_sequence == 2
    assert device.accept(command(0, 6, 0.6), 0)


def test_answer_to_an_old_observation_is_dropped() -> None:
    device = receiver()
    assert device.accept(command(0, 1, 0.5, stamp_ns=0), VALID_NS)
    assert not device.accept(command(0, 2, 0.6, stamp_ns=0), VALID_NS + 1)
    assert device.dropped_expired == 1


def test_not_finite_or_short_target_is_dropped() -> None:
    device = receiver()
    assert not device.accept(command(0, 1, math.nan), 0)
    assert not device.accept(command(0, 2, math.inf), 0)
    short = Command(0, 3, 3, 0, VALID_NS, [0.1], [0.0])
    assert not device.accept(short, 0)
    assert device.dropped_not_finite == 3
    assert device.holding


def test_watchdog_keeps_the_last_target_until_a_fresh_command() -> None:
    device = receiver()
    device.accept(command(0, 1, 0.5), 0)
    device.next_target(VALID_NS)
    assert (device.holding, device.watchdog_trips) == (False, 0)
    assert device.next_target(VALID_NS + 1).tolist() == [0.5, -0.5]
    assert (device.holding, device.watchdog_trips) == (True, 1)
    device.next_target(VALID_NS + PERIOD_NS)
    assert device.watchdog_trips == 1
    assert device.accept(command(0, 2, 0.6, stamp_ns=2 * VALID_NS), 2 * VALID_NS)
    assert not device.holding


def test_latency_delays_every_target_by_whole_periods() -> None:
    device = receiver(latency_s=5 * PERIOD_NS * 1e-9)
    seen = []
    for tick in range(12):
        now_ns = tick * PERIOD_NS
        device.accept(command(0, tick + 1, tick + 1.0, stamp_ns=now_ns), now_ns)
        seen.append(float(device.next_target(now_ns)[0]))
    assert seen == [0.0] * 5 + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
