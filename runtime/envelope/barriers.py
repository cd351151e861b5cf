"""Which shapes of robot and config must keep apart: the list of barriers, by name."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from runtime.envelope.bodies import Arm, Capsule, Obstacle
from runtime.geometry_spec import (
    BoxSpec,
    CapsuleSpec,
    GeometryConfig,
    PlaneSpec,
    SphereSpec,
    Vector3,
)
from runtime.layout import Floats

# how far inside a barrier a robot may be taken over, to move back out: what a hand, a heavy
# payload or a soft drive does to an arm that was commanded to the margin
RECOVERABLE_M = 0.03

_WORLD = 0
_AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Barrier:
    """A capsule of the robot that keeps away from an obstacle.

    `recoverable_m`: how far inside the margin the robot may be taken over. A workspace's walls
    are nothing solid, so a tool may come back from anywhere outside.
    """

    capsule: Capsule
    obstacle: Obstacle
    recoverable_m: float = RECOVERABLE_M

    @property
    def name(self) -> str:
        """What keeps apart, for people: `hand | table`."""
        return f"{self.capsule.name} | {self.obstacle.name}"


@dataclass(frozen=True)
class Workspace:
    """The box, base frame, m, that the commanded tool site stays inside."""

    low_m: Vector3
    high_m: Vector3


def barriers(arm: Arm, config: GeometryConfig, workspace: Workspace) -> list[Barrier]:
    """Return every pair of shapes that some pose could bring together."""
    capsules = arm.moving_capsules()
    found = [
        Barrier(capsule, obstacle)
        for obstacle in map(_keep_out, config.keep_out)
        for capsule in capsules
    ]
    found.extend(Barrier(arm.tool(), wall, math.inf) for wall in _walls(workspace))
    if config.self_collision:
        found.extend(_own(arm, capsules))
    return found


def _own(arm: Arm, capsules: list[Capsule]) -> Iterator[Barrier]:
    """Yield the robot's own pairs; of each the shape further from the base is the capsule."""
    model = arm.model
    excluded = {int(signature) for signature in model.exclude_signature}
    obstacles = [arm.obstacle(geom) for geom in range(model.ngeom)]
    for capsule in capsules:
        for other in obstacles:
            near, far = sorted((other.body, capsule.body))
            if (near << 16) + far in excluded or _neighbours(arm, capsule.body, other.body):
                continue
            # all hang on one chain of joints: more of them means further out, and as many that
            # both are one piece
            if arm.moves[other.body].sum() < arm.moves[capsule.body].sum():
                yield Barrier(capsule, other)


def _neighbours(arm: Arm, outer: int, inner: int) -> bool:
    """True if the joint that moves `outer` against `inner` is the only one between them.

    Bodies without a joint count as part of the body that carries them; all that stands on the
    world does not count as one, or an arm's first link would not see the floor beside its foot.
    """
    model = arm.model
    parent = int(model.body_parentid[int(model.body_weldid[outer])])
    if int(model.body_weldid[parent]) == _WORLD:
        return parent == inner
    return int(model.body_weldid[parent]) == int(model.body_weldid[inner])


def _keep_out(volume: PlaneSpec | BoxSpec | SphereSpec | CapsuleSpec) -> Obstacle:
    name = f"keep-out {volume.name}"
    axes, half, normal = np.eye(3), np.zeros(3), np.zeros(3)
    if isinstance(volume, PlaneSpec):
        normal = np.array(volume.normal) / np.linalg.norm(volume.normal)
        return Obstacle(name, _WORLD, np.array(volume.point_m), axes, half, 0.0, normal)
    if isinstance(volume, SphereSpec):
        center = np.array(volume.center_m)
        return Obstacle(name, _WORLD, center, axes, half, volume.radius_m, normal)
    if isinstance(volume, BoxSpec):
        cos, sin = np.cos(volume.yaw_rad), np.sin(volume.yaw_rad)
        axes = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        half = np.array(volume.half_size_m)
        return Obstacle(name, _WORLD, np.array(volume.center_m), axes, half, 0.0, normal)
    start, end = np.array(volume.from_m), np.array(volume.to_m)
    half[2] = 0.5 * np.linalg.norm(end - start)
    axes = _frame_along(end - start)
    return Obstacle(name, _WORLD, 0.5 * (start + end), axes, half, volume.radius_m, normal)


def _frame_along(direction: Floats) -> Floats:
    """Return a frame, axes as columns, whose z points along `direction`, which is not 0."""
    along = direction / np.linalg.norm(direction)
    aside = np.cross(along, np.eye(3)[int(np.argmin(np.abs(along)))])
    aside /= np.linalg.norm(aside)
    return np.stack([np.cross(aside, along), aside, along], axis=1)


def _walls(workspace: Workspace) -> Iterator[Obstacle]:
    for axis, letter in enumerate(_AXES):
        for side, corner, sign in (("low", workspace.low_m, 1.0), ("high", workspace.high_m, -1.0)):
            normal = np.zeros(3)
            normal[axis] = sign
            yield Obstacle(
                f"workspace {letter} {side}",
                _WORLD,
                np.array(corner),
                np.eye(3),
                np.zeros(3),
                0.0,
                normal,
            )
