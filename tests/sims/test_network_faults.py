"""The bad network does what its block says, as often as it says, and the same again with a seed."""

import numpy as np

from runtime.clock import seconds_to_ns
from sims.bridge_config import DirectionFaults
from sims.bridge_robot import DriftingClock
from sims.network_faults import MAX_FRAMES, Direction

MS = 1_000_000
FRAMES = 2000


def course(faults: DirectionFaults, seed: int = 1) -> tuple[Direction, list[tuple[int, int]]]:
    """Send a frame a millisecond; return what arrives as (number, when in ms)."""
    direction = Direction(faults, seed)
    arrived = []
    for tick in range(FRAMES + 500):
        now_ns = tick * MS
        if tick < FRAMES:
            direction.send((b"x", tick.to_bytes(4, "big")), now_ns)
        arrived += [(int.from_bytes(data, "big"), tick) for _, data in direction.due(now_ns)]
    return direction, arrived


def test_a_clear_network_changes_nothing() -> None:
    _, arrived = course(DirectionFaults())
    assert arrived == [(number, number) for number in range(FRAMES)]


def test_the_same_seed_gives_the_same_course() -> None:
    faults = DirectionFaults(latency_s=0.01, jitter_s=0.02, loss_share=0.1, duplicate_share=0.1)
    assert course(faults)[1] == course(faults)[1]
    assert course(faults)[1] != course(faults, seed=2)[1]


def test_loss_and_doubling_are_as_frequent_as_they_say() -> None:
    direction, arrived = course(DirectionFaults(loss_share=0.2, duplicate_share=0.1))
    numbers = [number for number, _ in arrived]
    lost = FRAMES - len(set(numbers))
    assert lost == direction.counts["lost"]
    assert 0.16 * FRAMES < lost < 0.24 * FRAMES
    doubled = len(numbers) - len(set(numbers))
    assert doubled == direction.counts["doubled"]
    assert 0.07 * FRAMES < doubled / 0.8 < 0.13 * FRAMES


def test_latency_and_jitter_delay_and_do_not_swap() -> None:
    _, arrived = course(DirectionFaults(latency_s=0.02, jitter_s=0.01))
    numbers = [number for number, _ in arrived]
    assert numbers == list(range(FRAMES))
    late = np.array([when - number for number, when in arrived])
    assert late.min() >= 20
    assert 25 <= late.mean() <= 31 and late.max() <= 31


def test_frames_are_swapped_and_none_is_lost() -> None:
    direction, arrived = course(DirectionFaults(reorder_share=0.1, reorder_s=0.005))
    numbers = [number for number, _ in arrived]
    assert sorted(numbers) == list(range(FRAMES))
    held = [number for number, when in arrived if when - number == 5]
    assert len(held) == direction.counts["swapped"]
    assert 0.07 * FRAMES < len(held) < 0.13 * FRAMES
    assert numbers != sorted(numbers)


def test_a_frozen_network_delivers_everything_at_once_afterwards() -> None:
    _, arrived = course(DirectionFaults(freeze_every_s=0.5, freeze_s=0.1))
    assert [number for number, _ in arrived] == list(range(FRAMES))
    during = [when for _, when in arrived if when % 500 >= 400]
    assert not during
    burst = [number for number, when in arrived if when == 500]
    assert burst == list(range(400, 501))


def test_what_is_on_its_way_is_bounded() -> None:
    direction = Direction(DirectionFaults(latency_s=1.0), seed=0)
    for _ in range(MAX_FRAMES + 10):
        direction.send((b"x", b""), 0)
    assert direction.counts["overflowed"] == 10


def test_the_device_clock_drifts_and_never_goes_back() -> None:
    clock = DriftingClock(1000, ppm=100.0)
    assert clock.of(1000) == 1000
    assert clock.of(1000 + seconds_to_ns(10.0)) == 1000 + seconds_to_ns(10.0) + MS
    slow = DriftingClock(0, ppm=-200.0)
    times = [slow.of(now_ns) for now_ns in range(0, 10_000, 7)]
    assert times == sorted(times)
