"""The learner as a real process: killed at any moment it goes on exactly where it was."""

import signal
from pathlib import Path

import msgspec
import pytest

from policies.learner.store import CHECKPOINT
from runtime.events import Event, EventKind
from runtime.record_format import RecorderPlace
from runtime.snapshot import decode_snapshot
from runtime.wire import Rollback
from tests.learning_kit import QUICK_LEARNER, gate_end, learner_process, player
from tests.policies.gate_kit import Worked, work

EPISODES = 6
LINEAGE = "lineage"
KILLED_AT = (0.6, 0.8)
BACK_AT, TRIAL = 0.7, 2


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Worked:
    """A run of the base, into which control's word about a rollback was written."""
    found = work(tmp_path_factory.mktemp("worked"), QUICK_LEARNER, EPISODES)
    assert found.sink.layout is not None
    tick = round(BACK_AT * len(found.sink.raw) / found.sink.layout.size_bytes)
    said = msgspec.json.encode(Rollback(1, 2, TRIAL, "success fell")).decode()
    found.sink.events.append(Event(tick, 0, EventKind.ROLLBACK, said))
    found.sink.events.sort(key=lambda event: event.tick)
    return found


def place_in(folder: Path) -> RecorderPlace:
    sockets = folder / "s"
    sockets.mkdir(parents=True)
    return RecorderPlace("kit", folder / "records" / "kit", sockets)


def digests(worked: Worked, folder: Path, kills: int) -> dict[int, set[tuple[int, str]]]:
    """Play the run to a learner that is killed so often; return trials and digests by version."""
    place, lineage = place_in(folder), folder / LINEAGE
    assert worked.sink.layout is not None
    steps = worked.sink.layout.read(memoryview(worked.sink.raw))["base_sequence"][-1, 0]
    last = int(steps) // 5 * 5
    with player(place, worked) as playing, gate_end(place) as gate:
        for kill in range(kills):
            before = len(gate.candidates)

            def offered_since(before: int = before) -> bool:
                return (lineage / CHECKPOINT).exists() and len(gate.candidates) > before

            with learner_process(place, lineage) as learner:
                playing.play(round(playing.ticks * KILLED_AT[kill]))
                gate.listen_until(offered_since)
                learner.send_signal(signal.SIGKILL)
                learner.wait()
        with learner_process(place, lineage) as learner:
            playing.play()
            gate.listen_until(lambda: gate.progress.steps >= last)
            learner.send_signal(signal.SIGTERM)
            assert learner.wait(20.0) == 0
        if kills:
            assert any("the learner is back" in text for text in gate.texts)
    found: dict[int, set[tuple[int, str]]] = {}
    for candidate in gate.candidates:
        snapshot = decode_snapshot(candidate.snapshot)
        found.setdefault(snapshot.version, set()).add((candidate.trial, snapshot.digest))
    return found


def test_killed_twice_it_offers_exactly_what_it_would_have(worked: Worked, tmp_path: Path) -> None:
    undisturbed = digests(worked, tmp_path / "a", kills=0)
    assert len(undisturbed) >= 5
    assert all(len(of_version) == 1 for of_version in undisturbed.values())
    assert {trial for said in undisturbed.values() for trial, _ in said} == {0, TRIAL}
    assert digests(worked, tmp_path / "b", kills=2) == undisturbed


def test_without_room_for_checkpoints_it_says_so_and_learns_on(
    worked: Worked, tmp_path: Path
) -> None:
    place, lineage = place_in(tmp_path / "c"), tmp_path / "c" / LINEAGE
    # a file where the folder should be: nothing can be written there
    lineage.write_text("in the way")
    learning = learner_process(place, lineage)
    with player(place, worked) as playing, gate_end(place) as gate, learning as learner:
        playing.play()
        gate.listen_until(lambda: any("no checkpoint" in text for text in gate.texts))
        before = len(gate.candidates)
        gate.listen_until(lambda: len(gate.candidates) > before)
        assert learner.poll() is None
