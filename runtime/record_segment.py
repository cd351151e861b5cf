"""One MCAP file of a record: what it says of itself, and its chunks as far as they are whole."""

import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Metadata
from mcap.stream_reader import CRCValidationError
from mcap.writer import MCAP0_MAGIC
from numpy.typing import NDArray

from runtime.errors import RecordError
from runtime.events import Event
from runtime.record_format import (
    EVENT_TOPIC,
    HEADER_NAME,
    TICK_TOPIC,
    RecordHeader,
    header_from_metadata,
)

_RECORD_HEAD = struct.Struct("<BQ")
# of a chunk: first log time, last log time, uncompressed size
_CHUNK_HEAD = struct.Struct("<QQQ")
# what parsing damaged bytes raises
_DAMAGE = (
    McapError,
    CRCValidationError,
    zstandard.ZstdError,
    struct.error,
    UnicodeDecodeError,
    OverflowError,  # a length that was flipped into more than an index can be
)
_CHUNK_BYTES_MAX = 1 << 28
_MOVED_ROWS = 1 << 12
IN_MEMORY_BYTES = 1 << 30
_CHANNEL_ID = struct.Struct("<H")
# opcode, length, channel, sequence, log time, publish time
_MESSAGE_HEAD_BYTES = _RECORD_HEAD.size + 2 + 4 + 8 + 8


class TickBuffer:
    """Room for all ticks of a record, allocated once: pages that stay unused cost nothing.

    A day's ticks can be more than the machine has memory: beyond `IN_MEMORY_BYTES` they lie in a
    temporary file without a name, which ends with the buffer.

    Raises:
        RecordError: there is no room for that file.
    """

    def __init__(self, bound_bytes: int) -> None:
        large = bound_bytes > IN_MEMORY_BYTES
        self._data = _on_disk(bound_bytes) if large else np.empty(bound_bytes, np.uint8)
        self._used = 0

    def append(self, table: NDArray[np.uint8]) -> None:
        """Copy a table [ticks, bytes] to the end."""
        end = self._used + table.size
        self._data[self._used : end].reshape(table.shape)[:] = table
        self._used = end

    def keep(self, rows: NDArray[np.bool_], row_bytes: int) -> None:
        """Leave out every row [row_bytes] but those marked, in place."""
        table = self._data[: self._used].reshape(-1, row_bytes)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], rows, [False]))))
        end = 0
        for first, past in zip(edges[::2], edges[1::2], strict=True):
            # in small parts: where both sides overlap, numpy copies the whole part first
            for at in range(first, past, _MOVED_ROWS):
                moved = table[at : min(at + _MOVED_ROWS, past)]
                table[end : end + len(moved)] = moved
                end += len(moved)
        self._used = end * row_bytes

    @property
    def raw(self) -> memoryview:
        """What was appended."""
        return self._data[: self._used].data


class NoTicks(TickBuffer):
    """Forgets every tick: for who wants the events alone."""

    def __init__(self) -> None:
        super().__init__(0)

    def append(self, table: NDArray[np.uint8]) -> None:
        """Keep nothing."""


