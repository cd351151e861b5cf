"""Judges commands by the distances they keep, independently of the envelope.

Shares nothing with the code under test and asks no MuJoCo. Frames come from the modified
Denavit-Hartenberg table that the manufacturer of the Panda publishes, shapes from the text of
panda.xml, distances from the closed forms below (C. Ericson, Real-Time Collision Detection, 2005,
sections 5.1.2, 5.1.9). Distances are exact where one of two shapes is a capsule, up to the end of
a line search; else they may come out too large by a thirtieth of the smaller shape's radius, never
too small: what this file calls a violation is one.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.runtime.invariant_checker import Violation

Floats = NDArray[np.float64]

# alpha (rad) and a (m) of the step before joint i, d (m) along it
_HALF_TURN = math.pi / 2
DH_TABLE = (
    (0.0, 0.0, 0.333),
    (-_HALF_TURN, 0.0, 0.0),
    (_HALF_TURN, 0.0, 0.316),
    (_HALF_TURN, 0.0825, 0.0),
    (-_HALF_TURN, -0.0825, 0.384),
    (_HALF_TURN, 0.0, 0.0),
    (_HALF_TURN, 0.088, 0.0),
)
FLANGE_M = 0.107
TOOL_TURN_RAD = -math.pi / 4
TIP_BEYOND_FLANGE_M = 0.090

WORLD = -1
_LAST_LINK = 7
_TOLERANCE_M = 1e-6
_SEARCHES = 24  # of a line search: the bracket shrinks to 1e-5 of its length
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_SIDES = 12  # lines that stand for the round side of a cylinder
_CHUNK = 1000


@dataclass(frozen=True)
class Solid:
    """A shape fixed to a link (0 to 7, the tool counts as 7) or to the world.

    `place` [3] m and `axes` [3, 3] (columns) are its frame there. kind "capsule": along z, `half`
    = (radius, radius, half length of the segment); "cylinder": along z, (radius, radius, half
    length); "box": half sizes; "plane": solid below z = 0.
    """

    name: str
    link: int
    kind: str
    place: Floats
    axes: Floats
    half: Floats


@dataclass(frozen=True)
class Region:
    """The box that the tip stays in, m, base frame."""

    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]


@dataclass(frozen=True)
class Judged:
    """Violations, and the least distance beyond the margin with what had it."""

    violations: tuple[Violation, ...]
    least_m: float
    nearest: str


def capsule(
    name: str, link: int, start: Sequence[float], end: Sequence[float], radius_m: float
) -> Solid:
    """Return the capsule around a segment, m."""
    a, b = np.array(start, dtype=float), np.array(end, dtype=float)
    length = float(np.linalg.norm(b - a))
    half = np.array([radius_m, radius_m, length / 2])
    return Solid(name, link, "capsule", (a + b) / 2, _frame(b - a), half)


def sphere(name: str, center_m: Sequence[float], radius_m: float) -> Solid:
    """Return a sphere in the world, m."""
    return capsule(name, WORLD, center_m, center_m, radius_m)


def box(name: str, center_m: Sequence[float], half_m: Sequence[float], yaw_rad: float) -> Solid:
    """Return a box in the world, turned about z."""
    return Solid(name, WORLD, "box", np.array(center_m), _about_z(yaw_rad), np.array(half_m))


def plane(name: str, point_m: Sequence[float], normal: Sequence[float]) -> Solid:
    """Return a half-space of the world; `normal` points out of it."""
    return Solid(name, WORLD, "plane", np.array(point_m), _frame(np.array(normal)), np.zeros(3))


def link_frames(q: Floats) -> tuple[Floats, Floats]:
    """Return places [ticks, 8, 3] m and axes [ticks, 8, 3, 3] of links 0 to 7 at `q` [ticks, 7]."""
    place, axes = np.zeros((len(q), 8, 3)), np.zeros((len(q), 8, 3, 3))
    axes[:, 0] = np.eye(3)
    for joint, (alpha, a, d) in enumerate(DH_TABLE):
        cos, sin = np.cos(q[:, joint]), np.sin(q[:, joint])
        ca, sa = math.cos(alpha), math.sin(alpha)
        turn = np.zeros((len(q), 3, 3))
        turn[:, 0, 0], turn[:, 0, 1] = cos, -sin
        turn[:, 1, 0], turn[:, 1, 1], turn[:, 1, 2] = ca * sin, ca * cos, -sa
        turn[:, 2, 0], turn[:, 2, 1], turn[:, 2, 2] = sa * sin, sa * cos, ca
        step = np.array([a, -sa * d, ca * d])
        place[:, joint + 1] = place[:, joint] + axes[:, joint] @ step
        axes[:, joint + 1] = axes[:, joint] @ turn
    return place, axes


def read_shapes(mjcf: Path) -> list[Solid]:
    """Return every geom of the arm as the text of its MJCF has it."""
    root = ET.parse(mjcf).getroot()
    solids: list[Solid] = []
    for body in root.iter("body"):
        name = body.get("name", "")
        if name == "tool":
            link, shift, turn = _LAST_LINK, np.array([0, 0, FLANGE_M]), _about_z(TOOL_TURN_RAD)
        else:
            link, shift, turn = int(name.removeprefix("link")), np.zeros(3), np.eye(3)
        solids += [_solid(geom, link, shift, turn) for geom in body.findall("geom")]
    return solids


class GeometryChecker:
    """The volumes and margins that commands are judged by; every pair of links that no single
    joint connects counts, whatever the MJCF excludes."""

    def __init__(
        self,
        mjcf: Path,
        keep_out: Sequence[Solid],
        region: Region,
        margin_m: float,
        *,
        self_collision: bool = True,
    ) -> None:
        shapes = read_shapes(mjcf)
        moving = [solid for solid in shapes if solid.link > 0]
        pairs = [(solid, volume) for volume in keep_out for solid in moving]
        if self_collision:
            pairs += [(a, b) for a in moving for b in shapes if a.link - b.link > 1]
        self._pairs = [_capsule_first(*pair) for pair in pairs]
        self._region = region
        self._margin_m = margin_m

    def check(self, q: Floats) -> Judged:
        """Return the verdict on commands `q` [ticks, 7], rad."""
        violations: list[Violation] = []
        least, nearest = math.inf, ""
        for start in range(0, len(q), _CHUNK):
            part = q[start : start + _CHUNK]
            for index, name, distance in self._distances(part):
                room = distance - self._margin_m
                violations.extend(
                    Violation(start + row, index, name, float(distance[row]), self._margin_m)
                    for row in np.flatnonzero(~(room >= -_TOLERANCE_M)).tolist()
                )
                if not (room.min() >= least):
                    least, nearest = float(room.min()), name
        return Judged(tuple(violations), least, nearest)

    def _distances(self, q: Floats) -> list[tuple[int, str, Floats]]:
        """Return per barrier its distance [ticks], m; far ones only as a lower bound."""
        place, axes = link_frames(q)
        tip = place[:, _LAST_LINK] + axes[:, _LAST_LINK, :, 2] * (FLANGE_M + TIP_BEYOND_FLANGE_M)
        inside = np.minimum(tip - self._region.low_m, np.array(self._region.high_m) - tip)
        found = [(-1, "tool | workspace", inside.min(axis=1))]
        frames: dict[int, tuple[Floats, Floats]] = {}
        for index, (mover, other) in enumerate(self._pairs):
            name = f"{mover.name} | {other.name}"
            found.append((index, name, self._pair(mover, other, place, axes, frames)))
        return found

    def _pair(
        self,
        mover: Solid,
        other: Solid,
        place: Floats,
        axes: Floats,
        frames: dict[int, tuple[Floats, Floats]],
    ) -> Floats:
        at, turn = _frames_of(mover, place, axes, frames)
        other_at, other_turn = _frames_of(other, place, axes, frames)
        center = _into(at, other_at, other_turn)
        # the ball around the mover: what that leaves is a distance that certainly is there
        distance = signed_distance(other, center) - _reach(mover)
        near = np.flatnonzero(~(distance > self._margin_m + 0.01))
        if near.size:
            local = np.swapaxes(other_turn[near], 1, 2) @ turn[near]
            lines = [
                _segment_distance(other, center[near] + local @ start, local @ along)
                for start, along in _lines(mover)
            ]
            distance[near] = np.min(lines, axis=0) - _thickness(mover)
        return distance


def signed_distance(solid: Solid, point: Floats) -> Floats:
    """Return the distance of points [..., 3], m, in the solid's frame; negative inside."""
    if solid.kind == "plane":
        height: Floats = point[..., 2]
        return height
    if solid.kind == "capsule":
        z = point[..., 2]
        beyond = z - np.clip(z, -solid.half[2], solid.half[2])
        aside = point[..., 0] ** 2 + point[..., 1] ** 2
        return np.asarray(np.sqrt(aside + beyond * beyond) - solid.half[0])
    if solid.kind == "cylinder":
        aside = np.hypot(point[..., 0], point[..., 1]) - solid.half[0]
        over = np.stack([aside, np.abs(point[..., 2]) - solid.half[2]], axis=-1)
    else:
        over = np.abs(point) - solid.half
    outside = np.sqrt((np.maximum(over, 0.0) ** 2).sum(axis=-1))
    return np.asarray(outside + np.minimum(over.max(axis=-1), 0.0))


