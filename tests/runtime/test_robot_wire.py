"""The robot protocol's bytes, read by us and by a library that knows nothing of us."""

import tracemalloc
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import TrimtabError
from runtime.robot_codes import MAX_FRAME_BYTES, MAX_TEXT_BYTES, MessageType, Refusal, StopCategory
from runtime.robot_wire import (
    Command,
    Group,
    OtherHello,
    Refused,
    Release,
    Stop,
    WireError,
    WireFault,
    clipped,
    decode_from_client,
    decode_from_device,
    encode,
)
from tests.golden.make_vectors import VECTORS, make, unplain

FILE = msgspec.json.decode(VECTORS.read_bytes())
DECODE: dict[str, Any] = {"device": decode_from_client, "client": decode_from_device}
RELEASE = Release(session=1, count=2, stamp_ns=3, answers_stamp_ns=4)
STOP = Stop(id=1, category=StopCategory.TWO, who="w", why="y")


def name_of(entry: dict[str, Any]) -> str:
    return str(entry["name"])


def data_of(entry: dict[str, Any]) -> bytes:
    return bytes.fromhex(entry["hex"]) * int(entry.get("repeat", 1))


def plain(message: Any) -> list[Any]:
    """Return a message as the array that it is on the wire."""
    found = msgspec.to_builtins(message, builtin_types=(bytes,))
    return as_lists(found)  # type: ignore[no-any-return]


def as_lists(value: Any) -> Any:
    return [as_lists(each) for each in value] if isinstance(value, list | tuple) else value


# -- vectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", FILE["messages"], ids=name_of)
def test_we_read_and_write_every_vector(entry: dict[str, Any]) -> None:
    message = DECODE[entry["to"]](data_of(entry))
    # NaN is unlike itself, its text is not
    assert repr(plain(message)) == repr(unplain(entry["message"]))
    assert encode(message) == data_of(entry)
    assert encode(message) == encode(DECODE[entry["to"]](memoryview(data_of(entry))))


@pytest.mark.parametrize("entry", FILE["messages"], ids=name_of)
def test_plain_msgpack_reads_and_writes_every_vector(entry: dict[str, Any]) -> None:
    message = unplain(entry["message"])
    assert msgpack.packb(message) == data_of(entry)
    assert repr(msgpack.unpackb(data_of(entry))) == repr(message)


@pytest.mark.parametrize("entry", FILE["accepted"], ids=name_of)
def test_other_ways_of_writing_are_read(entry: dict[str, Any]) -> None:
    message = plain(DECODE[entry["to"]](data_of(entry)))
    expected = unplain(entry["message"])
    assert repr(message) == repr(expected)
    assert msgpack.unpackb(data_of(entry))[: len(expected)] == expected


@pytest.mark.parametrize("entry", FILE["malformed"], ids=name_of)
def test_what_is_malformed_is_one_error_with_its_reason(entry: dict[str, Any]) -> None:
    with pytest.raises(WireError) as error:
        DECODE[entry["to"]](data_of(entry))
    assert error.value.fault is WireFault[entry["fault"].upper()]
    assert len(str(error.value)) < 300


def test_no_two_vectors_share_a_name() -> None:
    entries = [*FILE["messages"], *FILE["accepted"], *FILE["malformed"]]
    assert len({(entry["to"], entry["name"]) for entry in entries}) == len(entries)


def test_the_file_is_what_its_maker_makes(tmp_path: Path) -> None:
    make(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == VECTORS.read_bytes()


def test_every_message_has_vectors_of_all_kinds() -> None:
    ordinary = {entry["message"][0] for entry in FILE["messages"]}
    assert ordinary == set(MessageType)
    for kind in MessageType:
        bad = [entry for entry in FILE["malformed"] if entry["name"].startswith(f"{kind.name},")]
        assert {entry["fault"] for entry in bad} == {"elements", "unreadable"}


# -- what vectors cannot say ---------------------------------------------------------------------


def test_a_frame_is_measured_before_it_is_read() -> None:
    row = [*plain(STOP)[:4], "w", ""]
    head = len(msgpack.packb(row)) + 2  # a str of 16 bit length
    largest = msgpack.packb([*row[:5], "x" * (MAX_FRAME_BYTES - head)])
    assert len(largest) == MAX_FRAME_BYTES
    with pytest.raises(WireError) as error:
        decode_from_client(largest)
    assert error.value.fault is WireFault.ELEMENTS
    with pytest.raises(WireError) as error:
        decode_from_client(largest + b"x")
    assert error.value.fault is WireFault.SIZE


def test_an_array_holds_at_most_1024() -> None:
    row = [4, 1, 1, 1, 1, 1, 1, 1, 1, [0] * 1024, [0] * 1024]
    message = decode_from_client(msgpack.packb(row))
    assert isinstance(message, Command)
    assert message.q == message.dq == (0.0,) * 1024
    with pytest.raises(WireError, match="length <= 1024"):
        decode_from_client(msgpack.packb([*row[:10], [0] * 1025]))


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff\x06\x01",
        b"\x96\x06\x01\x01\x02\xdb\xff\xff\xff\xff",
        b"\x9b\x04\x01" + bytes(7) + b"\xdd\xff\xff\xff\xff" + b"\x00" * 100,
        b"\x9a\x43\x01" + bytes(7) + b"\xdd\xff\xff\xff\xff" + b"\x93\x00\x00\xdd\xff\xff\xff\xff",
        b"\x97\x01\x01\x00\x00\xa0\xc6\xff\xff\xff\xff",
        b"\x94\x01\x02\x00\xdf\xff\xff\xff\xff",
        b"\x94\x01\x02\x00\xc9\xff\xff\xff\xff\x05",
    ],
)
def test_a_declared_length_reserves_no_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        for decode in (decode_from_client, decode_from_device):
            with pytest.raises(WireError):
                decode(data)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000


