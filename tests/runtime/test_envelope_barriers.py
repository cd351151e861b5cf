"""Which shapes keep apart, and the config's volumes as obstacles, against numbers by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from runtime.envelope.barriers import Barrier, Workspace, _frame_along, _keep_out, barriers
from runtime.envelope.bodies import Arm, Obstacle
from runtime.geometry_spec import BoxSpec, CapsuleSpec, GeometryConfig, PlaneSpec, SphereSpec
from tests.runtime.envelope_kit import CHAIN, WIDE, answer, is_like, named_limits, written
from tests.runtime.geometry_kit import TABLE

IDENTITY = np.eye(3)
ZERO = np.zeros(3)


def assert_solid(
    it: Obstacle, center: object, half: object, radius: float, axes: object = IDENTITY
) -> None:
    assert it.body == 0
    assert is_like(it.center, center)
    assert is_like(it.axes, axes)
    assert is_like(it.half, half)
    assert it.radius_m == radius
    assert is_like(it.normal, ZERO)


# -- volumes --------------------------------------------------------------------------------------


def test_a_plane() -> None:
    """Its normal is made exactly 1 long; the config takes what is nearly that."""
    leaning = PlaneSpec(
        shape="plane", name="wall", point_m=(1.0, 2.0, 3.0), normal=(0.6003, 0.0, -0.8004)
    )
    it = answer(_keep_out, leaning)
    assert (it.name, it.body, it.radius_m) == ("keep-out wall", 0, 0.0)
    assert is_like(it.center, (1, 2, 3))
    assert is_like(it.axes, IDENTITY)
    assert is_like(it.half, ZERO)
    assert is_like(it.normal, (0.6, 0, -0.8))


def test_a_sphere() -> None:
    ball = SphereSpec(shape="sphere", name="ball", center_m=(1.0, 2.0, 3.0), radius_m=0.4)
    it = answer(_keep_out, ball)
    assert it.name == "keep-out ball"
    assert_solid(it, (1, 2, 3), ZERO, 0.4)


def test_a_box_is_turned_about_z() -> None:
    """By the angle whose cosine is 0.8 and sine 0.6."""
    crate = BoxSpec(
        shape="box",
        name="crate",
        center_m=(1.0, 2.0, 3.0),
        half_size_m=(0.1, 0.2, 0.3),
        yaw_rad=math.atan2(0.6, 0.8),
    )
    it = answer(_keep_out, crate)
    assert it.name == "keep-out crate"
    turned = [[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]
    assert_solid(it, (1, 2, 3), (0.1, 0.2, 0.3), 0.0, turned)


def test_a_capsule_lies_along_the_z_of_its_frame() -> None:
    rod = CapsuleSpec(
        shape="capsule", name="rod", from_m=(1.0, 2.0, 3.0), to_m=(3.0, 5.0, 9.0), radius_m=0.05
    )
    it = answer(_keep_out, rod)
    assert it.name == "keep-out rod"
    # the diagonal of 2, 3 and 6 is 7
    assert_solid(it, (2, 3.5, 6), (0, 0, 3.5), 0.05, it.axes)
    assert is_like(it.axes[:, 2], (2 / 7, 3 / 7, 6 / 7))


@pytest.mark.parametrize(
    "direction",
    [*np.eye(3), *-np.eye(3), [1.0, 1.0, 0.0], [-3.0, 0.1, 0.2], [0.1, -2.0, 0.3], [2.0, 3.0, 6.0]],
)
def test_a_frame_along_a_direction_is_a_right_handed_one(direction: list[float]) -> None:
    axes = answer(_frame_along, np.array(direction))
    assert is_like(axes.T @ axes, IDENTITY)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert is_like(axes[:, 2], np.array(direction) / np.linalg.norm(direction))


# -- lists of barriers ----------------------------------------------------------------------------


def found_in(path: str, *joints: str, own: bool = True, room: Workspace = WIDE) -> list[Barrier]:
    arm = answer(Arm, path, "tip", named_limits(*joints))
    config = GeometryConfig(margin_m=0.01, self_collision=own, keep_out=(TABLE,))
    return answer(barriers, arm, config, room)


def own_pairs(path: str, *joints: str) -> set[str]:
    names = [barrier.name for barrier in found_in(path, *joints)]
    assert len(names) == len(set(names))
    return {name for name in names if "keep-out" not in name and "workspace" not in name}


def test_the_tool_stays_within_six_walls(tmp_path: Path) -> None:
    """Nothing solid: it may come back from anywhere."""
    room = Workspace((-1.0, -2.0, -3.0), (4.0, 5.0, 6.0))
    found = found_in(written(tmp_path, CHAIN), "a", "b", "c", own=False, room=room)
    walls = [barrier for barrier in found if barrier.capsule.name == "tool"]
    low, high = (-1.0, -2.0, -3.0), (4.0, 5.0, 6.0)
    expected = [
        (f"tool | workspace {letter} {side}", corner, sign * IDENTITY[axis])
        for axis, letter in enumerate("xyz")
        for side, corner, sign in (("low", low, 1.0), ("high", high, -1.0))
    ]
    for wall, (name, corner, normal) in zip(walls, expected, strict=True):
        it = wall.obstacle
        assert (wall.name, wall.recoverable_m, it.body, it.radius_m) == (name, math.inf, 0, 0.0)
        assert is_like(it.center, corner)
        assert is_like(it.normal, normal)
        assert is_like(it.axes, IDENTITY)
        assert is_like(it.half, ZERO)


LAST = "geom 5 of tool"
OWN = {
    "one | ground", "two | ground", "three | ground", f"{LAST} | ground",
    "two | foot", "three | foot", f"{LAST} | foot",
    "three | one", f"{LAST} | one",
}  # fmt: skip


def test_everything_that_moves_keeps_away_from_every_volume(tmp_path: Path) -> None:
    path = written(tmp_path, CHAIN)
    table = {f"{who} | keep-out table" for who in ("one", "two", "three", LAST)}
    walls = {f"tool | workspace {axis} {side}" for axis in "xyz" for side in ("low", "high")}
    names = [barrier.name for barrier in found_in(path, "a", "b", "c", own=False)]
    assert sorted(names) == sorted(table | walls)
    solid = [b for b in found_in(path, "a", "b", "c") if b.capsule.name != "tool"]
    assert {barrier.name for barrier in solid} == table | OWN
    # a hand, a payload or a soft drive may have brought the arm that far in, no further
    assert {barrier.recoverable_m for barrier in solid} == {0.03}


def test_pairs_leave_out_neighbours_and_the_outer_shape_is_the_capsule(tmp_path: Path) -> None:
    path = written(tmp_path, CHAIN)
    assert own_pairs(path, "a", "b", "c") == OWN
    assert own_pairs(path, "c", "a", "b") == OWN


@pytest.mark.parametrize(
    ("first", "second", "gone"),
    [
        ("one", "three", {"three | one"}),
        ("three", "one", {"three | one"}),
        ("foot", "tool", {f"{LAST} | foot"}),
        # the world has number 0: it is the floor's body
        ("two", "world", {"two | ground"}),
        # neighbours are left out anyway
        ("one", "two", set()),
    ],
)
def test_pairs_leave_out_what_the_mjcf_excludes(
    tmp_path: Path, first: str, second: str, gone: set[str]
) -> None:
    extra = f'<contact><exclude body1="{first}" body2="{second}"/></contact>'
    assert own_pairs(written(tmp_path, CHAIN, extra), "a", "b", "c") == OWN - gone


# on the first link hangs a bracket, and the second link on the bracket
GROUND_AND_RACK = """
<geom name="ground" type="box" size="1 1 .1" pos="0 0 -1"/>
<body name="rack" pos="0 1 0"><geom name="rack" type="sphere" size=".05"/></body>
"""
LINKS = """
<body name="one" pos=".3 0 0">
  <joint name="a" axis="0 0 1"/>
  <geom name="one" type="sphere" size=".05"/>
  <body name="bracket" pos=".1 0 0">
    <geom name="bracket" type="sphere" size=".05"/>
    <body name="two" pos=".3 0 0">
      <joint name="b" axis="0 0 1"/>
      <geom name="two" type="sphere" size=".05"/>
      <body name="cap" pos=".1 0 0">
        <geom name="cap" type="sphere" size=".05"/>
        <site name="tip"/>
      </body>
    </body>
  </body>
