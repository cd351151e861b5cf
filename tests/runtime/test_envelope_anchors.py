"""Bounds and anchors, number by number: formulas written again, and geometry done by hand."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.envelope.anchors import Anchoring, Anchors, Bounds, Extents, Gains, Seen, extents
from runtime.envelope.barriers import barriers
from runtime.envelope.bodies import Arm
from runtime.geometry_spec import BoxSpec, GeometryConfig, KeepOut, PlaneSpec, SphereSpec
from tests.runtime.envelope_kit import WIDE, answer, named_limits, written

Array = NDArray[np.float64]
JOINTS, BARRIERS = 3, 4
# the first joint carries both others, the last one hangs on the first alone
DEEPER = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]])


def some_anchors(rng: np.random.Generator) -> Anchors:
    slope = rng.normal(0.0, 1.0, (2, BARRIERS, JOINTS))
    return Anchors(
        pose=rng.normal(0.0, 1.0, (BARRIERS, JOINTS)),
        offset=rng.normal(0.0, 1.0, (2, BARRIERS)),
        sides=np.concatenate([slope, -np.abs(slope)], axis=2),
        share=rng.uniform(0.0, 1.0, BARRIERS),
    )


def some_boxes(rng: np.random.Generator, count: int) -> Extents:
    return Extents(rng.normal(0.0, 1.0, (count, JOINTS)), rng.uniform(0.0, 0.5, (count, JOINTS)))


def line(anchors: Anchors, row: int, end: int, middle: Array, half: Array) -> float:
    """The linear part of one end's bound, at its least in the box."""
    total = float(anchors.offset[end, row])
    for joint in range(JOINTS):
        slope = float(anchors.sides[end, row, joint])
        total += slope * float(middle[joint]) - abs(slope) * float(half[joint])
    return total


def quad(levers: Array, row: int, away: Array) -> float:
    """1/2 sum D_j D_k L: of two joints the lever of that which the other carries."""
    total = 0.0
    for j in range(JOINTS):
        for k in range(JOINTS):
            share = DEEPER[j, k] if j != k else 0.5
            total += share * float(away[j] * away[k] * levers[row, k])
    return total


@pytest.fixture
def case() -> tuple[Anchors, Array, Bounds]:
    rng = np.random.default_rng(3)
    anchors, levers = some_anchors(rng), rng.uniform(0.1, 1.0, (BARRIERS, JOINTS))
    return anchors, levers, Bounds(anchors, levers, DEEPER)


def test_boxes_have_a_middle_and_half_a_width() -> None:
    low = np.array([[1.0, -2.0], [0.0, 5.0], [7.0, 7.0]])
    boxes = answer(extents, low, np.array([[3.0, 4.0], [1.0, 5.0], [9.0, 9.0]]))
    assert boxes.middle.tolist() == [[2.0, 1.0], [0.5, 5.0], [8.0, 8.0]]
    assert boxes.half.tolist() == [[1.0, 3.0], [0.5, 0.0], [1.0, 1.0]]
    second = answer(boxes.of, 1)
    assert second.middle.tolist() == [[0.5, 5.0]]
    assert second.half.tolist() == [[0.5, 0.0]]


def test_some_rows_are_taken(case: tuple[Anchors, Array, Bounds]) -> None:
    anchors, _, bounds = case
    rows = np.array([2, 0])
    some = answer(anchors.take, rows)
    for row, old in enumerate(rows):
        assert some.pose[row].tolist() == anchors.pose[old].tolist()
        assert some.offset[:, row].tolist() == anchors.offset[:, old].tolist()
        assert some.sides[:, row].tolist() == anchors.sides[:, old].tolist()
        assert some.share[row] == anchors.share[old]
    ends = some_boxes(np.random.default_rng(4), 2)
    gains = answer(bounds.gains, bounds.see(ends), 0.0)
    taken = answer(gains.take, rows)
    for row, old in enumerate(rows):
        assert taken.straight[:, row].tolist() == gains.straight[:, old].tolist()
        assert taken.cost[row].tolist() == gains.cost[old].tolist()
        assert taken.stop[:, row].tolist() == gains.stop[:, old].tolist()
        assert taken.wish[row] == gains.wish[old]


