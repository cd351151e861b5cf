"""What a simulated robot did and why it did nothing: periods, dropped messages, stops.

Bounded: entries that nobody takes out in time are counted as lost, newest kept.
"""

from collections import deque

import msgspec

from runtime.robot_codes import DropCode
from runtime.robot_wire import Command, FromClient, OtherHello

MAX_ENTRIES = 20_000


class Period(msgspec.Struct, frozen=True, tag_field="entry", tag="period"):
    """One period of the drive. `now_ns`: the device's clock. `did`: command, coast, brake or hold.
    `session`: who holds the lease; `count`: of the command that it executed last. `skipped`:
    periods before this one that nobody ran. `target_rad` [n]; `speed_max_rad_s`: measured."""

    now_ns: int
    state: int
    epoch: int
    did: str
    session: int
    count: int
    skipped: int
    target_rad: list[float]
    speed_max_rad_s: float


class Arrived(msgspec.Struct, frozen=True, tag_field="entry", tag="command"):
    """A COMMAND that may be executed: when it was taken out and what it answers."""

    now_ns: int
    session: int
    count: int
    epoch: int
    answers_sequence: int
    answers_stamp_ns: int


class Dropped(msgspec.Struct, frozen=True, tag_field="entry", tag="dropped"):
    """A message without effect. `type`: the message's, 0 if not readable; `code`: DropCode's."""

    now_ns: int
    type: int
    code: int
    session: int
    count: int
    epoch: int
    text: str


class Stopped(msgspec.Struct, frozen=True, tag_field="entry", tag="stop"):
    """A STOP that was acted on; `epoch`: the device's after it."""

    now_ns: int
    id: int
    category: int
    who: str
    why: str
    epoch: int


class Changed(msgspec.Struct, frozen=True, tag_field="entry", tag="state"):
    """The device's state is another one."""

    now_ns: int
    before: int
    after: int
    epoch: int
    why: str


class Joined(msgspec.Struct, frozen=True, tag_field="entry", tag="session"):
    """A session began or ended, or none was granted (`session` 0)."""

    now_ns: int
    session: int
    role: int
    who: str
    what: str


Entry = Period | Arrived | Dropped | Stopped | Changed | Joined

_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def arrived(command: Command, now_ns: int) -> Arrived:
    """Return the entry of a COMMAND that may be executed."""
    return Arrived(
        now_ns,
        command.session,
        command.count,
        command.epoch,
        command.answers_sequence,
        command.answers_stamp_ns,
    )


def dropped(
    message: FromClient | OtherHello | None, code: DropCode, text: str, now_ns: int
) -> Dropped:
    """Return the entry of a message without effect; None: it could not be read."""
    return Dropped(
        now_ns,
        0 if message is None else int(message.__struct_config__.tag or 0),
        code,
        getattr(message, "session", 0),
        getattr(message, "count", 0),
        getattr(message, "epoch", 0),
        text,
    )


class ExecutionLog:
    """Keeps entries until somebody drains them; `lost` were pushed out by newer ones."""

    def __init__(self, size: int = MAX_ENTRIES) -> None:
        self._entries: deque[Entry] = deque(maxlen=size)
        self._size = size
        self.lost = 0

    def add(self, entry: Entry) -> None:
        """Append one entry."""
        self.lost += len(self._entries) == self._size
        self._entries.append(entry)

    def drain(self) -> list[Entry]:
        """Return what was added since the last call, oldest first; may be another thread's."""
        found = []
        while self._entries:
            found.append(self._entries.popleft())
        return found


def read_log(text: str) -> list[Entry]:
    """Read the lines that a bridge wrote; the last one may be cut off by a kill.

    Raises:
        msgspec.MsgspecError: another line is no entry.
    """
    lines = text.splitlines()
    if text and not text.endswith("\n"):
        lines.pop()
    return [_decoder.decode(line) for line in lines]
