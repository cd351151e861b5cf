"""Retention: the budget holds, flagged segments go last, the open one never."""

import os
from pathlib import Path

import pytest

from runtime.retention import apply_retention, find_segments, flagged_path


def make(folder: Path, name: str, age: int, size: int = 100) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, ns=(10**18 - age, 10**18 - age))
    return path


@pytest.fixture
def records(tmp_path: Path) -> Path:
    make(tmp_path, "run-a/0000.flagged.mcap", age=50)
    make(tmp_path, "run-a/0001.mcap", age=40)
    make(tmp_path, "run-b/0000.mcap", age=30)
    make(tmp_path, "run-b/0001.flagged.mcap", age=20)
    make(tmp_path, "run-c/0000.mcap", age=10)
    (tmp_path / "run-b" / "note.txt").write_text("a person's own file")
    return tmp_path


def names(records: Path) -> list[str]:
    return [f"{s.path.parent.name}/{s.path.name}" for s in find_segments(records)]


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        (500, 5),
        (499, 4),
        (300, 3),
        (200, 2),
        (100, 1),
        (0, 1),
    ],
)
def test_unflagged_go_first_then_flagged_each_oldest_first(
    records: Path, budget: int, left: int
) -> None:
    order = ["run-a/0001.mcap", "run-b/0000.mcap", "run-a/0000.flagged.mcap",
             "run-b/0001.flagged.mcap"]  # fmt: skip
    deleted = apply_retention(records, budget, keep=records / "run-c" / "0000.mcap")
    assert [f"{s.path.parent.name}/{s.path.name}" for s in deleted] == order[: 5 - left]
    assert len(names(records)) == left
    assert "run-c/0000.mcap" in names(records)


def test_empty_run_folders_go_but_nothing_of_a_persons(records: Path) -> None:
    apply_retention(records, 0, keep=records / "run-c" / "0000.mcap")
    assert sorted(path.name for path in records.iterdir()) == ["run-b", "run-c"]
    assert (records / "run-b" / "note.txt").exists()


def test_flagged_name() -> None:
    path = Path("run/0003.mcap")
    assert flagged_path(path) == Path("run/0003.flagged.mcap")
    assert flagged_path(flagged_path(path)) == flagged_path(path)
