"""Stages, roll-backs and orders, from the record to status, history, live view and page."""

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from runtime.gate_wire import Grant
from runtime.messages import Stage
from runtime.record_format import RecorderStatus
from runtime.records import Record, read_events
from runtime.report import write_report
from runtime.residual_history import happenings, happenings_in, runs_since
from runtime.residual_now import ResidualNow
from runtime.residual_summary import ResidualSummary
from runtime.residual_tally import grant_of
from runtime.summary import Summary, success_of, summary, wilson
from runtime.tally import Tally, Volume
from runtime.view import Plan, end_table, live_view
from runtime.view_residual import status_rows
from tests.runtime.recording_kit import EPISODE_TICKS
from tests.runtime.residual_records import (
    GOVERNED_EVENTS,
    NOTHING,
    RATE_HZ,
    STEP_TICKS,
    governed,
    successes,
    write_record,
)

EPISODES = 5
STEP_S = 1 / RATE_HZ
OUTCOMES = successes(True, False, True, False, True)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("records") / "bench-20240101T000000-000"
    return write_record(folder, [governed, OUTCOMES], GOVERNED_EVENTS, EPISODES)


@pytest.fixture(scope="module")
def numbers(record: Record) -> Summary:
    return summary(record)


@pytest.fixture(scope="module")
def residual(numbers: Summary) -> ResidualSummary:
    assert numbers.residual is not None
    return numbers.residual


def status_at(record: Record, ticks: int) -> RecorderStatus:
    tally = Tally()
    tally.rate_hz = RATE_HZ
    tally.add(record.ticks[:ticks])
    for event in record.events:
        if event.tick < ticks:
            tally.hear(event)
    status = tally.status("run", Volume(ticks, 1, 1.0, "s"), [])
    assert status is not None
    return status


