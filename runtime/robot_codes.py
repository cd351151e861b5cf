"""The numbers of PROTOCOL.md, version 1: sizes, message types, and what codes stand for."""

import enum
from typing import Final

VERSION: Final = 1
MAX_FRAME_BYTES = 65536
MAX_TEXT_BYTES = 256
MAX_ARRAY = 1024
DIGEST_BYTES = 32


class MessageType(enum.IntEnum):
    """The first element of every message."""

    HELLO = 1
    HEARTBEAT = 2
    ARM = 3
    COMMAND = 4
    RELEASE = 5
    STOP = 6
    WELCOME = 65
    REFUSED = 66
    OBSERVATION = 67
    SIGNAL = 68
    STATUS = 69
    STOP_REPORT = 70
    ERROR = 71


class Role(enum.IntEnum):
    """What a client asks for in HELLO."""

    OBSERVER = 0
    COMMANDER = 1


class Refusal(enum.IntEnum):
    """Why a device refused a HELLO."""

    VERSION = 1
    ROBOT_HASH = 2
    CONTRACT_HASH = 3
    LEASE = 4
    ROLE = 5
    NOT_NOW = 6


class DeviceState(enum.IntEnum):
    """Section 5 of the protocol."""

    IDLE = 0
    ARMED = 1
    BRAKING = 2
    STOPPING = 3
    STOPPED = 4
    FAULT = 5


class StopCategory(enum.IntEnum):
    """Stop categories of IEC 60204-1 that software may ask for."""

    ONE = 1
    TWO = 2


class SignalCode(enum.IntEnum):
    """What a SIGNAL tells of the task."""

    EPISODE_BEGIN = 1
    OUTCOME = 2
    RESET_BEGIN = 3
    RESET_END = 4


class OutcomeCode(enum.IntEnum):
    """How an episode ended; NONE with every other signal."""

    NONE = 0
    SUCCESS = 1
    FAILURE = 2
    ABORT = 3
    UNKNOWN = 4


class DropCode(enum.IntEnum):
    """Why a message had no effect. STATUS counts them in this order."""

    MALFORMED = 1
    STALE = 2
    REPEATED = 3
    OLD_EPOCH = 4
    NOT_ARMED = 5
    LENGTH = 6
    NOT_FINITE = 7
    LIMITS = 8
    JUMP = 9
    FOREIGN = 10
    NOT_AT_REST = 11


# how many counts STATUS holds
COUNTS = len(DropCode)
