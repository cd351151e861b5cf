"""A block's bytes are a protobuf message: what numpy wrote, any protobuf reader sees."""

import enum
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st

from runtime.layout import Block, Codes, Field, Flags, Floats, Ints, Kind, Layout, Spec
from runtime.messages import (
    GroupSize,
    Request,
    SignalKind,
    Sizes,
    TaskSignal,
    input_layout,
    new_inputs,
    new_record,
    tick_layout,
)
from runtime.messages import SignalSource as Source
from runtime.signal_slots import put_signals


class Colour(enum.IntEnum):
    """Codes of the example."""

    RED = 0
    GREEN = 1


class Example(Block):
    """One field of every kind, single and repeated."""

    number: Annotated[Ints, Spec(Kind.INT, "1", "A number.")]
    numbers: Annotated[Ints, Spec(Kind.INT, "1", "Numbers.", 3)]
    real: Annotated[Floats, Spec(Kind.FLOAT, "m", "A real.")]
    reals: Annotated[Floats, Spec(Kind.FLOAT, "m", "Reals.", "many")]
    flag: Annotated[Flags, Spec(Kind.FLAG, "", "A flag.")]
    flags: Annotated[Flags, Spec(Kind.FLAG, "", "Flags.", 2)]
    colour: Annotated[Codes, Spec(Kind.CODE, "", "A code.", 1, Colour)]
    colours: Annotated[Codes, Spec(Kind.CODE, "", "Codes.", 4, Colour)]


SIZES = Sizes(joints=5, action=2, setpoint=3, groups=(GroupSize("touch", 2), GroupSize("one", 1)))
CODES = (("RED", 0), ("GREEN", 1))

VALUES = {
    Kind.FLOAT: st.floats(allow_nan=False, width=64),
    Kind.INT: st.integers(-(2**63), 2**63 - 1),
    Kind.FLAG: st.integers(0, 1),
    Kind.CODE: st.integers(0, 1),
}


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    kinds = draw(st.lists(st.tuples(st.sampled_from(Kind), st.integers(1, 200)), min_size=1))
    numbers = draw(
        st.lists(st.integers(1, 5000), min_size=len(kinds), max_size=len(kinds), unique=True)
    )
    return Layout(
        "Drawn",
        [
            Field(
                name=f"field_{index}",
                number=number,
                kind=kind,
                size=size,
                unit="",
                doc="",
                codes=CODES if kind is Kind.CODE else (),
            )
            for index, ((kind, size), number) in enumerate(zip(kinds, numbers, strict=True))
        ],
    )


