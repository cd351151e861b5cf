"""The cover: a box of poses over which most barriers are judged once, for many ticks.

A bound that holds over a box holds over every box inside it. So while the kept stop and the wish
both lie in the cover, the barriers that reached their levels over it do so again, whatever is
chosen between the two, and need no look; only those that did not, the near ones, are looked at.

How wide it is: what a bound leaves over a box that widens evenly is concave in how far it has
widened, because the linear part falls evenly and quad(D) is convex and grows with D (anchors.py).
So between two judged boxes, the narrow and the wide one, it is at least what lies on the straight
line between them: of one look at both the widest box follows that leaves each barrier its share.
"""

from typing import NamedTuple

import numpy as np

from runtime.envelope.anchors import Rows
from runtime.envelope.joint import Reference
from runtime.layout import Floats

# room that no tick gives away: with none at all neither going along a barrier nor the way out
# could be proven, because slopes hold at one pose only
SPARE_M = 2e-4
# ... nor more than this share of the room that there was when the cover was made
_KEPT_SHARE = 0.5
# a barrier that lets the box widen by less than this share is near: looking at it in every tick
# is cheaper than making a cover every few ticks
_WIDENED_MIN = 0.25
# where the robot moves to in this time lies in the wide box, and in every direction so much ...
_AHEAD_S = 0.08
_ASIDE_RAD = 5e-3
# ... and so much of how far the stop goes: harder braking or less of it moves its end
_ASIDE_SHARE = 0.2
_TINY_M = 1e-12


class Cover(NamedTuple):
    """A box of poses, `low` to `high` [joints] rad, and the barriers that are `near`.

    `room_m`: what the others certainly leave above their levels anywhere in the box, infinity if
    there are none; `nearest`: whose that is.
    """

    low: list[float]
    high: list[float]
    near: Rows
    room_m: float
    nearest: int

    def holds(self, last: tuple[Reference, ...], to: tuple[Reference, ...]) -> bool:
        """True if the stops kept by `last` and by `to` lie in the box."""
        for low, high, at, new in zip(self.low, self.high, last, to, strict=True):
            if not (
                low <= new.q_low
                and new.q_high <= high
                and low <= at.q_low
                and at.q_high <= high
            ):
                return False
        return True


def nowhere(joints: int) -> Cover:
    """Return the cover that holds nothing."""
    return Cover([np.inf] * joints, [-np.inf] * joints, np.zeros(0, dtype=np.intp), 0.0, -1)


def everywhere(joints: int, count: int) -> Cover:
    """Return the cover of all poses: every barrier is near."""
    return Cover([-np.inf] * joints, [np.inf] * joints, np.arange(count), np.inf, -1)


def wide(low: Floats, high: Floats, velocity: Floats) -> tuple[Floats, Floats]:
    """Return the widest box that is worth a try around `low` to `high`, [joints] rad, at
    `velocity`, rad/s."""
    aside = _ASIDE_RAD + _ASIDE_SHARE * (high - low)
    ahead = _AHEAD_S * velocity
    return low - aside + np.minimum(ahead, 0.0), high + aside + np.maximum(ahead, 0.0)


def made(
    narrow: tuple[Floats, Floats], widest: tuple[Floats, Floats], room: Floats
) -> Cover:
    """Return the cover between two boxes (low and high [joints], rad, each).

    `room` [barriers, 2], m: what is left above the levels over the narrow and over the wide one,
    which holds the narrow one.
    """
    here, there = room.T
    keeps = np.maximum(SPARE_M, _KEPT_SHARE * here)
    allowed = (here - keeps) / (here - there + _TINY_M)
    covered = allowed >= _WIDENED_MIN
    share = float(np.min(allowed, where=covered, initial=1.0))
    left = np.where(covered, here + share * (there - here), np.inf)
    nearest = int(left.argmin())
    (low, high), (low_wide, high_wide) = narrow, widest
    return Cover(
        low=(low + share * (low_wide - low)).tolist(),
        high=(high + share * (high_wide - high)).tolist(),
        near=np.flatnonzero(~covered),
        room_m=float(left[nearest]),
        nearest=nearest,
    )
