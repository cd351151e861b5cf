"""What every RecordSink promises, asked of every sink that there is."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runtime.events import Event, EventKind
from runtime.interfaces import RecordSink
from runtime.messages import new_record
from runtime.records import read_record
from sims.faulty import FaultySink, Switch
from tests.planar.train import NoRecord
from tests.runtime.control_kit import ListSink
from tests.runtime.recording_kit import SIZES, fill_tick, make_config, make_place, recording

TICKS = 500
ENOUGH_S = 1.0

Kept = tuple[list[int], list[str]]


class Bench:
    """One sink, and a way to look at what it kept (None: it keeps nothing)."""

    def __init__(self, sink: RecordSink, kept: Callable[[], Kept] | None) -> None:
        self.sink = sink
        self.kept = kept

    def record(self, first: int, count: int) -> None:
        """Hand over ticks in one record object that is reused, as the loop does."""
        record = new_record(SIZES)
        for tick in range(first, first + count):
            fill_tick(record, tick)
            self.sink.record(record)
        record.raw[:] = bytes(len(record.raw))

    def event(self, tick: int, text: str) -> None:
        """Hand over an event."""
        self.sink.event(Event(tick, 0, EventKind.NOTE, text))


def recorder(folder: Path, stack: ExitStack, lockstep: bool) -> Bench:
    place = make_place(folder)
    client, _ = stack.enter_context(recording(place, make_config(), lockstep=lockstep))

    def kept() -> Kept:
        record = read_record(place.folder)
        return record.scalar("tick").tolist(), [event.text for event in record.events]

    return Bench(client, kept)


def recorder_in_lockstep(folder: Path, stack: ExitStack) -> Bench:
    return recorder(folder, stack, lockstep=True)


def recorder_in_real_time(folder: Path, stack: ExitStack) -> Bench:
    return recorder(folder, stack, lockstep=False)


def faulty_but_off(folder: Path, stack: ExitStack) -> Bench:
    inner = recorder(folder, stack, lockstep=True)
    return Bench(FaultySink(inner.sink, Switch(), drop=True), inner.kept)


def in_memory(folder: Path, stack: ExitStack) -> Bench:
    sink = ListSink()
    layout = new_record(SIZES).layout

    def kept() -> Kept:
        ticks = layout.read(b"".join(sink.rows))["tick"][:, 0].tolist()
        return ticks, [event.text for event in sink.events]

    return Bench(sink, kept)


def nothing_kept(folder: Path, stack: ExitStack) -> Bench:
    return Bench(NoRecord(), None)


SINKS = (recorder_in_lockstep, recorder_in_real_time, faulty_but_off, in_memory, nothing_kept)


@pytest.fixture(params=SINKS, ids=lambda make: make.__name__)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield request.param(tmp_path, stack)


def test_a_new_sink_is_well(bench: Bench) -> None:
    health = bench.sink.health()
    assert health.dropped == 0
    assert not health.lost


def test_what_was_handed_over_is_kept_in_order(bench: Bench) -> None:
    bench.record(1, 100)
    bench.event(100, "first")
    bench.record(101, 100)
    bench.event(200, "second")
    assert bench.sink.health().dropped == 0
    bench.sink.close()
    if bench.kept is not None:
        ticks, texts = bench.kept()
        assert ticks == list(range(1, 201))
        assert texts == ["first", "second"]


def test_handing_over_is_quick(bench: Bench) -> None:
    begin_s = time.monotonic()
    bench.record(1, TICKS)
    assert time.monotonic() - begin_s < ENOUGH_S
    assert not bench.sink.health().lost


def test_closing_twice_is_closing(bench: Bench) -> None:
    bench.record(1, 10)
    begin_s = time.monotonic()
    bench.sink.close()
    bench.sink.close()
    assert time.monotonic() - begin_s < ENOUGH_S + 1.0
