"""Trust: what the governor hears of the record and when, what it grants, what was earned."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.governor_record import Return, successes
from runtime.faults import Fault
from runtime.gate_trust import Home, Trust
from runtime.gate_wire import Beat, Grant, Progress, References
from runtime.messages import Outcome, Stage
from runtime.wire import Correction, Order, OrderKind, Rollback
from tests.runtime.trust_kit import (
    EARNED,
    FELL,
    INTERFACE,
    LAG,
    LIVE,
    PLACE,
    RUN,
    Office,
    Story,
    Telling,
    adaptive,
    digest_of,
    earn,
    granted,
    make_experience,
    make_trust,
    tell,
)

# -- in lockstep --------------------------------------------------------------------------------


def eventful() -> Story:
    """Everything that moves trust: episodes, faults, a correction, people, a way back."""
    story = Story()
    earn(story)
    story.episodes("+++", own=True)
    story.row(faults=FELL)
    story.say(Order(OrderKind.PIN, "anna", 99))
    story.row(faults=FELL | 1 << Fault.GATE_LOST)
    story.say(Rollback(5, LIVE, 2, "SUCCESS_FELL"))
    story.episodes("--?", version=5)
    story.say(Correction(16, Outcome.SUCCESS.name, "ben"))
    story.episodes("++-", own=True, version=5)
    story.say(Order(OrderKind.RESUME, "anna"))
    story.row(faults=FELL)
    story.row()
    story.episodes("-+")
    return story


EVENTFUL = eventful()
PROMOTED = {6: 5, 20: LIVE}


def told(story: Story, cuts: list[int], lates: list[int], folder: Path) -> list[Grant]:
    """Return all grants of a story that comes in batches, with a learner that comes late."""
    office = Office(make_trust(folder), PROMOTED)
    behind = iter([*lates, *[0] * len(cuts), 0])
    office.play(story, cuts, lambda: next(behind))
    return office.granted


WHOLE = EVENTFUL.rows()
places = st.lists(st.integers(1, len(WHOLE) - 1), max_size=12, unique=True)


@cache
def tick_by_tick() -> list[Grant]:
    return told(EVENTFUL, list(range(1, len(WHOLE))), [], Path("/nonexistent"))


@settings(max_examples=30)
@given(places, st.lists(st.integers(0, 3), max_size=6))
def test_the_batches_and_a_late_learner_make_no_difference(
    cuts: list[int], lates: list[int]
) -> None:
    assert told(EVENTFUL, cuts, lates, Path("/nonexistent")) == tick_by_tick()


def test_the_story_goes_all_the_way_up() -> None:
    stages = {grant.stage for grant in tick_by_tick()}
    assert stages == {Stage.EXPLORE, Stage.SHADOW, Stage.ADAPTIVE}


def test_what_is_granted_holds_so_many_steps_later_and_in_order(tmp_path: Path) -> None:
    grants = told(EVENTFUL, [], [], tmp_path)
    steps = [grant.at_step for grant in grants]
    assert steps == sorted(steps)
    # the fourth base episode ends in the row after its last step, and the next step follows
    explore = next(grant for grant in grants if grant.stage is Stage.EXPLORE)
    assert explore.at_step == 4 * 3 + 1 + LAG
    trials = [grant.trial for grant in grants]
    assert trials == sorted(trials) and trials[-1] == 3


def test_nothing_beyond_the_learners_step_is_heard(tmp_path: Path) -> None:
    governor = Telling()
    home = Home(PLACE, INTERFACE, tmp_path, RUN)
    trust = Trust(governor, make_experience(), home, LAG, digest_of)
    story = Story()
    story.episodes("+-")
    trust.take(story.rows(), [])
    assert governor.told == []
    trust.advance(1)
    assert governor.told == []
    trust.advance(3)
    assert governor.told == ["step 1", "step 2"]
    trust.advance(4)
    assert governor.told == ["step 1", "step 2", "step 3", "episode 1"]


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_faults_are_heard_as_they_begin_among_the_episodes(tmp_path: Path, batch: int) -> None:
    governor = Telling()
    home = Home(PLACE, INTERFACE, tmp_path, RUN)
    trust = Trust(governor, make_experience(), home, LAG, digest_of)
    story = Story()
    story.episodes("+")
    story.row(faults=FELL)
    story.row(faults=FELL)
    story.row(faults=FELL | 1)
    story.episodes("-")
    rows = story.rows()
    for at in range(0, len(rows), batch):
        trust.take(rows[at : at + batch], [])
    trust.advance(None)
    steps = [f"step {number}" for number in (1, 2, 3)]
    assert governor.told[:4] == [*steps, "episode 1"]
    assert governor.told[4:8] == [f"faults {FELL}", f"faults {FELL | 1}", "step 4", "faults 0"]


def test_in_real_time_it_holds_at_once(tmp_path: Path) -> None:
    trust, _ = adaptive(tmp_path, lag=None)
    assert {grant.at_step for grant in trust.grants()} == {0}
    assert granted(trust).stage is Stage.ADAPTIVE


def test_without_a_learner_nobody_explores_for_it(tmp_path: Path) -> None:
    trust, _ = adaptive(tmp_path, lag=LAG)
    before = granted(trust)
    lost = trust.grant(learner_lost=True)
    assert lost.noise_share == 0.0 < before.noise_share
    assert (lost.stage, lost.at_step) == (before.stage, before.at_step)


def test_what_the_learner_measures_reaches_the_tick(tmp_path: Path) -> None:
    trust = make_trust(tmp_path)
    trust.progress(Progress(9, 1, critic_gap=0.4, update_ratio=1.5))
    news = [(grant.references, grant.at_step) for grant in trust.grants()]
    assert news == [(References(critic_gap=0.4, update_ratio=1.5), 9 + LAG)]
    assert list(trust.grants()) == []


# -- people -------------------------------------------------------------------------------------


def test_a_pin_of_what_never_passed_is_told_and_changes_nothing(tmp_path: Path) -> None:
    trust, story = adaptive(tmp_path)
    before = granted(trust)
    story.say(Order(OrderKind.PIN, "anna", 99))
    story.row()
    tell(trust, story)
    assert len(trust.said) == 1
    assert "pin 99 (anna)" in trust.said[0] and "history" in trust.said[0]
    assert granted(trust) == before
    assert trust.due_return() is None and trust.objection(9) == ""


def test_a_pin_brings_its_version_back_and_lets_nothing_else_pass(tmp_path: Path) -> None:
    trust, story = adaptive(tmp_path)
    story.say(Order(OrderKind.PIN, "anna", 5))
    story.row()
    tell(trust, story)
    assert trust.due_return() == Return(5, "anna says pin 5")
    assert trust.objection(9).startswith("pin: ") and "version 5" in trust.objection(9)
    assert granted(trust).authority == [0.0] * 4
    story.say(Order(OrderKind.RESUME, "ben"))
    story.row()
    tell(trust, story)
    assert trust.objection(9) == ""


def test_a_correction_counts_and_what_nobody_understands_does_not(tmp_path: Path) -> None:
    trust, story = make_trust(tmp_path), Story()
    story.episodes("+--")
    story.say("no correction")
    story.say(Correction(1, "WONDERFUL", "anna"))
    story.say(Correction(77, "SUCCESS", "anna"))
    story.row()
    tell(trust, story)
    assert successes(trust.governor.course.base) == 1
    story.say(Correction(2, "SUCCESS", "anna"))
    story.row()
    tell(trust, story)
    assert successes(trust.governor.course.base) == 2


# -- the way back -------------------------------------------------------------------------------


def undone(folder: Path) -> tuple[Trust, Story]:
    """Return a trust whose 8 was dropped by the tick, with 7 good before."""
    trust, story = adaptive(folder)
    story.episodes("+" * 8, own=True)
    tell(trust, story)
    trust.promoted(8, 100)
    story.row(faults=FELL)
    tell(trust, story)
    return trust, story


def test_what_is_undone_goes_back_once_for_each_trial(tmp_path: Path) -> None:
    trust, story = undone(tmp_path)
    assert trust.due_return() == Return(LIVE, "SUCCESS_FELL")
    assert trust.due_return() is None
    assert trust.objection(1).startswith("rollback: ")
    assert trust.objection(2) == ""
    # somebody asks before it is live: asked again, as evidence begins anew
    story.say(Order(OrderKind.RESUME, "anna"))
    story.row()
    tell(trust, story)
    assert trust.due_return() == Return(LIVE, "SUCCESS_FELL")
    assert trust.objection(2).startswith("rollback: ")


def test_it_moves_nothing_until_the_record_says_that_it_is_live(tmp_path: Path) -> None:
    trust, story = undone(tmp_path)
    story.episodes("+-+-", version=8)
    tell(trust, story)
    assert granted(trust).authority == [0.0] * 4
    story.say(Rollback(LIVE, 8, 2, "SUCCESS_FELL"))
    story.episodes("-")
    tell(trust, story)
    assert (granted(trust).stage, granted(trust).authority) == (Stage.EXPLORE, [1.0] * 4)


def test_an_event_that_comes_twice_is_heard_once(tmp_path: Path) -> None:
    trust, story = undone(tmp_path)
    story.say(Rollback(LIVE, 8, 2, "SUCCESS_FELL"))
    story.row()
    (event,) = story.events
    tell(trust, story)
    trust.promoted(9, 200)
    trust.take(story.rows()[:0], [event])
    trust.advance(None)
    assert trust.governor.live == 9


def test_what_is_not_whole_any_more_is_version_0(tmp_path: Path) -> None:
    trust, story = undone(tmp_path)
    trust.progress(Progress(100, 0))
    asked = trust.due_return()
    assert asked is not None
    trust.not_found(asked)
    assert ["version 7 is not whole" in words for words in trust.said] == [True]
    story.say(Rollback(0, 8, 2, "SUCCESS_FELL"))
    story.episodes("+-+-")
    tell(trust, story)
    assert trust.governor.returning is None
    assert trust.governor.stage is Stage.EXPLORE


# -- beside a control that worked before --------------------------------------------------------


def test_a_new_run_begins_with_the_first_trial(tmp_path: Path) -> None:
    trust = make_trust(tmp_path)
    trust.meet(Beat())
    assert granted(trust).trial == 1
    assert list(trust.grants()) == []


def test_a_restarted_gate_begins_a_trial_that_nobody_had(tmp_path: Path) -> None:
    trust = make_trust(tmp_path, live=LIVE)
    trust.meet(Beat(90, LIVE, trial=4, rolled=3))
    grant = granted(trust)
    assert (grant.trial, grant.stage, grant.at_step) == (5, Stage.OBSERVE, 90 + LAG)
    assert trust.due_return() is None
    assert trust.objection(2).startswith("rollback: ") and trust.objection(3) == ""


def test_what_was_earned_goes_on_with_what_speaks_against_it(tmp_path: Path) -> None:
    trust = make_trust(tmp_path, earned=EARNED, live=LIVE)
    trust.meet(Beat(90, LIVE, trial=4))
    # the tick forgets its evidence in a new trial only
    assert (granted(trust).trial, granted(trust).stage) == (4, Stage.ADAPTIVE)
    story = Story()
    story.row(faults=FELL)
    tell(trust, story)
    assert (granted(trust).trial, granted(trust).authority) == (5, [0.0] * 4)


def test_a_pin_outlives_the_gate(tmp_path: Path) -> None:
    trust = make_trust(tmp_path, live=5)
    trust.meet(Beat(90, 5, trial=2, pinned=5))
    assert trust.objection(9).startswith("pin: ")
    assert trust.due_return() is None
    other = make_trust(tmp_path, live=8)
    other.meet(Beat(90, 8, trial=2, pinned=5))
    asked = other.due_return()
    assert asked is not None and asked.version == 5
    unknown = make_trust(tmp_path, live=8)
    unknown.meet(Beat(90, 8, trial=2, pinned=99))
    assert unknown.objection(9) == "" and unknown.due_return() is None


def test_what_the_dead_gate_had_undone_and_not_told_is_undone(tmp_path: Path) -> None:
    trust = make_trust(tmp_path, live=5)
    trust.meet(Beat(90, 8, trial=2))
    asked = trust.due_return()
    assert asked is not None and asked.version == 5
    assert granted(trust).authority == [0.0] * 4 and granted(trust).trial > 2
