"""The record as a stream: whoever comes late, or is slow, reads the rest from the files."""

from pathlib import Path

import numpy as np

from runtime.events import Event, EventKind
from runtime.feed import Batch, FeedReader, history
from tests.runtime.recording_kit import (
    make_config,
    make_place,
    recording,
    send_ticks,
    start_recorder,
    wait_until,
)


def numbers(batches: list[Batch]) -> list[int]:
    return [int(n) for batch in batches for n in batch.rows["tick"][:, 0]]


def read_until(reader: FeedReader, tick: int) -> list[Batch]:
    found: list[Batch] = []

    def reached() -> bool:
        found.extend(reader.read(0.05))
        return bool(found) and (numbers(found) or [0])[-1] >= tick

    wait_until(reached)
    return found


def test_a_reader_gets_every_tick_and_event_in_order(tmp_path: Path) -> None:
    place, config = make_place(tmp_path), make_config()
    reader = FeedReader(place, 0)
    with recording(place, config) as (client, _):
        assert reader.wait_header(5.0) is not None
        send_ticks(client, 1, 500)
        client.event(Event(500, 1, EventKind.KEYFRAME, data=b"state"))
        send_ticks(client, 501, 100)
        client.event(Event(600, 1, EventKind.NOTE, "end"))
        found = read_until(reader, 600)
        while not any(e.text == "end" for batch in found for e in batch.events):
            found.extend(reader.read(0.05))
    reader.close()
    assert numbers(found) == list(range(1, 601))
    assert [e.tick for batch in found for e in batch.events] == [500, 600]
    for batch in found:
        size = len(batch.raw) // max(1, len(batch.rows))
        assert size * len(batch.rows) == len(batch.raw)


def test_who_comes_late_reads_the_beginning_from_the_files(tmp_path: Path) -> None:
    place, config = make_place(tmp_path), make_config(segment_mb=0.02)
    with recording(place, config) as (client, _):
        send_ticks(client, 1, 2016)
        wait_until(lambda: len(list(place.folder.glob("*.mcap"))) >= 2)
        reader = FeedReader(place, 0)
        found = read_until(reader, 1984)
        send_ticks(client, 2017, 96)
        found += read_until(reader, 2080)
        reader.close()
    assert numbers(found) == list(range(1, numbers(found)[-1] + 1))


def test_a_late_reader_needs_no_further_tick_to_notice(tmp_path: Path) -> None:
    """The robot may be idle: then nothing more is published for a long time."""
    place, config = make_place(tmp_path), make_config()
    with recording(place, config) as (client, _):
        send_ticks(client, 1, 320)
        reader = FeedReader(place, 0)
        assert numbers(read_until(reader, 320)) == list(range(1, 321))
        reader.close()


def test_a_reader_without_history_begins_with_what_comes(tmp_path: Path) -> None:
    place, config = make_place(tmp_path), make_config()
    with recording(place, config) as (client, _):
        # only what another has heard is certainly in the past
        early = FeedReader(place, 0)
        send_ticks(client, 1, 320)
        read_until(early, 320)
        early.close()
        reader = FeedReader(place, None)
        assert reader.wait_header(5.0) is not None
        send_ticks(client, 321, 320)
        found = numbers(read_until(reader, 640))
        reader.close()
    # the first frame that it hears may hold a batch that was begun before it came
    assert found == list(range(found[0], 641))
    assert found[0] > 200


def test_a_slow_reader_fills_what_it_missed(tmp_path: Path) -> None:
    """A thousand frames wait for a reader at either end; beyond them the socket drops."""
    place, config = make_place(tmp_path), make_config()
    last = 32 * 2800
    reader = FeedReader(place, 0)
    with recording(place, config) as (client, _):
        assert reader.wait_header(5.0) is not None
        send_ticks(client, 1, last)
        found = numbers(read_until(reader, last))
        reader.close()
    assert found == list(range(1, last + 1))


def test_a_restarted_recorder_repeats_nothing_to_the_reader(tmp_path: Path) -> None:
    place, config = make_place(tmp_path), make_config()
    reader = FeedReader(place, 0)
    with recording(place, config) as (client, process):
        assert reader.wait_header(5.0) is not None
        send_ticks(client, 1, 640)
        found = read_until(reader, 640)
        process.kill()
        process.wait()
        again = start_recorder(place, config)
        # a client takes part in the repetition only while it records
        tick = 641
        while numbers(found)[-1] < 1280:
            send_ticks(client, tick, 32)
            found += list(reader.read(0.1))
            tick += 32
            assert tick < 640 + 32 * 300
        client.close()
        again.communicate(timeout=10.0)
    reader.close()
    assert numbers(found) == list(range(1, numbers(found)[-1] + 1))


def test_history_is_cut_to_what_is_wanted(tmp_path: Path) -> None:
    place, config = make_place(tmp_path), make_config(segment_mb=0.02)
    with recording(place, config) as (client, _):
        send_ticks(client, 1, 3000)
    found = [batch for batch, _ in history(place.folder, 1500, 2500)]
    assert numbers(found) == list(range(1501, 2500))
    assert all(np.array_equal(b.rows["tick"][:, 0], np.sort(b.rows["tick"][:, 0])) for b in found)
