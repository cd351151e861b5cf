"""What a record says of the residual, against hand counts: summary, tally, views and page."""

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from runtime.gate_wire import Progress
from runtime.record_format import RecorderStatus
from runtime.records import Record
from runtime.report import write_report
from runtime.report_residual import windows
from runtime.residual_summary import ResidualSummary
from runtime.residual_tally import updates_per_step
from runtime.summary import EpisodeRow, Summary, summary, wilson
from runtime.tally import Tally, Volume
from runtime.view import Plan, end_table, live_view
from runtime.view_residual import doing
from tests.runtime.recording_kit import EPISODE_TICKS
from tests.runtime.residual_records import EVENTS, RATE_HZ, STEP_TICKS, learning, write_record

VOLUME = Volume(ticks=300, size_bytes=1, bytes_per_s=1.0, segment="s")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return write_record(tmp_path_factory.mktemp("r") / "run", [learning], EVENTS)


@pytest.fixture(scope="module")
def numbers(record: Record) -> Summary:
    return summary(record)


@pytest.fixture(scope="module")
def residual(numbers: Summary) -> ResidualSummary:
    assert numbers.residual is not None
    return numbers.residual


def printed(shown: object) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(shown)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def test_episodes_know_who_acted(numbers: Summary) -> None:
    assert [(e.version, e.explored, e.run_steps) for e in numbers.episodes] == [
        (0, False, 10),
        (0, True, 20),
        (2, False, 30),
    ]


def test_steps_and_robot_time(residual: ResidualSummary) -> None:
    assert residual.rate_hz == RATE_HZ
    assert residual.policy_steps == 30
    assert residual.robot_s == pytest.approx(30 / RATE_HZ)
    per_episode = EPISODE_TICKS // STEP_TICKS
    assert residual.acting_steps == 2 * per_episode
    assert residual.explored_steps == per_episode
    assert (residual.stage, residual.version) == ("EXPLORE", 2)


def test_verdicts_lineage_and_words(residual: ResidualSummary) -> None:
    assert (residual.promoted, residual.refused) == (1, 2)
    assert [(v.version, v.passed, v.reasons) for v in residual.verdicts] == [
        (1, False, ["norm: too large"]),
        (1, False, ["finite: NaN"]),
        (2, True, []),
    ]
    assert residual.verdicts[0].robot_s == pytest.approx(16 / RATE_HZ)
    (live,) = residual.live
    assert (live.version, live.parent, live.steps, live.updates) == (2, 0, 20, 77)
    assert [row.text for row in residual.said] == ["the learner is back", "{half of a verdi"]


def test_updates_count_from_where_learning_began(residual: ResidualSummary) -> None:
    assert residual.updates == 50
    assert residual.updates_per_step == pytest.approx(50 / 10)
    points = [Progress(0, 0), Progress(100, 50), Progress(200, 250)]
    assert updates_per_step(points, 100) == 2.0
    assert updates_per_step(points, 1000) == 250 / 200
    assert updates_per_step(points[:1]) == 0.0


def test_size_is_a_share_of_the_bound(residual: ResidualSummary) -> None:
    first, second = residual.size
    # learnt part .3 of .4 in half of the steps; noise .1 of .4 in the other half
    assert first.mean == pytest.approx(0.75 / 2)
    assert first.p95 == pytest.approx(0.75)
    assert first.at_bound == 0.0
    # a bound of 0 has no share
    assert (second.mean, second.p95) == (0.0, 0.0)


def test_a_record_without_a_residual_says_nothing_of_it(tmp_path: Path) -> None:
    assert summary(write_record(tmp_path / "base")).residual is None
    assert summary(write_record(tmp_path / "empty", episodes=0)).residual is None


def test_it_goes_through_json(numbers: Summary) -> None:
    assert msgspec.json.decode(msgspec.json.encode(numbers), type=Summary) == numbers