def _segment_distance(solid: Solid, start: Floats, along: Floats) -> Floats:
    """Return the least distance of the segments start + t along, t in [0, 1], [k, 3] m each."""
    if solid.kind == "plane":
        return np.asarray(np.minimum(start[:, 2], start[:, 2] + along[:, 2]))
    if solid.kind == "capsule":
        return np.asarray(_between_segments(start, along, solid.half[2]) - solid.half[0])
    # the distance from a convex shape is convex along a line
    low, high = np.zeros(len(start)), np.ones(len(start))
    for _ in range(_SEARCHES):
        width = _GOLDEN * (high - low)
        left, right = high - width, low + width
        falls = _at(solid, start, along, left) > _at(solid, start, along, right)
        low, high = np.where(falls, left, low), np.where(falls, high, right)
    return _at(solid, start, along, 0.5 * (low + high))


def _at(solid: Solid, start: Floats, along: Floats, share: Floats) -> Floats:
    return signed_distance(solid, start + share[:, None] * along)


def _between_segments(start: Floats, along: Floats, half_m: float) -> Floats:
    """Return the distance of segments [k, 3] from the one from -half_m to half_m on z."""
    tiny = 1e-18
    squared = (along * along).sum(axis=1)
    other = 2.0 * half_m
    gap = start + np.array([0.0, 0.0, half_m])
    c, f = (along * gap).sum(axis=1), other * gap[:, 2]
    if half_m == 0.0:
        share = np.clip(-c / np.maximum(squared, tiny), 0.0, 1.0)
        return np.asarray(np.linalg.norm(gap + share[:, None] * along, axis=1))
    e, b = other * other, other * along[:, 2]
    square = squared * e - b * b
    s = np.where(square > tiny, np.clip((b * f - c * e) / np.maximum(square, tiny), 0.0, 1.0), 0.0)
    t = (b * s + f) / e
    s = np.where(t < 0.0, np.clip(-c / np.maximum(squared, tiny), 0.0, 1.0), s)
    s = np.where(t > 1.0, np.clip((b - c) / np.maximum(squared, tiny), 0.0, 1.0), s)
    t = np.clip(t, 0.0, 1.0)
    apart = gap + s[:, None] * along
    apart[:, 2] -= t * other
    return np.asarray(np.linalg.norm(apart, axis=1))


