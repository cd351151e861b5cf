"""What was earned, on disk: found again by the same snapshot in the same place, and by no other."""

from pathlib import Path

import msgspec
import pytest

from policies.governor_record import Earned
from policies.lineage import Kept
from runtime.gate_trust import EARNED as FILE
from runtime.gate_trust import Home, earned_before
from runtime.gate_wire import Beat
from runtime.messages import Stage
from runtime.snapshot import Snapshot, SnapshotParity
from tests.runtime.trust_kit import (
    EARNED,
    FELL,
    INTERFACE,
    LIVE,
    PLACE,
    RUN,
    Story,
    adaptive,
    granted,
    make_trust,
    tell,
)


def kept(digest: str) -> Kept:
    parity = SnapshotParity([], [], [])
    bare = Snapshot(LIVE, 0, "c", [], [], [], [], [], 0, 0, 0, 0.0, 1.0, parity, digest=digest)
    return Kept(bare, b"")


def test_what_was_earned_is_kept_and_found_again(tmp_path: Path) -> None:
    trust, _ = adaptive(tmp_path)
    trust.keep()
    found = earned_before(Home(PLACE, INTERFACE, tmp_path, RUN), kept("digest-7"))
    assert found == EARNED
    again = make_trust(tmp_path, earned=found, live=LIVE)
    again.meet(Beat())
    assert granted(again).stage is Stage.ADAPTIVE
    again.keep()
    assert (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("home", "digest"),
    [
        (Home("robot/elsewhere", INTERFACE, Path(), RUN), "digest-7"),
        (Home(PLACE, "another base", Path(), RUN), "digest-7"),
        (Home(PLACE, INTERFACE, Path(), RUN), "digest-8"),
    ],
)
def test_it_is_worth_nothing_elsewhere(tmp_path: Path, home: Home, digest: str) -> None:
    (tmp_path / FILE).write_bytes(msgspec.json.encode(EARNED))
    assert earned_before(Home(home.place, home.interface, tmp_path, RUN), kept(digest)) is None


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\x00", msgspec.json.encode(EARNED)[:-9], b"[]"])
def test_a_file_that_cannot_be_read_is_worth_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE).write_bytes(data)
    assert earned_before(Home(PLACE, INTERFACE, tmp_path, RUN), kept("digest-7")) is None


def test_without_file_or_snapshot_nothing_was_earned(tmp_path: Path) -> None:
    assert earned_before(Home(PLACE, INTERFACE, tmp_path, RUN), kept("digest-7")) is None
    (tmp_path / FILE).mkdir()
    assert earned_before(Home(PLACE, INTERFACE, tmp_path, RUN), kept("digest-7")) is None
    assert earned_before(Home(PLACE, INTERFACE, tmp_path, RUN), None) is None


def test_on_a_full_disk_it_says_so_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in the way"
    folder.write_text("a file")
    trust, _ = adaptive(folder)
    trust.keep()
    trust.keep()
    said = capsys.readouterr().err
    assert said.count("earned.json cannot be written") == 1 and "earned again" in said
    assert granted(trust).stage is Stage.ADAPTIVE


def test_what_was_taken_away_is_no_longer_found(tmp_path: Path) -> None:
    trust, story = adaptive(tmp_path)
    trust.keep()
    assert (tmp_path / FILE).exists()
    story.row(faults=FELL)
    tell(trust, story)
    # at once: the gate may be killed before it comes to anything else
    assert not (tmp_path / FILE).exists()
    trust.keep()
    assert not (tmp_path / FILE).exists()


def test_what_cannot_be_removed_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trust, story = adaptive(tmp_path)
    (tmp_path / FILE).mkdir()
    story.row(faults=FELL)
    tell(trust, story)
    assert "cannot be removed" in capsys.readouterr().err
    assert granted(trust).authority == [0.0] * 4


def test_only_shown_it_earns_nothing_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(msgspec.json.encode(EARNED))
    trust = make_trust(tmp_path, learner=False, shadow_only=True, earned=EARNED, live=LIVE)
    trust.meet(Beat())
    story = Story()
    story.episodes("+-+-")
    tell(trust, story)
    trust.keep()
    assert granted(trust).stage is Stage.SHADOW
    assert msgspec.json.decode((tmp_path / FILE).read_bytes(), type=Earned) == EARNED
