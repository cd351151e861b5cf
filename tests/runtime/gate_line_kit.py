"""A gate in the test's own hands at the other end of control's line, and a residual that takes."""

import time

import msgspec

from runtime.events import Event
from runtime.gate_client import GateConnection
from runtime.gate_line import Line
from runtime.gate_wire import FromControl, Grant, Offer, Progress, Verdict
from runtime.interfaces import ResidualAnswer
from runtime.layout import Floats
from runtime.messages import Phase, Stage, TickRecord, new_record
from runtime.snapshot import Snapshot, SnapshotParity, encode_snapshot, sealed
from tests.runtime.recording_kit import SIZES

ACTIONS = 2
EXPLORE = Grant(Stage.EXPLORE, [1.0, 1.0])


class Taker:
    """A residual that takes what it is offered, unless told why not."""

    def __init__(self, refusal: str = "") -> None:
        self.version = 0
        self.refused = 0
        self._refusal = refusal

    def act(
        self, record: TickRecord, base_action: Floats, grant: Grant, out: ResidualAnswer
    ) -> None:
        raise AssertionError("the gate asks for no action")

    def offer(self, data: bytes) -> str:
        if not self._refusal:
            self.version = msgspec.msgpack.decode(data, type=Snapshot).version
        return self._refusal

    def go_back(self, data: bytes) -> str:
        self.version = msgspec.msgpack.decode(data, type=Snapshot).version if data else 0
        return ""


def snapshot(version: int) -> bytes:
    """Return an encoded snapshot that is whole and holds no network."""
    parity = SnapshotParity([], [], [])
    bare = Snapshot(version, 0, "c", [], [], [], [], [], 0, 0, 0, 0.0, 1.0, parity)
    return encode_snapshot(sealed(bare))


def record_at(step: int, version: int = 0, now_ns: int = 7) -> TickRecord:
    """Return the record of a tick after so many policy steps."""
    record = new_record(SIZES)
    record.base_sequence[0] = step
    record.residual_version[0] = version
    record.now_ns[0] = now_ns
    record.tick[0] = 1000 + step
    return record


def send(gate: Line[FromControl], *messages: Grant | Offer | Verdict | Progress) -> None:
    """Send to control once it is there."""
    for message in messages:
        deadline_s = time.monotonic() + 5.0
        while not gate.send(message):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)


def heard(gate: Line[FromControl], kind: type, timeout_s: float = 5.0) -> FromControl:
    """Return the next message of a kind."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        gate.socket.poll(20)
        for message in gate.received(10):
            if isinstance(message, kind):
                return message
    raise AssertionError(f"no {kind.__name__} came")


def after(control: GateConnection, taker: Taker, step: int = 0) -> list[str]:
    """Let some ticks pass; return what is to be recorded."""
    return [f"{e.kind.value}: {e.text}" for e in events_of(control, taker, step)]


def events_of(
    control: GateConnection,
    taker: Taker,
    step: int = 0,
    authority: float = 0.0,
    now_ns: int = 7,
    phase: Phase = Phase.RUNNING,
) -> list[Event]:
    """Let some ticks pass with so much authority in their records; return what to record."""
    events: list[Event] = []
    for _ in range(20):
        record = record_at(step, taker.version, now_ns)
        record.authority[:], record.phase[0] = authority, phase
        events.extend(control.after(record, taker))
        time.sleep(0.005)
    return events
