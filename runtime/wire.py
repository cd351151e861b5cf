"""Messages that people and processes send to a running control process (msgpack, tagged)."""

import enum

import msgspec

from runtime.messages import Mode, Request, TaskSignal

MAX_MESSAGE_BYTES = 4096


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """The supervisor lives."""


class OperatorRequest(msgspec.Struct, frozen=True, tag="request"):
    """A person asks for something; `who` and `why` are written into the record."""

    request: Request
    who: str
    why: str = ""


class OperatorSignal(msgspec.Struct, frozen=True, tag="signal"):
    """A person (or `trimtab mark`) states a task signal, or leaves only a text in the record.

    `episode`: with an outcome, the episode that it is said of; it has ended, so only who learns
    from the record hears of it. 0: whichever runs now.
    """

    who: str
    signal: TaskSignal | None = None
    text: str = ""
    episode: int = 0


class Correction(msgspec.Struct, frozen=True):
    """What an event of kind OUTCOME says, as JSON in its text: a person's word about an episode
    that has ended. `outcome`: the name of an Outcome."""

    episode: int
    outcome: str
    who: str = ""


class OrderKind(enum.Enum):
    """What a person may say of the residual."""

    PIN = "pin"
    DROP = "drop"
    RESUME = "resume"
    SHADOW = "shadow"


class Order(msgspec.Struct, frozen=True, tag="order"):
    """A person's word about the residual, also the text of an event of kind ORDER (JSON).

    PIN: run `version` and nothing newer. DROP: the base alone, at once. SHADOW: compute it and move
    nothing. RESUME: undo whichever of them holds; authority is earned anew.
    """

    kind: OrderKind
    who: str
    version: int = 0


class Rollback(msgspec.Struct, frozen=True):
    """What an event of kind ROLLBACK says, as JSON in its text: `version` is live again in the
    stead of `undone`, evidence counts from trial `trial` on, and why."""

    version: int
    undone: int
    trial: int
    why: str


class OperatorReply(msgspec.Struct, frozen=True):
    """What became of a message. `mode`: after a request; a signal is judged by a later tick.
    `at_rest`: reference and measured robot stood still in that tick."""

    accepted: bool
    mode: Mode | None = None
    text: str = ""
    at_rest: bool = False


OperatorMessage = Heartbeat | OperatorRequest | OperatorSignal | Order

_decoder: msgspec.msgpack.Decoder[OperatorMessage] = msgspec.msgpack.Decoder(OperatorMessage)
_reply_decoder = msgspec.msgpack.Decoder(OperatorReply)
encode = msgspec.msgpack.encode


def decode_message(data: bytes) -> OperatorMessage:
    """Read one message.

    Raises:
        errors.UNREADABLE: not msgpack, or not one of the messages above.
    """
    return _decoder.decode(data)


def decode_reply(data: bytes) -> OperatorReply:
    """Read a reply. Raises errors.UNREADABLE."""
    return _reply_decoder.decode(data)
