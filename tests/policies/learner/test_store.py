"""Checkpoints on disk: kept states are written once and go when they are thinned, a kill at any
moment leaves a whole checkpoint, and what is read again goes on exactly."""

from pathlib import Path

import pytest

from policies.learner import store
from policies.learner.agent import SavedNetworks
from policies.learner.checkpoint import TrainerState
from policies.learner.setup import Setup
from policies.learner.store import CHECKPOINT, STATES, CheckpointStore
from policies.learner.trainer import Trainer
from policies.lineage import write_whole
from tests.policies.learner.trainer_kit import episodes, run

RUN = "run-1"


class Killed(BaseException):
    """Stands for kill -9: no code of ours sees it."""


def networks(version: int, size: int = 10) -> SavedNetworks:
    return SavedNetworks({"critic": bytes([version]) * size}, version, version)


def state(*versions: int, kept: dict[int, SavedNetworks] | None = None) -> TrainerState:
    found = {version: (kept or {}).get(version) or networks(version) for version in versions}
    return TrainerState(f"trainer at {versions}".encode(), found)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / STATES).iterdir())


def read(folder: Path) -> TrainerState:
    found = CheckpointStore(folder, RUN).read()
    assert found is not None
    assert found.missing == ()
    return found.state


def test_a_kept_state_is_written_once_and_goes_when_it_is_thinned(tmp_path: Path) -> None:
    first = state(1, 2)
    CheckpointStore(tmp_path, RUN).write(first)
    # another process goes on from there
    kept = CheckpointStore(tmp_path, RUN)
    found = kept.read()
    assert found is not None and found.state == first
    before = {path.name: path.stat().st_ino for path in (tmp_path / STATES).iterdir()}
    kept.write(TrainerState(b"next", {**found.state.kept, 3: networks(3)}))
    after = {path.name: path.stat().st_ino for path in (tmp_path / STATES).iterdir()}
    assert before.items() <= after.items()
    assert [name[:6] for name in sorted(after)] == ["000001", "000002", "000003"]
    kept.write(state(1, 3, kept=dict(found.state.kept)))
    assert [name[:6] for name in names(tmp_path)] == ["000001", "000003"]
    assert read(tmp_path) == state(1, 3)


def test_the_checkpoint_names_the_states_and_does_not_hold_them(tmp_path: Path) -> None:
    large = {version: networks(version, 100_000) for version in range(1, 9)}
    CheckpointStore(tmp_path, RUN).write(TrainerState(b"trainer", large))
    assert (tmp_path / CHECKPOINT).stat().st_size < 1000


def test_a_version_that_was_made_again_otherwise_is_another_file(tmp_path: Path) -> None:
    kept = CheckpointStore(tmp_path, RUN)
    kept.write(state(1))
    other = TrainerState(b"again", {1: networks(7)})
    kept.write(other)
    assert read(tmp_path) == other
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", range(5))
def test_killed_at_any_moment_the_checkpoint_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, after: bool
) -> None:
    CheckpointStore(tmp_path, RUN).write(state(1, 2, 3))
    left = [step]

    def may_kill(path: Path, act: object, *words: object) -> None:
        left[0] -= 1
        if left[0] < 0 and not after:
            path.with_name(f".{path.name}.new").write_bytes(b"half of i")
            raise Killed
        assert callable(act)
        act(path, *words)
        if left[0] < 0:
            raise Killed

    whole, unlink = write_whole, Path.unlink
    monkeypatch.setattr(store, "write_whole", lambda path, data: may_kill(path, whole, data))
    monkeypatch.setattr(Path, "unlink", lambda path: may_kill(path, unlink))
    killed = CheckpointStore(tmp_path, RUN)
    before = killed.read()
    assert before is not None
    old, new = before.state, state(1, 4, 5, kept=dict(before.state.kept))
    # two states, the checkpoint, and two that it no longer names
    with pytest.raises(Killed):
        killed.write(new)
    monkeypatch.undo()
    found = read(tmp_path)
    assert found in (old, new)
    assert (found == new) == (step > 2 or (step == 2 and after))
    # and the next one leaves nothing of it behind
    CheckpointStore(tmp_path, RUN).write(new)
    assert [name[:6] for name in names(tmp_path)] == ["000001", "000004", "000005"]


def test_without_room_the_one_before_still_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, old = CheckpointStore(tmp_path, RUN), state(1, 2)
    kept.write(old)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        kept.write(state(2, 3))
    monkeypatch.undo()
    assert read(tmp_path) == old
    kept.write(state(2, 3))
    assert read(tmp_path) == state(2, 3)


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_state_that_is_not_what_was_written_is_left_out_and_said(
    tmp_path: Path, damage: bytes | None
) -> None:
    CheckpointStore(tmp_path, RUN).write(state(1, 2, 3))
    path = tmp_path / STATES / names(tmp_path)[1]
    path.unlink() if damage is None else path.write_bytes(damage)
    found = CheckpointStore(tmp_path, RUN).read()
    assert found is not None
    assert found.missing == (2,)
    assert dict(found.state.kept) == {1: networks(1), 3: networks(3)}


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"\x80"])
def test_none_where_there_is_nothing_to_go_on_from(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / CHECKPOINT).write_bytes(content)
    assert CheckpointStore(tmp_path, RUN).read() is None
    CheckpointStore(tmp_path, "another run").write(state(1))
    assert CheckpointStore(tmp_path, RUN).read() is None


def test_from_the_disk_a_trainer_goes_on_exactly(setup: Setup, tmp_path: Path) -> None:
    rows, cut = episodes(10), 200
    first = Trainer(setup)
    run(first, rows[:cut])
    CheckpointStore(tmp_path, RUN).write(first.state())
    rest = run(first, rows[cut:])
    second = Trainer(setup)
    second.rebuild(rows[:cut])
    second.restore(read(tmp_path))
    assert run(second, rows[cut:]) == rest
    assert second.state() == first.state()
    assert second.state().kept
