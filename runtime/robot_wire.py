"""What the daemon and a robot's driver say to each other: PROTOCOL.md, version 1, as types.

One struct a message, fields in the order of the protocol's tables. The decoders are strict: what is
not exactly a message of its direction is a WireError, whatever the bytes are, and nothing else is
raised. They bound no more than the protocol does: epochs, ages and lengths are the receiver's.
Constructing a message checks its texts alone, so `clipped` is for texts of people and of other
programs.
"""

import enum
from typing import Annotated, Literal, TypeVar

import msgspec

from runtime.errors import UNREADABLE, TrimtabError
from runtime.robot_codes import (
    COUNTS,
    DIGEST_BYTES,
    MAX_ARRAY,
    MAX_FRAME_BYTES,
    MAX_TEXT_BYTES,
    VERSION,
    DeviceState,
    DropCode,
    MessageType,
    OutcomeCode,
    Refusal,
    Role,
    SignalCode,
    StopCategory,
)

U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
# epochs of a client leave the device, which only ever raises them, room for as many of its own
U62 = Annotated[int, msgspec.Meta(ge=0, le=2**62 - 1)]
U63 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
U8 = Annotated[int, msgspec.Meta(ge=0, le=255)]
_ARRAY = msgspec.Meta(max_length=MAX_ARRAY)
Numbers = Annotated[tuple[float, ...], _ARRAY]
Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


Counts = Annotated[tuple[U63, ...], msgspec.Meta(min_length=COUNTS, max_length=COUNTS)]


class WireFault(enum.Enum):
    """What is wrong with a frame, as far as it could be read."""

    SIZE = "larger than a frame may be"
    UNREADABLE = "no msgpack array that begins with two integers"
    TYPE = "no type of this direction"
    VERSION = "of another version"
    ELEMENTS = "its elements are not those of its type"


class WireError(TrimtabError):
    """A malformed frame. `fault`: what is wrong with it; the text says where."""

    def __init__(self, fault: WireFault, said: str) -> None:
        super().__init__(f"malformed frame: {fault.value} ({said})")
        self.fault = fault


def _check_texts(*texts: str) -> None:
    """Raise ValueError for the first text that is longer than MAX_TEXT_BYTES in UTF-8."""
    for text in texts:
        size = len(text.encode())
        if not (size <= MAX_TEXT_BYTES):
            raise ValueError(
                f"a text of {size} bytes; allowed are {MAX_TEXT_BYTES} in UTF-8: send clipped(text)"
            )


def clipped(text: str) -> str:
    """Return as much of `text` as a message may hold, cut between two characters."""
    return text.encode(errors="replace")[:MAX_TEXT_BYTES].decode(errors="ignore")


class _Message(msgspec.Struct, frozen=True, kw_only=True, array_like=True,
               forbid_unknown_fields=True, tag_field="message_type"):  # fmt: skip
    """Every message. Keywords alone, because twelve integers in a row are easily swapped."""

    version: Literal[1] = VERSION


class _InSession(_Message, frozen=True, kw_only=True):
    """What a client says within a session: stamps (ns) are section 4's."""

    session: U63
    count: U63
    stamp_ns: U63
    answers_stamp_ns: U63


# -- client to device ---------------------------------------------------------------------------


class Hello(_Message, frozen=True, kw_only=True, tag=int(MessageType.HELLO)):
    """Asks for a session; hashes are raw SHA-256."""

    nonce: U63
    role: Role
    who: str
    robot_hash: Digest
    contract_hash: Digest

    def __post_init__(self) -> None:
        """Check the texts; raises ValueError."""
        _check_texts(self.who)


class Heartbeat(_InSession, frozen=True, kw_only=True, tag=int(MessageType.HEARTBEAT)):
    """The client lives; `signals_seen`: the newest SIGNAL that it took."""

    signals_seen: U63


class Arm(_InSession, frozen=True, kw_only=True, tag=int(MessageType.ARM)):
    """Asks the device to execute commands of `epoch` from now on."""

    epoch: U62
    who: str

    def __post_init__(self) -> None:
        """Check the texts; raises ValueError."""
        _check_texts(self.who)


class Command(_InSession, frozen=True, kw_only=True, tag=int(MessageType.COMMAND)):
    """Where the joints are to be (`q` [n], rad) and how fast they go there (`dq` [n], rad/s)."""

    epoch: U62
    answers_sequence: U63
    valid_for_ns: U63
    q: Numbers
    dq: Numbers


class Release(_InSession, frozen=True, kw_only=True, tag=int(MessageType.RELEASE)):
    """Gives lease and session back."""


class Stop(_Message, frozen=True, kw_only=True, tag=int(MessageType.STOP)):
    """Stops the robot; needs no session."""

    id: U63
    category: StopCategory
    who: str
    why: str

    def __post_init__(self) -> None:
        """Check the texts; raises ValueError."""
        _check_texts(self.who, self.why)


# -- device to client ---------------------------------------------------------------------------


