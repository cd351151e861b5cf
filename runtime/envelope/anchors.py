"""Lower bounds of distances over whole boxes of poses, from what is known at one pose each.

A barrier is a capsule of the robot on body m and an obstacle on body f, nearer to the base (or the
world). Take any unit vector n fixed in f. With e = 1, 2 the ends of the capsule's segment, p_e,
and the obstacle's support h(n), the plane with normal n that touches the obstacle shows

    distance >= min over e of  b_e(q),   b_e(q) = n . (p_e(q) - center) - h(n) - radii.

Only the joints between f and m move p_e in f. Along joint k its derivative is the angular velocity
w_k x (p - o_k); its second derivatives are w_j x (w_k x (p - o_k)), j nearer to the base, of
length at most L_k: the largest distance that p can have from the axis of the deeper joint k
(bodies.levers_m; 1 for a slide). By Taylor's theorem, with D_k = |q_k - q0_k|,

    b_e(q) >= b_e(q0) + g_e . (q - q0) - quad(D),
    quad(D) = 1/2 sum over j, k of D_j D_k L_(deeper of j, k).

An anchor is (q0, b_e(q0), g_e): exact numbers of one pose, so the bound holds for every later
tick, however old the anchor and however bad n is. Over a box of poses, middle m and half width w,
the linear term is least at b + g . (m - q0) - |g| . w, and D is largest at |m - q0| + w.
"""

from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.envelope.barriers import Barrier
from runtime.envelope.bodies import Arm
from runtime.envelope.distance import parting
from runtime.layout import Floats

Rows = NDArray[np.intp]

# the bounds' own arithmetic: some hundred operations on numbers of a few metres
_ROUNDING_M = 1e-12


class Anchors(NamedTuple):
    """One anchor a barrier (k): `pose` [k, joints]; `offset` [2, k], b - g . q0 of both ends, m;
    `sides` [2, k, 2 joints], g and beside it -|g|, m/rad: with middle and half width of a box
    below each other the linear part is one product; `share` [k], where on the segment the nearest
    point was."""

    pose: Floats
    offset: Floats
    sides: Floats
    share: Floats

    def take(self, rows: Rows) -> "Anchors":
        """Return the anchors of some barriers."""
        return Anchors(
            self.pose[rows], self.offset[:, rows], self.sides[:, rows], self.share[rows]
        )


class Extents(NamedTuple):
    """Boxes of poses, [boxes, joints] rad each: middles and half widths."""

    middle: Floats
    half: Floats

    def of(self, number: int) -> "Extents":
        """Return one of the boxes."""
        row = slice(number, number + 1)
        return Extents(self.middle[row], self.half[row])


def extents(low: Floats, high: Floats) -> Extents:
    """Return the boxes from `low` to `high`, [boxes, joints] rad each."""
    half = 0.5 * (high - low)
    return Extents(low + half, half)


class Seen(NamedTuple):
    """Bounds over boxes in parts: `columns` [2 joints, boxes], middles and half widths, rad;
    `line` [2, k, boxes], the least of each end's linear part, m; `away` [boxes, k, joints], D,
    rad; `lost` [boxes, k], quad(D), m."""

    columns: Floats
    line: Floats
    away: Floats
    lost: Floats

    def least(self) -> Floats:
        """Return the bounds, [k, boxes], m."""
        bound: Floats = np.minimum(self.line[0], self.line[1])
        bound -= self.lost.T
        return bound


class Gains(NamedTuple):
    """What each joint's way from its stop to its wish brings the ends of the capsules, m:
    `straight` [2, k, joints] by their slopes, less `cost` [k, joints] by bending. `stop` [2, k]:
    the ends' bounds over the box of the stops; `wish` [k]: the bounds over that of the wishes."""

    straight: Floats
    cost: Floats
    stop: Floats
    wish: Floats

    def take(self, rows: Rows) -> "Gains":
        """Return the gains of some barriers."""
        return Gains(self.straight[:, rows], self.cost[rows], self.stop[:, rows], self.wish[rows])


class Bounds:
    """Anchors of some barriers (k) with what it takes to evaluate them: `levers` [k, joints], L;
    `deeper` [joints, joints], see bodies.Arm."""

    def __init__(self, anchors: Anchors, levers: Floats, deeper: Floats) -> None:
        self._anchors = anchors
        self._levers = levers
        self._deeper = deeper

    def over(self, boxes: Extents) -> Floats:
        """Return the lower bounds of all distances over the boxes, [k, boxes], m."""
        return self.see(boxes).least()

    def see(self, boxes: Extents) -> Seen:
        """Return the bounds over the boxes in their parts."""
        columns = np.concatenate(boxes, axis=1).T
        line: Floats = self._anchors.sides @ columns
        line += self._anchors.offset[:, :, None]
        away = np.abs(boxes.middle[:, None] - self._anchors.pose)
        away += boxes.half[:, None]
        return Seen(columns, line, away, self._bend(away))

    def fresh(self, boxes: Extents) -> Floats:
        """Return what bending would cost anchors in the middles of the boxes, [boxes, k], m."""
        half = boxes.half
        loss: Floats = (half * (half @ self._deeper)) @ self._levers.T
        return loss

    def gains(self, seen: Seen, spent_m: float) -> Gains:
        """Return what the ways from the stops to the wishes bring, the first and second box that
        were `seen`; the bounds are less `spent_m`.

        A bound is concave in each joint's acceleration, because stops get longer faster than
        their accelerations grow, so the straight line between both ends promises no more than
        there is; the loss by bending is taken at its steepest.
        """
        columns, line, away, lost = seen
        joints = len(columns) // 2
        both = self._anchors.sides * (columns[:, 1] - columns[:, 0])
        straight = both[:, :, :joints] + both[:, :, joints:]
        before, after = away[0], away[1]
        # dquad/dD_k is at most L_k times the sum of D: further out levers are shorter
        cost = np.maximum(after - before, 0.0)
        cost *= self._levers
        cost *= np.add.reduce(np.maximum(before, after), axis=1, keepdims=True)
        stop = line[:, :, 0] - (lost[0] + spent_m)
        wish = line[:, :, 1] - (lost[1] + spent_m)
        return Gains(straight, cost, stop, np.minimum(wish[0], wish[1]))

    def _bend(self, away: Floats) -> Floats:
        """Return quad(D), [..., k], m, for D [..., k, joints]."""
        bent = away @ self._deeper
        bent *= away
        loss: Floats = np.einsum("...kj,kj->...k", bent, self._levers)
        return loss


