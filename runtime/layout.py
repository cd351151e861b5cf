"""A fixed-size block of named fields that is, byte for byte, a protobuf message.

The tick must not allocate or encode, yet a record must open in other people's tools. All our
fields have a fixed size, so the protobuf tags and lengths never change: they are written once
into a buffer, and each field is a numpy view between them. Handing a record over is one memcpy.
Scalars are views of length 1 (`record.tick[0] = 5`). Views are unaligned: assign into them, do
not compute in them.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_type_hints

import numpy as np
from google.protobuf import descriptor_pb2
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.uint8]
Codes = NDArray[np.uint8]

_PROTO = descriptor_pb2.FieldDescriptorProto
_WIRE_VARINT, _WIRE_FIXED64, _WIRE_LENGTH = 0, 1, 2


class Kind(enum.Enum):
    """What a field holds, and how protobuf names that."""

    FLOAT = "double"
    INT = "sfixed64"
    FLAG = "bool"
    CODE = "enum"


_NUMPY_TYPE = {Kind.FLOAT: "<f8", Kind.INT: "<i8", Kind.FLAG: "u1", Kind.CODE: "u1"}
_PROTO_TYPE = {
    Kind.FLOAT: _PROTO.TYPE_DOUBLE,
    Kind.INT: _PROTO.TYPE_SFIXED64,
    Kind.FLAG: _PROTO.TYPE_BOOL,
    Kind.CODE: _PROTO.TYPE_ENUM,
}


@dataclass(frozen=True)
class Spec:
    """Declares a field of a Block in its class body, as `Annotated[Floats, Spec(...)]`.

    `size` is a number or the name of a size given when the layout is made (0 leaves it out).
    """

    kind: Kind
    unit: str
    doc: str
    size: int | str = 1
    codes: type[enum.IntEnum] | None = None


@dataclass(frozen=True)
class Field:
    """One field of a finished layout. `number` is its protobuf field number."""

    name: str
    number: int
    kind: Kind
    size: int
    unit: str
    doc: str
    codes: tuple[tuple[str, int], ...] = ()

    @property
    def repeated(self) -> bool:
        """True for what other tools show as a list."""
        return self.size != 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _header(field: Field) -> bytes:
    """Return the constant protobuf bytes that precede the field's values."""
    one_byte = field.kind in (Kind.FLAG, Kind.CODE)
    if field.repeated:
        length = field.size * (1 if one_byte else 8)
        return _varint(field.number << 3 | _WIRE_LENGTH) + _varint(length)
    return _varint(field.number << 3 | (_WIRE_VARINT if one_byte else _WIRE_FIXED64))


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


class Layout:
    """The byte layout of one message type: numpy dtype and protobuf descriptor from one table."""

    def __init__(self, message_name: str, fields: Iterable[Field]) -> None:
        self.message_name = message_name
        self.fields = tuple(fields)
        names, formats, offsets = [], [], []
        template = bytearray()
        for field in self.fields:
            template += _header(field)
            base = np.dtype(_NUMPY_TYPE[field.kind])
            names.append(field.name)
            formats.append((base, (field.size,)))
            offsets.append(len(template))
            template += bytes(base.itemsize * field.size)
        self.template = bytes(template)
        self.size_bytes = len(template)
        self.dtype: np.dtype[Any] = np.dtype(
            {
                "names": names,
                "formats": formats,
                "offsets": offsets,
                "itemsize": self.size_bytes,
            }
        )

    def views(self, buffer: memoryview | bytearray, offset: int = 0) -> dict[str, NDArray[Any]]:
        """Return one 1-D numpy view per field into `buffer` from byte `offset` on."""
        row = np.frombuffer(buffer, dtype=self.dtype, count=1, offset=offset)[0]
        return {field.name: row[field.name] for field in self.fields}

    def read(self, data: bytes | memoryview) -> np.ndarray[Any, np.dtype[Any]]:
        """Return concatenated messages as a structured array, one row each, without copying.

        Raises:
            ValueError: the length is not a whole number of messages, or the tags differ.
        """
        rows = np.frombuffer(data, dtype=self.dtype)
        if len(rows) and not self.matches(memoryview(data)[: self.size_bytes]):
            raise ValueError(f"these bytes are not {self.message_name} messages of this layout")
        return rows

    def matches(self, message: bytes | memoryview) -> bool:
        """True when `message` has this layout's length and every constant byte of it."""
        if len(message) != self.size_bytes:
            return False
        position = 0
        for field in self.fields:
            start = self.dtype.fields[field.name][1]  # type: ignore[index]
            if bytes(message[position:start]) != self.template[position:start]:
                return False
            position = start + self.dtype[field.name].itemsize
        return True

    def descriptor(self) -> bytes:
        """Return a serialized protobuf FileDescriptorSet that describes the message."""
        file = descriptor_pb2.FileDescriptorProto(
            name=f"trimtab/{self.message_name}.proto", package="trimtab", syntax="proto3"
        )
        message = file.message_type.add(name=self.message_name)
        for field in self.fields:
            entry = message.field.add(
                name=field.name,
                number=field.number,
                type=_PROTO_TYPE[field.kind],
                label=_PROTO.LABEL_REPEATED if field.repeated else _PROTO.LABEL_OPTIONAL,
            )
            if field.codes:
                entry.type_name = f".trimtab.{self.message_name}.{_camel(field.name)}"
                codes = message.enum_type.add(name=_camel(field.name))
                for name, value in field.codes:
                    codes.value.add(name=f"{field.name.upper()}_{name}", number=value)
        data: bytes = descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()
        return data

    def table(self) -> list[dict[str, Any]]:
        """Return the field table as plain data; `from_table` reads it back."""
        return [
            {
                "name": f.name,
                "number": f.number,
                "kind": f.kind.value,
                "size": f.size,
                "unit": f.unit,
                "doc": f.doc,
                "codes": [list(code) for code in f.codes],
            }
            for f in self.fields
        ]

    @classmethod
    def from_table(cls, message_name: str, table: Iterable[Mapping[str, Any]]) -> "Layout":
        """Rebuild a layout from `table()` of another process or of a record's header."""
        return cls(
            message_name,
            (
                Field(
                    name=row["name"],
                    number=row["number"],
                    kind=Kind(row["kind"]),
                    size=row["size"],
                    unit=row["unit"],
                    doc=row["doc"],
                    codes=tuple((str(name), int(value)) for name, value in row["codes"]),
                )
                for row in table
            ),
        )


class Block:
    """Base of typed views on a buffer: each annotated field becomes a numpy view attribute."""

    first_number: ClassVar[int] = 1

    def __init__(self, layout: Layout, buffer: bytearray, offset: int = 0) -> None:
        self.layout = layout
        self.raw = memoryview(buffer)[offset : offset + layout.size_bytes]
        self.raw[:] = layout.template
        self.view = layout.views(buffer, offset)
        for name, view in self.view.items():
            setattr(self, name, view)

    @classmethod
    def fields(cls, sizes: Mapping[str, int]) -> list[Field]:
        """Return the declared fields with every named size looked up in `sizes`."""
        fields: list[Field] = []
        for name, hint in get_type_hints(cls, include_extras=True).items():
            for spec in getattr(hint, "__metadata__", ()):
                size = sizes[spec.size] if isinstance(spec.size, str) else spec.size
                if size:
                    fields.append(
                        Field(
                            name=name,
                            number=cls.first_number + len(fields),
                            kind=spec.kind,
                            size=size,
                            unit=spec.unit,
                            doc=spec.doc,
                            codes=tuple((c.name, int(c)) for c in spec.codes or ()),
                        )
                    )
        return fields
