"""What control, the recorder process and the reader agree on: header, frames, status, places.

Frames between control and recorder are single ZeroMQ frames. From control: one kind byte, the
frame's sequence number (uint64, counts from 1 without gaps), the payload. From the recorder: one
kind byte and a msgpack struct.
"""

import enum
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import msgspec

from runtime.errors import StartRefused
from runtime.events import EventKind
from runtime.layout import Layout
from runtime.messages import GroupSize, Sizes

TICK_TOPIC = "/tick"
EVENT_TOPIC = "/event"
HEADER_NAME = "trimtab"
SEGMENT_SUFFIX = ".mcap"
FLAGGED_SUFFIX = ".flagged.mcap"
EVENT_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "trimtab.Event",
    "type": "object",
    "properties": {
        "tick": {"type": "integer"},
        "now_ns": {"type": "integer"},
        "kind": {"type": "string", "enum": [kind.value for kind in EventKind]},
        "text": {"type": "string"},
        "data": {"type": "string", "contentEncoding": "base64"},
    },
    "required": ["tick", "now_ns", "kind"],
}
_FRAME = struct.Struct("<BQ")
FRAME_HEAD_BYTES = _FRAME.size
UNGREETED = -1


class FrameKind(enum.IntEnum):
    """First byte of a frame. HELLO carries the header, and in `sequence` the frame that follows."""

    HELLO = ord("H")
    TICKS = ord("T")
    EVENT = ord("E")
    FINISH = ord("Q")
    ACK = ord("A")
    FAILURE = ord("F")


def frame(kind: FrameKind, sequence: int, payload: bytes | memoryview = b"") -> bytes:
    """Return one frame from control to the recorder."""
    return b"".join((_FRAME.pack(kind, sequence), payload))


def open_frame(data: bytes) -> tuple[FrameKind, int, memoryview]:
    """Return kind, sequence and payload of a frame from control.

    Raises:
        ValueError: the bytes are no frame.
    """
    if len(data) < FRAME_HEAD_BYTES:
        raise ValueError(f"a frame of {len(data)} bytes is too short; needs {FRAME_HEAD_BYTES}")
    kind, sequence = _FRAME.unpack_from(data)
    return FrameKind(kind), sequence, memoryview(data)[FRAME_HEAD_BYTES:]


class Ack(msgspec.Struct, frozen=True):
    """What the recorder has written; also its heartbeat.

    `session` is drawn anew whenever the recorder needs a HELLO. Every frame up to `sequence` is
    in the file (write(2) returned); it is UNGREETED until a HELLO opened the file. `ticks` counts
    this recorder's own writing, `size_bytes` all segments of the run.
    """

    session: int
    sequence: int
    ticks: int
    size_bytes: int


class EpisodeResult(msgspec.Struct, frozen=True):
    """How one episode ended; `outcome` is a messages.Outcome name.

    `version`: the snapshot at its end, 0 where the residual had no authority. `explored`: it was
    disturbed by noise.
    """

    episode: int
    outcome: str
    duration_s: float
    version: int = 0
    explored: bool = False


class EvidenceStatus(msgspec.Struct, frozen=True):
    """What speaks for and against the residual, as the last tick had it (see messages.TickRecord).

    `success`: evidence of falling success against its own record and against the base, 1 is an
    alarm. `limited`, `pressed`: shares of its policy steps, `saturated` by action; `base_limited`,
    `base_pressed`: the base's. `own`, `base`: (successes, episodes) that they are judged against.
    `weights_age_s`: of episodes that ran since the last snapshot went live, while it learns.
    """

    success: tuple[float, float] = (0.0, 0.0)
    limited: float = 0.0
    base_limited: float = 0.0
    pressed: float = 0.0
    base_pressed: float = 0.0
    saturated: list[float] = []
    own: tuple[int, int] = (0, 0)
    base: tuple[int, int] = (0, 0)
    critic_gap: float = 0.0
    update_ratio: float = 0.0
    weights_age_s: float = 0.0


class ResidualStatus(msgspec.Struct, frozen=True):
    """How the residual and its learner fare. `stage` is a messages.Stage name; `authority` the
    largest of any action in use in the last running tick; `steps` and `updates` the learner's last
    progress; `updates_per_step` what it reached over the last 500 policy steps or so.

    `share`: of the episodes, so many are the residual's; `trial`: evidence counts from where it
    rose; `why`: what moved the stage; `learning`: new snapshots are expected. `rollbacks`: how
    often an earlier snapshot went live again. `order`: what of people's words still holds, in
    words, empty if nothing does; `held`: it is that nothing of the residual reaches the robot.
    """

    stage: str
    version: int
    authority: float
    steps: int
    updates: int
    updates_per_step: float
    promoted: int
    refused: int
    share: float = 1.0
    trial: int = 0
    why: str = ""
    learning: bool = False
    rollbacks: int = 0
    order: str = ""
    held: bool = False
    evidence: EvidenceStatus = EvidenceStatus()


