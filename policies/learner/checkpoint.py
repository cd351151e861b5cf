"""What a trainer keeps on disk: everything but what the records hold."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from policies.learner.agent import SavedNetworks
from runtime.errors import LearnerError

STATE_VERSION = 3


@dataclass(frozen=True)
class TrainerState:
    """A checkpoint: an encoded `SavedTrainer`, and the networks at past candidates by version,
    which stay what they are from one checkpoint to the next."""

    trainer: bytes
    kept: Mapping[int, SavedNetworks]


class SavedTrainer(msgspec.Struct, frozen=True):
    """What changes all the time. `position`: the last tick taken in; `begun_at`, `candidate_at`:
    the policy steps at which the prefill ended and the last candidate was made, -1 before;
    `rollbacks`: how many the agent has followed; `critic_gap`, `update_ratio`: what the last
    progress said."""

    version: int
    position: int
    begun_at: int
    candidate_at: int
    next_version: int
    rollbacks: int
    critic_gap: float
    update_ratio: float
    agent: bytes


def read(data: bytes) -> SavedTrainer:
    """Read a checkpoint.

    Raises:
        LearnerError: it is none, or of another version.
    """
    try:
        saved = msgspec.msgpack.decode(data, type=SavedTrainer)
    except msgspec.MsgspecError as error:
        raise LearnerError(f"{len(data)} bytes are no trainer's checkpoint: {error}") from None
    if saved.version != STATE_VERSION:
        raise LearnerError(
            f"checkpoint version {saved.version}; this trainer reads {STATE_VERSION}. Start "
            "without it: the records hold the rest"
        )
    return saved