def test_windows_hold_the_last_known_outcomes() -> None:
    rows = [
        EpisodeRow(n, "SUCCESS" if n > 6 else "FAILURE", "DRIVER", 0.0, 1.0, 5, 0, False, 5 * n)
        for n in range(1, 13)
    ]
    rows.insert(3, EpisodeRow(99, "UNKNOWN", "MARK", 0.0, 1.0, 5))
    found = windows(rows, 6)
    assert [steps for steps, _ in found] == [5 * n for n in range(5, 13)]
    assert [share.successes for _, share in found] == [0, 0, 1, 2, 3, 4, 5, 6]
    assert [share.count for _, share in found] == [5, *[6] * 7]
    assert windows(rows[:3]) == []


# -- while it runs ---------------------------------------------------------------------------


def status_of(record: Record, batch: int, ticks: int = 3 * EPISODE_TICKS) -> RecorderStatus:
    """Return the recorder's status after `ticks`, taken in batches."""
    tally = Tally()
    tally.rate_hz = record.header.rate_hz()
    for begin in range(0, ticks, batch):
        tally.add(record.ticks[begin : min(begin + batch, ticks)])
    for event in record.events:
        if event.tick < ticks:
            tally.hear(event)
    status = tally.status("run", VOLUME, [])
    assert status is not None
    return status


@pytest.mark.parametrize("batch", [1, 7, 50, 300])
def test_status_is_the_same_whatever_the_batches(record: Record, batch: int) -> None:
    status = status_of(record, batch)
    assert [(r.version, r.explored) for r in status.results] == [(0, False), (0, True), (2, False)]
    assert status.robot_s == pytest.approx(30 / RATE_HZ)
    residual = status.residual
    assert residual is not None
    assert (residual.stage, residual.version, residual.authority) == ("EXPLORE", 2, 1.0)
    assert (residual.steps, residual.updates) == (20, 50)
    assert residual.updates_per_step == pytest.approx(50 / 10)
    assert (residual.promoted, residual.refused) == (1, 2)


def test_the_live_view_tells_base_from_recent(record: Record) -> None:
    shown = printed(live_view(status_of(record, 50), Plan(robot_s=300.0, heading="part 2 of 3:")))
    # alone: the first of three episodes; of all three the last failed
    for words in (
        "part 2 of 3:", "version 2 works", "1/1 = 100%", "2/3 = 67%", "stage explore",
        "authority 100%", "50 updates, 5.0 a policy step", "1 passed, 2 refused",
        "1 s of 5 min 00 s",
    ):  # fmt: skip
        assert words in " ".join(shown.split()), (words, shown)
    measured = printed(live_view(status_of(record, 50), Plan(base=wilson(19, 40))))
    assert "19/40" in measured and "1/1" in measured


def test_it_says_what_goes_on(record: Record) -> None:
    assert "watches" in doing(status_of(record, 50, 100))
    assert "prepares" in doing(status_of(record, 50, 190))
    status = status_of(record, 50)
    assert status.residual is not None
    adaptive = msgspec.structs.replace(status.residual, stage="ADAPTIVE")
    assert "nothing is learnt" in doing(msgspec.structs.replace(status, residual=adaptive))
    alone = msgspec.structs.replace(status, residual=None)
    assert "alone" in doing(alone)
    assert "last 20" not in printed(live_view(alone, Plan()))


def test_the_end_table_and_the_page_tell_of_it(
    record: Record, numbers: Summary, tmp_path: Path
) -> None:
    shown = " ".join(printed(end_table(numbers)).split())
    for words in ("in 20 of 30 policy steps", "version 1: norm: too large", "50 updates"):
        assert words in shown, (words, shown)
    page = tmp_path / "report.html"
    write_report(write_record(tmp_path / "long", [learning], EVENTS, episodes=6), page)
    text = page.read_text(encoding="utf-8")
    for words in (
        "The residual", "norm: too large", "the learner is back", "Success over robot time",
        "Authority, versions", "Size of the residual",
    ):  # fmt: skip
        assert words in text, words