class Segment:
    """One MCAP file, opened. `events` are those of the chunks that were read; `bound_bytes`: room
    for all of its ticks; `notes` say what is wrong with it, `truncated` that it was not closed.

    Raises:
        RecordError: it is no segment of a record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = path.stat().st_size
        self.events: list[Event] = []
        self.notes: list[str] = []
        self.truncated = True
        self._topics: dict[int, str] = {}
        self._decompressor = zstandard.ZstdDecompressor()
        records = list(self._records())
        self.header = self._header([body for code, body in records if code == Opcode.METADATA])
        self._chunks = [body for code, body in records if code == Opcode.CHUNK and _sane(body)]
        sizes = [_uncompressed_bytes(body) for body in self._chunks]
        self.bound_bytes = sum(sizes)
        self._largest_bytes = max(sizes, default=0)

    def read_into(self, buffer: TickBuffer) -> None:
        """Read all ticks into `buffer`, and the events into `events`."""
        for chunk in self._chunks:
            self._read_chunk(chunk, buffer)

    def last_ticks(self) -> memoryview:
        """Return the ticks of the last chunk that holds any (the first one names the channels)."""
        self._read_chunk_of_channels()
        for chunk in reversed(self._chunks):
            buffer = TickBuffer(self._largest_bytes)
            self._read_chunk(chunk, buffer)
            if buffer.raw:
                return buffer.raw
        return memoryview(b"")

    def _read_chunk_of_channels(self) -> None:
        for chunk in self._chunks[:1]:
            self._read_chunk(chunk, TickBuffer(self._largest_bytes))

    def _header(self, bodies: list[memoryview]) -> RecordHeader:
        for body in bodies:
            try:
                entry = Metadata.read(_stream(body))
                if entry.name == HEADER_NAME:
                    return header_from_metadata(entry.metadata)
            except (*_DAMAGE, msgspec.ValidationError, msgspec.DecodeError) as error:
                raise RecordError(f"{self.path}: its header cannot be read: {error}") from None
        raise RecordError(f"{self.path}: no Trimtab header in it; it is another kind of file")

    def _records(self) -> Iterator[tuple[int, memoryview]]:
        """Yield opcode and content of each whole top-level record up to the end of the data."""
        with self.path.open("rb") as file:
            if file.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
                raise RecordError(f"{self.path}: not an MCAP file, so not a record")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self.truncated = data[-len(MCAP0_MAGIC) :] != MCAP0_MAGIC
        if self.truncated:
            self.notes.append(f"{self.path.name} was not closed: it reads up to its last chunk")
        position = len(MCAP0_MAGIC)
        while position + _RECORD_HEAD.size <= len(data):
            opcode, length = _RECORD_HEAD.unpack_from(data, position)
            start = position + _RECORD_HEAD.size
            position = start + length
            if position > len(data) or opcode in (0, Opcode.DATA_END):
                return
            yield opcode, data[start:position]

    def _read_chunk(self, body: memoryview, buffer: TickBuffer) -> None:
        try:
            chunk = Chunk.read(_stream(body))
            data = self._chunk_data(chunk)
        except _DAMAGE as error:
            self.notes.append(f"{self.path.name}: a damaged chunk was left out: {error}")
            return
        view = memoryview(data)
        position = 0
        while position < len(view):
            opcode, length = _RECORD_HEAD.unpack_from(view, position)
            end = position + _RECORD_HEAD.size + length
            if opcode == Opcode.MESSAGE:
                end = position + self._read_messages(view[position:], end - position, buffer)
            elif opcode == Opcode.CHANNEL:
                channel = Channel.read(_stream(view[position + _RECORD_HEAD.size : end]))
                self._topics[channel.id] = channel.topic
            position = end

    def _chunk_data(self, chunk: Chunk) -> bytes:
        if chunk.compression == "zstd":
            data = self._decompressor.decompress(chunk.data, chunk.uncompressed_size)
        else:
            data = chunk.data
        found = zlib.crc32(data)
        if chunk.uncompressed_crc not in (0, found):
            raise CRCValidationError(chunk.uncompressed_crc, found, chunk)
        return data

    def _read_messages(self, view: memoryview, stride: int, buffer: TickBuffer) -> int:
        """Read the message at the start of `view`, and further ticks that follow it directly.

        `stride` is the first message's length; returns how many bytes were read.
        """
        (channel,) = _CHANNEL_ID.unpack_from(view, _RECORD_HEAD.size)
        topic = self._topics.get(channel)
        if topic == EVENT_TOPIC:
            data = view[_MESSAGE_HEAD_BYTES:stride]
            self.events.append(msgspec.json.decode(data, type=Event))
        if topic != TICK_TOPIC:
            return stride
        # ticks have one size, so a run of them is a table: one copy instead of one a tick
        rows = np.frombuffer(view, np.uint8)[: len(view) // stride * stride].reshape(-1, stride)
        heads = rows[:, : _RECORD_HEAD.size + _CHANNEL_ID.size]
        alike = (heads == heads[0]).all(axis=1)
        count = len(rows) if alike.all() else int(alike.argmin())
        buffer.append(rows[:count, _MESSAGE_HEAD_BYTES:])
        return count * stride


def _on_disk(count: int) -> NDArray[np.uint8]:
    """Return an array in a temporary file; its room is taken now, so writing cannot fail."""
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, count)
        except OSError as error:
            raise RecordError(
                f"unpacking this record takes {count / 1e9:.1f} GB in {tempfile.gettempdir()}: "
                f"{error.strerror}; set TMPDIR to a folder with more room"
            ) from None
        return np.frombuffer(mmap.mmap(file.fileno(), count), np.uint8)


def _uncompressed_bytes(chunk: memoryview) -> int:
    size: int = _CHUNK_HEAD.unpack_from(chunk)[2]
    return size


def _sane(chunk: memoryview) -> bool:
    """Return whether a chunk's head can be true; a damaged one could ask for all the memory."""
    return len(chunk) >= _CHUNK_HEAD.size and _uncompressed_bytes(chunk) <= _CHUNK_BYTES_MAX


def _stream(data: memoryview) -> ReadDataStream:
    return ReadDataStream(BytesIO(data))
