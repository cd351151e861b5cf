"""PROTOCOL.md and the types say the same: every message, element, code and size, and no other."""

import enum
import re
import typing
from typing import Annotated, Any

import msgspec
import pytest

from runtime import robot_codes, robot_wire
from runtime.robot_codes import (
    COUNTS,
    MAX_ARRAY,
    MAX_FRAME_BYTES,
    MAX_TEXT_BYTES,
    VERSION,
    MessageType,
)
from tests.golden.make_vectors import VECTORS

TEXT = VECTORS.with_name("PROTOCOL.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (\d+) \| ([A-Z_]+) \| (.+) \|$", re.MULTILINE)
MESSAGES = {
    **dict.fromkeys(typing.get_args(robot_wire.FromClient), "device"),
    **dict.fromkeys(typing.get_args(robot_wire.FromDevice), "client"),
}
WORDS = {robot_wire.U8: "u8", robot_wire.U32: "u32", robot_wire.U62: "u62", robot_wire.U63: "u63",
         robot_wire.Digest: "bin[32]", float: "f64", bool: "bool", str: "text",
         robot_wire.Counts: f"[{COUNTS} x u63]"}  # fmt: skip
CODES = {
    "HELLO role": robot_codes.Role,
    "STOP category": robot_codes.StopCategory,
    "REFUSED code": robot_codes.Refusal,
    "OBSERVATION state": robot_codes.DeviceState,
    "SIGNAL kind": robot_codes.SignalCode,
    "SIGNAL outcome": robot_codes.OutcomeCode,
    "ERROR code": robot_codes.DropCode,
}


def section(title: str) -> str:
    """Return the text under a heading."""
    _, _, rest = TEXT.partition(f"# {title}\n")
    return re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]


def word(kind: Any) -> str:
    """Return how the protocol's tables write a type."""
    if kind in WORDS:
        return WORDS[kind]
    if typing.get_origin(kind) is Annotated:
        bare, limits = typing.get_args(kind)
        assert limits.max_length == MAX_ARRAY
        return word(bare)
    if typing.get_origin(kind) is tuple:
        return f"[{word(typing.get_args(kind)[0])}]"
    if issubclass(kind, enum.IntEnum):
        return "u8"
    return f"[{elements(kind)}]"


def elements(struct: type[msgspec.Struct]) -> str:
    kinds = typing.get_type_hints(struct, include_extras=True)
    names = [each.name for each in msgspec.structs.fields(struct) if each.name != "version"]
    return ", ".join(f"{name} {word(kinds[name])}" for name in names)


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).upper()


@pytest.mark.parametrize("reader", ["device", "client"])
def test_the_tables_list_the_messages_and_their_elements(reader: str) -> None:
    title = "Client to device" if reader == "device" else "Device to client"
    rows = [
        (int(kind), name, said.replace("[n x f64]", "[f64]"))
        for kind, name, said in ROW.findall(section(title))
    ]
    ours = [
        (each.__struct_config__.tag, snake(each.__name__), elements(each))
        for each, to in MESSAGES.items()
        if to == reader
    ]
    assert rows == ours
    assert all(MessageType[name] == kind for kind, name, _ in rows)


def test_no_message_type_is_without_a_table() -> None:
    assert {each.__struct_config__.tag for each in MESSAGES} == set(MessageType)


@pytest.mark.parametrize(("where", "codes"), CODES.items())
def test_the_codes_are_listed(where: str, codes: type[enum.IntEnum]) -> None:
    (said,) = re.findall(rf"^\| {where} \| (.+) \|$", section("Codes"), re.MULTILINE)
    ours = [f"{code.value} {code.name.lower().replace('_', ' ')}" for code in codes]
    assert said.split(", ") == ours


def test_no_code_is_without_a_list() -> None:
    rows = re.findall(r"^\| ([A-Z_]+ [a-z]+) \|", section("Codes"), re.MULTILINE)
    assert rows == list(CODES)
    kinds = [each for each in vars(robot_codes).values() if isinstance(each, enum.EnumMeta)]
    assert {*CODES.values(), MessageType} == {each for each in kinds if each is not enum.IntEnum}


def test_every_code_in_a_message_is_one_of_the_lists() -> None:
    used = {
        (snake(each.__name__), field.name): kind
        for each in MESSAGES
        for field in msgspec.structs.fields(each)
        if isinstance(kind := typing.get_type_hints(each)[field.name], enum.EnumMeta)
    }
    listed = {tuple(where.split(" ")): codes for where, codes in CODES.items()}
    assert listed.items() <= used.items()
    rest = {name for (_, name) in used.keys() - listed.keys()}
    assert rest == {"category", "state"}


def test_the_states_of_section_5_are_the_codes() -> None:
    rows = re.findall(r"^\| (\d) ([A-Z]+) \|", section("5. Epochs and arming"), re.MULTILINE)
    assert rows == [(str(state.value), state.name) for state in robot_codes.DeviceState]


def test_the_sizes_are_those_of_the_text() -> None:
    assert TEXT.startswith(f"# Trimtab robot protocol, version {VERSION}\n")
    assert f"exactly one frame of at most {MAX_FRAME_BYTES}\nbytes" in TEXT
    assert f"msgpack str of at most {MAX_TEXT_BYTES} bytes" in TEXT
    assert f"array of at most {MAX_ARRAY} x" in TEXT
    assert f"| MAXMSGSIZE | {MAX_FRAME_BYTES} | {MAX_FRAME_BYTES} |" in TEXT
    assert f"order of ERROR's codes 1 to {COUNTS}." in TEXT