def parsed(layout: Layout, message: bytes) -> Any:
    """Read `message` with Google's protobuf and nothing but the descriptor."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(layout.descriptor()).file:
        pool.Add(file)
    name = pool.FindMessageTypeByName(f"trimtab.{layout.message_name}")
    result = message_factory.GetMessageClass(name)()
    assert result.ParseFromString(message) == len(message)
    return result


def assert_same(layout: Layout, views: Mapping[str, Any], message: bytes) -> None:
    read = parsed(layout, message)
    assert len(UnknownFieldSet(read)) == 0
    for field in layout.fields:
        value = getattr(read, field.name)
        listed = list(value) if field.repeated else [value]
        assert listed == views[field.name].tolist(), field.name


@given(layout=layouts(), data=st.data())
def test_protobuf_reads_what_numpy_wrote(layout: Layout, data: st.DataObject) -> None:
    buffer = bytearray(layout.template)
    views = layout.views(buffer)
    for field in layout.fields:
        # a handful of drawn numbers, repeated, fills even long fields quickly
        drawn = data.draw(st.lists(VALUES[field.kind], min_size=1, max_size=4))
        views[field.name][:] = np.resize(np.array(drawn, views[field.name].dtype), field.size)
    assert_same(layout, views, bytes(buffer))
    assert layout.matches(bytes(buffer))


@given(layout=layouts())
def test_the_table_brings_the_layout_back(layout: Layout) -> None:
    again = Layout.from_table("Drawn", layout.table())
    assert again.fields == layout.fields
    assert again.template == layout.template
    assert again.descriptor() == layout.descriptor()
    assert again.dtype == layout.dtype


def test_a_block_carries_every_kind() -> None:
    layout = Layout("Example", Example.fields({"many": 6}))
    block = Example(layout, bytearray(layout.size_bytes))
    block.number[0] = -7
    block.numbers[:] = (1, -2, 3)
    block.real[0] = 0.1
    block.reals[:] = np.arange(6) / 7
    block.flag[0] = True
    block.flags[:] = (False, True)
    block.colour[0] = Colour.GREEN
    block.colours[:] = (0, 1, 0, 1)
    assert_same(layout, block.view, bytes(block.raw))
    assert block.raw.nbytes == layout.size_bytes


def test_not_finite_numbers_survive() -> None:
    layout = Layout("Example", Example.fields({"many": 3}))
    block = Example(layout, bytearray(layout.size_bytes))
    block.reals[:] = (np.nan, np.inf, -np.inf)
    read = parsed(layout, bytes(block.raw)).reals
    assert np.isnan(read[0])
    assert list(read[1:]) == [np.inf, -np.inf]


def test_a_size_of_zero_leaves_the_field_out() -> None:
    names = [field.name for field in Example.fields({"many": 0})]
    assert "reals" not in names
    assert "real" in names


def test_blocks_lie_side_by_side_in_one_buffer() -> None:
    layout = Layout("Example", Example.fields({"many": 2}))
    buffer = bytearray(3 * layout.size_bytes)
    blocks = [Example(layout, buffer, index * layout.size_bytes) for index in range(3)]
    for index, block in enumerate(blocks):
        block.number[0] = index
    assert layout.read(bytes(buffer))["number"].tolist() == [[0], [1], [2]]


def test_foreign_bytes_are_refused() -> None:
    layout = Layout("Example", Example.fields({"many": 2}))
    other = Layout("Example", Example.fields({"many": 3}))
    with pytest.raises(ValueError, match=r"buffer size must be a multiple|not Example messages"):
        layout.read(other.template)
    with pytest.raises(ValueError, match="these bytes are not Example messages"):
        layout.read(bytes(layout.size_bytes))
    assert layout.read(b"").size == 0


@given(data=st.data())
def test_one_changed_constant_byte_is_noticed(data: st.DataObject) -> None:
    layout = Layout("Example", Example.fields({"many": 2}))
    held: set[int] = set()
    for field in layout.fields:
        begin = layout.dtype.fields[field.name][1]  # type: ignore[index]
        held.update(range(begin, begin + layout.dtype[field.name].itemsize))
    constant = sorted(set(range(layout.size_bytes)) - held)
    position = data.draw(st.sampled_from(constant))
    message = bytearray(layout.template)
    message[position] ^= data.draw(st.integers(1, 255))
    assert not layout.matches(bytes(message))
    message[position] = layout.template[position]
    assert layout.matches(bytes(message))
    assert not layout.matches(bytes(message[:-1]))


def test_a_record_begins_with_its_inputs() -> None:
    inputs, record = new_inputs(SIZES), new_record(SIZES)
    layout = input_layout(SIZES)
    assert layout.size_bytes == inputs.raw.nbytes
    assert tick_layout(SIZES).template.startswith(layout.template)
    inputs.q[:] = np.arange(5)
    inputs.view["observation_touch"][:] = (8, 9)
    inputs.view["observation_one"][0] = 10
    record.raw[: layout.size_bytes] = inputs.raw
    assert record.q.tolist() == [0, 1, 2, 3, 4]
    assert record.view["observation_touch"].tolist() == [8, 9]
    assert_same(tick_layout(SIZES), record.view, bytes(record.raw))


def test_field_numbers_of_a_record_are_unique() -> None:
    numbers = [field.number for field in tick_layout(SIZES).fields]
    assert len(set(numbers)) == len(numbers)


def test_signals_fill_slots_and_the_rest_is_empty() -> None:
    inputs = new_inputs(SIZES)
    reset = TaskSignal(SignalKind.RESET_BEGIN, Source.DRIVER, target=(1.0, 2.0, 3.0))
    begin = TaskSignal(SignalKind.EPISODE_BEGIN, Source.OPERATOR)
    put_signals(inputs, [reset, begin])
    inputs.request[0] = Request.ARM
    assert inputs.signal_kind.tolist() == [SignalKind.RESET_BEGIN, SignalKind.EPISODE_BEGIN, 0, 0]
    assert inputs.signal_has_target.tolist()[:2] == [1, 0]
    assert inputs.signal_target.tolist()[:3] == [1.0, 2.0, 3.0]
    put_signals(inputs, [])
    assert not inputs.signal_kind.any()
