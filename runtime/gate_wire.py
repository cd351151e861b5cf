"""What control, gate and learner say to each other: msgpack, tagged, one frame a message.

Control and gate each hold a DEALER; the gate binds. Learner and gate likewise. Control takes
snapshots from the gate only. Nothing here can execute code; whatever cannot be decoded is counted
and dropped by the receiver.
"""

from typing import Annotated

import msgspec

from runtime.messages import Stage
from runtime.snapshot import MAX_SNAPSHOT_BYTES

# a socket's limit on what it takes in: the largest snapshot and some words around it
MAX_FRAME_BYTES = MAX_SNAPSHOT_BYTES + 100_000

# what does not fit into a record's integers is no message
Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class References(msgspec.Struct, frozen=True):
    """What the residual is judged against inside the tick; nothing yet where a count is 0.

    `own`, `base`: (successes, episodes) of the promoted snapshots and of the base. `base_limited`,
    `base_pressed`: share of the base's policy steps in which the envelope acted, and that pressed.
    `critic_gap`: lower confidence bound of promised minus achieved return, units of the success
    reward. `update_ratio`: the newest candidate's update guard constraint over what is allowed.
    """

    own: tuple[Count, Count] = (0, 0)
    base: tuple[Count, Count] = (0, 0)
    base_limited: float = 0.0
    base_pressed: float = 0.0
    critic_gap: float = 0.0
    update_ratio: float = 0.0


class Grant(msgspec.Struct, frozen=True, tag="grant"):
    """Gate to control, also its beat: stage and authority [action] in [0, 1] that it grants.

    `share`: of the episodes, so many are the residual's; `noise_share`: of these, so many are
    disturbed to explore. `trial`: evidence against the residual counts from where it was raised.
    `learning`: new snapshots are expected. `at_step`: in lockstep it holds once control has taken
    so many policy steps. `why`: what moved the stage, for people.
    """

    stage: Stage
    authority: list[float]
    learner_lost: bool = False
    share: float = 1.0
    noise_share: float = 1.0
    trial: Count = 0
    references: References = References()
    learning: bool = False
    at_step: int = 0
    why: str = ""


class Offer(msgspec.Struct, frozen=True, tag="offer"):
    """Gate to control: an encoded snapshot that passed; `verdict_ns`: when, monotonic clock.

    `at_step`: in lockstep it goes live once control has taken so many policy steps; 0: at once.
    `back`: it is one that was live before, in the stead of what came after it; it goes live while
    nothing has authority, and the evidence of trial `trial` is about it.
    """

    snapshot: bytes
    verdict_ns: int
    at_step: int = 0
    back: bool = False
    trial: int = 0
    why: str = ""


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
    all updates due for them are done; `updates` made so far. `critic_gap`, `update_ratio`: see
    References."""

    steps: int
    updates: int
    text: str = ""
    critic_gap: float = 0.0
    update_ratio: float = 0.0


class Candidate(msgspec.Struct, frozen=True, tag="candidate"):
    """Learner to gate: an encoded snapshot, made when the run had `steps` policy steps. It is sent
    before the Progress of that step. `trial`: of the last roll-back that the learner knows of."""

    snapshot: bytes
    steps: int
    trial: int = 0


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """Control to gate: what became of an offer. `reason`: why not, empty if accepted.
    `first_use_ns`: when the tick began whose command it first had a part in; 0: not yet."""

    version: int
    reason: str = ""
    first_use_ns: int = 0


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Control to gate, learner to gate, gate to learner: the sender lives. From control: its policy
    steps so far, the snapshot that is live, and what a gate that was restarted must go on from: the
    newest trial that was granted, the trial of the last roll-back, and the version that a person
    pinned; 0 for none."""

    steps: int = 0
    version: int = 0
    trial: Count = 0
    rolled: Count = 0
    pinned: Count = 0


ToControl = Grant | Offer | Verdict | Progress
FromControl = Taken | Beat
FromLearner = Candidate | Progress | Beat
ToLearner = Verdict | Beat

encode = msgspec.msgpack.encode
to_control = msgspec.msgpack.Decoder(ToControl)
from_control = msgspec.msgpack.Decoder(FromControl)
from_learner = msgspec.msgpack.Decoder(FromLearner)
to_learner = msgspec.msgpack.Decoder(ToLearner)
