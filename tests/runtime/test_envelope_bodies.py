"""What the envelope reads of a robot's model, against numbers worked out by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from runtime.envelope.bodies import Arm, Capsule, Obstacle
from runtime.errors import ConfigError
from runtime.robot_spec import JointLimits
from tests.runtime.envelope_kit import CHAIN, answer, as_limits, is_like, named_limits, written
from tests.runtime.invariant_checker import JointInvariants

ROOT_2 = math.sqrt(2.0)
# what vertices in single precision may be off by
SINGLE_M = 1e-6
# a quarter turn about z: x becomes y, y becomes -x
TURNED = 'quat=".7071067811865476 0 0 .7071067811865476"'
QUARTER = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
# a third of a turn about (1, 1, 1): x becomes y, y becomes z, z becomes x
THIRD = 'quat=".5 .5 .5 .5"'
CYCLED = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
BALL = '<geom type="sphere" size=".1"/>'
SQUARE = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def arm_of(path: str, *joints: str | JointLimits, site: str = "tip") -> Arm:
    limits = [j if isinstance(j, JointLimits) else named_limits(j)[0] for j in joints]
    return answer(Arm, path, site, limits)


def one_geom(folder: Path, geom: str, extra: str = "") -> Arm:
    """A body at (1, 2, 3) that turns about its z, with one shape."""
    body = f'<body name="link" pos="1 2 3"><joint name="a"/>{geom}<site name="tip"/></body>'
    return arm_of(written(folder, body, extra), "a")


# -- obstacles ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("geom", "axes", "half", "radius"),
    [
        (f'type="sphere" size=".1" {TURNED}', QUARTER, (0, 0, 0), 0.1),
        (f'type="capsule" size=".05 .2" {THIRD}', CYCLED, (0, 0, 0.2), 0.05),
        # the capsule around a cylinder stands out evenly: by (sqrt(2) - 1) R
        (f'type="cylinder" size=".05 .2" {TURNED}', QUARTER, (0, 0, 0.15), 0.05 * ROOT_2),
        ('type="cylinder" size=".3 .4"', SQUARE, (0, 0, 0.1), 0.3 * ROOT_2),
        # a flat one is in a ball
        ('type="cylinder" size=".4 .3"', SQUARE, (0, 0, 0), 0.5),
        ('type="cylinder" size=".2 .2"', SQUARE, (0, 0, 0), 0.2 * ROOT_2),
        (
            f'type="box" size=".1 .2 .3" {TURNED}',
            QUARTER,
            (0.1 + SINGLE_M, 0.2 + SINGLE_M, 0.3 + SINGLE_M),
            0.0,
        ),
        (
            f'type="ellipsoid" size=".3 .1 .2" {THIRD}',
            CYCLED,
            (0.3 + SINGLE_M, 0.1 + SINGLE_M, 0.2 + SINGLE_M),
            0.0,
        ),
    ],
)
def test_a_shape_as_an_obstacle(
    tmp_path: Path, geom: str, axes: list[list[float]], half: tuple[float, ...], radius: float
) -> None:
    arm = one_geom(tmp_path, f'<geom name="it" {geom} pos=".4 .5 .6"/>')
    it = answer(arm.obstacle, 0)
    assert isinstance(it, Obstacle)
    assert (it.name, it.body) == ("it", 1)
    assert is_like(it.center, (0.4, 0.5, 0.6))
    assert is_like(it.axes, axes)
    assert is_like(it.half, half)
    assert it.radius_m == pytest.approx(radius, rel=1e-12)
    assert is_like(it.normal, (0, 0, 0))


def test_a_plane_is_a_half_space_whose_normal_is_its_z(tmp_path: Path) -> None:
    floor = f'<geom name="floor" type="plane" size="1 1 .1" pos="0 0 -1" {THIRD}/>'
    body = f'<body><joint name="a"/>{BALL}<site name="tip"/></body>'
    it = answer(arm_of(written(tmp_path, floor + body), "a").obstacle, 0)
    assert (it.name, it.body, it.radius_m) == ("floor", 0, 0.0)
    assert is_like(it.center, (0, 0, -1))
    assert is_like(it.axes, SQUARE)
    assert is_like(it.half, (0, 0, 0))
    assert is_like(it.normal, (1, 0, 0))


def test_of_a_mesh_it_is_the_box_that_holds_it(tmp_path: Path) -> None:
    """MuJoCo moves a mesh's frame to its centre of mass and its main axes; here those stay."""
    corners = " ".join(f"{x} {y} {z}" for x in (0, 0.2) for y in (0, 0.4) for z in (0, 0.6))
    brick = f'<asset><mesh name="brick" vertex="{corners}"/></asset>'
    it = answer(one_geom(tmp_path, '<geom type="mesh" mesh="brick"/>', brick).obstacle, 0)
    assert is_like(it.center, (0.1, 0.2, 0.3), SINGLE_M)
    reach = np.abs(it.axes) @ it.half
    assert (reach >= (0.1, 0.2, 0.3)).all()
    assert is_like(reach, (0.1, 0.2, 0.3), 3.0 * SINGLE_M)