def test_a_bound_is_the_least_end_less_what_bending_costs(
    case: tuple[Anchors, Array, Bounds],
) -> None:
    anchors, levers, bounds = case
    boxes = some_boxes(np.random.default_rng(5), 3)
    over, seen = answer(bounds.over, boxes), answer(bounds.see, boxes)
    fresh = answer(bounds.fresh, boxes)
    for row in range(BARRIERS):
        for box, (middle, half) in enumerate(zip(*boxes, strict=True)):
            away = np.abs(middle - anchors.pose[row]) + half
            ends = [line(anchors, row, end, middle, half) for end in (0, 1)]
            lost = quad(levers, row, away)
            assert seen.line[:, row, box] == pytest.approx(ends)
            assert seen.away[box, row] == pytest.approx(away)
            assert seen.lost[box, row] == pytest.approx(lost)
            assert over[row, box] == pytest.approx(min(ends) - lost)
            assert fresh[box, row] == pytest.approx(quad(levers, row, half))
    assert over.tolist() == answer(seen.least).tolist()


def test_gains_are_straight_ways_and_the_steepest_bend(
    case: tuple[Anchors, Array, Bounds],
) -> None:
    anchors, levers, bounds = case
    ends = some_boxes(np.random.default_rng(7), 2)
    seen: Seen = bounds.see(ends)
    gains: Gains = answer(bounds.gains, seen, 0.01)
    over = bounds.over(ends)
    # either end is the nearer one somewhere
    assert set(seen.line[:, :, 1].argmin(axis=0).tolist()) == {0, 1}
    for row in range(BARRIERS):
        away = [np.abs(ends.middle[box] - anchors.pose[row]) + ends.half[box] for box in (0, 1)]
        most = float(sum(max(float(away[0][k]), float(away[1][k])) for k in range(JOINTS)))
        for joint in range(JOINTS):
            by = ends.middle[1] - ends.middle[0], ends.half[1] - ends.half[0]
            for end in (0, 1):
                slope = float(anchors.sides[end, row, joint])
                way = slope * by[0][joint] - abs(slope) * by[1][joint]
                assert gains.straight[end, row, joint] == pytest.approx(way)
            further = max(float(away[1][joint] - away[0][joint]), 0.0)
            assert gains.cost[row, joint] == pytest.approx(further * levers[row, joint] * most)
        assert gains.wish[row] == pytest.approx(over[row, 1] - 0.01)
        assert gains.stop[:, row].min() == pytest.approx(over[row, 0] - 0.01)
        lost = quad(levers, row, away[0]) + 0.01
        for end in (0, 1):
            begun = line(anchors, row, end, ends.middle[0], ends.half[0])
            assert gains.stop[end, row] == pytest.approx(begun - lost)


# -- anchors of a robot ---------------------------------------------------------------------------

# a turntable, a slide on it that leans, and an arm on the slide that nods; a probe at its end
ROBOT = """
<body name="table" pos="0 0 .2" euler="0 0 .4">
  <joint name="turn" axis="0 0 1" pos=".1 0 0"/>
  <geom name="disc" type="sphere" size=".05"/>
  <body name="sledge" pos=".3 0 .1" euler="0 .5 0">
    <joint name="push" type="slide" axis="1 0 0"/>
    <geom name="block" type="sphere" size=".04"/>
    <body name="arm" pos=".2 .1 0" euler=".3 0 0">
      <joint name="nod" axis="0 1 0" pos="0 0 .05"/>
      <geom name="rod" type="capsule" fromto="0 0 0 .3 .1 0" size=".02"/>
      <site name="tip" pos=".4 0 .1"/>
    </body>
  </body>
</body>
"""
FLOOR = PlaneSpec(shape="plane", name="floor", point_m=(0.0, 0.0, -0.5), normal=(0.0, 0.0, 1.0))
BALL = SphereSpec(shape="sphere", name="ball", center_m=(0.2, 1.0, 0.5), radius_m=0.125)
LID = BoxSpec(
    shape="box",
    name="lid",
    center_m=(0.5, 0.1, 3.5),
    half_size_m=(3.0, 2.0, 1.0),
    yaw_rad=0.7,
)
CRATE = BoxSpec(
    shape="box",
    name="crate",
    center_m=(0.5, 0.1, -2.0),
    half_size_m=(3.0, 2.0, 1.0),
    yaw_rad=0.7,
)
Q = np.array([0.3, 0.07, -0.4])


