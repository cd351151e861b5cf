"""What control, gate and learner say to each other: msgpack, tagged, one frame a message.

Control and gate each hold a DEALER; the gate binds. Learner and gate likewise. Control takes
snapshots from the gate only. Nothing here can execute code; whatever cannot be decoded is counted
and dropped by the receiver.
"""

import msgspec

from runtime.messages import Stage
from runtime.snapshot import MAX_SNAPSHOT_BYTES

# a socket's limit on what it takes in: the largest snapshot and some words around it
MAX_FRAME_BYTES = MAX_SNAPSHOT_BYTES + 100_000


class Grant(msgspec.Struct, frozen=True, tag="grant"):
    """Gate to control, also its beat: stage and authority [action] in [0, 1] that it grants."""

    stage: Stage
    authority: list[float]
    learner_lost: bool = False


class Offer(msgspec.Struct, frozen=True, tag="offer"):
    """Gate to control: an encoded snapshot that passed; `verdict_ns`: when, monotonic clock.

    `at_step`: in lockstep it goes live once control has taken so many policy steps; 0: at once.
    """

    snapshot: bytes
    verdict_ns: int
    at_step: int = 0


class Verdict(msgspec.Struct, frozen=True, tag="verdict"):
    """Gate to learner and to control's record: what became of a candidate. `reasons`: one
    sentence for each check that refused it, empty when it passed."""

    version: int
    parent: int
    digest: str
    passed: bool
    reasons: list[str]
    steps: int


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Learner to gate to control, also the learner's beat: `steps` policy steps are taken in and
    all updates due for them are done; `updates` made so far."""

    steps: int
    updates: int
    text: str = ""


class Candidate(msgspec.Struct, frozen=True, tag="candidate"):
    """Learner to gate: an encoded snapshot, made when the run had `steps` policy steps. It is sent
    before the Progress of that step."""

    snapshot: bytes
    steps: int


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """Control to gate: what became of an offer. `reason`: why not, empty if accepted.
    `first_use_ns`: when the tick began whose command it first had a part in; 0: not yet."""

    version: int
    reason: str = ""
    first_use_ns: int = 0


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Control to gate, learner to gate, gate to learner: the sender lives. From control: its policy
    steps so far and the snapshot that is live."""

    steps: int = 0
    version: int = 0


ToControl = Grant | Offer | Verdict | Progress
FromControl = Taken | Beat
FromLearner = Candidate | Progress | Beat
ToLearner = Verdict | Beat

encode = msgspec.msgpack.encode
to_control = msgspec.msgpack.Decoder(ToControl)
from_control = msgspec.msgpack.Decoder(FromControl)
from_learner = msgspec.msgpack.Decoder(FromLearner)
to_learner = msgspec.msgpack.Decoder(ToLearner)