def test_a_mesh_off_its_frame_is_where_its_box_is(tmp_path: Path) -> None:
    """A tetrahedron's centre of mass, its frame, is not the middle of its box."""
    corners = "0 0 0  .4 0 0  0 .4 0  0 0 .4"
    asset = f'<asset><mesh name="tip" vertex="{corners}"/></asset>'
    it = answer(one_geom(tmp_path, '<geom type="mesh" mesh="tip"/>', asset).obstacle, 0)
    local = (np.array(corners.split(), dtype=float).reshape(4, 3) - it.center) @ it.axes
    assert (np.abs(local) <= it.half).all()
    assert is_like(local.max(axis=0), it.half, 3.0 * SINGLE_M)
    assert is_like(-local.min(axis=0), it.half, 3.0 * SINGLE_M)


# -- capsules -------------------------------------------------------------------------------------

ASIDE = math.hypot(0.03 + SINGLE_M, 0.04 + SINGLE_M)


@pytest.mark.parametrize(
    ("geom", "reach", "radius"),
    [
        ('type="sphere" size=".1"', (0, 0, 0), 0.1),
        (f'type="capsule" size=".05 .2" {THIRD}', (0.2, 0, 0), 0.05),
        ('type="cylinder" size=".05 .2"', (0, 0, 0.15), 0.05 * ROOT_2),
        ('type="cylinder" size=".4 .3"', (0, 0, 0), 0.5),
        # along its longest side, around the cylinder through its edges
        ('type="box" size=".03 .2 .04"', (0, 0.2 + SINGLE_M - ASIDE, 0), ROOT_2 * ASIDE),
        (f'type="box" size=".2 .03 .04" {TURNED}', (0, 0.2 + SINGLE_M - ASIDE, 0), ROOT_2 * ASIDE),
        # flatter than that: a ball through its corners
        ('type="box" size=".2 .2 .1"', (0, 0, 0), math.hypot(0.2, 0.2, 0.1) + ROOT_2 * SINGLE_M),
    ],
)
def test_a_shape_that_moves_as_a_capsule(
    tmp_path: Path, geom: str, reach: tuple[float, ...], radius: float
) -> None:
    arm = one_geom(tmp_path, f'<geom name="it" {geom} pos=".4 .5 .6"/>')
    (it,) = answer(arm.moving_capsules)
    assert isinstance(it, Capsule)
    assert (it.name, it.body) == ("it", 1)
    middle, away = np.array([0.4, 0.5, 0.6]), np.array(reach)
    assert is_like(it.ends, [middle - away, middle + away])
    assert it.radius_m == pytest.approx(radius, rel=1e-6 if "box" in geom else 1e-12)