class Robot:
    """The robot above among volumes, with an Anchoring, and where its parts are by MuJoCo."""

    def __init__(
        self, folder: Path, *volumes: KeepOut, body: str = ROBOT, own: bool = False
    ) -> None:
        names = ("turn", "push", "nod") if body is ROBOT else ("turn",)
        path = written(folder, body)
        self.arm = Arm(path, "tip", named_limits(*names))
        config = GeometryConfig(margin_m=0.01, self_collision=own, keep_out=volumes)
        self.barriers = barriers(self.arm, config, WIDE)
        self.names = [barrier.name for barrier in self.barriers]
        self.anchoring = answer(Anchoring, self.arm, self.barriers)
        self._model = mujoco.MjModel.from_xml_path(path)
        self._data = mujoco.MjData(self._model)

    def at(self, q: Array, names: list[str], rounds: int = 20) -> Anchors:
        rows = np.array([self.names.index(name) for name in names])
        return answer(self.anchoring.at, q, rows, np.full(len(rows), 0.5), rounds)

    def geom(self, name: str, q: Array) -> Array:
        return np.array(self._stand(q).geom(name).xpos)

    def rod_ends(self, q: Array) -> tuple[Array, Array]:
        """The ends of the rod's segment, in the order of its capsule: along its axis."""
        rod = self._stand(q).geom("rod")
        half = self._model.geom("rod").size[1] * rod.xmat.reshape(3, 3)[:, 2]
        return rod.xpos - half, rod.xpos + half

    def site(self, q: Array) -> Array:
        return np.array(self._stand(q).site("tip").xpos)

    def _stand(self, q: Array) -> mujoco.MjData:
        self._data.qpos[:] = q
        mujoco.mj_kinematics(self._model, self._data)
        return self._data


def agrees(
    anchors: Anchors, row: int, bounds_at: Callable[[Array], Sequence[float]], q: Array
) -> None:
    """The anchor's linear function touches those of both ends at q: values and derivatives.

    `bounds_at`: both ends' bounds, m, as a function of the pose, with the normal held.
    """
    slope = anchors.sides[:, row, : len(q)]
    here = np.array(bounds_at(q))
    assert anchors.offset[:, row] + slope @ q == pytest.approx(here, abs=1e-9)
    step = 1e-5
    for joint in range(len(q)):
        by = step * np.eye(len(q))[joint]
        change = (np.array(bounds_at(q + by)) - np.array(bounds_at(q - by))) / (2.0 * step)
        assert slope[:, joint] == pytest.approx(change, abs=1e-8)
    assert anchors.sides[:, row, len(q) :].tolist() == (-np.abs(slope)).tolist()
    assert anchors.pose[row].tolist() == q.tolist()


def test_above_a_plane_the_normal_is_the_planes(tmp_path: Path) -> None:
    robot = Robot(tmp_path, FLOOR)
    names = ["block | keep-out floor", "rod | keep-out floor", "tool | workspace z low"]
    anchors = robot.at(Q, names)
    agrees(anchors, 0, lambda q: [robot.geom("block", q)[2] + 0.5 - 0.04] * 2, Q)
    agrees(anchors, 1, lambda q: [end[2] + 0.5 - 0.02 for end in robot.rod_ends(q)], Q)
    agrees(anchors, 2, lambda q: [robot.site(q)[2] + 9.0] * 2, Q)


def test_beside_a_ball_the_normal_points_from_its_centre(tmp_path: Path) -> None:
    robot = Robot(tmp_path, BALL)
    anchors = robot.at(Q, ["block | keep-out ball", "rod | keep-out ball"])
    center = np.array(BALL.center_m)
    normal = robot.geom("block", Q) - center
    normal /= np.linalg.norm(normal)
    agrees(anchors, 0, lambda q: [normal @ (robot.geom("block", q) - center) - 0.165] * 2, Q)
    start, end = robot.rod_ends(Q)
    along = end - start
    share = min(max(float((center - start) @ along / (along @ along)), 0.0), 1.0)
    nearest = start + share * along - center
    normal = nearest / np.linalg.norm(nearest)
    agrees(anchors, 1, lambda q: [normal @ (p - center) - 0.145 for p in robot.rod_ends(q)], Q)
    assert anchors.share[1] == pytest.approx(share)


