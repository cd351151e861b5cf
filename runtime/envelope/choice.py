"""Which of the admissible commands is taken where a barrier is near: the one that changes least."""

import daqp
import numpy as np

from runtime.envelope.anchors import Extents, Gains, Rows, Seen, extents
from runtime.envelope.cover import SPARE_M
from runtime.envelope.geometry import Geometry
from runtime.envelope.joint import JointAdmission, Reference
from runtime.layout import Floats
from runtime.messages import Limit

_GEOMETRY = int(Limit.GEOMETRY)

# barriers that one quadratic program looks at, with up to four rows each
_BARRIERS = 10
# an answer that breaks a barrier after all is halved this often before it is dropped
_TRIES = 3
_ITERATIONS = 100
# the smallest weight, the largest being 1: the program stays well conditioned
_WEIGHT_MIN = 1e-6
# the solver's own tolerance
_ROUGH = 1e-6
_TINY = 1e-12
# going straight by so little is rounding
_NOTHING_M = 1e-15
_PAD_RAD = 1e-9


class Choice:
    """Chooses a command of all joints together, between the kept stop and the joints' wishes.

    Joint k may take any share s_k in [0, 1] of the way from its stop's next acceleration to the
    one that its own limits admitted: all of them keep those limits, which are convex. Taken are
    the shares that minimise the sum of ((1 - s_k) (a_wish - a_stop))^2 while every near barrier
    keeps its room. The program is not the guarantee: its answer passes joint limits and bounds
    again like any wish, and if it fails in the end all joints take the step of the kept stop.

    After each call: `room_m`, the least room of any barrier, and `nearest`, whose it is, or who
    changed the wish; of a barrier that the cover judged it is the least anywhere in the cover.
    """

    def __init__(self, joints: tuple[JointAdmission, ...], geometry: Geometry) -> None:
        self._joints = joints
        self._geometry = geometry
        self._program = _Program(len(joints))
        self.room_m = 0.0
        self.nearest = -1

    def of(
        self, last: tuple[Reference, ...], wish: tuple[Reference, ...]
    ) -> tuple[Reference, ...]:
        """Return the references one tick after `last`: `wish` itself if geometry allows it."""
        cover = self._geometry.cover
        if not cover.near.size and cover.holds(last, wish):
            self.room_m, self.nearest = cover.room_m, cover.nearest
            return wish
        # whatever is chosen in between lies in the box that holds both
        seen, room = self._look(last, wish)
        if self._geometry.ratchet(room):
            # who just came back in is judged like everybody else, in a cover of its own
            seen, room = self._look(last, wish)
        chosen, tight = wish, np.flatnonzero(~(room >= SPARE_M))
        if tight.size:
            chosen, room = self._nearest(last, wish, tight, seen)
        self._show(room, acted=chosen is not wish)
        return chosen

    def look(self, last: tuple[Reference, ...]) -> None:
        """Measure the room of the kept stop; chooses nothing."""
        self._show(self._look(last, last)[1])

    def restore(self, state: bytes, last: tuple[Reference, ...]) -> None:
        """Take over what Geometry.save returned when `last` had been issued."""
        self._geometry.restore(state, _boxes(last, last).of(0))

    def _look(
        self, last: tuple[Reference, ...], wish: tuple[Reference, ...]
    ) -> tuple[Seen, Floats]:
        """Return what Geometry.look says; its cover holds both stops after it."""
        geometry, boxes = self._geometry, _boxes(last, wish)
        if not geometry.cover.holds(last, wish):
            geometry.cover_anew(boxes, np.array([to.v for to in wish]))
        return geometry.look(boxes)

    def _nearest(
        self,
        last: tuple[Reference, ...],
        wish: tuple[Reference, ...],
        tight: Rows,
        seen: Seen,
    ) -> tuple[tuple[Reference, ...], Floats]:
        """Return the admitted references nearest to `wish`, the kept stop's step if all fail; and
        the room, [near], m, that their stop leaves.

        `tight`: the near barriers that some shares could use up; over the box of both no other
        can be.
        """
        near, between = self._geometry.near, self._geometry.between(_travel(last, wish))
        gains = near.gains(seen, between)
        if gains.wish.min() >= 0.0:
            spent = np.add.reduce(gains.straight, axis=2)
            if (spent >= np.minimum(SPARE_M - gains.stop, -_NOTHING_M)).all():
                return wish, gains.wish
        if tight.size > _BARRIERS:
            tight = tight[np.argpartition(gains.wish[tight], _BARRIERS)[:_BARRIERS]]
        away = [to.a - at.stop_a for at, to in zip(last, wish, strict=True)]
        shares = self._program.shares(away, gains.take(tight))
        for _ in range(_TRIES):
            chosen = self._at(last, wish, shares)
            left = near.over(_reach(chosen))[:, 0]
            left -= self._geometry.between(_travel(last, chosen))
            # the others have room over the box of both, and so on every way inside it
            if left.min() >= 0.0 and _within(chosen, last, wish):
                return chosen, left
            shares = [0.5 * share for share in shares]
        kept = self._at(last, wish, [0.0] * len(away))
        return kept, near.over(_reach(last))[:, 0]

    def _at(
        self, last: tuple[Reference, ...], wish: tuple[Reference, ...], shares: list[float]
    ) -> tuple[Reference, ...]:
        rows = zip(self._joints, last, wish, shares, strict=True)
        return tuple([joint.part_way(at, to, share, _GEOMETRY) for joint, at, to, share in rows])

    def _show(self, room: Floats, *, acted: bool = False) -> None:
        """Take the least of what the cover and the near barriers leave, `room` [near], m. Of a
        wish that was changed the nearest is a near one: no other can have changed it."""
        cover = self._geometry.cover
        self.room_m, self.nearest = cover.room_m, cover.nearest
        if room.size:
            least = int(room.argmin())
            if acted or not (room[least] >= cover.room_m):
                self.room_m = min(self.room_m, float(room[least]))
                self.nearest = int(cover.near[least])