def test_capsules_are_of_what_moves_and_names_say_whose_they_are(tmp_path: Path) -> None:
    arm = arm_of(written(tmp_path, CHAIN), "a", "b", "c")
    names = ["one", "two", "three", "geom 5 of tool"]
    assert [capsule.name for capsule in answer(arm.moving_capsules)] == names
    assert [answer(arm.geom_name, geom) for geom in range(6)] == ["ground", "foot", *names]
    bodies = ["world", "foot", "one", "two", "three", "tool"]
    assert [answer(arm.body_name, body) for body in range(6)] == bodies
    nameless = f'<body><joint name="a"/>{BALL}<site name="tip"/></body>'
    arm = arm_of(written(tmp_path, nameless), "a")
    assert (answer(arm.body_name, 1), answer(arm.geom_name, 0)) == ("body 1", "geom 0 of body 1")


def test_the_tool_is_its_site_a_point(tmp_path: Path) -> None:
    hand = '<body><site name="tip" pos=".1 .2 .3"/></body>'
    body = f'<site name="other"/><body><joint name="a"/>{BALL}{hand}</body>'
    tool = answer(arm_of(written(tmp_path, body), "a").tool)
    assert (tool.name, tool.body, tool.radius_m) == ("tool", 2, 0.0)
    assert is_like(tool.ends, [[0.1, 0.2, 0.3]] * 2)


# -- joints and poses -----------------------------------------------------------------------------


def test_joints_are_in_the_order_of_the_spec(tmp_path: Path) -> None:
    """The arm is foot, then a, b, c; bodies: world, foot, one, two, three, tool."""
    arm = arm_of(written(tmp_path, CHAIN), "c", "a", "b")
    assert arm.joints == [2, 0, 1]
    assert arm.order == [1, 2, 0]
    none, first, second, every = [0, 0, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1]
    assert is_like(arm.moves.astype(float), [none, none, first, second, every, every])
    assert is_like(arm.deeper, [[0.5, 0, 0], [1, 0.5, 1], [1, 0, 0.5]])
    assert arm.is_slide.tolist() == [False, False, False]