def _lines(solid: Solid) -> list[tuple[Floats, Floats]]:
    """Return the segments that stand for a moving shape, in its frame: start and way, m."""
    x, y, z = solid.half
    way = np.array([0.0, 0.0, 2.0 * z])
    if solid.kind == "capsule":
        return [(np.array([0.0, 0.0, -z]), way)]
    if solid.kind == "cylinder":
        angles = np.arange(_SIDES) * (2.0 * math.pi / _SIDES)
        return [(np.array([x * math.cos(at), x * math.sin(at), -z]), way) for at in angles]
    sides = [(u, v) for u in (-1, 0, 1) for v in (-1, 0, 1) if (u, v) != (0, 0)]
    return [(np.array([u * x, v * y, -z]), way) for u, v in sides]


def _thickness(solid: Solid) -> float:
    return float(solid.half[0]) if solid.kind == "capsule" else 0.0


def _reach(solid: Solid) -> float:
    """Return how far the solid stands out from its centre."""
    if solid.kind == "capsule":
        return float(solid.half[2] + solid.half[0])
    if solid.kind == "cylinder":
        return math.hypot(solid.half[0], solid.half[2])
    return float(np.linalg.norm(solid.half))


def _capsule_first(a: Solid, b: Solid) -> tuple[Solid, Solid]:
    """Return the pair so that what is turned into lines is a capsule, if one of them is."""
    return (b, a) if b.kind == "capsule" and a.kind != "capsule" else (a, b)


