"""Geometry as an invariant of the commanded reference: how near the robot's stop comes to what.

What is promised: at every tick, and along the straight path between ticks, the commanded pose is
at least `margin_m` from every barrier, and so is every pose of the kept stop. What is not: that
the robot is where it was commanded. The margin must cover the tracking error, and guards watch it;
latency delays the whole curve and so changes no place on it.

The argument, by induction over ticks. Kept is a stop of all joints together whose extents, joint
by joint, span a box of poses, and for each barrier an anchor whose bound over that box is at least
the barrier's level (anchors.py says why the bound holds whatever the anchor).

- Rest: the box is one pose and every bound was computed there.
- A step of the kept stop: what is left of the stop lies in the same box.
- A new command, one barrier: either the bound over a box that holds the kept stop, the new stop
  and both commands reaches the level, and so it does everywhere on the straight way between the
  commands, which lies in that box. Or the bound over the box of the new stop, the command
  included, reaches the level with quad(d) to spare, d being the way of the joints in the tick: at
  the last command the same bound reached the level, and on the straight way between the two
  nothing bends by more than quad(d) t (1 - t), t the share of the way (anchors.py).
- A cover: a box that was judged once. As long as the box of both stops lies in it, the first of
  the two cases holds for all barriers whose bounds over the cover reached their levels, whatever
  is chosen, because a bound over a smaller box is no smaller; and it is the anchors with which
  it was judged that are kept. The other barriers, the near ones, are looked at in every tick.
  When a stop leaves the cover, a new one is made from the bounds over the box at hand, before
  anything is chosen. A cover is dropped with every rest, and as long as a level rises, all
  barriers are near.
- A new anchor: it takes the place of one only if it says no less about the kept stop's box, and
  if its barrier is near, or before a cover is judged with it.

So the next step of the kept stop may always be sent, and nothing but it needs no new proof.
"""

import numpy as np

from runtime.envelope.anchors import Anchoring, Anchors, Bounds, Extents, Rows, Seen, extents
from runtime.envelope.barriers import RECOVERABLE_M, Barrier, Workspace, barriers
from runtime.envelope.bodies import Arm
from runtime.envelope.cover import Cover, everywhere, made, nowhere, wide
from runtime.errors import ConfigError
from runtime.geometry_spec import GeometryConfig
from runtime.layout import Floats
from runtime.robot_spec import JointLimits

# a barrier that was begun inside may be approached again by this much: at zero room not even the
# way out could be proven
_WOBBLE_M = 1e-4

_ROUNDS_COLD = 8
_ROUNDS_WARM = 1
# anchors renewed in one tick at most, the worst first; the cost of a tick follows
_RENEWED = 64
# an anchor is renewed when its age costs more than this, and more than this share of the room or
# of what the width of the stop costs anyway
_STALE_M = 3e-5
_STALE_SHARE = 2.0
# ... and if one is, all whose age costs this share: many take hardly longer than one
_WORN_SHARE = 0.1
# ... and before a cover is made, those that leave less than this share of their room over the
# wide box, if age takes this share of what they lose
_COVER_SHARE = 0.5
_COVER_AGED = 0.25
_NONE: Rows = np.zeros(0, dtype=np.intp)