def test_above_and_below_a_turned_box_the_normal_is_its_faces(tmp_path: Path) -> None:
    """One is at -1 m, one at 2.5 m, and they are as wide as all that is between them."""
    robot = Robot(tmp_path, CRATE, LID)
    anchors = robot.at(Q, ["rod | keep-out crate", "rod | keep-out lid"])
    agrees(anchors, 0, lambda q: [end[2] + 1.0 - 0.02 for end in robot.rod_ends(q)], Q)
    agrees(anchors, 1, lambda q: [2.5 - end[2] - 0.02 for end in robot.rod_ends(q)], Q)


def test_of_two_own_parts_only_the_joints_between_count(tmp_path: Path) -> None:
    """The disc turns with the rod: their distance knows nothing of the turntable."""
    robot = Robot(tmp_path, own=True)
    name = "rod | disc"
    anchors = robot.at(Q, [name])
    center = robot.geom("disc", Q)
    start, end = robot.rod_ends(Q)
    along = end - start
    share = min(max(float((center - start) @ along / (along @ along)), 0.0), 1.0)
    normal = start + share * along - center
    normal /= np.linalg.norm(normal)
    turned = [math.cos(Q[0]), math.sin(Q[0])]

    def in_the_disc(q: Array) -> list[float]:
        # the normal turns with the disc
        cos = turned[0] * math.cos(q[0]) + turned[1] * math.sin(q[0])
        sin = turned[0] * math.sin(q[0]) - turned[1] * math.cos(q[0])
        now = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ normal
        here = robot.geom("disc", q)
        return [float(now @ (p - here)) - 0.07 for p in robot.rod_ends(q)]

    agrees(anchors, 0, in_the_disc, Q)
    assert anchors.sides[:, 0, 0].tolist() == [0.0, 0.0]
    row = robot.names.index(name)
    assert robot.anchoring.levers[row, 0] == 0.0
    assert (robot.anchoring.levers[row, 1:] > 0.0).all()


def test_levers_are_the_arms(tmp_path: Path) -> None:
    robot = Robot(tmp_path, FLOOR)
    for row, barrier in enumerate(robot.barriers):
        expected = robot.arm.levers_m(barrier.capsule)
        assert robot.anchoring.levers[row].tolist() == expected.tolist()


# a bead on the x axis that does not move where it is when its joint is at 0
BEAD = """
<body><joint name="turn" axis="0 0 1"/>
<geom name="bead" type="sphere" size=".25" pos="2 0 0"/><site name="tip"/></body>
"""


def test_a_bound_promises_a_little_less_than_there_is(tmp_path: Path) -> None:
    """By what its own arithmetic may round: 1e-12 m. All else here is exact."""
    wall = PlaneSpec(shape="plane", name="wall", point_m=(1.0, 0.0, 0.0), normal=(1.0, 0.0, 0.0))
    robot = Robot(tmp_path, wall, body=BEAD)
    anchors = robot.at(np.zeros(1), ["bead | keep-out wall"])
    assert anchors.offset[:, 0] == pytest.approx([0.75 - 1e-12] * 2, abs=3e-16, rel=0.0)


def test_the_search_begins_where_it_is_told_and_is_as_long_as_it_is_told(tmp_path: Path) -> None:
    robot = Robot(tmp_path, BALL)
    row = np.array([robot.names.index("rod | keep-out ball")])
    for share in (0.25, 0.75):
        found = answer(robot.anchoring.at, Q, row, np.array([share]), 0)
        assert found.share.tolist() == [share]


def test_the_mark_tells_barriers_apart(tmp_path: Path) -> None:
    moved = BALL.model_copy(update={"radius_m": 0.126})
    marks = [
        Robot(tmp_path, *volumes).anchoring.mark
        for volumes in ((BALL,), (BALL,), (moved,), (BALL, FLOOR), (FLOOR, BALL))
    ]
    assert marks[0] == marks[1]
    assert len(set(marks)) == 4
    assert len(marks[0]) == 8