def _frames_of(
    solid: Solid, place: Floats, axes: Floats, known: dict[int, tuple[Floats, Floats]]
) -> tuple[Floats, Floats]:
    """Return the solid's place [ticks, 3] and axes [ticks, 3, 3] in the base frame."""
    if id(solid) not in known:
        if solid.link == WORLD:
            shape = (len(place), 3)
            known[id(solid)] = (
                np.broadcast_to(solid.place, shape),
                np.broadcast_to(solid.axes, (*shape, 3)),
            )
        else:
            turn = axes[:, solid.link]
            known[id(solid)] = place[:, solid.link] + turn @ solid.place, turn @ solid.axes
    return known[id(solid)]


def _into(point: Floats, place: Floats, axes: Floats) -> Floats:
    local: Floats = (np.swapaxes(axes, 1, 2) @ (point - place)[:, :, None])[:, :, 0]
    return local


def _about_z(angle_rad: float) -> Floats:
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _frame(direction: Floats) -> Floats:
    """Return axes (columns) whose z points along `direction`; any for a zero one."""
    length = float(np.linalg.norm(direction))
    if length == 0.0:
        return np.eye(3)
    z = direction / length
    helper = np.eye(3)[int(np.argmin(np.abs(z)))]
    x = np.cross(helper, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _solid(geom: ET.Element, link: int, shift: Floats, turn: Floats) -> Solid:
    """Return a geom of the text, put into the frame of `link`."""
    size = _numbers(geom.get("size"))
    name, kind = geom.get("name", ""), geom.get("type", "")
    if kind == "capsule":
        ends = np.array(_numbers(geom.get("fromto"))).reshape(2, 3) @ turn.T + shift
        return capsule(name, link, ends[0], ends[1], size[0])
    if kind not in ("box", "cylinder") or geom.get("quat") or geom.get("euler"):
        raise ValueError(f"geom {name}: this checker reads boxes, cylinders and capsules unturned")
    half = size if kind == "box" else [size[0], size[0], size[1]]
    place = turn @ np.array(_numbers(geom.get("pos")) or [0.0, 0.0, 0.0]) + shift
    return Solid(name, link, kind, place, turn, np.array(half))


def _numbers(text: str | None) -> list[float]:
    return [float(word) for word in (text or "").split()]