class Geometry:
    """All barriers of one robot and config. Barriers are numbered as in `names`.

    Carries from tick to tick only anchors, levels and the `cover` with the `near` barriers' bounds,
    which follow from the others; `save` returns them, bit for bit.
    """

    def __init__(self, arm: Arm, found: list[Barrier], margin_m: float) -> None:
        self._anchoring = Anchoring(arm, found)
        self.names = tuple(barrier.name for barrier in found)
        self.margin_m = margin_m
        self._recoverable_m = np.array([barrier.recoverable_m for barrier in found])
        self._count, self._joints = len(found), len(arm.joints)
        self._all: Rows = np.arange(self._count)
        self._half_way = np.full(self._count, 0.5)
        self._deeper = arm.deeper
        self._levers = self._anchoring.levers
        self._longest_m = float(self._levers.max())
        count, joints = self._count, self._joints
        self._anchors = Anchors(
            np.zeros((count, joints)),
            np.zeros((2, count)),
            np.zeros((2, count, 2 * joints)),
            np.zeros(count),
        )
        self._whole = Bounds(self._anchors, self._levers, self._deeper)
        self._level = np.full(count, margin_m)
        self._mark = self._anchoring.mark + np.float64(margin_m).tobytes()
        self._recovering = False
        self._lie_in(nowhere(joints))

    @classmethod
    def load(
        cls,
        mjcf_path: str,
        site: str,
        limits: tuple[JointLimits, ...],
        home: list[float],
        config: GeometryConfig,
        workspace: Workspace,
    ) -> "Geometry":
        """Read the robot's shapes and list its barriers.

        `limits`: the joints in spec order, `home`: where they are at home, rad.

        Raises:
            ConfigError: the MJCF does not fit, or at home something is nearer than the margin;
                names all pairs that are, how near, and the way out.
        """
        arm = Arm(mjcf_path, site, limits)
        geometry = cls(arm, barriers(arm, config, workspace), config.margin_m)
        near = geometry.nearer_than(config.margin_m, home)
        if near:
            raise ConfigError(
                f"at home {near}; geometry.margin_m is {config.margin_m} m: move the keep-out "
                "volume, the workspace or home, make the margin smaller, or, for two parts of the "
                f"robot that are made to be this near, add a <contact><exclude> in {mjcf_path}"
            )
        return geometry

    # -- poses at rest ------------------------------------------------------------------------

    def distances_m(self, q: list[float]) -> Floats:
        """Return what keeps every barrier apart at rest at q, [joints] rad: [barriers], m.

        Exact up to the search for the nearest points, never too large; negative inside.
        """
        pose = np.array(q)
        bounds = self._of(self._all, self._fresh(pose))
        distances: Floats = bounds.over(_point(pose))[:, 0]
        return distances

    def nearer_than(self, allowed_m: float | Floats, q: list[float]) -> str:
        """Return which barriers are nearer than `allowed_m` (one for all, or one each) at q, rad;
        empty when none is."""
        distance = self.distances_m(q)
        rows = np.flatnonzero(~(distance >= allowed_m)).tolist()
        return "; ".join(f"{self.names[row]} are {distance[row]:.4f} m apart" for row in rows)

    def refusal(self, q: list[float]) -> str:
        """Return why the reference cannot begin at rest at q, rad; empty when it can.

        A robot somewhat inside a barrier can, and a tool outside its workspace: they may only
        move back.
        """
        near = self.nearer_than(self.margin_m - self._recoverable_m, q)
        if not near:
            return ""
        return (
            f"{near}; from up to {RECOVERABLE_M} m inside the margin of {self.margin_m} m the "
            "robot can move back by itself: move it out by hand"
        )

    def settle(self, q: list[float]) -> None:
        """Begin at rest at q, rad, which `refusal` must allow."""
        pose = np.array(q)
        self._begin(self._fresh(pose), _point(pose))

    def _fresh(self, pose: Floats) -> Anchors:
        return self._anchoring.at(pose, self._all, self._half_way, _ROUNDS_COLD)

    def _begin(self, anchors: Anchors, stop: Extents) -> None:
        self._put(self._all, anchors)
        room = self._of(self._all, anchors).over(stop)[:, 0]
        self._level[:] = np.minimum(self.margin_m, room - _WOBBLE_M)
        self._recovering = bool((self._level < self.margin_m).any())
        self._lie_in(self._none())

    # -- the cover ----------------------------------------------------------------------------

    def _none(self) -> Cover:
        """Return the cover that nothing was judged for."""
        joints = self._joints
        return everywhere(joints, self._count) if self._recovering else nowhere(joints)

    def _lie_in(self, cover: Cover) -> None:
        self.cover = cover
        self.near = self._bounds(cover.near)

    def cover_anew(self, boxes: Extents, velocity: Floats) -> None:
        """Make a cover that holds the last of `boxes` (see `look`); `velocity` [joints], rad/s:
        where the robot goes to."""
        middle, half = boxes.middle[2], boxes.half[2]
        low, high = middle - half, middle + half
        low_wide, high_wide = wide(low, high, velocity)
        tried = extents(np.stack([low, low_wide]), np.stack([high, high_wide]))
        seen = self._whole.see(tried)
        room = seen.least() - self._level[:, None]
        due = _worn(room, seen.lost - self._whole.fresh(tried))
        if due.size:
            due = self._renew(due, room[due, 1], boxes.of(0))
            room[due] = self._bounds(due).over(tried)
        self._lie_in(made((low, high), (low_wide, high_wide), room))

    # -- a tick's boxes -----------------------------------------------------------------------

    def look(self, boxes: Extents) -> tuple[Seen, Floats]:
        """Return the bounds of the near barriers, less their levels, over boxes around the kept
        stop, around the wish's, and around both, after renewing the anchors that are due; and
        what they leave over the last box, [near], m."""
        seen = self.near.see(boxes)
        room = seen.least()[:, 2]
        due = self._due(room, seen.lost[2], boxes.of(2))
        if due.size:
            self._renew(self.cover.near[due], room[due], boxes.of(0))
            self._lie_in(self.cover)
            seen = self.near.see(boxes)
            room = seen.least()[:, 2]
        return seen, room

    def _due(self, room: Floats, lost: Floats, box: Extents) -> Rows:
        """Return which of the near barriers' anchors cost too much over `box`, in which they leave
        `room` and lose `lost` by bending, [near], m; none as long as the nearest gain nothing by
        new ones."""
        if not room.size:
            return _NONE
        least = room.argmin()
        if lost[least] <= room[least]:
            return _NONE
        # what a new anchor in the middle of the box would lose all the same
        fresh = self.near.fresh(box)[0]
        aged = lost - fresh - _STALE_M
        top = np.maximum(room, fresh)
        pays = (aged > _STALE_SHARE * top) & (room <= max(room[least], 0.0))
        return np.flatnonzero(aged > _WORN_SHARE * top) if pays.any() else _NONE

    def between(self, travel_rad: float) -> float:
        """Return at least quad(d), m, of every barrier for a tick in which all joints together
        go `travel_rad`."""
        return 0.5 * self._longest_m * travel_rad * travel_rad

    def _renew(self, due: Rows, room: Floats, stop: Extents) -> Rows:
        """Take new anchors for those of `due` with the least `room` [due], in the middle of the
        kept stop's box; one that says less about that box is not taken. Return who was tried."""
        if due.size > _RENEWED:
            due = due[np.argpartition(room, _RENEWED)[:_RENEWED]]
        old = self._anchors.take(due)
        new = self._anchoring.at(stop.middle[0], due, old.share, _ROUNDS_WARM)
        more = self._of(due, new).over(stop) >= self._of(due, old).over(stop)
        self._anchors.share[due] = new.share
        better = np.flatnonzero(more)
        self._put(due[better], new.take(better))
        return due

    def _bounds(self, rows: Rows) -> Bounds:
        """Return the bounds of some barriers, less their levels."""
        mine = self._anchors.take(rows)
        return self._of(rows, mine._replace(offset=mine.offset - self._level[rows]))

    def _of(self, rows: Rows, anchors: Anchors) -> Bounds:
        return Bounds(anchors, self._levers[rows], self._deeper)

    def ratchet(self, room: Floats) -> bool:
        """Where the robot began inside a barrier, what it has gained since is not given back.

        `room` [near], m, must hold for a box that the kept stop lies in. Until every barrier is
        back at its margin all are near. Return whether what was looked at before is out of date.
        """
        if not self._recovering:
            return False
        self._level = np.clip(room + self._level - _WOBBLE_M, self._level, self.margin_m)
        self._recovering = bool((self._level < self.margin_m).any())
        self._lie_in(self._none())
        return True

    # -- state --------------------------------------------------------------------------------

    def save(self) -> bytes:
        """Return anchors, levels and cover, and a mark of the barriers that they belong to."""
        cover = self.cover
        near = np.zeros(self._count)
        near[cover.near] = 1.0
        box = np.array([*cover.low, *cover.high])
        room = np.array([cover.room_m, cover.nearest])
        parts = (*self._anchors, self._level, box, near, room)
        return self._mark + b"".join(array.tobytes() for array in parts)

    def restore(self, state: bytes, stop: Extents) -> None:
        """Take over what `save` returned; `stop` is the box of the kept stop then.

        Anchors of other barriers (a record replayed with another config) are worth nothing here:
        new ones are made, and where the stop was never kept out it may only be left again.
        """
        if state[: len(self._mark)] != self._mark:
            self._begin(self._fresh(stop.middle[0]), stop)
            return
        values = np.frombuffer(state, offset=len(self._mark))
        box, near, room = np.zeros((2, self._joints)), np.zeros(self._count), np.zeros(2)
        for part in (*self._anchors, self._level, box, near, room):
            part[...] = values[: part.size].reshape(part.shape)
            values = values[part.size :]
        self._recovering = bool((self._level < self.margin_m).any())
        low, high = box.tolist()
        self._lie_in(Cover(low, high, np.flatnonzero(near), float(room[0]), int(room[1])))

    def _put(self, rows: Rows, anchors: Anchors) -> None:
        mine = self._anchors
        mine.pose[rows] = anchors.pose
        mine.offset[:, rows] = anchors.offset
        mine.sides[:, rows] = anchors.sides
        mine.share[rows] = anchors.share


def _worn(room: Floats, aged: Floats) -> Rows:
    """Return the barriers that keep a cover from being wide because their anchors are old.

    `room` [barriers, 2] and what age costs of it, `aged` [2, barriers], m, both over the narrow
    and over the wide box.
    """
    narrow, wide_room = room.T
    hinder = wide_room < _COVER_SHARE * narrow
    return np.flatnonzero(hinder & (aged[1] > _STALE_M + _COVER_AGED * (narrow - wide_room)))


def _point(pose: Floats) -> Extents:
    return Extents(pose[None], np.zeros((1, len(pose))))
