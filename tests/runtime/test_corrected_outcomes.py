"""Outcomes corrected afterwards: summary, comparison, live view and page tell what is known."""

from pathlib import Path

import pytest

from runtime.comparison import compare
from runtime.events import Event, EventKind
from runtime.messages import Outcome, SignalKind, SignalSource, TaskSignal, TickRecord
from runtime.outcomes import correction_of, outcomes_of
from runtime.records import Record
from runtime.report import write_report
from runtime.signal_slots import put_signals
from runtime.summary import summary, wilson
from runtime.tally import Tally, Volume
from runtime.wire import Correction
from tests.runtime.recording_kit import EPISODE_TICKS
from tests.runtime.residual_records import successes, text_event, write_record

EPISODES = 5
AT_FIRST = successes(True, False, False, True, True)
NOTHING = TaskSignal(SignalKind.NONE, SignalSource.NONE)


def outcome(source: SignalSource, what: Outcome) -> TaskSignal:
    return TaskSignal(SignalKind.OUTCOME, source, what)


def late(record: TickRecord, tick: int) -> None:
    """Each driver's outcome ends its episode; with that of the second comes a mark beside it, and
    one that weighs less than the driver's beside that of the fourth."""
    ended = tick % EPISODE_TICKS == EPISODE_TICKS - 1
    episode = tick // EPISODE_TICKS + 1
    said = [outcome(SignalSource.DRIVER, Outcome.SUCCESS)] if ended else [NOTHING]
    if ended and episode == 2:
        said.append(outcome(SignalSource.MARK, Outcome.SUCCESS))
    if ended and episode == 4:
        said.append(outcome(SignalSource.MANAGER, Outcome.FAILURE))
    put_signals(record, said)


CORRECTIONS = (
    # nobody knows yet how it ends
    text_event(210, EventKind.OUTCOME, Correction(3, "FAILURE", "anna")),
    text_event(350, EventKind.OUTCOME, Correction(3, "SUCCESS", "anna")),
    text_event(351, EventKind.OUTCOME, Correction(99, "SUCCESS", "anna")),
    text_event(352, EventKind.OUTCOME, "garbage"),
    text_event(353, EventKind.OUTCOME, Correction(1, "PERHAPS", "anna")),
    text_event(480, EventKind.OUTCOME, Correction(1, "FAILURE", "ben")),
)
KNOWN = [
    (1, "FAILURE", "OPERATOR", "SUCCESS"),
    (2, "SUCCESS", "MARK", "FAILURE"),
    (3, "SUCCESS", "OPERATOR", "FAILURE"),
    (4, "SUCCESS", "DRIVER", ""),
    (5, "SUCCESS", "DRIVER", ""),
]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("r") / "run"
    return write_record(folder, [AT_FIRST, late], CORRECTIONS, EPISODES)


def test_the_summary_tells_what_is_known_and_what_was_said_at_first(record: Record) -> None:
    found = summary(record)
    assert [(r.episode, r.outcome, r.source, r.at_first) for r in found.episodes] == KNOWN
    assert found.outcomes == {"SUCCESS": 4, "FAILURE": 1}
    assert found.success == wilson(4, 5)


def test_words_that_change_nothing_are_counted(record: Record) -> None:
    counts = outcomes_of(record.ticks, record.events).counts
    assert (counts["corrected"], counts["stray"], counts["overruled"]) == (3, 2, 1)


@pytest.mark.parametrize("batch", [1, 7, 100, 500])
def test_the_live_view_hears_of_it(record: Record, batch: int) -> None:
    tally = Tally()
    events = list(record.events)
    for begin in range(0, len(record), batch):
        while events and events[0].tick < begin:
            tally.hear(events.pop(0))
        tally.add(record.ticks[begin : begin + batch])
    for event in events:
        tally.hear(event)
    status = tally.status("run", Volume(1, 1, 1.0, "s"), [])
    assert status is not None
    shown = [(r.episode, r.outcome) for r in status.results]
    known = [(episode, outcome) for episode, outcome, _, _ in KNOWN]
    assert shown == known


def test_pairs_are_compared_by_what_is_known(record: Record, tmp_path: Path) -> None:
    other = write_record(tmp_path / "other", [AT_FIRST], (), EPISODES)
    found = compare(other, record, None, 80.0)
    assert (found.only_base, found.only_deployed) == (1, 2)
    assert (found.base.success, found.deployed.success) == (wilson(3, 5), wilson(4, 5))


def test_the_page_says_who_corrected_what(record: Record, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(record, page)
    text = page.read_text(encoding="utf-8")
    assert "corrected after the episode had ended" in text
    assert "<td>operator</td>" in text and "<td>mark</td>" in text


def test_other_events_are_no_corrections() -> None:
    assert correction_of(Event(1, 1, EventKind.NOTE, "x")) is None
    with pytest.raises(ValueError, match="nobody understands"):
        correction_of(CORRECTIONS[3])
