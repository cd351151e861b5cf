"""The benchmark of the link measures what it says, in short."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import link_latency
from tests.benchmarks.link_latency import Exchanges, measure, row, table


def test_the_ticks_own_time_is_no_part_of_the_links() -> None:
    told = Exchanges("ipc", 300, 150, sequences=[3, 4], link_ns=[90_000, 70_000])
    told.echo_ns = [40_000, 40_000]
    found = row(told, "robot", np.array([0, 0, 0, 50_000, 30_000]))
    assert found["link_us"] == {"p50": 40.0, "p99": 40.0, "p99.9": 40.0, "max": 40.0}
    assert found["ratio"]["p99"] == pytest.approx(1.0)
    assert found["reached"]
    told.link_ns = [150_000, 130_000]
    found = row(told, "robot", np.array([0, 0, 0, 50_000, 30_000]))
    assert found["ratio"]["p50"] == pytest.approx(2.5)
    assert not found["reached"] and "NOT REACHED" in table([found])
    # what waits for a tick of our own clock is shown, not judged
    shown = row(told, "clock", np.array([0, 0, 0, 50_000, 30_000]))
    assert "paced by the clock: shown" in table([shown])


def test_a_tick_whose_time_is_unknown_is_not_passed_over() -> None:
    told = Exchanges("ipc", sequences=[3], link_ns=[90_000], echo_ns=[40_000])
    with pytest.raises(AssertionError, match="own time is missing"):
        row(told, "robot", np.zeros(5, dtype=np.int64))


@pytest.mark.parametrize(
    ("way", "pacing"), [("ipc", "robot"), ("ipc", "clock"), ("tcp+curve", "robot")]
)
def test_each_sample_of_the_link_has_one_of_the_echo(
    way: str, pacing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(link_latency, "WARM_UP", 20)
    found = measure(way, pacing, 30, 4_000_000)
    assert found["samples"] == 30
    assert found["observation_bytes"] > 250 and found["command_bytes"] > 130
    for name, share in found["tick_us"].items():
        assert 0 < share < found["link_us"]["max"] + share, name
        assert found["echo_us"][name] > 0
    json.dumps(found)