class RecorderStatus(msgspec.Struct, frozen=True):
    """A few times a second on the status socket: what a live view shows.

    `stage_p50_us` and `stage_p99_us` have one entry per messages.STAGES and cover the ticks since
    the last status; `limited_ticks` counts ticks per messages.Limit name since the start;
    `faults` names the active ones. `robot_s`: policy steps over the policy's rate. `residual`:
    None while nothing was granted.
    """

    run: str
    tick: int
    now_ns: int
    mode: str
    response: str
    phase: str
    faults: list[str]
    episode: int
    episode_step: int
    results: list[EpisodeResult]
    ticks: int
    dropped: int
    limited_ticks: dict[str, int]
    stage_p50_us: list[float]
    stage_p99_us: list[float]
    segment: str
    size_bytes: int
    bytes_per_s: float
    notes: list[str]
    robot_s: float = 0.0
    residual: ResidualStatus | None = None


class RecordHeader(msgspec.Struct, frozen=True):
    """Everything that a reader needs to understand, check and replay a record.

    `config` is the config file's text; `robot` and `contract` are JSON texts; `link` says what
    the link said of itself; `files` maps further names to texts (such as the robot's model);
    `layout` is Layout.table().
    """

    run: str
    robot_id: str
    started_utc: str
    clock: str
    servo_hz: float
    joints: list[str]
    groups: dict[str, int]
    action: int
    setpoint: int
    layout: list[dict[str, Any]]
    fingerprint: dict[str, str]
    config: str = ""
    robot: str = ""
    contract: str = ""
    seeds: dict[str, int] = {}
    link: dict[str, str] = {}
    files: dict[str, str] = {}

    def sizes(self) -> Sizes:
        """Return the message sizes from which control made its blocks."""
        groups = tuple(GroupSize(name, size) for name, size in self.groups.items())
        return Sizes(len(self.joints), self.action, self.setpoint, groups)

    def rate_hz(self) -> float:
        """Return the policy's rate; 0 when the record says nothing of its policy."""
        contract = msgspec.json.decode(self.contract or "{}")
        return float(contract.get("rate_hz", 0.0))

    def tick_layout(self) -> Layout:
        """Return the layout of the recorded ticks."""
        return Layout.from_table("TickRecord", self.layout)


def header_to_metadata(header: RecordHeader) -> dict[str, str]:
    """Return the header as the string map that MCAP metadata is; long texts stay readable."""
    plain: dict[str, Any] = msgspec.to_builtins(header)
    return {
        key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for key, value in plain.items()
    }


def header_from_metadata(metadata: dict[str, str]) -> RecordHeader:
    """Undo `header_to_metadata`.

    Raises:
        msgspec.ValidationError: a key is missing or has another type.
        msgspec.DecodeError: a value is not JSON.
    """
    plain: dict[str, Any] = {}
    for entry in msgspec.structs.fields(RecordHeader):
        if entry.name in metadata:
            text = metadata[entry.name]
            plain[entry.name] = text if entry.type is str else msgspec.json.decode(text)
    return msgspec.convert(plain, RecordHeader)


@dataclass(frozen=True)
class RecorderPlace:
    """Where one run's recorder writes, and where it is reached.

    `folder`: this run's segments. `sockets`: a memory-backed folder of the robot's own, so that
    neither a socket nor the journal ever waits for a disk.
    """

    run: str
    folder: Path
    sockets: Path

    @property
    def data_endpoint(self) -> str:
        """Ticks and events, control to recorder, and acknowledgements back."""
        return f"ipc://{self.sockets}/recorder"

    @property
    def status_endpoint(self) -> str:
        """RecorderStatus messages (msgpack) for live views."""
        return f"ipc://{self.sockets}/status"

    @property
    def feed_endpoint(self) -> str:
        """Everything that the recorder takes, as it comes, for learner and gate."""
        return f"ipc://{self.sockets}/feed"

    @property
    def gate_endpoint(self) -> str:
        """What control and gate say to each other."""
        return f"ipc://{self.sockets}/gate"

    @property
    def learner_endpoint(self) -> str:
        """What learner and gate say to each other."""
        return f"ipc://{self.sockets}/learner"

    @property
    def journal(self) -> Path:
        """This run's counters, left behind only by a run that did not end well."""
        return self.sockets / f"{self.run}.journal"


def socket_folder(robot_id: str) -> Path:
    """Return the (created) folder for the sockets and journals of a robot.

    Raises:
        StartRefused: the folder belongs to somebody else, who could listen or interfere.
    """
    memory = Path("/dev/shm")  # noqa: S108 - ownership is checked below
    root = (memory if memory.is_dir() else Path(gettempdir())) / f"trimtab-{os.getuid()}"
    folder = root / robot_id
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if root.lstat().st_uid != os.getuid() or root.is_symlink():
        raise StartRefused(f"{root} belongs to another user; remove it, then start again")
    return folder


def new_place(records: Path, robot_id: str) -> RecorderPlace:
    """Return a fresh place for a run that starts now; the run's name sorts by its start (UTC)."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    milliseconds = time.time_ns() // 1_000_000 % 1000
    run = f"{robot_id}-{stamp}-{milliseconds:03d}"
    return RecorderPlace(run, records.resolve() / run, socket_folder(robot_id))
