"""Hostile frames of the robot protocol: valid ones, changed where it hurts, and the kept corpus.

Knows msgpack and the vectors, and nothing of how we decode.
"""

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgpack
import msgspec

VECTORS = Path(__file__).resolve().parents[1] / "runtime" / "protocol_vectors.json"
CORPUS = Path(__file__).with_name("corpus") / "robot_wire.txt"
READERS = ("device", "client")
_HUGE = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x01\x00\x00", b"\x00\x00\xff\xff")


@dataclass(frozen=True)
class Kept:
    """A frame that once found something: who reads it, what became of it, the bytes."""

    to: str
    became: str
    data: bytes


def vectors(to: str) -> list[bytes]:
    """Return all vectors that `to` reads, valid or not, as bytes."""
    lists = msgspec.json.decode(VECTORS.read_bytes())
    entries = [*lists["messages"], *lists["accepted"], *lists["malformed"]]
    return [bytes.fromhex(each["hex"]) for each in entries if each["to"] == to]


def corpus() -> list[Kept]:
    """Return the kept frames: a line each of reader, outcome and hex."""
    lines = CORPUS.read_text(encoding="ascii").splitlines() if CORPUS.exists() else []
    words = [line.split(" ") for line in lines]
    return [Kept(to, became, bytes.fromhex(hexes)) for to, became, hexes in words]


def _pieces() -> list[bytes]:
    """Return elements, encoded, that some message somewhere must refuse."""
    plain = [
        None, True, False, 0, 1, 2, 5, 11, 12, 127, 128, -1, -33, 255, 256, 65535, 65536, 2**32 - 1,
        2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.0, -0.0, 1.5, float("nan"),
        float("inf"), -float("inf"), 5e-324, 1.8e308, "", "x", "é" * 128, "é" * 129, "x" * 255,
        "x" * 256, "x" * 257, "\x00", "\x1b[2J", "[bold]", b"", bytes(31), bytes(32), bytes(33),
        [], [0], [0.0] * 3, [1.0, float("nan")], [None], ["x"], [[]], [[[]]], [["x", 1]],
        [["x", 2**32]], [["x"]], [["x", 1, 1]], [[1, 2, [1.0]]], [[1, 2, []], [3, 4, [2.0, 5]]],
        [[1, 2]], [[1, 2, [1.0], 4]], [0] * 10, [0] * 11, [0] * 12, [-1] * 11, [0.0] * 300,
        [0] * 1024, [0] * 1025, {}, {"a": 1}, {1: [2]},
        msgpack.ExtType(0, b""), msgpack.ExtType(5, b"abcd"),
        msgpack.ExtType(127, bytes(300)), msgpack.Timestamp(1, 2),
    ]  # fmt: skip
    raw = [
        b"\xc1", b"\xc7\x00\xff", b"\xd8" + bytes(17), b"\xcc\x01", b"\xcd\x00\x01",
        b"\xce\x00\x00\x00\x01", b"\xcf" + bytes(8), b"\xd0\x05", b"\xd1\x00\x05", b"\xd0\x85",
        b"\xd3" + bytes(8), b"\xca\x3f\x80\x00\x00", b"\xca\x7f\xc0\x00\x00", b"\xd9\x01x",
        b"\xda\x00\x01x", b"\xdb\x00\x00\x00\x01x", b"\xc5\x00\x20" + bytes(32),
        b"\xc6\x00\x00\x00\x20" + bytes(32), b"\xdc\x00\x01\x00", b"\xdd\x00\x00\x00\x01\x00",
        b"\xa1\xff", b"\xa2\xc0\x80", b"\xa3\xed\xa0\x80", b"\xa4\xf4\x90\x80\x80", b"\xa1\xc3",
        b"\xdf\x00\x00\x00\x00", b"\xde\x00\x01\xc0\xc0", b"\x91" * 40 + b"\x90",
        b"\x91" * 1500 + b"\x90", b"\x81\xc0" * 1500 + b"\xc0", b"\x91" * 30_000 + b"\x90",
    ]  # fmt: skip
    heads = [bytes([head]) for head in b"\xd9\xda\xdb\xc4\xc5\xc6\xc9\xdc\xdd\xdf"]
    return [msgpack.packb(each) for each in plain] + raw + [h + n for h in heads for n in _HUGE]


