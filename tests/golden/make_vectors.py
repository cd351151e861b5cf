"""Makes protocol_vectors.json, PROTOCOL.md in bytes: `python -m tests.golden.make_vectors`.

Nothing here is taken from runtime/robot_wire.py: the messages are written as the protocol's tables
say and packed by the plain msgpack library, so that the file can tell when our own reading is
wrong. Make it anew only together with the protocol.
"""

import hashlib
import json
import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

VECTORS = Path(__file__).resolve().parents[2] / "runtime" / "protocol_vectors.json"
U8, U32, U62, U63 = 2**8 - 1, 2**32 - 1, 2**62 - 1, 2**63 - 1
BIN = bytes(range(32))
LONG = "é" * 128  # 256 bytes
NAN, INF = math.nan, math.inf
COUNTS = list(range(11))

# name: who reads it, its elements' kinds, and messages: an ordinary one, the smallest, the largest
TABLE: dict[str, tuple[str, str, list[list[Any]]]] = {
    "HELLO": ("device", "u63 role text bin bin", [
        [1, 1, 81985529216486895, 1, "trimtab/1 on bench-3", BIN, BIN[::-1]],
        [1, 1, 0, 0, "", bytes(32), bytes(32)],
        [1, 1, U63, 1, LONG, b"\xff" * 32, b"\xff" * 32]]),
    "HEARTBEAT": ("device", "u63 u63 u63 u63 u63", [
        [2, 1, 77, 12, 5_000_000_000, 4_000_000_000, 3],
        [2, 1, 0, 0, 0, 0, 0],
        [2, 1, U63, U63, U63, U63, U63]]),
    "ARM": ("device", "u63 u63 u63 u63 u62 text", [
        [3, 1, 77, 13, 5_000_000_001, 4_000_000_001, 9, "somebody"],
        [3, 1, 0, 0, 0, 0, 0, ""],
        [3, 1, U63, U63, U63, U63, U62, LONG]]),
    "COMMAND": ("device", "u63 u63 u63 u63 u62 u63 u63 f64s f64s", [
        [4, 1, 77, 14, 5_002_000_000, 4_002_000_000, 9, 2001, 20_000_000,
         [0.0, -0.785, 1e-3, -2.356], [0.0, 0.1, -0.25, 1.5]],
        [4, 1, 0, 0, 0, 0, 0, 0, 0, [], []],
        [4, 1, U63, U63, U63, U63, U62, U63, U63, [NAN, INF, -INF, -0.0], [5e-324, 1.7e308]]]),
    "RELEASE": ("device", "u63 u63 u63 u63", [
        [5, 1, 77, 15, 5_004_000_000, 4_004_000_000], [5, 1, 0, 0, 0, 0],
        [5, 1, U63, U63, U63, U63]]),
    "STOP": ("device", "u63 category text text", [
        [6, 1, 4242, 2, "somebody", "it drifts"], [6, 1, 0, 1, "", ""],
        [6, 1, U63, 2, LONG, LONG]]),
    "WELCOME": ("client", "u63 u63 u63 text bool u63 u63 u63 texts groups", [
        [65, 1, 81985529216486895, 77, 8, "arm-2", True, 2_000_000, 500_000_000, 20_000_000,
         ["shoulder", "elbow"], [["joints", 6], ["force", 3]]],
        [65, 1, 0, 0, 0, "", False, 0, 0, 0, [], []],
        [65, 1, U63, U63, U63, LONG, True, U63, U63, U63, [LONG], [[LONG, U32]]]]),
    "REFUSED": ("client", "u63 refusal text text text", [
        [66, 1, 81985529216486895, 2, "another robot", BIN.hex(), BIN[::-1].hex()],
        [66, 1, 0, 1, "", "", ""], [66, 1, U63, 6, LONG, LONG, LONG],
        [66, 2, 5, 1, "speak version 2", "1", "2"]]),
    "OBSERVATION": ("client", "u63 u63 u63 u63 state u63 u63 samples", [
        [67, 1, 77, 2001, 4_002_000_000, 5_000_000_000, 1, 9, 14,
         [[2001, 4_002_000_000, [0.0, -0.5, 0.1, 0.0, 3.5, -12.25]],
          [1000, 4_001_000_000, [1.5, -2.0, 9.75]]]],
        [67, 1, 0, 0, 0, 0, 0, 0, 0, []],
        [67, 1, U63, U63, U63, U63, 5, U63, U63, [[U63, U63, [NAN, INF, -INF]], [0, 0, []]]]]),
    "SIGNAL": ("client", "u63 u63 kind outcome f64s", [
        [68, 1, 77, 1, 1, 0, []], [68, 1, 77, 2, 2, 1, []], [68, 1, 0, 0, 4, 0, []],
        [68, 1, U63, U63, 3, 4, [0.5, 0.0, 0.3, -1.5]]]),
    "STATUS": ("client", "u63 u63 state u63 u63 text text counts", [
        [69, 1, 77, 4_100_000_000, 4, 10, 4242, "somebody", "it drifts", COUNTS],
        [69, 1, 0, 0, 0, 0, 0, "", "", [0] * 11],
        [69, 1, U63, U63, 5, U63, U63, LONG, LONG, [U63] * 11]]),
    "STOP_REPORT": ("client", "u63 bool category u63 state bool f64 u63 text", [
        [70, 1, 4242, True, 2, 10, 3, False, 0.42, 4_200_000_000, ""],
        [70, 1, 0, False, 1, 0, 0, False, 0.0, 0, ""],
        [70, 1, U63, True, 2, U63, 5, True, NAN, U63, LONG]]),
    "ERROR": ("client", "u63 u8 error text", [
        [71, 1, 77, 4, 2, "COMMAND 31 ms old; allowed are 20"], [71, 1, 0, 0, 1, ""],
        [71, 1, U63, 255, 11, LONG]]),
}  # fmt: skip

