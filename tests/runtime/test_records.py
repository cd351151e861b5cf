"""Reading records: protobuf equality, other people's tools, cuts, damage, rotation."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from numpy.typing import NDArray

from runtime.errors import RecordError
from runtime.events import Event, EventKind
from runtime.layout import Kind
from runtime.messages import new_record
from runtime.record_segment import TickBuffer
from runtime.record_writer import RecordWriter, WriterLimits
from runtime.records import Gap, last_tick, read_record
from tests.runtime.recording_kit import SIZES, fill_hold, fill_noise, fill_tick, make_header

LIMITS = WriterLimits(segment_bytes=10**9, segment_s=600.0, retention_bytes=10**9)


def write(
    folder: Path,
    count: int,
    limits: WriterLimits = LIMITS,
    *,
    chunk: int = 50,
    hold_at: int = -1,
    close: bool = True,
) -> RecordWriter:
    """Write ticks 0 to count - 1 in chunks, and an event per chunk."""
    writer = RecordWriter(folder, make_header(folder.name), limits)
    record = new_record(SIZES)
    for tick in range(count):
        fill_tick(record, tick)
        if tick == hold_at:
            fill_hold(record)
        writer.add_ticks(record.raw)
        record.response[0] = record.faults[0] = 0
        if tick % chunk == chunk - 1:
            writer.add_event(Event(tick, tick * 2_000_000, EventKind.NOTE, f"tick {tick}"))
            writer.flush()
    if close:
        writer.close()
    return writer


def plain(value: Any) -> list[Any]:
    return list(value) if hasattr(value, "__len__") else [value]


def test_every_field_parses_to_what_the_view_holds(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "run", make_header("run"), LIMITS)
    record = new_record(SIZES)
    for seed in range(20):
        fill_noise(record, writer.layout, seed)
        record.tick[0] = record.now_ns[0] = seed
        writer.add_ticks(record.raw)
    writer.close()
    read = read_record(tmp_path / "run")
    files = descriptor_pb2.FileDescriptorSet.FromString(read.layout.descriptor())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(files.file[0])
    message_class = message_factory.GetMessageClass(
        pool.FindMessageTypeByName("trimtab.TickRecord")
    )
    for index in range(len(read)):
        message = message_class.FromString(bytes(read.message(index)))
        for field in read.layout.fields:
            parsed = plain(getattr(message, field.name))
            seen = read.ticks[field.name][index].tolist()
            expected = [bool(v) for v in seen] if field.kind is Kind.FLAG else seen
            assert parsed == expected, field.name
            assert read.column(field.name)[index].tolist() == seen


def test_other_tools_decode_ticks_and_events(tmp_path: Path) -> None:
    """Foxglove and Rerun read by schema; mcap-protobuf-support does just that."""
    writer = write(tmp_path / "run", 120)
    with writer.path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        summary = reader.get_summary()
        assert summary is not None and summary.statistics is not None
        assert summary.statistics.message_count == 122
        schemas = {schema.name: schema.encoding for schema in summary.schemas.values()}
        assert schemas == {"trimtab.TickRecord": "protobuf", "trimtab.Event": "jsonschema"}
        decoded = list(reader.iter_decoded_messages(topics=["/tick"]))
    assert [message.tick for *_, message in decoded] == list(range(120))
    assert [entry.log_time for _, _, entry, _ in decoded] == [2_000_000 * n for n in range(120)]
    assert list(decoded[7][3].observation_force) == [3.0, 4.0, 0.0]
    assert decoded[7][3].mode == 3


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 0.99])
def test_a_record_cut_short_reads_up_to_the_cut(tmp_path: Path, share: float) -> None:
    writer = write(tmp_path / "run", 2000)
    cut = tmp_path / "cut.mcap"
    data = writer.path.read_bytes()
    cut.write_bytes(data[: int(len(data) * share)])
    record = read_record(cut)
    assert record.truncated
    assert record.scalar("tick").tolist() == list(range(len(record)))
    assert len(record) % 50 == 0
    assert "was not closed" in record.notes[0]
    whole = read_record(writer.path)
    assert bytes(record.raw) == bytes(whole.raw[: len(record.raw)])


def test_every_single_cut_reads_or_refuses(tmp_path: Path) -> None:
    data = write(tmp_path / "run", 20, chunk=10).path.read_bytes()
    cut = tmp_path / "cut.mcap"
    for length in range(0, len(data), 37):
        cut.write_bytes(data[:length])
        try:
            assert len(read_record(cut)) in {0, 10, 20}
        except RecordError as error:
            assert str(cut) in str(error)


def test_a_damaged_chunk_is_left_out_and_named(tmp_path: Path) -> None:
    writer = write(tmp_path / "run", 1000)
    data = bytearray(writer.path.read_bytes())
    middle = data.index(b"zstd", len(data) // 3)
    data[middle + 60 : middle + 100] = bytes(40)
    writer.path.write_bytes(data)
    record = read_record(writer.path)
    assert len(record) == 950
    assert record.gaps and record.gaps[0].count == 50
    assert any("damaged chunk" in note for note in record.notes)


def test_no_flipped_byte_is_believed(tmp_path: Path) -> None:
    """A damaged record is refused, or reads as some of the true ticks: never as others."""
    path = write(tmp_path / "run", 100, chunk=25).path
    whole = read_record(path)
    true = {bytes(whole.message(index)) for index in range(len(whole))}
    data = path.read_bytes()
    random = np.random.default_rng(3)
    start = len(data) // 3
    for place in random.integers(start, len(data), 200):
        flipped = bytearray(data)
        flipped[place] ^= 0xFF
        path.write_bytes(flipped)
        try:
            record = read_record(path)
        except RecordError:
            continue
        assert {bytes(record.message(index)) for index in range(len(record))} <= true


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no such file"):
        read_record(tmp_path / "nowhere.mcap")
    text = tmp_path / "text.mcap"
    text.write_text("not a record")
    with pytest.raises(RecordError, match="not an MCAP file"):
        read_record(text)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match=r"holds no \.mcap segment; name a record"):
        read_record(tmp_path / "empty")
    write(tmp_path / "records" / "run-b", 1)
    with pytest.raises(RecordError, match=r"such as .*run-b"):
        read_record(tmp_path / "records")


def test_segments_rotate_by_size_and_read_as_one(tmp_path: Path) -> None:
    limits = WriterLimits(segment_bytes=12_000, segment_s=600.0, retention_bytes=10**9)
    write(tmp_path / "run", 3000, limits)
    record = read_record(tmp_path / "run")
    assert len(record.paths) > 3
    assert record.scalar("tick").tolist() == list(range(3000))
    assert not record.truncated
    assert len(record.events) == 60
    one = read_record(record.paths[1])
    assert 0 < len(one) < 3000
    assert one.header == record.header


def test_segments_rotate_by_time(tmp_path: Path) -> None:
    limits = WriterLimits(segment_bytes=10**9, segment_s=1e-9, retention_bytes=10**9)
    write(tmp_path / "run", 150, limits)
    assert len(read_record(tmp_path / "run").paths) == 4


def test_segments_with_a_hold_are_flagged_while_they_are_written(tmp_path: Path) -> None:
    limits = WriterLimits(segment_bytes=12_000, segment_s=600.0, retention_bytes=10**9)
    writer = write(tmp_path / "run", 1500, limits, hold_at=700, close=False)
    flagged = [path.name for path in sorted((tmp_path / "run").glob("*.flagged.mcap"))]
    assert len(flagged) == 1
    writer.close()
    assert read_record(tmp_path / "run").scalar("tick").tolist() == list(range(1500))


def test_missing_ticks_are_gaps(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "run", make_header("run"), LIMITS)
    record = new_record(SIZES)
    for tick in (5, 6, 9, 10, 12):
        fill_tick(record, tick)
        writer.add_ticks(record.raw)
    writer.close()
    read = read_record(tmp_path / "run")
    assert read.gaps == (Gap(6, 2), Gap(10, 1))
    assert read.notes == ("3 ticks are missing in 2 gaps",)


def test_repeated_ticks_count_once_and_keep_their_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "run", 100, close=False)
    again = RecordWriter(tmp_path / "run", make_header("run"), LIMITS)
    record = new_record(SIZES)
    for tick in range(80, 130):
        fill_tick(record, tick)
        again.add_ticks(record.raw)
    again.close()
    first.close()
    read = read_record(tmp_path / "run")
    assert read.scalar("tick").tolist() == list(range(130))
    assert all(read.layout.matches(read.message(index)) for index in range(130))


def test_last_tick_is_found_without_reading_all(tmp_path: Path) -> None:
    writer = write(tmp_path / "run", 1000, close=False)
    assert last_tick(tmp_path / "run") == (999, 999 * 2_000_000)
    (tmp_path / "run" / "9999.mcap").write_bytes(b"")
    assert last_tick(tmp_path / "run") == (999, 999 * 2_000_000)
    assert last_tick(tmp_path / "nowhere") is None
    writer.close()


def test_segments_of_different_runs_are_refused(tmp_path: Path) -> None:
    writer = write(tmp_path / "run", 10)
    header = make_header("run")
    other = header.layout[:-1]
    changed = RecordWriter(
        tmp_path / "other", type(header)(**{**_fields(header), "layout": other}), LIMITS
    )
    changed.close()
    changed.path.rename(writer.path.with_name("0001.mcap"))
    with pytest.raises(RecordError, match="not of one run"):
        read_record(tmp_path / "run")


def _fields(header: Any) -> dict[str, Any]:
    return {name: getattr(header, name) for name in header.__struct_fields__}


def test_ticks_of_another_layout_are_refused_by_the_writer(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "run", make_header("run"), LIMITS)
    with pytest.raises(ValueError, match="not TickRecord messages"):
        writer.add_ticks(memoryview(np.zeros(writer.layout.size_bytes, np.uint8).data))
    writer.close()


@pytest.fixture
def always_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.record_segment.IN_MEMORY_BYTES", 0)


def test_a_record_larger_than_memory_lies_in_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, always_on_disk: None
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    path = write(tmp_path / "run", 300).path
    read = read_record(path)
    assert read.scalar("tick").tolist() == list(range(300))
    mapped = Path("/proc/self/maps").read_text(encoding="ascii")
    assert any(str(room) in line and line.endswith("(deleted)") for line in mapped.splitlines())
    assert not list(room.iterdir())


def test_without_room_to_unpack_it_says_where_and_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, always_on_disk: None
) -> None:
    path = write(tmp_path / "run", 300).path

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RecordError, match="No space left on device; set TMPDIR"):
        read_record(path)


@given(
    keep=arrays(bool, st.integers(0, 40)),
    part=st.integers(1, 9),
)
def test_what_is_left_out_leaves_the_rest_in_order(keep: NDArray[np.bool_], part: int) -> None:
    rows = np.arange(3 * len(keep), dtype=np.uint8).reshape(-1, 3)
    buffer = TickBuffer(rows.size)
    buffer.append(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.record_segment._MOVED_ROWS", part)
        buffer.keep(keep, 3)
    assert bytes(buffer.raw) == rows[keep].tobytes()
