"""What stands in a record beside its ticks: facts of any size, each at a tick."""

import enum

import msgspec


class EventKind(enum.Enum):
    """Variable-size facts that accompany the fixed-size tick records."""

    TRACEBACK = "traceback"
    KEYFRAME = "keyframe"
    NOTE = "note"
    MARK = "mark"
    SNAPSHOT = "snapshot"
    VERDICT = "verdict"
    PROGRESS = "progress"
    OUTCOME = "outcome"
    ROLLBACK = "rollback"
    ORDER = "order"
    GRANT = "grant"


class Event(msgspec.Struct, frozen=True):
    """Something that happened at a tick. `data` carries a keyframe's state (msgpack), or the
    encoded snapshot of the residual that went live. `text` of VERDICT and PROGRESS is what the gate
    passed on (gate_wire.Verdict, Progress; JSON), or a sentence. ROLLBACK: an earlier snapshot is
    live again (wire.Rollback, JSON). ORDER: a person's word about the residual (wire.Order, JSON).
    GRANT: the stage changed (gate_wire.Grant, JSON)."""

    tick: int
    now_ns: int
    kind: EventKind
    text: str = ""
    data: bytes = b""
