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
- A new command: it is admitted only if the bounds over the box of its own stop, the command
  included, reach the levels with quad(d) to spare, d being the way of the joints in the tick. At
  the last command the same bounds reached the levels, and on the straight way between the two
  nothing bends by more than quad(d) t (1 - t), t the share of the way (anchors.py).
- A new anchor: it takes the place of one only if it says no less about the kept stop's box.

So the next step of the kept stop may always be sent, and nothing but it needs no new proof.
"""

import numpy as np

from runtime.envelope.anchors import Anchoring, Anchors, Bounds, Extents, Rows
from runtime.envelope.barriers import RECOVERABLE_M, Barrier, Workspace, barriers
from runtime.envelope.bodies import Arm
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
_STALE_SHARE = 0.5
# ... and if one is, all whose age costs this share: many take hardly longer than one
_WORN_SHARE = 0.1
_NONE: Rows = np.zeros(0, dtype=np.intp)


class Geometry:
    """All barriers of one robot and config. Barriers are numbered as in `names`.

    Carries from tick to tick only anchors and levels; `save` returns them, bit for bit.
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
        self._sides = self._anchors.sides.reshape(2 * count, 2 * joints)
        self._offset = self._anchors.offset.reshape(-1)
        self._level = np.full(count, margin_m)
        self._mark = self._anchoring.mark + np.float64(margin_m).tobytes()
        self._recovering = False
        self._box = np.zeros(2 * joints)
        self._away = np.zeros((count, joints))
        self._bent = np.zeros((count, joints))
        self._linear = np.zeros(2 * count)

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
        bounds = self._bounds(self._all, self._fresh(pose))
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
        room = self._bounds(self._all, anchors).over(stop)[:, 0]
        self._level[:] = np.minimum(self.margin_m, room - _WOBBLE_M)
        self._recovering = bool((self._level < self.margin_m).any())

    # -- boxes of poses -----------------------------------------------------------------------

    def room(self, box: Extents) -> tuple[Floats, Rows]:
        """Return what every bound over one box leaves above its level, [barriers], m, and the
        barriers whose anchors are due; none as long as the nearest gain nothing by that."""
        joints, count = self._joints, self._count
        middle, half = box.middle[0], box.half[0]
        np.subtract(middle, self._anchors.pose, out=self._away)
        np.abs(self._away, out=self._away)
        np.add(self._away, half, out=self._away)
        np.matmul(self._away, self._deeper, out=self._bent)
        np.multiply(self._bent, self._away, out=self._bent)
        lost = np.einsum("kj,kj->k", self._bent, self._levers)
        self._box[:joints] = middle
        self._box[joints:] = half
        np.dot(self._sides, self._box, out=self._linear)
        np.add(self._linear, self._offset, out=self._linear)
        room: Floats = np.minimum(self._linear[:count], self._linear[count:])
        room -= self._level
        room -= lost
        least = room.argmin()
        if lost[least] <= room[least]:
            return room, _NONE
        # what a new anchor in the middle of the box would lose all the same
        fresh = self._levers @ (half * (half @ self._deeper))
        lost -= fresh
        lost -= _STALE_M
        top = np.maximum(room, fresh)
        pays = (lost > _STALE_SHARE * top) & (room <= max(room[least], 0.0))
        return room, np.flatnonzero(lost > _WORN_SHARE * top) if pays.any() else _NONE

    def between(self, travel_rad: float) -> float:
        """Return at least quad(d), m, of every barrier for a tick in which all joints together
        go `travel_rad`."""
        return 0.5 * self._longest_m * travel_rad * travel_rad

    def close(self, rows: Rows) -> Bounds:
        """Return the bounds of some barriers, less their levels."""
        return self._bounds(rows, self._anchors.take(rows), self._level[rows])

    def renew(self, due: Rows, room: Floats, ends: Extents) -> None:
        """Take new anchors for those of `due` with the least `room`, in the middle of the kept
        stop's box, the first of `ends`; one that says less about that box is not taken."""
        if due.size > _RENEWED:
            due = due[np.argpartition(room[due], _RENEWED)[:_RENEWED]]
        stop = ends.of(0)
        old = self._anchors.take(due)
        new = self._anchoring.at(stop.middle[0], due, old.share, _ROUNDS_WARM)
        more = self._bounds(due, new).over(stop) >= self._bounds(due, old).over(stop)
        self._anchors.share[due] = new.share
        better = np.flatnonzero(more)
        self._put(due[better], new.take(better))

    def _bounds(self, rows: Rows, anchors: Anchors, level: Floats | float = 0.0) -> Bounds:
        less = anchors._replace(offset=anchors.offset - level)
        return Bounds(less, self._levers[rows], self._deeper)

    def ratchet(self, room: Floats) -> None:
        """Where the robot began inside a barrier, what it has gained since is not given back.

        `room` [barriers], m, must hold for a box that the kept stop lies in.
        """
        if self._recovering:
            self._level = np.clip(room + self._level - _WOBBLE_M, self._level, self.margin_m)
            self._recovering = bool((self._level < self.margin_m).any())

    # -- state --------------------------------------------------------------------------------

    def save(self) -> bytes:
        """Return anchors and levels, and a mark of the barriers that they belong to."""
        parts = (*self._anchors, self._level)
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
        for part in (*self._anchors, self._level):
            part[...] = values[: part.size].reshape(part.shape)
            values = values[part.size :]
        self._recovering = bool((self._level < self.margin_m).any())

    def _put(self, rows: Rows, anchors: Anchors) -> None:
        mine = self._anchors
        mine.pose[rows] = anchors.pose
        mine.offset[:, rows] = anchors.offset
        mine.sides[:, rows] = anchors.sides
        mine.share[rows] = anchors.share


def _point(pose: Floats) -> Extents:
    return Extents(pose[None], np.zeros((1, len(pose))))
