"""The lineage on disk: whole or not at all, and always something good to go back to."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from policies.lineage import VERDICTS, Entry, Lineage, snapshot_name, write_whole
from runtime.snapshot import Snapshot, SnapshotParity, encode_snapshot, sealed
from tests.daemon_kit import ROOT


def snapshot(version: int) -> Snapshot:
    parity = SnapshotParity([], [], [])
    return sealed(Snapshot(version, 0, "c", [], [], [], [], [], 0, 0, 0, 0.0, 1.0, parity))


def promote(lineage: Lineage, version: int) -> Snapshot:
    made = snapshot(version)
    lineage.keep(made, encode_snapshot(made))
    lineage.add(Entry("verdict", "t", "run", version, digest=made.digest, passed=True))
    return made


def test_the_last_good_one_is_the_newest_that_nobody_refused(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path / "lineage")
    assert lineage.last_good() is None and lineage.newest_version() == 0
    first, second = promote(lineage, 1), promote(lineage, 2)
    lineage.add(Entry("verdict", "t", "run", 3, digest="x", reasons=["finite: no"]))
    kept = lineage.last_good()
    assert kept is not None
    assert (kept.snapshot, kept.data) == (second, encode_snapshot(second))
    lineage.add(Entry("taken", "t", "run", 2, reasons=["too wild"]))
    back = lineage.last_good()
    assert back is not None and back.snapshot == first
    assert lineage.newest_version() == 3


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path)
    first, second = promote(lineage, 1), promote(lineage, 2)
    path = tmp_path / snapshot_name(second)
    path.write_bytes(encode_snapshot(first))
    kept = lineage.last_good()
    assert kept is not None and kept.snapshot == first
    path.unlink()
    kept = lineage.last_good()
    assert kept is not None and kept.snapshot == first


def test_a_line_that_was_cut_off_hides_no_other(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path)
    promote(lineage, 1)
    with (tmp_path / VERDICTS).open("ab") as file:
        file.write(b'{"what":"verd')
    promote(lineage, 2)
    assert [entry.version for entry in lineage.entries()] == [1, 2]


def test_on_a_full_disk_the_old_stays_whole(tmp_path: Path) -> None:
    """The size limit of a process stands for the full disk: a write fails half way."""
    file = tmp_path / "state"
    write_whole(file, b"old")
    script = (
        "import sys; from pathlib import Path; from policies.lineage import *\n"
        "lineage = Lineage(Path(sys.argv[1]))\n"
        "for action in (lambda: write_whole(lineage.folder / 'state', b'x' * 9000),\n"
        "               lambda: lineage.add(Entry('verdict', 't', 'r' * 9000, 7))):\n"
        "    try:\n"
        "        action()\n"
        "    except OSError as error:\n"
        "        print('refused', error.errno)\n"
    )
    Lineage(tmp_path).add(Entry("verdict", "t", "run", 1))
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert done.stdout.count("refused") == 2, done
    assert file.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state", VERDICTS]
    assert [entry.version for entry in Lineage(tmp_path).entries()] == [1]
    Lineage(tmp_path).add(Entry("verdict", "t", "run", 2))
    assert [entry.version for entry in Lineage(tmp_path).entries()] == [1, 2]


def test_an_earlier_lineage_is_set_aside_whole(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path / "lineage")
    assert lineage.set_aside("run-1") is None
    made = promote(lineage, 4)
    aside = lineage.set_aside("run-1")
    assert aside == tmp_path / "lineage-before-run-1"
    kept = Lineage(aside).last_good()
    assert kept is not None and kept.snapshot == made
    assert lineage.newest_version() == 0


@pytest.mark.parametrize("data", [b"", b"\x00" * 10])
def test_unreadable_lines_are_no_lines(tmp_path: Path, data: bytes) -> None:
    (tmp_path / VERDICTS).write_bytes(data)
    assert Lineage(tmp_path).entries() == []


# -- after a way back ---------------------------------------------------------------------------


def go_back(lineage: Lineage, version: int, undone: int) -> None:
    lineage.add(Entry("rollback", "t", "run", version, parent=undone, reasons=["success fell"]))


def last_version(lineage: Lineage) -> int:
    kept = Lineage(lineage.folder).last_good()
    return 0 if kept is None else kept.snapshot.version


def test_what_was_undone_is_not_good_until_something_newer_passes(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path)
    for version in (1, 2, 3):
        promote(lineage, version)
    go_back(lineage, 1, 3)
    assert last_version(lineage) == 1
    promote(lineage, 4)
    assert last_version(lineage) == 4
    go_back(lineage, 0, 4)
    assert last_version(lineage) == 0


def test_what_a_person_pinned_is_good_though_it_was_undone(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path)
    for version in (1, 2, 3):
        promote(lineage, version)
    go_back(lineage, 1, 3)
    go_back(lineage, 3, 1)
    assert last_version(lineage) == 3


def test_where_what_is_live_is_damaged_nothing_undone_takes_its_place(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path)
    made = [promote(lineage, version) for version in (1, 2, 3, 4)]
    go_back(lineage, 2, 4)
    made.append(promote(lineage, 5))
    go_back(lineage, 5, 5)
    (tmp_path / snapshot_name(made[4])).unlink()
    assert last_version(lineage) == 2
    (tmp_path / snapshot_name(made[1])).write_bytes(b"torn")
    assert last_version(lineage) == 1


def test_a_version_is_found_by_its_number_while_it_is_whole(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path)
    assert lineage.digest(1) == "" and lineage.kept(1) is None
    first = promote(lineage, 1)
    lineage.add(Entry("verdict", "t", "run", 2, digest="x", reasons=["finite: no"]))
    assert lineage.digest(1) == first.digest
    kept = lineage.kept(1)
    assert kept is not None and kept.snapshot == first
    assert lineage.digest(2) == "" and lineage.kept(2) is None
    (tmp_path / snapshot_name(first)).unlink()
    assert lineage.digest(1) == first.digest and lineage.kept(1) is None
