"""Enclosures, levers and excluded pairs of whole robots by brute force; what is refused at home."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.envelope.anchors import Anchoring, Bounds, Extents
from runtime.envelope.barriers import Barrier, Workspace, barriers
from runtime.envelope.bodies import Arm
from runtime.envelope.geometry import Geometry
from runtime.errors import ConfigError
from runtime.geometry_spec import BoxSpec, CapsuleSpec, GeometryConfig, PlaneSpec, SphereSpec
from tests.runtime.envelope_kit import WIDE, named_limits, written
from tests.runtime.geometry_kit import MARGIN_M, ROOT, TABLE, Judge, panda, planar

SEED = 3
Array = NDArray[np.float64]


ALL_SHAPES = """
<geom name="floor" type="plane" size="1 1 .1" pos="0 0 -1"/>
<body name="one">
  <joint name="a" axis="0 0 1"/>
  <geom name="sphere" type="sphere" size=".1" pos=".1 .2 .3"/>
  <geom name="capsule" type="capsule" size=".05 .2" euler=".3 .2 .1"/>
  <geom name="long" type="cylinder" size=".05 .2" euler=".3 .2 .1" pos=".1 0 0"/>
  <geom name="flat" type="cylinder" size=".2 .05" euler=".5 .2 .1"/>
  <geom name="rod" type="box" size=".05 .4 .06" euler=".5 .2 .1"/>
  <geom name="plate" type="box" size=".3 .25 .02" euler=".5 .2 .1"/>
  <geom name="egg" type="ellipsoid" size=".3 .1 .2" euler=".5 .2 .1"/>
  <geom name="wedge" type="mesh" mesh="wedge" euler=".5 .2 .1" pos="0 .1 .1"/>
  <site name="tip"/>
