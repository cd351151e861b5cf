"""Base against learnt: pairs, intervals, and what may not be compared."""

import html
import io
from pathlib import Path

import pytest
from rich.console import Console

from runtime.comparison import Comparison, compare, owner_words, paired_interval
from runtime.errors import RecordError
from runtime.events import EventKind
from runtime.gate_wire import Grant
from runtime.messages import Stage, TickRecord
from runtime.records import Record
from runtime.report import write_report
from runtime.summary import episode_rows, wilson
from runtime.trial import owner_lines
from runtime.view_residual import comparison_table
from tests.runtime.residual_records import (
    EVENTS,
    GOVERNED_EVENTS,
    governed,
    learning,
    successes,
    text_event,
    write_record,
)

ABOVE_N = 80.0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Record:
    outcomes = successes(True, False, False, False)
    return write_record(tmp_path_factory.mktemp("c") / "base", [outcomes], episodes=4)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Record:
    changes = [learning, successes(False, True, True)]
    return write_record(tmp_path_factory.mktemp("c") / "learnt", changes, EVENTS)


@pytest.fixture(scope="module")
def found(base: Record, learnt: Record) -> Comparison:
    return compare(base, learnt, None, ABOVE_N)


def test_episodes_are_paired_by_number(found: Comparison) -> None:
    assert found.pairs == 3
    assert (found.only_base, found.only_deployed) == (1, 2)
    assert found.difference == pytest.approx(1 / 3)
    assert found.base.success == wilson(1, 4)
    assert found.deployed.success == wilson(2, 3)


def test_cycle_force_and_versions(found: Comparison) -> None:
    assert found.base.cycle_s == pytest.approx(99 * 0.002)
    # 33 of the 99 running ticks of an episode
    assert found.deployed.pressed_share == pytest.approx(1 / 3)
    assert found.deployed.force_max_n == 100.0
    assert found.base.pressed_share == 0.0
    assert (found.deployed.version, found.deployed.promoted, found.deployed.refused) == (2, 1, 2)
    assert found.base.policy_steps == 40


@pytest.mark.parametrize(
    ("first", "second", "pairs", "low", "high"),
    [
        # by hand: 16 / 42 -+ 1.95996 sqrt(21 - 256 / 42) / 42, and so on
        (18, 2, 40, 0.20079, 0.56111),
        (0, 0, 40, -0.04667, 0.04667),
        (40, 0, 40, 0.87285, 1.0),
    ],
)
def test_interval_of_a_paired_difference(
    first: int, second: int, pairs: int, low: float, high: float
) -> None:
    assert paired_interval(first, second, pairs) == pytest.approx((low, high), abs=2e-4)
    other = paired_interval(second, first, pairs)
    assert other == pytest.approx((-high, -low), abs=2e-4)


def test_only_equal_starts_are_compared(base: Record, tmp_path: Path) -> None:
    other = write_record(tmp_path / "other", seed=8)
    with pytest.raises(RecordError, match="seeds"):
        compare(base, other, None, ABOVE_N)
    nothing = write_record(tmp_path / "nothing", episodes=0)
    with pytest.raises(RecordError, match="no episode"):
        compare(base, nothing, None, ABOVE_N)


def test_table_and_page_show_it(base: Record, learnt: Record, tmp_path: Path) -> None:
    found = compare(base, learnt, learnt, ABOVE_N)
    console = Console(file=io.StringIO(), width=110)
    console.print(comparison_table(found))
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    page = tmp_path / "report.html"
    write_report(learnt, page, found)
    text = page.read_text(encoding="utf-8")
    for words in ("1/4 = 25.0%", "2/3 = 66.7%", "+33.3 points", "while learning", "33.33% of time"):
        assert words in shown, (words, shown)
        assert words in text, words


def test_it_says_whose_the_episodes_were(found: Comparison, learnt: Record) -> None:
    # three: the base alone, the disturbed base, and version 2
    assert (found.deployed.own, found.deployed.left) == (wilson(2, 2), wilson(0, 1))
    assert (found.base.own, found.base.left) == (None, wilson(1, 4))
    assert owner_words(found) == ""
    assert owner_lines(episode_rows(learnt)) == [
        "the residual's own: 2 of 2", "left to the base: 0 of 1"
    ]  # fmt: skip


def told(found: Comparison, record: Record, page: Path) -> tuple[str, str]:
    """Return what the table and the page say."""
    console = Console(file=io.StringIO(), width=110)
    console.print(comparison_table(found))
    write_report(record, page, found)
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    return " ".join(shown.split()), html.unescape(page.read_text(encoding="utf-8"))


def test_where_nothing_was_earned_the_last_part_is_not_called_learnt(
    base: Record, learnt: Record, tmp_path: Path
) -> None:
    def watched(record: TickRecord, tick: int) -> None:
        learning(record, tick)
        record.authority[:] = 0.0
        record.residual_stage[0] = Stage.OBSERVE

    after = write_record(tmp_path / "after", [watched, successes(True, False, False)], EVENTS)
    why = "4 of its last 30 succeeded"
    grant = text_event(250, EventKind.GRANT, Grant(Stage.EXPLORE, [1.0], why=why))
    before = write_record(tmp_path / "before", [learning], [*EVENTS, grant])
    found = compare(base, after, before, ABOVE_N)
    assert found.deployed.own is None
    words = (
        'All 3 episodes under "learnt" are the base\'s own and say nothing of what was learnt: no '
        f"authority was earned (the gate's last word while learning: {why})"
    )
    shown, page = told(found, before, tmp_path / "report.html")
    assert words in shown and words in page
    assert "succeeded with what was learnt" not in page
    assert owner_lines(episode_rows(after)) == ["all of them were left to the base"]


def test_where_most_was_left_to_the_base_it_says_why(base: Record, tmp_path: Path) -> None:
    outcomes = successes(False, True, True, False, False)
    after = write_record(tmp_path / "after", [governed, outcomes], GOVERNED_EVENTS, episodes=5)
    found = compare(base, after, None, ABOVE_N)
    shown, page = told(found, after, tmp_path / "report.html")
    words = '3 of the 5 episodes under "learnt" are the base\'s own'
    assert words in shown and words in page
    assert "say nothing of what was learnt: success fell" in shown
    for cell in ("2/2 = 100.0%", "0/3 = 0.0%"):
        assert cell in shown and cell in page
