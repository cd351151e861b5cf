"""Evidence over the death of a gate: the next one of the same run goes on where it was."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.gate_trust import EVIDENCE, Trust
from runtime.gate_wire import Beat, Grant
from runtime.messages import Stage
from runtime.wire import Order, OrderKind, Rollback
from tests.policies.governor_kit import CONFIG
from tests.runtime.trust_kit import FELL, LIVE, Story, adaptive, earn, granted, make_trust, tell

GOOD = 5
# what is live before the roll-back, and after it
ROLLED_AT = 6
DAY: tuple[Callable[[Story], None], ...] = (
    lambda story: story.episodes("+---"),
    lambda story: story.episodes("+-+-", own=True, version=GOOD),
    lambda story: story.episodes("+++++", own=True, version=GOOD),
    lambda story: story.episodes("-"),
    lambda story: story.episodes("++", own=True),
    lambda story: story.row(faults=FELL),
    lambda story: story.say(Rollback(GOOD, LIVE, 2, "SUCCESS_FELL")),
    lambda story: story.episodes("-+", version=GOOD),
    lambda story: story.episodes("+-", own=True, version=GOOD),
    lambda story: story.say(Order(OrderKind.SHADOW, "anna")),
    lambda story: story.episodes("--"),
    lambda story: story.say(Order(OrderKind.RESUME, "ben")),
    lambda story: story.episodes("-+"),
)


def live_day(folder: Path, deaths: set[int]) -> list[Grant]:
    """Return what is granted after each piece of a day; a gate dies after those in `deaths`."""
    story, trust, found = Story(), make_trust(folder, lag=None), []
    trust.promoted(LIVE, 0)
    for at, piece in enumerate(DAY):
        piece(story)
        story.row()
        tell(trust, story)
        asked = trust.due_return()
        assert (asked.version if asked else 0) == (GOOD if at == ROLLED_AT - 1 else 0)
        trust.keep()
        if at in deaths:
            rolled, trial = at >= ROLLED_AT - 1, granted(trust).trial
            trust = make_trust(folder, lag=None, live=GOOD if rolled else LIVE)
            version = GOOD if at >= ROLLED_AT else LIVE
            trust.meet(Beat(0, version, trial, 2 if rolled else 0))
            trust.promoted(GOOD if at >= ROLLED_AT else LIVE, 0)
        found.append(granted(trust))
    return found


@cache
def day_without_deaths() -> list[Grant]:
    with TemporaryDirectory() as folder:
        return live_day(Path(folder), set())


@settings(max_examples=20)
@given(st.sets(st.integers(0, len(DAY) - 1), max_size=6))
def test_a_gate_that_dies_changes_nothing_that_is_granted(deaths: set[int]) -> None:
    with TemporaryDirectory() as folder:
        assert live_day(Path(folder), deaths) == day_without_deaths()


def test_the_day_goes_all_the_way_up_and_down(tmp_path: Path) -> None:
    stages = [grant.stage for grant in live_day(tmp_path, set())]
    assert set(stages) == {Stage.EXPLORE, Stage.SHADOW, Stage.ADAPTIVE}


def begun_again(folder: Path, control: Beat, *, live: int = LIVE) -> Trust:
    trust = make_trust(folder, lag=None, live=live)
    trust.meet(control)
    return trust


def test_what_nobody_wrote_down_is_not_believed(tmp_path: Path) -> None:
    trust, _ = adaptive(tmp_path)
    trust.keep()
    trial = granted(trust).trial
    same = begun_again(tmp_path, Beat(90, LIVE, trial))
    assert granted(same).stage is Stage.ADAPTIVE
    # the gate had granted a newer trial than it wrote down: it died between the two
    later = begun_again(tmp_path, Beat(90, LIVE, trial + 1))
    assert (granted(later).stage, granted(later).trial) == (Stage.SHADOW, trial + 2)
    assert granted(later).authority == [0.0] * 4


def test_of_another_run_it_is_worth_nothing(tmp_path: Path) -> None:
    trust, _ = adaptive(tmp_path)
    trust.keep()
    file = tmp_path / EVIDENCE
    diary = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode(diary | {"run": "another"}))
    assert granted(begun_again(tmp_path, Beat(90, LIVE, 1))).stage is Stage.OBSERVE


def test_a_new_control_of_the_same_name_begins_at_nothing(tmp_path: Path) -> None:
    trust, _ = adaptive(tmp_path)
    trust.keep()
    assert granted(begun_again(tmp_path, Beat())).stage is Stage.OBSERVE


@pytest.mark.parametrize("data", [b"", b"\xff\x00", b"{}", b'{"run": "run-1"}', b"[]"])
def test_what_cannot_be_read_is_worth_nothing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / EVIDENCE).write_bytes(data)
    grant = granted(begun_again(tmp_path, Beat(90, LIVE, 3)))
    assert (grant.stage, grant.trial) == (Stage.OBSERVE, 4)


def test_a_wait_for_a_person_outlives_the_gate(tmp_path: Path) -> None:
    trust, story = make_trust(tmp_path, lag=None), Story()
    trust.promoted(LIVE, 0)
    earn(story)
    for _ in range(CONFIG.rollbacks_max + 1):
        story.row(faults=FELL)
        story.episodes("---")
        story.episodes("-", own=True)
    tell(trust, story)
    trust.keep()
    assert granted(trust).why.endswith("a person decides")
    again = begun_again(tmp_path, Beat(90, LIVE, granted(trust).trial))
    story.episodes("-" * 10)
    tell(again, story)
    assert (granted(again).stage, granted(again).authority) == (Stage.SHADOW, [0.0] * 4)


def test_what_control_has_gone_back_to_is_not_waited_for(tmp_path: Path) -> None:
    trust, story = adaptive(tmp_path)
    # what acted half a window ago has done well since: that is version 7; then 8 fails
    trust.promoted(8, 0)
    story.episodes("+", own=True, version=8)
    story.row(faults=FELL)
    tell(trust, story)
    asked = trust.due_return()
    assert asked is not None and asked.version == LIVE
    trust.keep()
    trial = granted(trust).trial
    again = begun_again(tmp_path, Beat(90, LIVE, trial, rolled=trial))
    assert again.governor.returning is None
    # one that has not heard of it is asked once more
    other = begun_again(tmp_path, Beat(90, 8, trial, rolled=0))
    repeated = other.due_return()
    assert repeated is not None and repeated.version == LIVE
    assert granted(other).trial == trial