class _Program:
    """The quadratic program of n shares, its arrays made once."""

    def __init__(self, joints: int) -> None:
        size = joints + 4 * _BARRIERS
        self._joints = joints
        self._cost = np.zeros((joints, joints))
        self._diagonal = self._cost.reshape(-1)[:: joints + 1]
        self._low, self._high = np.zeros(size), np.full(size, 1e30)
        self._high[:joints] = 1.0
        self._sense = np.zeros(size, dtype=np.int32)
        self._rows = np.zeros((4 * _BARRIERS, joints))

    def shares(self, away: list[float], gains: Gains) -> list[float]:
        """Return the shares in [0, 1] that minimise the sum of (away (1 - s))^2, such that going
        straight leaves `SPARE_M` of room, or what there is if less, and bending leaves any.

        So what leads along a barrier may go on where what leads towards it has come to an end.
        Solved from a cold start: a warm one is memory that no keyframe holds. Zeros, which are
        always allowed, if the solver finds nothing in its bounded number of iterations.
        """
        joints, half = self._joints, gains.stop.size
        size = joints + 2 * half
        longest = max(map(abs, away)) + _TINY
        self._diagonal[:] = [max((by / longest) ** 2, _WEIGHT_MIN) for by in away]
        rows, low = self._rows[: 2 * half], self._low[joints:size]
        rows[:half] = gains.straight.reshape(half, joints)
        np.subtract(gains.straight, gains.cost, out=rows[half:].reshape(gains.straight.shape))
        np.negative(gains.stop.reshape(half), out=low[half:])
        np.add(low[half:], SPARE_M, out=low[:half])
        np.minimum(low, -_NOTHING_M, out=low)
        # tolerances are absolute: rows and bounds are scaled alike
        scale = 1.0 / (np.sqrt(np.einsum("kj,kj->k", rows, rows)) + _TINY)
        rows *= scale[:, None]
        low *= scale
        shares, _, flag, _ = daqp.solve(
            self._cost,
            -self._diagonal,
            rows,
            self._high[:size],
            self._low[:size],
            self._sense[:size],
            iter_limit=_ITERATIONS,
        )
        found: list[float] = shares.tolist()
        # a solver that failed may leave anything behind, so this asks for what must hold
        if flag != 1 or not all(-_ROUGH <= share <= 1.0 + _ROUGH for share in found):
            return [0.0] * joints
        return [share if share > _ROUGH else 0.0 for share in found]


def _boxes(last: tuple[Reference, ...], to: tuple[Reference, ...]) -> Extents:
    """Return three boxes: of the stops kept by `last` and by `to`; and the one around both, a
    little wider than rounding could say."""
    low, high = [at.q_low for at in last], [at.q_high for at in last]
    to_low, to_high = [at.q_low for at in to], [at.q_high for at in to]
    around_low = [min(pair) - _PAD_RAD for pair in zip(low, to_low, strict=True)]
    around_high = [max(pair) + _PAD_RAD for pair in zip(high, to_high, strict=True)]
    ends = np.array([low, to_low, around_low, high, to_high, around_high])
    return extents(ends[:3], ends[3:])


def _reach(chosen: tuple[Reference, ...]) -> Extents:
    """Return the box of a stop."""
    ends = np.array([[[at.q_low for at in chosen]], [[at.q_high for at in chosen]]])
    return extents(ends[0], ends[1])


def _within(
    chosen: tuple[Reference, ...], last: tuple[Reference, ...], wish: tuple[Reference, ...]
) -> bool:
    """True if the stop kept by `chosen` lies in the box around the two others."""
    for mine, at, to in zip(chosen, last, wish, strict=True):
        low, high = min(at.q_low, to.q_low), max(at.q_high, to.q_high)
        if not (low - _PAD_RAD <= mine.q_low and mine.q_high <= high + _PAD_RAD):
            return False
    return True


def _travel(last: tuple[Reference, ...], to: tuple[Reference, ...]) -> float:
    """Return how far all joints together go in the tick, rad."""
    return sum([abs(new.q - at.q) for at, new in zip(last, to, strict=True)])