class Anchoring:
    """Makes anchors of an arm's barriers and evaluates them."""

    def __init__(self, arm: Arm, barriers: list[Barrier]) -> None:
        self._arm = arm
        count = len(barriers)
        capsules = [barrier.capsule for barrier in barriers]
        obstacles = [barrier.obstacle for barrier in barriers]
        self._body = np.array([c.body for c in capsules], dtype=np.intp)
        self._base = np.array([o.body for o in obstacles], dtype=np.intp)
        self._flat = np.array([bool(o.normal.any()) for o in obstacles]).reshape(count, 1)
        self._active = arm.moves[self._body] & ~arm.moves[self._base]
        # side by side, so that one gather brings all of a barrier: _parts takes them apart
        self._numbers = np.array(
            [
                [*c.ends.flat, *o.center, *o.axes.flat, *o.half, *o.normal, c.radius_m + o.radius_m]
                for c, o in zip(capsules, obstacles, strict=True)
            ]
        ).reshape(count, _WIDTH)
        known = {id(c): arm.levers_m(c) for c in capsules}
        levers = np.array([known[id(c)] for c in capsules]).reshape(self._active.shape)
        self.levers = np.where(self._active, levers, 0.0)
        # what tells anchors of these barriers from those of others
        held = (self._numbers, self._body, self._base, self.levers)
        self.mark = sha256(b"".join(array.tobytes() for array in held)).digest()[:8]

    def at(self, q: Floats, rows: Rows, share: Floats, rounds: int) -> Anchors:
        """Return the anchors of `rows` at the pose q [joints], rad.

        `share` [rows]: where the search for the nearest points begins; `rounds`: how long it is.
        """
        arm = self._arm
        arm.stand_at(q)
        place, turn = arm.body_place, arm.body_turn
        ends, center, axes, half, fixed, radii = _parts(self._numbers[rows])
        body, base = self._body[rows], self._base[rows]
        ends = place[body, None] + ends @ turn[body].transpose(0, 2, 1)
        base_turn = turn[base]
        axes = base_turn @ axes
        center = place[base] + (base_turn @ center[:, :, None])[:, :, 0]
        local = (ends - center[:, None]) @ axes
        normal, share = parting(local, half, share, rounds)
        normal = np.where(self._flat[rows], fixed, normal)
        support = (np.abs(normal) * half).sum(axis=1) + radii + _ROUNDING_M
        bound = (local @ normal[:, :, None])[:, :, 0] - support[:, None]
        slope = self._slope(ends, (axes @ normal[:, :, None])[:, :, 0])
        slope *= self._active[rows, None]
        offset = bound - slope @ q
        pose = np.broadcast_to(q, (len(rows), len(q)))
        sides = np.concatenate([slope, -np.abs(slope)], axis=2).transpose(1, 0, 2)
        return Anchors(pose, offset.T, sides, share)

    def _slope(self, ends: Floats, normal: Floats) -> Floats:
        """Return n . (w x (p - o)) per row, end and joint, [rows, 2, joints]; n . w for a slide."""
        axis, place = self._arm.joint_axis, self._arm.joint_place
        slides = self._arm.is_slide[:, None]
        # w x as matrices, side by side: [3, joints, 3]
        turning = (np.where(slides, 0.0, axis) @ _CROSS).reshape(-1, 3, 3)
        shift = np.where(slides, axis, -(turning @ place[:, :, None])[:, :, 0])
        along = (normal @ turning.transpose(1, 0, 2).reshape(3, -1)).reshape(len(normal), -1, 3)
        slope: Floats = ends @ along.transpose(0, 2, 1)
        slope += (normal @ shift.T)[:, None]
        return slope


# w @ _CROSS is the matrix, row by row, that takes v to w x v
_CROSS = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0],
        [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ]
)
_WIDTH = 25


def _parts(numbers: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    """Return ends [k, 2, 3], center, axes [k, 3, 3], half, normal [k, 3 each] and radii [k]."""
    return (
        numbers[:, :6].reshape(-1, 2, 3),
        numbers[:, 6:9],
        numbers[:, 9:18].reshape(-1, 3, 3),
        numbers[:, 18:21],
        numbers[:, 21:24],
        numbers[:, 24],
    )