def _split(data: bytes) -> list[bytes]:
    """Return the encoded elements of a valid message; its array header is left out."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    count = unpacker.read_array_header()
    ends = [unpacker.tell()]
    for _ in range(count):
        unpacker.skip()
        ends.append(unpacker.tell())
    return [data[a:b] for a, b in pairwise(ends)]


def _array(count: int) -> bytes:
    return bytes([0x90 + count]) if count < 16 else b"\xdc" + struct.pack(">H", count)


def in_session(data: bytes, session: int) -> bytes:
    """Return a frame as if it were of that session, where it can be taken apart; else as it is.

    Whatever its type has in that place is replaced: most types have the session there.
    """
    try:
        row = _split(data)
    except (msgpack.UnpackException, ValueError):
        return data
    row[2:3] = [msgpack.packb(session)] * len(row[2:3])
    return _array(len(row)) + b"".join(row)


class Frames:
    """An endless, seeded stream of frames for one reader; most begin as a message should."""

    def __init__(self, to: str, seed: int) -> None:
        lists = msgspec.json.decode(VECTORS.read_bytes())
        own = [bytes.fromhex(e["hex"]) for e in lists["messages"] if e["to"] == to]
        others = [bytes.fromhex(e["hex"]) for e in lists["messages"] if e["to"] != to]
        self._rows = [_split(data) for data in own]
        self._foreign = [_split(data) for data in others]
        self._pieces = _pieces()
        self._pieces += [piece for row in [*self._rows, *self._foreign] for piece in row[2:]]
        self._seeds = vectors(to) + [kept.data for kept in corpus() if kept.to == to]
        self._random = random.Random(f"{to} {seed}")
        self._ways = (
            (30, self._other_elements), (15, self._inside_an_element), (10, self._crossed),
            (10, self._another_length), (8, self._declared), (10, self._changed_bytes),
            (7, self._valid), (5, self._another_head), (3, self._end), (1, self._noise),
            (1, self._large),
        )  # fmt: skip
        self._weights = [weight for weight, _ in self._ways]

    def batch(self, count: int) -> list[bytes]:
        """Return the next `count` frames."""
        ways = self._random.choices([way for _, way in self._ways], self._weights, k=count)
        return [way() for way in ways]

    def _row(self) -> list[bytes]:
        return list(self._random.choice(self._rows))

    def _valid(self) -> bytes:
        row = self._row()
        return _array(len(row)) + b"".join(row)

    def _other_elements(self) -> bytes:
        row = self._row()
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            row[self._random.randrange(2, len(row))] = self._random.choice(self._pieces)
        return _array(len(row)) + b"".join(row)

    def _inside_an_element(self) -> bytes:
        row = self._row()
        place = self._random.randrange(2, len(row))
        row[place] = self._hurt(row[place])
        return _array(len(row)) + b"".join(row)

    def _crossed(self) -> bytes:
        row, other = self._row(), self._random.choice([*self._rows, *self._foreign])
        cut = self._random.randrange(2, len(row))
        row[cut:] = other[cut : len(row)]
        return _array(len(row)) + b"".join(row)

    def _another_length(self) -> bytes:
        row = self._row()
        if self._random.random() < 0.5:
            row = row[: self._random.randrange(2, len(row))]
        else:
            place = self._random.randrange(2, len(row) + 1)
            row[place:place] = self._random.choices(self._pieces, k=self._random.choice((1, 2, 9)))
        return _array(len(row)) + b"".join(row)

    def _declared(self) -> bytes:
        """A huge length where an element begins, in the middle of a message."""
        row = self._row()
        head = self._random.choice((b"\xdb", b"\xc6", b"\xdd", b"\xdf", b"\xc9"))
        place = self._random.randrange(2, len(row))
        row[place] = head + self._random.choice(_HUGE) + row[place]
        return _array(len(row)) + b"".join(row)

    def _changed_bytes(self) -> bytes:
        return self._hurt(self._random.choice(self._seeds))

    def _another_head(self) -> bytes:
        row = self._row()
        # the element behind the head is the one that is read of other versions, too
        for place in self._random.choice(((0,), (1,), (1, 2))):
            row[place] = self._random.choice(self._pieces)
        return _array(len(row)) + b"".join(row)

    def _end(self) -> bytes:
        data = self._valid()
        if self._random.random() < 0.5:
            return data[: self._random.randrange(len(data))]
        return data + self._random.randbytes(self._random.choice((1, 2, 100)))

    def _noise(self) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 2, 9, 80)))

    def _large(self) -> bytes:
        """As large as a frame may be, and larger: numbers, texts or nesting without end."""
        row = self._row()
        filler = self._random.choice((b"\xcb" + bytes(8), b"\x00", b"\x91", b"\xa1x", b"\x80"))
        count = self._random.choice((100, 7000, 65_400, 70_000)) // len(filler)
        row[-1] = b"\xdd" + struct.pack(">I", count) + filler * count
        return _array(len(row)) + b"".join(row)

    def _hurt(self, data: bytes) -> bytes:
        """Return `data` with one to four places overwritten, cut out or filled in."""
        hurt = bytearray(data)
        for _ in range(self._random.choice((1, 1, 2, 4))):
            place = self._random.randrange(len(hurt) + 1)
            end = place + self._random.choice((0, 1, 1, 1, 4))
            hurt[place:end] = self._random.choice(
                (self._random.randbytes(1), self._random.randbytes(1), b"", self._small())
            )
        return bytes(hurt)

    def _small(self) -> bytes:
        piece = self._random.choice(self._pieces)
        return piece[:10]


def shortest(found: Sequence[Kept]) -> list[Kept]:
    """Return the frames by reader, outcome and length."""
    return sorted(found, key=lambda kept: (kept.to, kept.became, len(kept.data), kept.data))