def shown(status: RecorderStatus, plan: Plan | None = None) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(live_view(status, plan or Plan()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return " ".join(text.split())


# -- the summary ----------------------------------------------------------------------------------


def test_the_base_has_the_episodes_in_which_nothing_else_acted(numbers: Summary) -> None:
    assert [row.base_alone for row in numbers.episodes] == [True, False, False, True, True]
    alone = success_of([row for row in numbers.episodes if row.base_alone])
    assert alone is not None and (alone.successes, alone.count) == (2, 3)


def test_authority_without_a_part_is_the_base_s_step(residual: ResidualSummary) -> None:
    assert residual.acting_steps == 2 * EPISODE_TICKS // STEP_TICKS


def test_stages_orders_and_rollbacks_have_their_time_and_reason(residual: ResidualSummary) -> None:
    assert [(row.stage, row.why) for row in residual.stages] == [
        ("OBSERVE", "the base first"),
        ("EXPLORE", "1 of 1"),
        ("ADAPTIVE", "earned"),
        ("SHADOW", "success fell"),
    ]
    assert residual.stages[2].robot_s == pytest.approx(21 * STEP_S)
    (back,) = residual.rollbacks
    assert (back.version, back.undone, back.trial, back.why) == (0, 2, 2, "success fell")
    assert back.robot_s == pytest.approx(41 * STEP_S)
    assert [(row.what, row.who) for row in residual.orders] == [("pin 2", "anna"), ("drop", "ben")]


def test_a_run_in_which_only_the_base_was_measured_has_a_residual(tmp_path: Path) -> None:
    events = [GOVERNED_EVENTS[0]]
    found = summary(write_record(tmp_path / "run", (), events)).residual
    assert found is not None and [row.stage for row in found.stages] == ["OBSERVE"]


# -- status and live view -------------------------------------------------------------------------


def test_status_tells_share_trial_reason_and_evidence(record: Record) -> None:
    residual = status_at(record, 300).residual
    assert residual is not None
    assert (residual.stage, residual.share, residual.trial) == ("ADAPTIVE", 0.9, 1)
    assert (residual.why, residual.learning, residual.rollbacks) == ("earned", True, 0)
    evidence = residual.evidence
    assert evidence.success == pytest.approx((0.25, 0.2))
    assert (evidence.own, evidence.base) == ((38, 40), (21, 42))
    assert (evidence.limited, evidence.base_limited) == (0.02, 0.01)
    assert (evidence.pressed, evidence.base_pressed) == (0.03, 0.04)
    assert (evidence.saturated, evidence.weights_age_s) == ([0.5, 0.0], 7.0)


def test_status_goes_through_the_wire(record: Record) -> None:
    status = status_at(record, 500)
    data = msgspec.msgpack.encode(status)
    assert msgspec.msgpack.decode(data, type=RecorderStatus) == status


def test_the_live_view_shows_the_stage_and_what_people_said(record: Record) -> None:
    words = shown(status_at(record, 90))
    assert "the base works alone and is measured" in words and "the base first" in words
    words = shown(status_at(record, 300))
    assert "version 2 works and learns on" in words and "90% of the episodes" in words
    words = shown(status_at(record, 360))
    assert "pin 2 (anna)" in words and "version 2 works and nothing is learnt" in words
    words = shown(status_at(record, 390))
    assert "the base works alone: pin 2 (anna), drop (ben)" in words
    words = shown(status_at(record, 500), Plan(base=wilson(19, 40)))
    # what was measured before, and in between
    assert "19/40 = 48%" in words and "2/3 = 67%" in words
    assert "rolled back once" in words and "success fell" in words


def test_the_end_table_names_what_was_undone_and_ordered(numbers: Summary) -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(end_table(numbers))
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "to version 0 from 2: success fell" in text
    assert "pin 2 (anna), drop (ben)" in text


def test_a_shadow_says_that_it_moves_nothing(record: Record) -> None:
    status = status_at(record, 300)
    assert status.residual is not None
    shadow = msgspec.structs.replace(status.residual, stage="SHADOW")
    assert "computed and moves nothing" in shown(msgspec.structs.replace(status, residual=shadow))


def test_status_lines(record: Record) -> None:
    status = status_at(record, 500)
    lines = dict(status_rows(ResidualNow("run-1", True, status.residual, ["RESIDUAL_HELD"])))
    assert lines["run"] == "run-1, running"
    assert lines["stage"].startswith("shadow") and lines["why"] == "success fell"
    assert lines["orders"] == "pin 2 (anna), drop (ben)"
    assert lines["trial"] == "2, rolled back once"
    assert lines["judged by"] == "own 38 of 40, base 21 of 42"
    assert "2.00% of its steps (base 1.00%)" in lines["steps"]
    assert lines["faults"] == "RESIDUAL_HELD"
    assert "alone" in dict(status_rows(ResidualNow("run-1")))["residual"]
    assert "none" in dict(status_rows(ResidualNow()))["run"]


# -- events and history ---------------------------------------------------------------------------


def test_events_can_be_read_without_the_ticks(record: Record) -> None:
    found = read_events(record.paths[0].parent)
    assert found.events == record.events
    assert found.header == record.header
    assert found.last["tick"][0, 0] == record.scalar("tick")[-1]


def test_history_tells_what_happened_between_the_verdicts(record: Record) -> None:
    found = happenings(record.paths[0].parent)
    assert [(one.what, one.words, one.after_verdicts) for one in found] == [
        ("stage", "observe", 0),
        ("stage", "explore", 0),
        ("stage", "adaptive", 1),
        ("order", "pin", 1),
        ("order", "drop", 1),
        ("stage", "shadow", 1),
        ("rollback", "2 undone", 1),
    ]
    assert [one.why for one in found[3:]] == ["says anna", "says ben", *["success fell"] * 2]
    assert found[3].version == 2
    assert {one.at_utc for one in found} == {""}


def test_history_begins_with_a_run_and_leaves_out_what_cannot_be_read(record: Record) -> None:
    run = record.paths[0].parent
    damaged = run.with_name("bench-20240102T000000-000")
    damaged.mkdir()
    (damaged / "0000.mcap").write_bytes(b"nothing")
    runs = runs_since(run.parent, "bench", run.name)
    assert runs == [run, damaged]
    assert runs_since(run.parent, "bench", damaged.name) == [damaged]
    assert runs_since(run.parent, "bank", "") == []
    assert happenings_in(runs) == happenings(run)


def test_a_grant_that_says_nothing_new_is_no_stage() -> None:
    (event,) = GOVERNED_EVENTS[:1]
    assert grant_of(event) == Grant(Stage.OBSERVE, NOTHING, why="the base first")


# -- the page -------------------------------------------------------------------------------------


def test_the_page_tells_of_trust(record: Record, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_report(record, page)
    text = page.read_text(encoding="utf-8")
    for words in (
        "<h2>Trust</h2>", "Stages of trust", "Evidence against the residual", "success fell",
        "pin 2", "<td>ben</td>", "once", "2 times", "2 of 3",
    ):  # fmt: skip
        assert words in text, words
