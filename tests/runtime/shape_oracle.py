"""Distances of robot and solids by brute force, for judging the envelope's geometry.

Shares nothing with it: reads the MJCF as XML, multiplies out its own transforms, and samples
points of the robot's shapes; the distance of a point from a solid is in closed form. A sampled
distance is never smaller than the true one.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.geometry_spec import BoxSpec, CapsuleSpec, KeepOut, PlaneSpec, SphereSpec

Array = NDArray[np.float64]


@dataclass
class Shape:
    """A geom: kind, sizes, and place and turn in its link."""

    name: str
    kind: str
    size: list[float]
    place: Array
    turn: Array


@dataclass
class Link:
    name: str
    place: Array
    turn: Array
    joint: str = ""
    axis: Array = field(default_factory=lambda: np.array([0.0, 0.0, 1.0]))
    shapes: list[Shape] = field(default_factory=list)
    sites: dict[str, Array] = field(default_factory=dict)
    parent: int = -1


def numbers(text: str | None, default: Sequence[float]) -> Array:
    return np.array([float(n) for n in text.split()] if text else default)


def turned(quat: Array) -> Array:
    w, x, y, z = quat / np.linalg.norm(quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def about(axis: Array, angle: float) -> Array:
    x, y, z = axis / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + math.sin(angle) * k + (1.0 - math.cos(angle)) * (k @ k))


def z_to(direction: Array) -> Array:
    z = direction / np.linalg.norm(direction)
    aside = np.cross(z, [1.0, 0.0, 0.0] if abs(z[0]) < 0.7 else [0.0, 1.0, 0.0])
    x = aside / np.linalg.norm(aside)
    return np.stack([x, np.cross(z, x), z], axis=1)


class Robot:
    """Links of an MJCF without meshes, in depth-first order."""

    def __init__(self, path: Path, joints: Sequence[str]) -> None:
        root = ET.parse(path).getroot()
        defaults = root.find("default")
        geom = None if defaults is None else defaults.find("geom")
        joint = None if defaults is None else defaults.find("joint")
        self._geom = {} if geom is None else dict(geom.attrib)
        self._joint = {} if joint is None else dict(joint.attrib)
        self.joints = list(joints)
        self.links: list[Link] = []
        self._count = 0
        world = root.find("worldbody")
        assert world is not None
        for body in world.findall("body"):
            self._read(body, -1)

    def _read(self, body: ET.Element, parent: int) -> None:
        link = Link(
            body.get("name", ""),
            numbers(body.get("pos"), (0, 0, 0)),
            turned(numbers(body.get("quat"), (1, 0, 0, 0))),
            parent=parent,
        )
        for joint in body.findall("joint"):
            link.joint = joint.get("name", "")
            link.axis = numbers({**self._joint, **joint.attrib}.get("axis"), (0, 0, 1))
        for geom in body.findall("geom"):
            name = geom.get("name", f"geom {self._count} of {link.name}")
            self._count += 1
            link.shapes.append(self._shape(name, {**self._geom, **geom.attrib}))
        for site in body.findall("site"):
            link.sites[site.get("name", "")] = numbers(site.get("pos"), (0, 0, 0))
        self.links.append(link)
        index = len(self.links) - 1
        for child in body.findall("body"):
            self._read(child, index)

    def _shape(self, name: str, geom: dict[str, str]) -> Shape:
        size = [float(n) for n in geom["size"].split()]
        place, turn = numbers(geom.get("pos"), (0, 0, 0)), np.eye(3)
        if "fromto" in geom:
            ends = numbers(geom["fromto"], ()).reshape(2, 3)
            place, turn = ends.mean(axis=0), z_to(ends[1] - ends[0])
            size = [size[0], 0.5 * float(np.linalg.norm(ends[1] - ends[0]))]
        return Shape(name, geom.get("type", "sphere"), size, place, turn)

    def frames(self, q: Iterable[float]) -> list[tuple[Array, Array]]:
        """Return place and turn of every link, in the world."""
        at = dict(zip(self.joints, q, strict=True))
        frames: list[tuple[Array, Array]] = []
        for link in self.links:
            place, turn = (np.zeros(3), np.eye(3)) if link.parent < 0 else frames[link.parent]
            place = place + turn @ link.place
            turn = turn @ link.turn
            if link.joint:
                turn = turn @ about(link.axis, at[link.joint])
            frames.append((place, turn))
        return frames

    def site(self, name: str, q: Iterable[float]) -> Array:
        for link, (place, turn) in zip(self.links, self.frames(q), strict=True):
            if name in link.sites:
                return place + turn @ link.sites[name]
        raise KeyError(name)


def core_points(shape: Shape, count: int = 41) -> tuple[Array, float]:
    """Return points of a shape and a radius around each: for a capsule its segment, for the rest
    its surface; in the link's frame."""
    if shape.kind in {"capsule", "sphere"}:
        half = shape.size[1] if shape.kind == "capsule" else 0.0
        local = np.zeros((count, 3))
        local[:, 2] = np.linspace(-half, half, count)
        return shape.place + local @ shape.turn.T, shape.size[0]
    if shape.kind == "cylinder":
        angle = np.linspace(0.0, math.tau, 24, endpoint=False)
        rim = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
        rings = [
            rim * [shape.size[0], shape.size[0], 1.0] + [0.0, 0.0, z]
            for z in np.linspace(-shape.size[1], shape.size[1], 5)
        ]
        return shape.place + np.concatenate(rings) @ shape.turn.T, 0.0
    grid = np.linspace(-1.0, 1.0, 7)
    cube = np.array([(x, y, z) for x in grid for y in grid for z in grid])
    skin = cube[np.abs(cube).max(axis=1) > 0.99]
    return shape.place + (skin * shape.size) @ shape.turn.T, 0.0