# what an element of a kind is not; codes besides: the number below the first and above the last
_NO_INTEGER = [1.0, True, None, "1", [1]]
_CODES = {"role": (0, 1), "category": (1, 2), "refusal": (1, 6), "state": (0, 5), "kind": (1, 4),
          "outcome": (0, 4), "error": (1, 11)}  # fmt: skip
_STAMP = msgpack.Timestamp(0, 0)
WRONG: dict[str, list[Any]] = {
    "u63": [U63 + 1, -1, 2**64 - 1, *_NO_INTEGER, _STAMP],
    "u62": [U62 + 1, -1, *_NO_INTEGER],
    "u8": [U8 + 1, -1, *_NO_INTEGER],
    "bool": [0, 1, None, "true"],
    "f64": [True, None, "1.0", [1.0], msgpack.ExtType(5, b"abc")],
    "f64s": [[0] * 1025, None, 1.0, [True], ["1.0"], [None], [[1.0]], {}, b"\x00" * 8],
    "text": [LONG + "x", b"bin", 1, None, ["x"], msgpack.ExtType(1, b"x")],
    "texts": [None, "x", [1], ["x", None], [LONG + "x"]],
    "bin": [BIN[:31], BIN + b"\x00", "x" * 32, b"", None, [0] * 32],
    "counts": [COUNTS[:10], [*COUNTS, 0], [-1] * 11, [1.0] * 11, None],
    "groups": [[["joints"]], [["joints", 6, 0]], [["joints", U32 + 1]], [["joints", -1]],
               [[6, "joints"]], [[LONG + "x", 1]], [{"joints": 6}], {"joints": 6}, None],
    "samples": [[[1, 2]], [[1, 2, [], 0]], [[-1, 2, []]], [[1, 2.0, []]], [[1, 2, None]],
                [[1, 2, [True]]], [{}], None],
    **{kind: [first - 1, last + 1, *_NO_INTEGER] for kind, (first, last) in _CODES.items()},
}  # fmt: skip


def plain(value: Any) -> Any:
    """Return a value as the vectors' JSON has it."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"f64": str(value)}
    return [plain(each) for each in value] if isinstance(value, list) else value


def unplain(value: Any) -> Any:
    """Undo `plain`."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if "hex" in value else float(value["f64"])
    return [unplain(each) for each in value] if isinstance(value, list) else value


def _entry(name: str, to: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"name": name, "to": to, "hex": data.hex(), **more}


def messages() -> Iterator[dict[str, Any]]:
    """Yield every message of the table."""
    for name, (to, _, rows) in TABLE.items():
        for number, row in enumerate(rows):
            yield _entry(f"{name} {number}", to, msgpack.packb(row), message=plain(row))


def accepted() -> Iterator[dict[str, Any]]:
    """Yield what is valid and yet not written so by us."""

    def of(name: str, to: str, data: bytes, message: list[Any]) -> dict[str, Any]:
        return _entry(name, to, data, message=plain(message))

    release = [5, 1, 77, 15, 16, 17]
    wide = b"\xdd\x00\x00\x00\x06" + b"".join(b"\xcf" + struct.pack(">Q", v) for v in release)
    yield of("RELEASE, wide integers and array header", "device", wide, release)
    signed = b"\x96" + b"".join(b"\xd3" + struct.pack(">q", v) for v in release)
    yield of("RELEASE, signed integers", "device", signed, release)
    stop = [6, 1, 4242, 2, "a", "b"]
    heads = msgpack.packb(stop[:4])[1:] + b"\xdb\x00\x00\x00\x01a" + b"\xda\x00\x01b"
    yield of("STOP, wide text headers", "device", b"\x96" + heads, stop)
    command = [4, 1, 77, 14, 3, 2, 9, 1, 20, [0.5, -2.0], [0.0, 1.0]]
    single = msgpack.packb(command, use_single_float=True)
    yield of("COMMAND, floats of 32 bit", "device", single, command)
    whole = [*command[:9], [1, -2], [0, 2**53]]
    read = [*command[:9], [1.0, -2.0], [0.0, 2.0**53]]
    yield of("COMMAND, integers for floats", "device", msgpack.packb(whole), read)
    for version, rest in ((0, []), (2, [{"what": ["ever"]}]), (U32, [_STAMP])):
        row = [1, version, 77]
        name = f"HELLO of version {version}"
        yield of(name, "device", msgpack.packb([*row, *rest]), row)


