"""Outcomes that come late, twice, or contradict each other."""

import pytest

from runtime.messages import Outcome, SignalSource
from runtime.outcomes import Ledger


def test_an_unknown_outcome_becomes_known_later() -> None:
    ledger = Ledger()
    ledger.ended(3, Outcome.UNKNOWN, SignalSource.OPERATOR)
    assert ledger.outcome(3) is Outcome.UNKNOWN
    ruling = ledger.said(3, Outcome.SUCCESS, SignalSource.DRIVER)
    assert ruling.changed
    assert ledger.outcome(3) is Outcome.SUCCESS
    assert ledger.counts == {"unknown": 1, "late": 1, "corrected": 1}


def test_the_same_word_twice_changes_nothing() -> None:
    ledger = Ledger()
    ledger.ended(1, Outcome.SUCCESS, SignalSource.DRIVER)
    assert not ledger.said(1, Outcome.SUCCESS, SignalSource.DRIVER).changed
    assert ledger.counts["doubled"] == 1


@pytest.mark.parametrize(
    ("first", "later", "stands"),
    [
        (SignalSource.DRIVER, SignalSource.OPERATOR, Outcome.FAILURE),
        (SignalSource.OPERATOR, SignalSource.OPERATOR, Outcome.FAILURE),
        (SignalSource.MANAGER, SignalSource.DRIVER, Outcome.FAILURE),
        (SignalSource.OPERATOR, SignalSource.DRIVER, Outcome.SUCCESS),
        (SignalSource.MARK, SignalSource.PREDICATE, Outcome.SUCCESS),
    ],
)
def test_of_two_contradicting_words_the_weightier_stands_and_of_equals_the_later(
    first: SignalSource, later: SignalSource, stands: Outcome
) -> None:
    ledger = Ledger()
    ledger.ended(1, Outcome.SUCCESS, first)
    ruling = ledger.said(1, Outcome.FAILURE, later)
    assert ledger.outcome(1) is stands
    assert ruling.changed == (stands is Outcome.FAILURE)
    assert "episode 1" in ruling.note
    if not ruling.changed:
        # the note says who was overruled and by whom
        assert later.name in ruling.note
        assert first.name in ruling.note


def test_a_word_that_agrees_lends_its_weight() -> None:
    ledger = Ledger()
    ledger.ended(1, Outcome.SUCCESS, SignalSource.DRIVER)
    ledger.said(1, Outcome.SUCCESS, SignalSource.OPERATOR)
    assert not ledger.said(1, Outcome.FAILURE, SignalSource.DRIVER).changed


def test_no_word_makes_an_aborted_episode_count() -> None:
    ledger = Ledger()
    ledger.ended(1, Outcome.ABORT, SignalSource.MANAGER)
    assert not ledger.said(1, Outcome.SUCCESS, SignalSource.OPERATOR).changed
    assert ledger.outcome(1) is Outcome.ABORT


@pytest.mark.parametrize(("episode", "outcome"), [(9, Outcome.SUCCESS), (1, Outcome.ABORT)])
def test_a_word_about_nothing_is_counted_and_left_out(episode: int, outcome: Outcome) -> None:
    ledger = Ledger()
    ledger.ended(1, Outcome.SUCCESS, SignalSource.DRIVER)
    ruling = ledger.said(episode, outcome, SignalSource.OPERATOR)
    assert not ruling.changed
    assert str(episode) in ruling.note
    assert ledger.counts["stray"] == 1
    assert ledger.outcome(1) is Outcome.SUCCESS