def distance_to_shape(points: Array, shape: Shape) -> Array:
    """Return the distances of points, in the shape's link, from the solid (0 inside)."""
    local = (points - shape.place) @ shape.turn
    if shape.kind == "box":
        return np.asarray(np.linalg.norm(np.maximum(np.abs(local) - shape.size, 0.0), axis=1))
    if shape.kind == "cylinder":
        aside = np.maximum(np.hypot(local[:, 0], local[:, 1]) - shape.size[0], 0.0)
        return np.asarray(np.hypot(aside, np.maximum(np.abs(local[:, 2]) - shape.size[1], 0.0)))
    half = shape.size[1] if shape.kind == "capsule" else 0.0
    local[:, 2] -= np.clip(local[:, 2], -half, half)
    return np.asarray(np.linalg.norm(local, axis=1) - shape.size[0])


def distance_to_volume(points: Array, volume: KeepOut) -> Array:
    """Return the distances of points in base from a keep-out volume; may be negative inside."""
    if isinstance(volume, PlaneSpec):
        return np.asarray((points - volume.point_m) @ np.array(volume.normal))
    if isinstance(volume, SphereSpec):
        return np.asarray(np.linalg.norm(points - volume.center_m, axis=1) - volume.radius_m)
    if isinstance(volume, BoxSpec):
        local = (points - volume.center_m) @ about(np.array([0.0, 0.0, 1.0]), volume.yaw_rad)
        return np.asarray(np.linalg.norm(np.maximum(np.abs(local) - volume.half_size_m, 0), axis=1))
    assert isinstance(volume, CapsuleSpec)
    start, along = np.array(volume.from_m), np.subtract(volume.to_m, volume.from_m)
    share = np.clip((points - start) @ along / (along @ along), 0.0, 1.0)
    return np.asarray(
        np.linalg.norm(points - start - share[:, None] * along, axis=1) - volume.radius_m
    )


class Oracle:
    """What keeps a robot's shapes, by name, from volumes and from each other at a pose."""

    def __init__(self, robot: Robot, volumes: Sequence[KeepOut], count: int = 41) -> None:
        self.robot = robot
        self.volumes = volumes
        self._points = [
            (index, shape, *core_points(shape, count))
            for index, link in enumerate(robot.links)
            for shape in link.shapes
        ]

    def to_volumes(self, q: Iterable[float], names: set[str]) -> dict[str, float]:
        """Return distances in m by `shape | keep-out volume`, of those in `names`."""
        frames = self.robot.frames(q)
        found = {}
        for index, shape, points, radius in self._points:
            place, turn = frames[index]
            at = place + points @ turn.T
            for volume in self.volumes:
                name = f"{shape.name} | keep-out {volume.name}"
                if name in names:
                    found[name] = float(distance_to_volume(at, volume).min()) - radius
        return found

    def between(self, q: Iterable[float], pairs: set[tuple[str, str]]) -> dict[str, float]:
        """Return distances in m by `outer | inner` of the pairs (outer shape, inner shape)."""
        frames = self.robot.frames(q)
        shapes = {shape.name: (index, shape) for index, shape, _, _ in self._points}
        found = {}
        for index, shape, points, radius in self._points:
            place, turn = frames[index]
            at = place + points @ turn.T
            for outer, inner in pairs:
                if outer == shape.name:
                    host, other = shapes[inner]
                    local = (at - frames[host][0]) @ frames[host][1]
                    gap = float(distance_to_shape(local, other).min()) - radius
                    found[f"{outer} | {inner}"] = gap
        return found
