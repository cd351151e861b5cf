"""Trust at places where only one number is right, and what it writes down and does not."""

from pathlib import Path

import msgspec
import pytest

from policies.governor_record import successes
from runtime.events import Event
from runtime.gate_trust import EARNED as FILE
from runtime.gate_trust import EVIDENCE, Home, Trust, earned_before
from runtime.gate_wire import Beat, Progress
from runtime.messages import Outcome, SignalSource, Stage
from runtime.wire import Correction, Order, OrderKind
from tests.runtime.trust_kit import (
    EARNED,
    FELL,
    INTERFACE,
    LAG,
    LIVE,
    PLACE,
    RUN,
    STEPS,
    Story,
    adaptive,
    granted,
    make_trust,
    tell,
)


def said_by(story: Story, name: str) -> None:
    story.say(Order(OrderKind.RESUME, name))


def news_of(trust: Trust) -> list[tuple[Stage, int]]:
    """Return what is newly granted, and from which step on."""
    return [(grant.stage, grant.at_step) for grant in trust.grants()]


def measured(folder: Path) -> Trust:
    """Return a trust that waits for the learner to take in what was observed."""
    trust, story = make_trust(folder), Story()
    story.episodes("+---")
    tell(trust, story)
    assert granted(trust).stage is Stage.WARM
    list(trust.grants())
    return trust


# -- what is granted, and from when on ----------------------------------------------------------


def test_before_anything_was_heard_nothing_is_granted_from_the_first_step_on(
    tmp_path: Path,
) -> None:
    assert granted(make_trust(tmp_path)).at_step == 0


def test_nobody_is_said_to_have_lost_a_learner_that_lives(tmp_path: Path) -> None:
    trust, _ = adaptive(tmp_path)
    grants = list(trust.grants())
    assert grants and not any(grant.learner_lost for grant in grants)


def test_a_snapshot_that_passes_is_news_from_the_step_on_at_which_it_was_made(
    tmp_path: Path,
) -> None:
    trust = measured(tmp_path)
    trust.promoted(LIVE, 20)
    assert news_of(trust) == [(Stage.EXPLORE, 20 + LAG)]


def test_a_learner_that_has_taken_in_what_was_observed_is_news(tmp_path: Path) -> None:
    trust = measured(tmp_path)
    trust.progress(Progress(30, 0))
    assert news_of(trust) == [(Stage.EXPLORE, 30 + LAG)]


def test_what_is_said_before_the_first_step_is_heard_when_that_begins(tmp_path: Path) -> None:
    trust, story = make_trust(tmp_path), Story()
    story.row()
    story.say(Order(OrderKind.SHADOW, "anna"))
    story.row()
    trust.take(*story.news())
    trust.advance(0)
    assert news_of(trust) == []
    trust.advance(1)
    assert news_of(trust) == [(Stage.SHADOW, 1 + LAG)]


def test_a_candidate_of_a_run_that_never_went_back_may_pass(tmp_path: Path) -> None:
    assert make_trust(tmp_path).objection(0) == ""


# -- what comes in ------------------------------------------------------------------------------


@pytest.mark.parametrize(("between", "heard"), [(31, 0), (32, 1)])
def test_an_event_that_comes_again_is_known_for_so_many(
    tmp_path: Path, between: int, heard: int
) -> None:
    trust, story = make_trust(tmp_path), Story()
    for number in range(between + 1):
        story.row()
        said_by(story, f"person {number}")
    story.row()
    first: Event = story.events[0]
    tell(trust, story)
    before = trust.governor.trial
    assert before == 1 + between + 1
    trust.take(story.rows()[:0], [first])
    trust.advance(None)
    assert trust.governor.trial == before + heard


def test_a_person_outweighs_a_person_who_spoke_before(tmp_path: Path) -> None:
    trust, story = make_trust(tmp_path), Story()
    story.run(STEPS, Outcome.FAILURE, source=SignalSource.OPERATOR, residual=0.0)
    story.row()
    story.say(Correction(1, Outcome.SUCCESS.name, "anna"))
    story.row()
    tell(trust, story)
    assert successes(trust.governor.course.base) == 1


# -- what is written down -----------------------------------------------------------------------


def earned_anew(trust: Trust, story: Story) -> None:
    """Take authority away, and let it be earned again by the same counts every time."""
    story.row(faults=FELL)
    story.episodes("-")
    story.episodes("+++++", own=True)
    story.episodes("-")
    tell(trust, story)
    assert granted(trust).stage is Stage.ADAPTIVE


@pytest.mark.parametrize("name", [EVIDENCE, FILE])
def test_what_is_no_news_is_not_written_again(tmp_path: Path, name: str) -> None:
    trust, _ = adaptive(tmp_path)
    trust.keep()
    (tmp_path / name).unlink()
    trust.keep()
    assert not (tmp_path / name).exists()


def test_what_was_taken_away_and_earned_by_the_same_counts_is_written_again(
    tmp_path: Path,
) -> None:
    trust, story = adaptive(tmp_path)
    found = []
    for _ in range(3):
        earned_anew(trust, story)
        trust.keep()
        assert (tmp_path / FILE).exists()
        found.append((tmp_path / FILE).read_bytes())
    assert found[1] == found[2]
    # and it stays while nothing is taken away
    story.episodes("+", own=True)
    tell(trust, story)
    assert (tmp_path / FILE).exists()


def test_shown_only_for_a_while_it_keeps_what_it_had_earned(tmp_path: Path) -> None:
    trust, story = adaptive(tmp_path)
    trust.keep()
    story.say(Order(OrderKind.SHADOW, "anna"))
    story.row()
    tell(trust, story)
    trust.keep()
    assert (tmp_path / FILE).read_bytes() == msgspec.json.encode(EARNED)


def test_a_gate_that_goes_on_with_what_was_earned_does_not_forget_it(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(msgspec.json.encode(EARNED))
    trust = make_trust(tmp_path, earned=EARNED, live=LIVE)
    trust.meet(Beat(90, LIVE, trial=4))
    assert granted(trust).stage is Stage.ADAPTIVE
    assert (tmp_path / FILE).exists()


def test_without_a_snapshot_a_record_of_one_is_worth_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(msgspec.json.encode(EARNED))
    assert earned_before(Home(PLACE, INTERFACE, tmp_path, RUN), None) is None


def test_where_nothing_was_written_there_is_nothing_to_complain_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trust, story = adaptive(tmp_path)
    story.row(faults=FELL)
    tell(trust, story)
    assert granted(trust).stage is Stage.SHADOW
    assert capsys.readouterr().err == ""
