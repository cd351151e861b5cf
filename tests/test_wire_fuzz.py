"""The fuzzer of the robot protocol, in short, and the frames that once found something."""

import pytest

from runtime.robot_wire import WireFault
from tests.benchmarks import wire_fuzz
from tests.benchmarks.wire_fuzz import PASSED_SHARE, fuzz, one
from tests.wire_frames import READERS, Frames, Kept, corpus

FRAMES = 5000


@pytest.mark.parametrize("to", READERS)
def test_hostile_frames_do_nothing(to: str) -> None:
    ways: dict[str, Kept] = {}
    told = fuzz(to, FRAMES, seed=1, ways=ways)
    assert told.escaped == []
    assert told.frames == sum(told.fates.values()) == FRAMES
    assert told.passed_share >= PASSED_SHARE
    assert set(told.fates) == {"message", *(fault.name for fault in WireFault)}
    assert len(ways) > 50


@pytest.mark.parametrize("to", READERS)
def test_kept_frames_end_as_they_did(to: str) -> None:
    kept = [each for each in corpus() if each.to == to]
    assert kept
    assert [one(to, each.data)[0] for each in kept] == [each.became for each in kept]


def test_the_fuzzer_sees_what_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(data: bytes) -> object:
        return wire_fuzz._DECODERS["client"](data[: data.index(b"\xc1")])

    monkeypatch.setitem(wire_fuzz._DECODERS, "device", careless)
    told = fuzz("device", 100, seed=1, ways={})
    assert told.escaped
    assert any("escaped" in words or "raised" in words for words in told.failures())


def test_a_seed_means_the_same_frames() -> None:
    assert Frames("device", 3).batch(50) == Frames("device", 3).batch(50)
    assert Frames("device", 3).batch(50) != Frames("device", 4).batch(50)
