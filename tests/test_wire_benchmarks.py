"""The benchmarks of the wire: their own numbers, and one short run among hostile clients."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from runtime.messages import SIGNAL_SLOTS, Outcome, Phase, SignalKind
from runtime.records import Record
from runtime.robot_codes import DeviceState
from runtime.robot_wire import (
    Heartbeat,
    Observation,
    decode_from_client,
    decode_from_device,
    encode,
)
from tests.benchmarks import two_networks
from tests.benchmarks.peg_over_zmq import Episode, Side, episodes_of, failures, paired
from tests.benchmarks.socket_fuzz import ANSWERED_SHARE, fuzz
from tests.benchmarks.two_networks import Condition, network
from tests.benchmarks.wire_rig import GROWTH_MAX, Sample, growth, lateness
from tests.wire_frames import in_session

SECONDS = 3.0


@pytest.mark.timeout(240)
def test_hostile_clients_change_nothing(tmp_path: Path) -> None:
    found = fuzz(tmp_path, SECONDS)
    held, cut, counted = found.malformed
    sent, answered = found.answered
    assert not found.died
    assert found.executed.faultless and found.executed.commands > 100, found.text()
    assert 0 < held <= counted <= held + cut
    assert 0 < ANSWERED_SHARE * sent <= answered
    assert found.rogue["malformed"] >= found.told > 0
    # the guest spoke in the daemon's name
    assert found.clients["to the robot: guest"]["sent"] > 100


def test_a_frame_can_be_of_another_session() -> None:
    beat = Heartbeat(session=1, count=2, stamp_ns=3, answers_stamp_ns=4, signals_seen=5)
    seen = decode_from_client(in_session(encode(beat), 99))
    assert isinstance(seen, Heartbeat) and (seen.session, seen.count) == (99, 2)
    told = Observation(
        session=1, sequence=2, stamp_ns=3, answers_stamp_ns=4, state=DeviceState.ARMED, epoch=5,
        executed_count=6, groups=(),
    )  # fmt: skip
    again = decode_from_device(in_session(encode(told), 99))
    assert isinstance(again, Observation) and (again.session, again.sequence) == (99, 2)
    for odd in (b"", b"\xc1", b"\x90", b"\x93\x01"):
        assert isinstance(in_session(odd, 99), bytes)


def samples(memory: list[float], descriptors: int = 5) -> list[Sample]:
    return [Sample(float(at), size, descriptors, 3) for at, size in enumerate(memory)]


def test_growth_begins_after_the_first_quarter() -> None:
    start_up = [50.0] * 10 + [100.0] * 30
    assert growth("x", samples(start_up)).ratio == 1.0
    leaks = [100.0 + at for at in range(40)]
    assert growth("x", samples(leaks)).ratio > GROWTH_MAX
    few, many = samples([100.0] * 30), samples([100.0] * 10, descriptors=9)
    assert growth("x", [*few, *many]).ratio == pytest.approx(9 / 5)
    assert growth("x", samples([1.0])).ratio == 1.0


def test_a_skipped_deadline_is_lateness() -> None:
    stages = np.zeros((5, 6), dtype=np.int64)
    stages[3, 0] = 1_000_000
    columns = {"stage_ns": stages, "missed_ticks": np.array([0, 0, 0, 2, 0])}
    fake = SimpleNamespace(
        header=SimpleNamespace(servo_hz=500.0), column=columns.get, scalar=columns.get
    )
    late = lateness(cast("Record", fake), 0, 5)
    assert (late.ticks, late.missed) == (4, 2)
    assert late.max_ms == pytest.approx(1.0 + 2 * 2.0)


def ticks(count: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    shapes = [
        ("phase", np.int64, 1),
        ("outcome", np.int64, 1),
        ("signal_kind", np.int64, SIGNAL_SLOTS),
        ("signal_target", np.float64, SIGNAL_SLOTS * 2),
        ("authority", np.float64, 3),
    ]
    return np.zeros(count, dtype=[(name, kind, (size,)) for name, kind, size in shapes])


def test_episodes_are_known_by_their_start() -> None:
    rows = ticks(100)
    for at, target in ((5, (1.0, 2.0)), (40, (3.0, 4.0))):
        rows["signal_kind"][at, 1] = SignalKind.RESET_BEGIN
        rows["signal_target"][at, 2:4] = target
    rows["phase"][10:40] = rows["phase"][50:90] = Phase.RUNNING
    # the verdict comes in the same tick as the next reset
    rows["outcome"][40], rows["outcome"][90] = Outcome.SUCCESS, Outcome.ABORT
    rows["authority"][60, 1] = 0.5
    first, second = episodes_of(rows)
    assert first == Episode((1.0, 2.0), True, False, False, 30 / 500)
    assert second == Episode((3.0, 4.0), False, True, True, 40 / 500)


def side(outcomes: list[bool], own: bool = True) -> Side:
    return Side([Episode((float(n),), ok, False, own, 2.0) for n, ok in enumerate(outcomes)])


def test_pairs_are_of_equal_starts_and_judged_by_their_interval() -> None:
    good, bad = [True] * 200, [False] * 20 + [True] * 180
    assert paired("x", side(good), side(good), 200, own=False).reached
    lost = paired("x", side(bad), side(good), 200, own=False)
    assert lost.difference == pytest.approx(-0.1) and not lost.reached
    assert failures([lost], 200) and not failures([paired("x", side(good), side(good), 200,
                                                          own=True)], 200)  # fmt: skip
    fewer = paired("x", side(good[:50]), side(bad), 200, own=False)
    assert fewer.pairs == 50 and (fewer.wire, fewer.process) == (50, 30)
    assert failures([fewer], 200)


@pytest.mark.parametrize(
    ("can", "host", "own"),
    [((), "127.0.0.1", True), (("ip",), "10.213.77.1", True), (("ip", "tc"), "10.213.77.1", False)],
)
def test_the_best_place_for_a_bad_network_is_taken(
    monkeypatch: pytest.MonkeyPatch, can: tuple[str, ...], host: str, own: bool
) -> None:
    ran: list[tuple[str, ...]] = []

    def run(*words: str) -> bool:
        ran.append(words)
        return words[0] in can

    monkeypatch.setattr(two_networks, "_ran", run)
    with network(Condition(0.05, 0.02)) as net:
        assert net.host == host
        assert bool(net.faults) is own
        assert bool(net.robot) is bool(can)
    if "tc" in can:
        assert any(words[-4:] == ("delay", "20ms", "loss", "5%") for words in ran)
    assert [words[2] for words in ran[-2:]] == ["del", "del"]