def test_a_hello_of_another_version_can_be_answered() -> None:
    hello = decode_from_client(msgpack.packb([1, 7, 99, {"new": "ways"}]))
    assert hello == OtherHello(version=7, nonce=99)
    nested = b"\x94\x01\x07\x63" + b"\x91" * 30_000 + b"\x90"
    with pytest.raises(WireError):
        decode_from_client(nested)


def test_a_refusal_is_read_in_every_version() -> None:
    mine = Refused(nonce=1, code=Refusal.VERSION, text="", yours="1", mine="7")
    row = plain(mine)
    assert row[1] == 1
    theirs = decode_from_device(msgpack.packb([row[0], 7, *row[2:]]))
    assert theirs == msgspec.structs.replace(mine, version=7)


def test_texts_are_checked_where_they_are_made() -> None:
    with pytest.raises(ValueError, match="257 bytes"):
        Stop(id=1, category=StopCategory.ONE, who="", why="x" * 257)
    with pytest.raises(ValueError, match="258 bytes"):
        Group("é" * 129, 3)


@given(st.text(alphabet=st.characters(), max_size=400))
def test_a_clipped_text_always_fits(text: str) -> None:
    said = clipped(text)
    Stop(id=1, category=StopCategory.ONE, who=said, why=said)
    whole = text.encode(errors="replace")
    assert whole.startswith(said.encode())
    assert len(said.encode()) > MAX_TEXT_BYTES - 4 or said.encode() == whole


def test_messages_take_keywords_alone() -> None:
    with pytest.raises(TypeError):
        Release(1, 2, 3, 4)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        RELEASE.count = 3  # type: ignore[misc]
    assert issubclass(WireError, TrimtabError)


# -- many examples -------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.sampled_from([0, 1, 2, 5, 2**63 - 1, 2**63]), st.floats()
)
leaves = st.one_of(
    numbers, st.none(), st.booleans(), st.text(max_size=300), st.binary(max_size=40),
    st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20)),
)  # fmt: skip
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=6), max_leaves=20)
frames = [(entry["to"], data_of(entry)) for entry in FILE["messages"] + FILE["accepted"]]


def survives(to: str, data: bytes) -> None:
    """Whatever the bytes: a message that is written as it was read, or a WireError."""
    try:
        message = DECODE[to](data)
    except WireError:
        return
    assert encode(DECODE[to](encode(message))) == encode(message)


@given(st.sampled_from(["device", "client"]), st.binary(max_size=200))
def test_noise_raises_nothing_else(to: str, data: bytes) -> None:
    survives(to, data)


@given(st.sampled_from(frames), st.data())
def test_changed_bytes_raise_nothing_else(frame: tuple[str, bytes], data: st.DataObject) -> None:
    to, good = frame
    place = data.draw(st.integers(0, len(good) - 1))
    cut = data.draw(st.integers(0, 3))
    put = data.draw(st.binary(max_size=6))
    survives(to, good[:place] + put + good[place + cut :])


@given(st.sampled_from(frames), st.data())
def test_changed_elements_raise_nothing_else(frame: tuple[str, bytes], data: st.DataObject) -> None:
    to, good = frame
    row = msgpack.unpackb(good)
    row[data.draw(st.integers(2, len(row) - 1))] = data.draw(trees)
    survives(to, msgpack.packb(row))


finite = st.floats(allow_nan=False)


@given(st.lists(finite, max_size=20), st.lists(finite, max_size=20), st.integers(0, 2**62 - 1))
def test_a_command_comes_back_exactly(q: list[float], dq: list[float], number: int) -> None:
    command = Command(
        session=number, count=number, stamp_ns=number, answers_stamp_ns=number, epoch=number,
        answers_sequence=number, valid_for_ns=number, q=tuple(q), dq=tuple(dq),
    )  # fmt: skip
    assert decode_from_client(encode(command)) == command
