"""The judge of distances is judged: by MuJoCo's own kinematics and distances, and by hand."""

import math
from pathlib import Path

import mujoco
import numpy as np
import pytest

from tests.runtime.geometry_checker import (
    FLANGE_M,
    WORLD,
    GeometryChecker,
    Region,
    Solid,
    box,
    capsule,
    link_frames,
    plane,
    read_shapes,
    signed_distance,
    sphere,
)

MJCF = Path(__file__).resolve().parents[2] / "sims/robots/panda.xml"
EVERYWHERE = Region((-9.0, -9.0, -9.0), (9.0, 9.0, 9.0))
HOME = np.array([0.0, -0.0201, 0.0, -2.3475, 0.0, 2.3274, 0.7854])
LOW = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
HIGH = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])


@pytest.fixture(scope="module")
def poses() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.random.default_rng(4).uniform(LOW, HIGH, (60, 7))


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_path(str(MJCF))


def test_the_published_table_gives_the_frames_that_the_model_has(
    poses: np.ndarray[tuple[int, ...], np.dtype[np.float64]], model: mujoco.MjModel
) -> None:
    data = mujoco.MjData(model)
    place, axes = link_frames(poses)
    tips = place[:, 7] + axes[:, 7, :, 2] * (FLANGE_M + 0.090)
    for row, q in enumerate(poses):
        data.qpos[:] = q
        mujoco.mj_kinematics(model, data)
        for link in range(8):
            body = model.body(f"link{link}").id
            assert place[row, link] == pytest.approx(data.xpos[body], abs=1e-9)
            assert axes[row, link] == pytest.approx(data.xmat[body].reshape(3, 3), abs=1e-9)
        assert tips[row] == pytest.approx(data.site("tool").xpos, abs=1e-9)


def test_it_reads_every_shape_where_the_model_has_it(model: mujoco.MjModel) -> None:
    shapes = {solid.name: solid for solid in read_shapes(MJCF)}
    assert len(shapes) == model.ngeom
    data = mujoco.MjData(model)
    data.qpos[:] = HOME
    mujoco.mj_kinematics(model, data)
    place, axes = link_frames(HOME[None])
    for name, solid in shapes.items():
        at = place[0, solid.link] + axes[0, solid.link] @ solid.place
        assert at == pytest.approx(data.geom(name).xpos, abs=1e-9)


def test_distances_are_those_that_mujoco_finds(
    poses: np.ndarray[tuple[int, ...], np.dtype[np.float64]], model: mujoco.MjModel
) -> None:
    data = mujoco.MjData(model)
    checker = GeometryChecker(MJCF, (), EVERYWHERE, margin_m=1.0)
    judged = 0
    place_axes = link_frames(poses)
    for mover, other in checker._pairs:
        ours = checker._pair(mover, other, *place_axes, {})
        for row in range(0, len(poses), 6):
            data.qpos[:] = poses[row]
            mujoco.mj_kinematics(model, data)
            theirs = mujoco.mj_geomDistance(
                model, data, model.geom(mover.name).id, model.geom(other.name).id, 5.0, None
            )
            if theirs > 0.0 and ours[row] < 1.0:
                judged += 1
                assert ours[row] == pytest.approx(theirs, abs=2.5e-3), (mover.name, other.name)
    assert judged > 1000


@pytest.mark.parametrize(
    ("solid", "point", "distance_m"),
    [
        (sphere("s", (0, 0, 0), 0.1), (0.3, 0.0, 0.0), 0.2),
        (sphere("s", (0, 0, 0), 0.1), (0.0, 0.04, 0.0), -0.06),
        (box("b", (0, 0, 0), (0.1, 0.2, 0.3), 0.0), (0.4, 0.6, 0.0), 0.5),
        (box("b", (0, 0, 0), (0.1, 0.2, 0.3), 0.0), (0.09, 0.0, 0.0), -0.01),
        (plane("p", (0, 0, 0), (0, 0, 1)), (5.0, 5.0, -0.2), -0.2),
        (capsule("c", WORLD, (0, 0, -1), (0, 0, 1), 0.1), (0.3, 0.0, 0.9), 0.2),
        (capsule("c", WORLD, (0, 0, -1), (0, 0, 1), 0.1), (0.0, 0.3, 1.4), 0.4),
        (
            Solid("y", WORLD, "cylinder", np.zeros(3), np.eye(3), np.array([0.1, 0.1, 0.2])),
            (0.4, 0.0, 0.6),
            0.5,
        ),
    ],
)
def test_signed_distances(solid: Solid, point: tuple[float, ...], distance_m: float) -> None:
    assert signed_distance(solid, np.array(point)) == pytest.approx(distance_m)


def test_a_wall_a_micrometre_too_near_is_a_violation_and_names_itself() -> None:
    place, axes = link_frames(HOME[None])
    tip = place[0, 7] + axes[0, 7, :, 2] * (FLANGE_M + 0.090)
    for less, count in ((2e-6, 1), (0.5e-6, 0)):
        low = (float(tip[0]) - 0.01 + less, -9.0, -9.0)
        checker = GeometryChecker(MJCF, (), Region(low, (9.0, 9.0, 9.0)), 0.01)
        judged = checker.check(HOME[None])
        assert len(judged.violations) == count
    assert judged.nearest == "tool | workspace"


@pytest.mark.parametrize(
    "volume",
    [
        plane("floor", (0, 0, 0.21), (0, 0, 1)),
        sphere("ball", (0.5, 0.05, 0.25), 0.04),
        box("crate", (0.5, 0.06, 0.25), (0.05, 0.05, 0.05), 0.4),
        capsule("pole", WORLD, (0.56, 0, 0), (0.56, 0, 1), 0.05),
    ],
)
def test_every_kind_of_volume_is_seen(volume: Solid) -> None:
    judged = GeometryChecker(MJCF, (volume,), EVERYWHERE, 0.01).check(HOME[None])
    assert any(volume.name in violation.what for violation in judged.violations)
    below = volume.place + np.array([0.0, 0.0, -2.0])
    away = Solid(volume.name, WORLD, volume.kind, below, volume.axes, volume.half)
    assert not GeometryChecker(MJCF, (away,), EVERYWHERE, 0.01).check(HOME[None]).violations


def test_a_folded_arm_meets_itself() -> None:
    folded = np.array([0.0, 1.7, 0.0, -3.0, 0.0, 0.0, 0.0])
    checker = GeometryChecker(MJCF, (), EVERYWHERE, 0.01)
    assert not checker.check(HOME[None]).violations
    assert checker.check(np.array([folded, HOME])).violations
    assert not GeometryChecker(MJCF, (), EVERYWHERE, 0.01, self_collision=False).check(
        folded[None]
    ).violations


def test_not_a_number_is_a_violation() -> None:
    q = np.array([HOME, HOME])
    q[1, 3] = math.nan
    with np.errstate(invalid="ignore"):
        judged = GeometryChecker(MJCF, (), EVERYWHERE, 0.01).check(q)
    assert {violation.tick for violation in judged.violations} == {1}