class Group(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An observation group of WELCOME and how many numbers it has."""

    name: str
    size: U32

    def __post_init__(self) -> None:
        """Check the texts; raises ValueError."""
        _check_texts(self.name)


class GroupSample(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The newest sample of a group, stamped (ns) by the device; `values` [size], SI units."""

    sequence: U63
    stamp_ns: U63
    values: Numbers


class Welcome(_Message, frozen=True, kw_only=True, tag=int(MessageType.WELCOME)):
    """Grants a session and says what the robot is."""

    nonce: U63
    session: U63
    epoch: U63
    robot: str
    simulated: bool
    period_ns: U63
    lease_ns: U63
    watchdog_ns: U63
    joints: Annotated[tuple[str, ...], _ARRAY]
    groups: Annotated[tuple[Group, ...], _ARRAY]

    def __post_init__(self) -> None:
        """Check the texts; raises ValueError."""
        _check_texts(self.robot, *self.joints)


class Refused(_Message, frozen=True, kw_only=True, tag=int(MessageType.REFUSED)):
    """Refuses a HELLO: `yours` and `mine` do not agree. Read in every version."""

    version: U32 = VERSION  # type: ignore[assignment] # the one message that may differ in it
    nonce: U63
    code: Refusal
    text: str
    yours: str
    mine: str

    def __post_init__(self) -> None:
        """Check the texts; raises ValueError."""
        _check_texts(self.text, self.yours, self.mine)


class Observation(_Message, frozen=True, kw_only=True, tag=int(MessageType.OBSERVATION)):
    """What was measured, group by group in the order of WELCOME."""

    session: U63
    sequence: U63
    stamp_ns: U63
    answers_stamp_ns: U63
    state: DeviceState
    epoch: U63
    executed_count: U63
    groups: Annotated[tuple[GroupSample, ...], _ARRAY]


class Signal(_Message, frozen=True, kw_only=True, tag=int(MessageType.SIGNAL)):
    """Tells of the task; `target`: where the next episode starts, empty for home."""

    session: U63
    number: U63
    kind: SignalCode
    outcome: OutcomeCode
    target: Numbers


class Status(_Message, frozen=True, kw_only=True, tag=int(MessageType.STATUS)):
    """The device's state; `counts` [COUNTS]: messages dropped so far, in the order of DropCode."""

    session: U63
    stamp_ns: U63
    state: DeviceState
    epoch: U63
    stop_id: U63
    stop_who: str
    stop_why: str
    counts: Counts

    def __post_init__(self) -> None:
        """Check the texts; raises ValueError."""
        _check_texts(self.stop_who, self.stop_why)


class StopReport(_Message, frozen=True, kw_only=True, tag=int(MessageType.STOP_REPORT)):
    """What became of a STOP; `speed_max`: of the fastest joint now, rad/s."""

    id: U63
    accepted: bool
    category: StopCategory
    epoch: U63
    state: DeviceState
    at_rest: bool
    speed_max: float
    stamp_ns: U63
    text: str

    def __post_init__(self) -> None:
        """Check the texts; raises ValueError."""
        _check_texts(self.text)


class Error(_Message, frozen=True, kw_only=True, tag=int(MessageType.ERROR)):
    """Why a message of this session had no effect; `type`: of that message, 0 if not readable."""

    session: U63
    type: U8
    code: DropCode
    text: str

    def __post_init__(self) -> None:
        """Check the texts; raises ValueError."""
        _check_texts(self.text)


FromClient = Hello | Heartbeat | Arm | Command | Release | Stop
FromDevice = Welcome | Refused | Observation | Signal | Status | StopReport | Error


class OtherHello(msgspec.Struct, frozen=True, array_like=True, tag_field="message_type",
                 tag=int(MessageType.HELLO)):  # fmt: skip
    """A HELLO of another version: all of it that every version has in common."""

    version: U32
    nonce: U63


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """How every message of every version begins."""

    type: int
    version: int


Read = TypeVar("Read")

_from_client: msgspec.msgpack.Decoder[FromClient] = msgspec.msgpack.Decoder(FromClient)
_from_device: msgspec.msgpack.Decoder[FromDevice] = msgspec.msgpack.Decoder(FromDevice)
_other_hello = msgspec.msgpack.Decoder(OtherHello)
_head = msgspec.msgpack.Decoder(_Head)
_CLIENT_TYPES = range(MessageType.HELLO, MessageType.STOP + 1)
_DEVICE_TYPES = range(MessageType.WELCOME, MessageType.ERROR + 1)

encode = msgspec.msgpack.encode


def decode_from_client(data: bytes | memoryview) -> FromClient | OtherHello:
    """Read one frame that a client sent.

    A HELLO of another version is returned as OtherHello: it is to be refused, not dropped.

    Raises:
        WireError: it is malformed.
    """
    try:
        return _read(_from_client, data, _CLIENT_TYPES)
    except WireError as error:
        if error.fault is not WireFault.VERSION:
            raise
        hello = _other_version(data)
        if hello is None:
            raise
        return hello


def decode_from_device(data: bytes | memoryview) -> FromDevice:
    """Read one frame that a device sent. Raises WireError if it is malformed."""
    return _read(_from_device, data, _DEVICE_TYPES)


def _read(decoder: msgspec.msgpack.Decoder[Read], data: bytes | memoryview, types: range) -> Read:
    """Decode one frame; raises WireError."""
    if not (len(data) <= MAX_FRAME_BYTES):
        raise WireError(WireFault.SIZE, f"{len(data)} bytes; allowed are {MAX_FRAME_BYTES}")
    try:
        return decoder.decode(data)
    except UNREADABLE as error:
        said = str(error)
    raise WireError(_fault_of(data, types), said)


def _fault_of(data: bytes | memoryview, types: range) -> WireFault:
    """Return what is wrong with a frame that could not be decoded."""
    try:
        head = _head.decode(data)
    except UNREADABLE:
        return WireFault.UNREADABLE
    if head.type not in types:
        return WireFault.TYPE
    return WireFault.ELEMENTS if head.version == VERSION else WireFault.VERSION


def _other_version(data: bytes | memoryview) -> OtherHello | None:
    """Return a frame of another version if it is a HELLO that can be answered."""
    try:
        return _other_hello.decode(data)
    except UNREADABLE:
        return None
