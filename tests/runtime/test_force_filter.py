"""The contact force's low-pass: exact, never above what was measured, and as late as it says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.force_filter import ForceFilter, ForceState

CUTOFF_HZ = 20.0
TICK_NS = 2_000_000
START_NS = 5_000_000_000


def started(at: float = 0.0) -> ForceFilter:
    filtered = ForceFilter("force", CUTOFF_HZ)
    assert filtered.step([at, 0.0, 0.0], START_NS) == at
    return filtered


def test_the_first_sample_counts_as_it_is() -> None:
    assert ForceFilter("force", CUTOFF_HZ).step([3.0, 4.0, 12.0], START_NS) == 13.0


def test_a_step_follows_the_exponential_whatever_lies_between_two_looks() -> None:
    for ticks in ([1] * 10, [10], [3, 1, 6]):
        filtered, now_ns = started(), START_NS
        for count in ticks:
            now_ns += count * TICK_NS
            found = filtered.step([100.0, 0.0, 0.0], now_ns)
        exact = 100.0 * (1.0 - math.exp(-2.0 * math.pi * CUTOFF_HZ * 0.02))
        assert found == pytest.approx(exact, rel=1e-12)


def test_a_growing_force_is_followed_as_late_as_it_says() -> None:
    filtered, tick_ns, slope = started(), 100_000, 1000.0
    for tick in range(1, 5000):
        found = filtered.step([slope * tick * tick_ns * 1e-9, 0.0, 0.0], START_NS + tick * tick_ns)
    late_s = tick * tick_ns * 1e-9 - found / slope
    assert filtered.delay_s == pytest.approx(1.0 / (2.0 * math.pi * CUTOFF_HZ))
    # a held sample is half a tick younger on average than the ramp that it stands for
    assert late_s == pytest.approx(filtered.delay_s - 0.5 * tick_ns * 1e-9, rel=1e-4)


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=30))
def test_it_never_overshoots(samples: list[tuple[float, float, float]]) -> None:
    filtered = ForceFilter("force", CUTOFF_HZ)
    largest = max(math.hypot(*sample) for sample in samples)
    for tick, sample in enumerate(samples):
        assert filtered.step(sample, START_NS + tick * TICK_NS) <= largest * (1.0 + 1e-9)


def test_a_force_that_stays_is_reached() -> None:
    filtered = started()
    for tick in range(1, 200):
        found = filtered.step([60.0, 0.0, 80.0], START_NS + tick * TICK_NS)
    assert found == pytest.approx(100.0, rel=1e-6)


def test_a_vector_is_filtered_not_its_length() -> None:
    filtered = started(30.0)
    for tick in range(1, 500):
        found = filtered.step([30.0 if tick % 2 else -30.0, 0.0, 0.0], START_NS + tick * TICK_NS)
    assert 3.0 < found < 4.0


def test_its_memory_is_all_in_its_state() -> None:
    first, second = started(7.0), ForceFilter("force", CUTOFF_HZ)
    second.state = ForceState(list(first.state.force_n), first.state.looked_ns)
    later = START_NS + TICK_NS
    assert second.step([9.0, 1.0, 0.0], later) == first.step([9.0, 1.0, 0.0], later)