</body>
"""
WEDGE = '<asset><mesh name="wedge" vertex="0 0 0  .2 0 0  0 .3 0  0 0 .4  .1 .1 .2"/></asset>'


def skin(model: mujoco.MjModel, geom: int, rng: np.random.Generator) -> Array:
    """Return points of a geom, in its body's frame, reckoned from what its type means."""
    size, kind = model.geom_size[geom], mujoco.mjtGeom(int(model.geom_type[geom])).name
    away = rng.normal(size=(400, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    cube = away / np.abs(away).max(axis=1, keepdims=True)
    along = np.outer(rng.uniform(-1.0, 1.0, 400), [0.0, 0.0, 1.0])
    if kind == "mjGEOM_MESH":
        mesh = int(model.geom_dataid[geom])
        first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
        local = np.asarray(model.mesh_vert[first : first + count], dtype=float)
    else:
        local = {
            "mjGEOM_SPHERE": size[0] * away,
            "mjGEOM_CAPSULE": size[0] * away + size[1] * along,
            "mjGEOM_CYLINDER": np.hstack(
                [
                    size[0] * away[:, :2] / np.linalg.norm(away[:, :2], axis=1, keepdims=True),
                    size[1] * np.sign(along[:, 2:]),
                ]
            ),
            "mjGEOM_BOX": size * cube,
            "mjGEOM_ELLIPSOID": size * away,
        }[kind]
    turn = np.empty(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
    return np.asarray(model.geom_pos[geom] + local @ turn.reshape(3, 3).T)


def test_every_shape_lies_in_its_capsule_and_touches_it_nearly(tmp_path: Path) -> None:
    arm = Arm(written(tmp_path, ALL_SHAPES, WEDGE), "tip", named_limits("a"))
    rng = np.random.default_rng(SEED)
    names = {arm.geom_name(geom): geom for geom in range(arm.model.ngeom)}
    capsules = arm.moving_capsules()
    assert [capsule.name for capsule in capsules] == [n for n in names if n != "floor"]
    for capsule in capsules:
        points = skin(arm.model, names[capsule.name], rng)
        start, along = capsule.ends[0], capsule.ends[1] - capsule.ends[0]
        share = np.clip((points - start) @ along / max(along @ along, 1e-12), 0.0, 1.0)
        out = np.linalg.norm(points - start - share[:, None] * along, axis=1) - capsule.radius_m
        assert out.max() <= 1e-9, capsule.name
        assert out.max() >= -0.1, capsule.name


def test_every_shape_lies_in_its_obstacle(tmp_path: Path) -> None:
    arm = Arm(written(tmp_path, ALL_SHAPES, WEDGE), "tip", named_limits("a"))
    rng = np.random.default_rng(SEED)
    for geom in range(1, arm.model.ngeom):
        obstacle = arm.obstacle(geom)
        local = (skin(arm.model, geom, rng) - obstacle.center) @ obstacle.axes
        beyond = np.linalg.norm(np.maximum(np.abs(local) - obstacle.half, 0.0), axis=1)
        assert beyond.max() <= obstacle.radius_m + 1e-9, obstacle.name


def test_no_pose_takes_an_end_further_from_a_joint_than_its_lever() -> None:
    rng = np.random.default_rng(SEED)
    for which in (panda(), planar()):
        arm = Arm(str(which.mjcf), which.site, which.limits)
        for capsule in [*arm.moving_capsules(), arm.tool()]:
            levers = arm.levers_m(capsule)
            largest = np.zeros(len(levers))
            for _ in range(60):
                arm.stand_at(rng.uniform(-3.0, 3.0, len(levers)))
                ends = arm.body_place[capsule.body] + capsule.ends @ arm.body_turn[capsule.body].T
                for joint in np.flatnonzero(arm.moves[capsule.body]):
                    towards = ends - arm.joint_place[joint]
                    away = np.linalg.norm(np.cross(towards, arm.joint_axis[joint]), axis=1)
                    largest[joint] = max(largest[joint], away.max())
            assert (largest <= levers + 1e-12).all()
            assert (levers[~arm.moves[capsule.body]] == 0.0).all()


SLIDES = """
<body name="cart" pos="0 0 1">
  <joint name="rail" type="slide" axis="1 0 0"/>
  <geom name="cart" type="box" size=".1 .1 .1"/>
  <body name="arm" pos=".1 0 .2">
    <joint name="turn" axis="0 1 0" pos="0 0 .1"/>
    <joint name="twist" axis="0 0 1" pos="0 0 .1"/>
    <geom name="arm" type="capsule" size=".03" fromto="0 0 0 .4 0 0"/>
    <body name="wrist" pos=".4 0 0">
      <joint name="reach" type="slide" axis="1 0 0"/>
      <geom name="hand" type="sphere" size=".05" pos=".1 0 0"/>
      <site name="tip" pos=".1 0 0"/>
    </body>
  </body>
</body>
"""


def test_bounds_hold_for_slides_offset_joints_and_joints_in_any_order(tmp_path: Path) -> None:
    """Against MuJoCo's own distances, of spheres and capsules."""
    names = ("twist", "rail", "reach", "turn")
    path = written(tmp_path, SLIDES)
    arm = Arm(path, "tip", named_limits(*names))
    volume = SphereSpec(shape="sphere", name="ball", center_m=(0.3, 0.5, 1.0), radius_m=0.2)
    plane = PlaneSpec(shape="plane", name="floor", point_m=(0.0, 0.0, 0.0), normal=(0.0, 0.0, 1.0))
    config = GeometryConfig(margin_m=0.01, self_collision=False, keep_out=(volume, plane))
    found = [b for b in barriers(arm, config, WIDE) if b.capsule.name != "cart"]
    anchoring = Anchoring(arm, found)
    rows, middle = np.arange(len(found)), np.full(len(found), 0.5)
    rng = np.random.default_rng(SEED)
    model = mujoco.MjModel.from_xml_path(path)
    data = mujoco.MjData(model)
    addresses = [int(model.jnt_qposadr[model.joint(name).id]) for name in names]
    worst, tight = -np.inf, np.inf
    for _ in range(150):
        at, half = rng.uniform(-1.5, 1.5, 4), rng.uniform(0.0, 0.5, 4)
        anchors = anchoring.at(at, rows, middle, 8)
        bounds = Bounds(anchors, anchoring.levers, arm.deeper)
        over = bounds.over(Extents(at[None], half[None]))[:, 0]
        here = bounds.over(Extents(at[None], 0.0 * half[None]))[:, 0]
        for share in (np.zeros(4), *rng.uniform(-1.0, 1.0, (8, 4))):
            data.qpos[addresses] = at + share * half
            mujoco.mj_kinematics(model, data)
            true = np.array([distance(data, barrier) for barrier in found])
            worst = max(worst, float((over - true).max()))
            if not share.any():
                tight = min(tight, float((here - true).min()))
    assert worst <= 1e-9
    assert tight >= -1e-9


def distance(data: mujoco.MjData, barrier: Barrier) -> float:
    """Return the distance of a named sphere, capsule or site from ball, floor or wall."""
    ends = {
        "hand": [data.geom("hand").xpos],
        "arm": [
            data.body("arm").xpos + data.body("arm").xmat.reshape(3, 3) @ [x, 0.0, 0.0]
            for x in np.linspace(0.0, 0.4, 2)
        ],
        "tool": [data.site("tip").xpos],
    }[barrier.capsule.name]
    radius = {"hand": 0.05, "arm": 0.03, "tool": 0.0}[barrier.capsule.name]
    normal = barrier.obstacle.normal
    if normal.any():
        return min(float(normal @ (end - barrier.obstacle.center)) for end in ends) - radius
    start, along = ends[0], ends[-1] - ends[0]
    ball = np.array([0.3, 0.5, 1.0])
    share = np.clip((ball - start) @ along / max(float(along @ along), 1e-12), 0.0, 1.0)
    return float(np.linalg.norm(ball - start - share * along)) - radius - 0.2


# -- what the model leaves out ------------------------------------------------------------------


def test_links_that_the_pandas_mjcf_excludes_never_come_near() -> None:
    """By halving boxes of joint positions until every bound over every box exceeds the margin."""
    which = panda()
    text = which.mjcf.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if "<exclude" in line]
    pairs = [(line.split('"')[1], line.split('"')[3]) for line in lines]
    assert len(pairs) == 10
    arm = Arm(str(which.mjcf), which.site, which.limits)
    geoms = range(arm.model.ngeom)
    capsules = {capsule.name: capsule for capsule in arm.moving_capsules()}
    for inner, outer in pairs:
        found = [
            Barrier(capsules[arm.geom_name(far)], arm.obstacle(near))
            for far in geoms
            for near in geoms
            if arm.body_name(int(arm.model.geom_bodyid[far])) == outer
            and arm.body_name(int(arm.model.geom_bodyid[near])) == inner
        ]
        assert found
        assert never_near(Anchoring(arm, found), arm.deeper, which.low - 0.2, which.high + 0.2)


def never_near(anchoring: Anchoring, deeper: Array, low: Array, high: Array) -> bool:
    moving = anchoring.levers.max(axis=0) > 0.0
    count = len(anchoring.levers)
    rows, share = np.arange(count), np.full(count, 0.5)
    half = np.where(moving, 0.5 * (high - low), 0.0)
    open_boxes, looked = [(0.5 * (low + high), half, rows)], 0
    while open_boxes:
        middle, half, rows = open_boxes.pop()
        looked += 1
        assert looked < 20_000
        anchors = anchoring.at(middle, rows, share[rows], 6)
        bounds = Bounds(anchors, anchoring.levers[rows], deeper)
        if bounds.over(Extents(middle[None], 0.0 * half[None])).min() <= MARGIN_M:
            return False
        rows = rows[bounds.over(Extents(middle[None], half[None]))[:, 0] <= MARGIN_M]
        if rows.size:
            widest = int(np.argmax(half * anchoring.levers[rows].max(axis=0)))
            smaller = half.copy()
            smaller[widest] *= 0.5
            step = np.eye(len(half))[widest] * smaller[widest]
            open_boxes += [(middle - step, smaller, rows), (middle + step, smaller, rows)]
    return True


# -- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("volume", "says"),
    [
        (
            BoxSpec(
                shape="box",
                name="crate",
                center_m=(0.5, 0.0, 0.25),
                half_size_m=(0.1, 0.1, 0.1),
                yaw_rad=0.0,
            ),
            "peg | keep-out crate",
        ),
        (
            SphereSpec(shape="sphere", name="ball", center_m=(0.5, 0.0, 0.25), radius_m=0.1),
            "tool_holder | keep-out ball",
        ),
        (
            CapsuleSpec(
                shape="capsule",
                name="rod",
                from_m=(0.5, -1.0, 0.4),
                to_m=(0.5, 1.0, 0.4),
                radius_m=0.02,
            ),
            "link7_wrist | keep-out rod",
        ),
        (
            PlaneSpec(
                shape="plane", name="shelf", point_m=(0.0, 0.0, 0.3), normal=(0.0, 0.0, -1.0)
            ),
            "link4_column | keep-out shelf",
        ),
    ],
)
def test_a_keep_out_volume_around_home_is_refused_by_name(
    volume: BoxSpec | SphereSpec | CapsuleSpec | PlaneSpec, says: str
) -> None:
    with pytest.raises(ConfigError, match=r"at home .* move the keep-out volume") as error:
        panda().geometry((volume,))
    assert f"{says} are " in str(error.value)


def test_a_tool_outside_its_workspace_at_home_is_refused_by_name() -> None:
    box = Workspace((0.2, -0.4, 0.3), (0.8, 0.4, 0.7))
    with pytest.raises(ConfigError, match=r"tool \| workspace z low are -0\.05"):
        panda().geometry((TABLE,), workspace=box)


def test_parts_of_the_robot_too_near_at_home_are_refused_by_name() -> None:
    which = panda()
    config = GeometryConfig(margin_m=0.03, self_collision=True, keep_out=())
    with pytest.raises(ConfigError, match=r"link7_wrist \| link5_wrist are 0\.0174 .*<exclude>"):
        Geometry.load(
            str(which.mjcf), which.site, which.limits, which.home, config, which.workspace
        )


def test_the_oracle_reads_the_same_files() -> None:
    which = panda()
    geometry = which.geometry()
    judge = Judge(which, geometry.names)
    assert set(judge.distances(which.home)) == set(geometry.names)
    assert which.mjcf == ROOT / "sims/robots/panda.xml"
