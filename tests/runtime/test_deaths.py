"""A process that dies now and then comes back for ever; one that cannot live does not."""

import time

import pytest

from runtime.companions import DEATHS_MAX, SETTLED_S, Deaths


def test_who_dies_at_once_again_and_again_has_a_cause() -> None:
    deaths = Deaths(0.0)
    assert all(deaths.again(float(at)) for at in range(1, DEATHS_MAX + 1))
    assert not deaths.again(DEATHS_MAX + 1.0)


@pytest.mark.parametrize(("lives_s", "comes_back"), [(SETTLED_S, False), (SETTLED_S + 0.1, True)])
def test_a_day_with_a_death_every_minute(lives_s: float, comes_back: bool) -> None:
    deaths = Deaths(time.monotonic())
    begin_s = deaths.begun_s
    assert all(deaths.again(begin_s + lives_s * at) for at in range(1, 1000)) is comes_back


def test_having_settled_once_forgives_what_was_before() -> None:
    deaths = Deaths(0.0)
    now_s = 0.0
    for _ in range(20):
        for _ in range(DEATHS_MAX - 1):
            now_s += 1.0
            assert deaths.again(now_s)
        now_s += SETTLED_S + 1.0
        assert deaths.again(now_s)
