"""An honest policy leaves the envelope silent."""

from tests.benchmarks.base_success import measure


def test_in_nominal_hardly_any_tick_is_limited() -> None:
    success = measure("nominal", episodes=6, seed=21)
    assert success.episodes == 6
    assert success.silent >= 0.99
    assert success.silent_in_episodes >= 0.99
    assert success.share >= 0.5
