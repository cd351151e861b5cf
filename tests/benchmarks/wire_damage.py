"""What a hostile wire does to frames and to single observation groups, as pure functions of time.

Both ways begin with the first frame that they see, and count in `acted` what they changed.
"""

import enum
import math
from collections import deque

import msgspec

from runtime.robot_wire import GroupSample, Observation

_TYPE_PLACE = 1


class Way(enum.StrEnum):
    """How frames or samples are hurt.

    CUT: none comes through (of samples: the last one stays). HALF: every second one is lost.
    DELAY: all come late. DOUBLE: each comes twice (of samples: every second one is the one before
    under a new number). SWAP: each pair in the wrong order. HOLD: none comes through, and all come
    at once when it ends. NAN, INF: the first value of every sample is not finite.
    """

    CUT = "cut"
    HALF = "half"
    DELAY = "delay"
    DOUBLE = "double"
    SWAP = "swap"
    HOLD = "hold"
    NAN = "nan"
    INF = "inf"


class Hurt(msgspec.Struct, frozen=True):
    """What is to happen. `type`: only to messages of this type (0: all). `delay_s`: of DELAY."""

    way: Way
    type: int = 0
    delay_s: float = 0.0


class HurtGroup(msgspec.Struct, frozen=True):
    """What is to happen to one observation group; `group` counts from the joints, 0."""

    way: Way
    group: int
    delay_s: float = 0.0


def type_of(frame: bytes) -> int:
    """Return a frame's message type; -1 where it is no short array that begins with one."""
    if len(frame) <= _TYPE_PLACE or not 0x90 <= frame[0] <= 0x9F or frame[_TYPE_PLACE] > 0x7F:
        return -1
    return frame[_TYPE_PLACE]


class FrameDamage:
    """Lets frames of one direction pass as a Hurt says; None: all of them, at once."""

    def __init__(self, hurt: Hurt | None) -> None:
        self._hurt = hurt
        self._late: deque[tuple[int, bytes]] = deque()
        self._number = 0
        self.acted = 0

    @property
    def held(self) -> int:
        """How many frames are on their way."""
        return len(self._late)

    def through(self, frame: bytes, now_ns: int) -> list[bytes]:
        """Take one frame; return those that pass at once, in their order."""
        hurt = self._hurt
        if hurt is None or (hurt.type and type_of(frame) != hurt.type):
            return [frame]
        self._number += 1
        self.acted += 1
        match hurt.way:
            case Way.DELAY | Way.HOLD:
                self._late.append((now_ns + round(hurt.delay_s * 1e9), frame))
                return []
            case Way.DOUBLE:
                return [frame, frame]
            case Way.SWAP:
                return self._swapped(frame, now_ns)
            case Way.HALF if self._number % 2:
                self.acted -= 1
                return [frame]
            case _:
                return []

    def due(self, now_ns: int) -> list[bytes]:
        """Return the frames whose delay is over; held ones never are."""
        if self._hurt is None or self._hurt.way is not Way.DELAY:
            return []
        passed = []
        while self._late and self._late[0][0] <= now_ns:
            passed.append(self._late.popleft()[1])
        return passed

    def end(self) -> list[bytes]:
        """Return everything that is still on its way."""
        left, self._late = [frame for _, frame in self._late], deque()
        return left

    def _swapped(self, frame: bytes, now_ns: int) -> list[bytes]:
        if not self._late:
            self._late.append((now_ns, frame))
            return []
        return [frame, self._late.popleft()[1]]


class GroupDamage:
    """Changes one group of every observation as a HurtGroup says."""

    def __init__(self, hurt: HurtGroup) -> None:
        self._hurt = hurt
        self._past: deque[tuple[int, GroupSample]] = deque()
        self._shown: GroupSample | None = None
        self._newest: GroupSample | None = None
        self._number = 0
        self.acted = 0

    def change(self, observation: Observation, now_ns: int) -> Observation:
        """Return the observation with the group as it is to be shown."""
        index = self._hurt.group
        groups = list(observation.groups)
        true = groups[index]
        groups[index] = self._show(true, now_ns)
        self.acted += groups[index] != true
        return msgspec.structs.replace(observation, groups=tuple(groups))

    def _show(self, sample: GroupSample, now_ns: int) -> GroupSample:
        way = self._hurt.way
        if way in (Way.NAN, Way.INF):
            first = math.nan if way is Way.NAN else math.inf
            return msgspec.structs.replace(sample, values=(first, *sample.values[1:]))
        before, self._newest = self._newest, sample
        if way is Way.DELAY:
            return self._delayed(sample, now_ns)
        if before is None or self._shown is None:
            self._shown = sample
        elif sample.sequence != before.sequence and way is not Way.CUT:
            self._number += 1
            self._shown = self._next(sample, before)
        return self._shown

    def _next(self, sample: GroupSample, before: GroupSample) -> GroupSample:
        """Return what is shown from this new sample on; `before`: the true one before it."""
        odd = self._number % 2
        if self._hurt.way is Way.DOUBLE:
            copy = msgspec.structs.replace(sample, stamp_ns=before.stamp_ns, values=before.values)
            return copy if odd else sample
        if self._hurt.way is Way.SWAP:
            return self._held_back(sample, keep=bool(odd))
        return self._shown if odd and self._shown is not None else sample

    def _held_back(self, sample: GroupSample, *, keep: bool) -> GroupSample:
        """Show the one that was held back before (`keep`: and hold this one), or this one."""
        if not keep:
            return sample
        held = self._past.popleft()[1] if self._past else self._shown
        self._past.append((0, sample))
        assert held is not None
        return held

    def _delayed(self, sample: GroupSample, now_ns: int) -> GroupSample:
        self._past.append((now_ns + round(self._hurt.delay_s * 1e9), sample))
        self._shown = self._shown or sample
        while self._past and self._past[0][0] <= now_ns:
            self._shown = self._past.popleft()[1]
        return self._shown