</body>
"""
STACKED = f"""
{GROUND_AND_RACK}
<body name="foot">
  <geom name="foot" type="sphere" size=".05"/>
  <body name="plinth" pos=".1 0 0">
    <geom name="plinth" type="sphere" size=".05"/>
    {LINKS}
  </body>
</body>
"""
BESIDE = ("ground", "rack", "foot")


def test_bodies_without_a_joint_are_part_of_the_one_that_carries_them(tmp_path: Path) -> None:
    """But for those on the world: of them only the one that carries the first link is its
    neighbour; the foot below it, the rack beside it and the ground are not."""
    pairs = {f"{outer} | {inner}" for outer in ("two", "cap") for inner in (*BESIDE, "plinth")}
    pairs |= {f"{outer} | {inner}" for outer in ("one", "bracket") for inner in BESIDE}
    assert own_pairs(written(tmp_path, STACKED), "a", "b") == pairs


def test_a_first_link_that_stands_on_the_world_is_beside_the_ground(tmp_path: Path) -> None:
    pairs = {f"{outer} | {inner}" for outer in ("two", "cap") for inner in ("ground", "rack")}
    pairs |= {"one | rack", "bracket | rack"}
    assert own_pairs(written(tmp_path, GROUND_AND_RACK + LINKS), "a", "b") == pairs