def test_a_pose_is_where_trigonometry_says(tmp_path: Path) -> None:
    arm = arm_of(written(tmp_path, CHAIN), "c", "a", "b")
    answer(arm.stand_at, np.array([0.4, 0.2, 0.3]))
    angles = np.cumsum([0.2, 0.3, 0.4])
    place = np.array([0.3, 0.0, 0.0])
    assert is_like(arm.body_place[2], place)
    assert is_like(arm.joint_place[1], place)
    for body, joint, angle in ((3, 2, angles[0]), (4, 0, angles[1])):
        place = place + 0.3 * np.array([math.cos(angle), math.sin(angle), 0.0])
        assert is_like(arm.body_place[body], place)
        assert is_like(arm.joint_place[joint], place)
    turns = answer(lambda: arm.body_turn)
    assert turns.shape == (6, 3, 3)
    cos, sin = math.cos(angles[2]), math.sin(angles[2])
    assert is_like(turns[5], [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    assert is_like(arm.joint_axis, [[0, 0, 1]] * 3)


# -- levers ---------------------------------------------------------------------------------------

# a turns about z at (0, 0, 1); 0.3 m along x is the carriage, which slides along x; 0.2 m above it
# is b, which turns about y; the hand is fixed to the beam
REACHES = """
<body name="post" pos="0 0 1">
  <joint name="a" axis="0 0 1"/>
  <geom name="post" type="capsule" size=".01" fromto=".03 0 0 .04 0 5"/>
  <body name="carriage" pos=".3 0 0">
    <joint name="reach" type="slide" axis="1 0 0"/>
    <geom name="carriage" type="sphere" size=".01" pos="0 .4 .3"/>
    <body name="beam" pos="0 0 .2">
      <joint name="b" axis="0 1 0"/>
      <geom name="beam" type="capsule" size=".01" fromto="0 .5 0 .3 0 .4"/>
      <site name="tip"/>
      <body name="hand" pos=".6 0 0"><geom type="sphere" size=".01" pos="-.2 0 .3"/></body>
    </body>
  </body>
</body>
"""


@pytest.mark.parametrize(("low", "high", "travel"), [(-0.7, 0.1, 0.7), (-0.1, 0.7, 0.7)])
def test_a_lever_is_the_way_from_joint_to_joint(
    tmp_path: Path, low: float, high: float, travel: float
) -> None:
    """From an end straight to the first joint's axis, from further out by its length. Of two ends
    the further one counts; of a slide the lever is 1, and its travel makes those below longer."""
    rail = as_limits("reach", JointInvariants(low, high, 1.0, 10.0, 1000.0))
    arm = arm_of(written(tmp_path, REACHES), "b", rail, "a")
    post, carriage, beam, hand = answer(arm.moving_capsules)
    for pose in ([0.0, 0.0, 0.0], [0.3, high, -1.0]):
        # wherever it stands
        arm.stand_at(np.array(pose))
        assert is_like(answer(arm.levers_m, post), [0, 0, 0.04])
        # a way of 0.4 and 0.3 aside is 0.5 long
        assert is_like(answer(arm.levers_m, carriage), [0, 1, 0.3 + travel + 0.5])
        # b's axis is y: the ends are 0 and 0.5 from it, and 0.5 and 0.5 from its place
        assert is_like(answer(arm.levers_m, beam), [0.5, 1, 0.3 + travel + 0.2 + 0.5])
        # it is at (0.4, 0, 0.3) of b
        assert is_like(answer(arm.levers_m, hand), [0.5, 1, 0.3 + travel + 0.2 + 0.5])
        assert is_like(answer(arm.levers_m, arm.tool()), [0, 1, 0.3 + travel + 0.2])


# -- refusals -------------------------------------------------------------------------------------


def test_a_shape_on_a_joint_that_nobody_commands_is_refused(tmp_path: Path) -> None:
    """By the first of its joints that the spec does not name."""
    body = """
    <body name="one">
      <joint name="a"/><geom name="one" type="sphere" size=".1"/><site name="tip"/>
      <body name="flap">
        <joint name="x" axis="1 0 0"/><joint name="y" axis="0 1 0"/>
        <body><geom name="flap" type="sphere" size=".1"/></body>
      </body>
    </body>
    """
    says = r"flap hangs on joint 'x', which the robot spec does not name, .* fix the body"
    with pytest.raises(ConfigError, match=says):
        Arm(written(tmp_path, body), "tip", named_limits("a"))
    with pytest.raises(ConfigError, match="three hangs on joint 'c', which the robot"):
        Arm(written(tmp_path, CHAIN), "tip", named_limits("a", "b"))


def test_joints_that_are_no_chain_of_hinges_and_slides_are_refused(tmp_path: Path) -> None:
    finger = f'<body><joint name="b"/>{BALL}</body>'
    fork = f'<body><joint name="a"/>{BALL}{finger}<site name="tip"/></body>'
    with pytest.raises(ConfigError, match=r"'b' does not move the tool site; .* out of the robot"):
        Arm(written(tmp_path, fork), "tip", named_limits("a", "b"))
    free = f'<body>{BALL}<joint name="a" type="ball"/><site name="tip"/></body>'
    with pytest.raises(ConfigError, match="'a' is neither hinge nor slide"):
        Arm(written(tmp_path, free), "tip", named_limits("a"))


def test_names_that_are_not_there_and_files_that_are_no_mjcf_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, CHAIN)
    with pytest.raises(ConfigError, match="has no 'tongue'"):
        Arm(path, "tongue", named_limits("a", "b", "c"))
    with pytest.raises(ConfigError, match="has no 'd'"):
        Arm(path, "tip", named_limits("a", "b", "d"))
    broken = tmp_path / "broken.xml"
    broken.write_text("<mujoco", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read as MJCF"):
        Arm(str(broken), "tip", named_limits("a"))
    # MuJoCo itself knows no plane that moves: it has no thickness to enclose
    sail = '<body><joint name="a"/><geom type="plane" size="1 1 1"/><site name="tip"/></body>'
    with pytest.raises(ConfigError, match="cannot be read as MJCF"):
        Arm(written(tmp_path, sail), "tip", named_limits("a"))
