"""Summary and report: numbers against hand counts, and a page that stands alone."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from runtime.amounts import format_size, format_span
from runtime.errors import RecordError
from runtime.messages import TickRecord, new_record
from runtime.record_writer import RecordWriter, WriterLimits
from runtime.records import Record, read_record
from runtime.report import write_report
from runtime.summary import Summary, summary, wilson
from tests.runtime.recording_kit import (
    EPISODE_TICKS,
    SIZES,
    fill_hold,
    fill_tick,
    make_header,
)

LIMITS = WriterLimits(segment_bytes=10**9, segment_s=600.0, retention_bytes=10**9)
EPISODES = 9


def shape(record: TickRecord, tick: int) -> None:
    record.command_sent[0] = tick >= EPISODE_TICKS
    record.policy_due[0] = tick % 10 == 0
    record.stage_ns[5] = 30_000 if tick % 10 == 1 else 0
    record.missed_ticks[0] = 2 if tick == 350 else 0
    record.tool_position_in_base_m[:] = [0.5, 0.001 * (tick % EPISODE_TICKS), 0.2]
    record.response[0] = record.faults[0] = 0
    if 400 <= tick < 450 or 500 <= tick < 505:
        fill_hold(record)


def make_record(folder: Path, ticks: int = EPISODES * EPISODE_TICKS) -> Record:
    writer = RecordWriter(folder, make_header("<run & co>"), LIMITS)
    record = new_record(SIZES)
    for tick in range(ticks):
        fill_tick(record, tick)
        shape(record, tick)
        writer.add_ticks(record.raw)
    writer.close()
    return read_record(folder)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return make_record(tmp_path_factory.mktemp("records") / "run")


@pytest.fixture(scope="module")
def numbers(record: Record) -> Summary:
    return summary(record)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        # as scipy's binomtest gives them (method "wilson")
        (0, 10, 0.0, 0.27753279986288926),
        (10, 10, 0.7224672001371109, 1.0),
        (42, 100, 0.32798382674354737, 0.5179351329695704),
        (1, 1, 0.20654931437723745, 1.0),
        (81, 263, 0.2552885198782742, 0.36620957698280004),
    ],
)
def test_wilson_interval(successes: int, count: int, low: float, high: float) -> None:
    found = wilson(successes, count)
    assert found.share == successes / count
    assert found.low == pytest.approx(low, abs=1e-12)
    assert found.high == pytest.approx(high, abs=1e-12)


def test_episodes_and_success(numbers: Summary) -> None:
    assert numbers.outcomes == {"SUCCESS": 6, "FAILURE": 3}
    assert numbers.success == wilson(6, 9)
    assert [row.episode for row in numbers.episodes] == list(range(1, 10))
    assert {row.source for row in numbers.episodes} == {"DRIVER"}
    assert numbers.episodes[2].begin_s == pytest.approx(2 * EPISODE_TICKS * 0.002)
    assert numbers.episodes[2].duration_s == pytest.approx((EPISODE_TICKS - 1) * 0.002)


def test_faults_modes_limits_and_margins(numbers: Summary) -> None:
    (fault,) = numbers.faults
    assert (fault.fault, fault.response, fault.times) == ("JOINTS_STALE", "HOLD", 2)
    assert fault.active_s == pytest.approx(55 * 0.002)
    assert fault.first_s == pytest.approx(400 * 0.002)
    assert fault.sentence.startswith("The joint measurement is older")
    assert numbers.mode_s == {"BASE": pytest.approx(845 * 0.002), "HOLD": pytest.approx(0.11)}
    jerk = {"joint0": 0, "joint1": EPISODES - 1, "joint2": 0}
    assert numbers.limited_ticks["JERK"] == jerk
    assert sum(numbers.limited_ticks["POSITION"].values()) == 0
    assert numbers.limited_share == pytest.approx(0.01)
    assert numbers.smallest_margin == {"joint0": 0.5, "joint1": 0.5, "joint2": 0.0}
    assert set(numbers.smallest_guard_margin.values()) == {0.75}
    assert numbers.missed_deadlines == 2


def test_stage_times_leave_out_what_did_not_run(numbers: Summary) -> None:
    assert set(numbers.stages) == {"read", "step", "write", "record", "policy"}
    assert numbers.stages["step"].p50_us == pytest.approx(20.05, abs=0.01)
    assert numbers.stages["policy"].count == EPISODES * EPISODE_TICKS // 10
    assert numbers.stages["policy"].p50_us == 30.0


def test_summary_goes_through_json(numbers: Summary) -> None:
    assert msgspec.json.decode(msgspec.json.encode(numbers), type=Summary) == numbers


class _Page(HTMLParser):
    """Collects what a page refers to, its ids and its figures."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.figures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.figures += tag == "figure"
        for name, value in attrs:
            if name in ("href", "src", "xlink:href"):
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")


def test_report_stands_alone_and_escapes(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "out" / "report.html"
    write_report(record, path)
    text = path.read_text()
    assert "&lt;run &amp; co&gt;" in text and "<run & co>" not in text
    page = _Page()
    page.feed(text)
    assert page.figures == 8
    assert all(ref.startswith(("#", "data:")) for ref in page.references)
    assert len(page.ids) == len(set(page.ids))
    assert {ref[1:] for ref in page.references if ref.startswith("#")} <= set(page.ids)
    for plot in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(plot)
    for expected in ("6 of 9", "JOINTS_STALE", "The joint measurement is older", "numpy"):
        assert expected in text


def test_report_of_a_cut_and_of_an_empty_record(tmp_path: Path) -> None:
    whole = make_record(tmp_path / "run", 150)
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole.paths[0].read_bytes()[:-40])
    write_report(read_record(cut), tmp_path / "cut.html")
    assert "was not closed" in (tmp_path / "cut.html").read_text()
    empty = make_record(tmp_path / "empty", 0)
    numbers = write_report(empty, tmp_path / "empty.html")
    assert numbers.success is None
    assert "the record holds no tick" in (tmp_path / "empty.html").read_text()
    one = make_record(tmp_path / "one", 1)
    write_report(one, tmp_path / "one.html")


def test_report_that_cannot_be_written_says_so(record: Record, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="report cannot be written"):
        write_report(record, tmp_path / "file" / "report.html")


def test_sizes_and_spans_are_written_for_people() -> None:
    assert [format_size(v) for v in (0, 999, 1000, 123_456, 5e9)] == [
        "0 B",
        "999 B",
        "1 kB",
        "123 kB",
        "5 GB",
    ]
    assert [format_span(v) for v in (0.5, 61, 119, 125, 7300)] == [
        "0.5 s",
        "61 s",
        "119 s",
        "2 min 05 s",
        "2 h 01 min",
    ]
