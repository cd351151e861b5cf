"""A gantry whose distances anyone can work out.

A ball of 0.1 m on two slides, x carrying y, with the tool in its middle. It is 0.9 m from a wall in
the east and 0.4 m from one in the north. A slide's lever counts as 1, so that a bound over a box is
the distance at its nearest corner less half the square of all joints' ways from the anchor to the
corner that is furthest from it.
"""

import numpy as np

from runtime.envelope.anchors import Extents, extents
from runtime.envelope.geometry import Geometry
from runtime.geometry_spec import GeometryConfig, PlaneSpec
from tests.runtime.envelope_kit import WIDE, named_limits

MARGIN_M = 0.01
GANTRY = """
<body name="bridge"><joint name="x" type="slide" axis="1 0 0"/>
<inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
<body name="hook"><joint name="y" type="slide" axis="0 1 0"/>
<geom name="ball" type="sphere" size=".1"/><site name="tip"/></body></body>
"""
EAST_WALL = PlaneSpec(shape="plane", name="east", point_m=(1.0, 0.0, 0.0), normal=(-1.0, 0.0, 0.0))
NORTH_WALL = PlaneSpec(
    shape="plane", name="north", point_m=(0.0, 0.5, 0.0), normal=(0.0, -1.0, 0.0)
)
EAST, NORTH = 0, 1


def load(path: str, home: tuple[float, float] = (0.0, 0.0), margin_m: float = MARGIN_M) -> Geometry:
    config = GeometryConfig(
        margin_m=margin_m, self_collision=False, keep_out=(EAST_WALL, NORTH_WALL)
    )
    return Geometry.load(path, "tip", named_limits("x", "y"), list(home), config, WIDE)


def boxes(*corners: tuple[tuple[float, float], tuple[float, float]]) -> Extents:
    """Boxes from their lower to their upper corners."""
    return extents(np.array([low for low, _ in corners]), np.array([high for _, high in corners]))


def point(x: float, y: float) -> tuple[tuple[float, float], tuple[float, float]]:
    return (x, y), (x, y)


def around(x: float, y: float) -> Extents:
    """Kept stop, wish and both, all at one point."""
    return boxes(point(x, y), point(x, y), point(x, y))


def east(x: float, y: float = 0.0, anchor: tuple[float, float] = (0.0, 0.0)) -> float:
    """What is left over a point, m, by an anchor elsewhere."""
    return 0.9 - x - 0.5 * (abs(x - anchor[0]) + abs(y - anchor[1])) ** 2