def malformed() -> Iterator[dict[str, Any]]:
    """Yield what is to be dropped."""
    seen: set[str] = set()
    for name, (to, kinds, rows) in TABLE.items():
        good = rows[0]
        for what, row in _shapes(kinds.split(), good, seen):
            yield _entry(f"{name}, {what}", to, msgpack.packb(row), fault="elements")
        other = "client" if to == "device" else "device"
        yield _entry(f"{name} the wrong way", other, msgpack.packb(good), fault="type")
        if name not in ("HELLO", "REFUSED"):
            foreign = msgpack.packb([good[0], 2, *good[2:]])
            yield _entry(f"{name} of version 2", to, foreign, fault="version")
        cut = msgpack.packb(good)[:-1]
        yield _entry(f"{name}, cut by a byte", to, cut, fault="unreadable")
        yield _entry(f"{name}, a byte more", to, msgpack.packb(good) + b"\x00", fault="unreadable")
    yield from _hostile()


def _shapes(kinds: list[str], good: list[Any], seen: set[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield a message too short, too long, and with each element as it must not be: in all ways
    that its kind knows where the kind stands first, then in the first two."""
    assert len(kinds) == len(good) - 2
    yield "an element less", good[:-1]
    yield "an element more", [*good, 0]
    for place, kind in enumerate(kinds, start=2):
        for number, value in enumerate(WRONG[kind][: 2 if kind in seen else None]):
            row = [*good[:place], value, *good[place + 1 :]]
            yield f"element {place} is no {kind} ({number})", row
        seen.add(kind)


def _hostile() -> Iterator[dict[str, Any]]:
    """Yield bytes that are hardly messages at all."""
    stop = msgpack.packb([6, 1, 4242, 2])[1:]
    command = msgpack.packb(TABLE["COMMAND"][2][0][:9])[1:]
    huge = b"\xff\xff\xff\xff"
    elements = {
        "text is no UTF-8": b"\x96" + stop + b"\xa2\xff\xfe" + b"\xa0",
        "text holds a surrogate": b"\x96" + stop + b"\xa3\xed\xa0\x80" + b"\xa0",
    }
    unreadable = {
        "text of 4 GB declared": b"\x96" + stop + b"\xdb" + huge,
        "4 thousand million numbers declared": b"\x9b" + command + b"\xdd" + huge + b"\xcb",
        "numbers nested 2000 deep": b"\x9b" + command + b"\x91" * 2000,
        "nothing": b"",
        "an opcode that there is not": b"\xc1",
        "nil": b"\xc0",
        "an empty array": b"\x90",
        "a type alone": b"\x91\x06",
        "a map": msgpack.packb({0: 6, 1: 1}),
        "an extension": msgpack.packb(msgpack.ExtType(6, b"abc")),
        "a type that is a float": msgpack.packb([6.0, 1, 4242, 2, "", ""]),
        "a type that is true": msgpack.packb([True, 1, 0, 0, "", BIN, BIN]),
        "a type that is a text": msgpack.packb(["STOP", 1, 4242, 2, "", ""]),
        "a version that is a float": msgpack.packb([6, 1.0, 4242, 2, "", ""]),
        "nested 2000 deep": b"\x91" * 2000,
        "4 thousand million elements declared": b"\xdd" + huge + b"\x06\x01",
    }
    for name, data in elements.items():
        yield _entry(name, "device", data, fault="elements")
    for name, data in unreadable.items():
        yield _entry(name, "device", data, fault="unreadable")
    for kind in (0, 7, 64, 72, -1, 2**64 - 1):
        yield _entry(f"type {kind}", "device", msgpack.packb([kind, 1, 2, 3]), fault="type")
        yield _entry(f"type {kind}", "client", msgpack.packb([kind, 1, 2, 3]), fault="type")
    for version in (-1, U32 + 1):
        row = [1, version, 77]
        yield _entry(f"HELLO of version {version}", "device", msgpack.packb(row), fault="version")
    without = msgpack.packb([1, 2, "77"])
    yield _entry("HELLO of version 2 without a nonce", "device", without, fault="version")
    yield _entry("a byte too many", "device", b"\x00", repeat=65537, fault="size")


def contract_example() -> dict[str, str]:
    """Return a contract's text and its hash, by the protocol's own words."""
    text = '{"groups":[["joints",6],["Kraft-é",3]],"joints":["a","b"],"period_ns":2000000}'
    return {"text": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def make(target: Path) -> None:
    """Write the vectors to `target`, an entry a line."""
    parts = ['"version": 1', f'"contract_hash": {json.dumps(contract_example())}']
    lists = {"messages": messages(), "accepted": accepted(), "malformed": malformed()}
    for name, entries in lists.items():
        lines = ",\n".join(json.dumps(each, allow_nan=False) for each in entries)
        parts.append(f'"{name}": [\n{lines}\n]')
    target.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    sys.stdout.write(f"{target.name}: {target.stat().st_size / 1e3:.0f} kB\n")


if __name__ == "__main__":
    make(VECTORS)
