"""The same constraints in two other libraries, on the same states.

mink (inverse kinematics on MuJoCo): ConfigurationLimit, VelocityLimit, CollisionAvoidanceLimit.
cbfpy (control barrier functions on jax): joint ranges and distances as barriers of relative degree
1, velocities as bounds of the input. Each filters one step from the reference towards the demand;
neither keeps acceleration and jerk limits or knows whether the arm can still stop.
"""

import importlib
import importlib.metadata
import importlib.util
import math
import os
from typing import Any, Protocol

import mujoco
import numpy as np

from runtime.config import BoxConfig
from runtime.geometry_spec import BoxSpec, CapsuleSpec, KeepOut, PlaneSpec, SphereSpec
from runtime.layout import Floats
from runtime.wiring import Deployment
from tests.benchmarks.kit import SERVO_HZ

DT_S = 1.0 / SERVO_HZ
# mink looks at pairs nearer than this; it is also how far a tick can come to matter at full speed
DETECTION_M = 0.1
_TOOL_POINT_M = 1e-4


class Missing(Exception):
    """A library that only this benchmark needs is not installed."""


class Peer(Protocol):
    """Filters one step. `failed` counts steps to which it had no answer."""

    name: str
    rows: int
    failed: int

    def step(self, q: Floats, asked: Floats) -> Floats:
        """Return the velocity (rad/s, [joints]) from `q` towards `asked` (rad)."""
        ...


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Missing(f"{name} is not installed: pip install '.[bench]'") from None


def walls(box: BoxConfig) -> list[PlaneSpec]:
    """Return the six planes of a workspace, normals inwards."""
    planes = []
    for axis in range(3):
        for corner, sign in ((box.low_m, 1.0), (box.high_m, -1.0)):
            point, normal = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
            point[axis], normal[axis] = corner[axis], sign
            planes.append(
                PlaneSpec(
                    shape="plane",
                    name=f"wall {axis} {sign:+.0f}",
                    point_m=(point[0], point[1], point[2]),
                    normal=(normal[0], normal[1], normal[2]),
                )
            )
    return planes


class MinkPeer:
    """mink.solve_ik with a posture task and daqp."""

    def __init__(self, deployment: Deployment, *, geometry: bool) -> None:
        mink = _library("mink")
        self.name = f"mink {importlib.metadata.version('mink')}, daqp"
        self.failed = 0
        self._solve = mink.solve_ik
        self._no_solution = mink.NoSolutionFound
        model, pairs = _scene(deployment, geometry=geometry)
        self._configuration = mink.Configuration(model)
        self._posture = mink.PostureTask(model, cost=1.0)
        limits = deployment.robot.command_limits()
        self._limits = [
            mink.ConfigurationLimit(model),
            mink.VelocityLimit(model, {j.name: j.velocity_max_rad_s for j in limits}),
        ]
        self.rows = 4 * model.nv
        if geometry:
            avoid = mink.CollisionAvoidanceLimit(
                model,
                pairs,
                minimum_distance_from_collisions=deployment.config.geometry.margin_m,
                collision_detection_distance=DETECTION_M,
            )
            self._limits.append(avoid)
            self.rows += len(avoid.geom_id_pairs)

    def step(self, q: Floats, asked: Floats) -> Floats:
        self._configuration.update(q)
        self._posture.set_target(asked)
        try:
            velocity: Floats = self._solve(
                self._configuration, [self._posture], DT_S, "daqp", limits=self._limits
            )
        except self._no_solution:
            self.failed += 1
            return np.zeros_like(q)
        return velocity


def _scene(
    deployment: Deployment, *, geometry: bool
) -> tuple[mujoco.MjModel, list[tuple[list[str], list[str]]]]:
    """Return the robot among its volumes, all shapes able to collide, and which pairs count."""
    spec = mujoco.MjSpec.from_file(str(deployment.model_file))
    for number, geom in enumerate(spec.geoms):
        geom.contype = geom.conaffinity = 1
        geom.name = geom.name or f"geom {number}"
    still = [geom.name for geom in spec.geoms if geom.parent.name == "link0"]
    robot = [geom.name for geom in spec.geoms]
    moving = [name for name in robot if name not in still]
    if not geometry:
        return spec.compile(), []
    tip = spec.site(deployment.robot.tool.site)
    tip.parent.add_geom(
        name="tool point",
        type=mujoco.mjtGeom.mjGEOM_SPHERE,
        size=[_TOOL_POINT_M, 0, 0],
        pos=tip.pos,
        contype=1,
        conaffinity=1,
    )
    config = deployment.config
    for volume in (*config.geometry.keep_out, *walls(config.guards.workspace)):
        _add_volume(spec, volume)
    pairs = [
        (moving, [volume.name for volume in config.geometry.keep_out]),
        (["tool point"], [wall.name for wall in walls(config.guards.workspace)]),
    ]
    model = spec.compile()
    if config.geometry.self_collision:
        shapes = {body: _shapes(model, body, robot) for body in range(model.nbody)}
        bodies = [body for body, names in shapes.items() if names and body]
        pairs += [(shapes[a], shapes[b]) for a, b in _self_pairs(model, bodies)]
    return model, [pair for pair in pairs if pair[1]]


def _shapes(model: mujoco.MjModel, body: int, known: list[str]) -> list[str]:
    names = [model.geom(g).name for g in np.flatnonzero(model.geom_bodyid == body)]
    return [name for name in names if name in known]


def _add_volume(spec: Any, volume: KeepOut) -> None:
    common = {"name": volume.name, "contype": 1, "conaffinity": 1}
    kinds = mujoco.mjtGeom
    if isinstance(volume, PlaneSpec):
        turn = np.zeros(4)
        mujoco.mju_quatZ2Vec(turn, np.array(volume.normal))
        spec.worldbody.add_geom(
            type=kinds.mjGEOM_PLANE, pos=volume.point_m, quat=turn, size=[0, 0, 1], **common
        )
    elif isinstance(volume, BoxSpec):
        turn = np.array([math.cos(volume.yaw_rad / 2), 0.0, 0.0, math.sin(volume.yaw_rad / 2)])
        spec.worldbody.add_geom(
            type=kinds.mjGEOM_BOX, pos=volume.center_m, quat=turn, size=volume.half_size_m, **common
        )
    elif isinstance(volume, SphereSpec):
        spec.worldbody.add_geom(
            type=kinds.mjGEOM_SPHERE, pos=volume.center_m, size=[volume.radius_m, 0, 0], **common
        )
    else:
        spec.worldbody.add_geom(
            type=kinds.mjGEOM_CAPSULE,
            fromto=[*volume.from_m, *volume.to_m],
            size=[volume.radius_m, 0, 0],
            **common,
        )


class CbfPeer:
    """cbfpy's jitted safety filter on q' = u with elastiqp, its solver for processors.

    The robot is three balls a shape; one barrier a volume and wall, and one a pair of bodies: the
    least that the library can be asked with, since its problem is dense and of fixed size.
    """

    def __init__(self, deployment: Deployment, *, geometry: bool) -> None:
        # as cbfpy advises; read when jax starts
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        os.environ.setdefault("JAX_ENABLE_X64", "1")
        jax = _library("jax")
        jax.config.update("jax_enable_x64", True)
        cbfpy = _library("cbfpy")
        backend = "elastiqp" if importlib.util.find_spec("elastiqp") else "qpax"
        self.name = f"cbfpy {importlib.metadata.version('cbfpy')}, {backend}"
        self.failed = 0
        limits = deployment.robot.command_limits()
        low = np.array([limit.position_min_rad for limit in limits])
        high = np.array([limit.position_max_rad for limit in limits])
        speed = np.array([limit.velocity_max_rad_s for limit in limits])
        count = len(limits)
        distances = _distances(deployment) if geometry else None
        numpy = jax.numpy

        base: Any = cbfpy.CBFConfig

        class Config(base):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(
                    n=count, m=count, u_min=-speed, u_max=speed, backend=backend, solver_tol=1e-6
                )

            def f(self, z: Any) -> Any:
                return numpy.zeros(count)

            def g(self, z: Any) -> Any:
                return numpy.eye(count)

            def h_1(self, z: Any) -> Any:
                parts = [high - z, z - low]
                if distances is not None:
                    parts.append(distances(z))
                return numpy.concatenate(parts)

            def alpha(self, h: Any) -> Any:
                return h / DT_S

        config = Config()
        self.rows = config.num_cbf + 2 * count
        self._filter = cbfpy.CBF.from_config(config).safety_filter

    def step(self, q: Floats, asked: Floats) -> Floats:
        velocity: Floats = np.asarray(self._filter(q, (asked - q) / DT_S))
        if not np.isfinite(velocity).all():
            self.failed += 1
        return velocity


def _distances(deployment: Deployment) -> Any:
    """Return a jax function from q to what is left of every distance beyond the margin (m)."""
    numpy = importlib.import_module("jax.numpy")
    model = mujoco.MjModel.from_xml_path(str(deployment.model_file))
    config, margin = deployment.config, deployment.config.geometry.margin_m
    places, radii, bodies = balls(model)
    moving = model.body_weldid[bodies] != 0
    forward = _forward(model)
    site = model.site(deployment.robot.tool.site)
    site_body, site_pos = int(site.bodyid[0]), np.array(site.pos)
    present = sorted(set(bodies.tolist())) if config.geometry.self_collision else []
    pairs = [
        (np.flatnonzero(bodies == first), np.flatnonzero(bodies == second))
        for first, second in _self_pairs(model, present)
    ]

    def function(q: Any) -> Any:
        turn, place = forward(q)
        centers = numpy.einsum("nij,nj->ni", turn[bodies], places) + place[bodies]
        tip = turn[site_body] @ site_pos + place[site_body]
        out = [
            numpy.min(_outside(numpy, volume, centers[moving]) - radii[moving])
            for volume in config.geometry.keep_out
        ]
        out += [
            _outside(numpy, wall, tip[None])[0] for wall in walls(config.guards.workspace)
        ]
        for first, second in pairs:
            apart = centers[first][:, None] - centers[second][None]
            reach = radii[first][:, None] + radii[second][None]
            out.append(numpy.min(numpy.sqrt(numpy.sum(apart**2, axis=2)) - reach))
        return numpy.stack(out) - margin

    return function


def balls(model: mujoco.MjModel) -> tuple[Floats, Floats, Any]:
    """Return three balls along every geom: centres [balls, 3] and radii in the body's frame, and
    the bodies. Cylinders and boxes are taken as capsules along their longest side."""
    places, radii, bodies = [], [], []
    for geom in range(model.ngeom):
        size, kind = model.geom_size[geom], int(model.geom_type[geom])
        axis, half, radius = 2, 0.0, float(size[0])
        if kind == int(mujoco.mjtGeom.mjGEOM_CAPSULE):
            half = float(size[1])
        elif kind == int(mujoco.mjtGeom.mjGEOM_CYLINDER):
            half = max(float(size[1]) - radius, 0.0)
        elif kind == int(mujoco.mjtGeom.mjGEOM_BOX):
            axis = int(np.argmax(size))
            half, radius = float(size[axis]), float(np.hypot(*np.delete(size, axis)))
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
        along = turn.reshape(3, 3)[:, axis] * half
        for share in (-1.0, 0.0, 1.0):
            places.append(model.geom_pos[geom] + share * along)
            radii.append(radius)
            bodies.append(int(model.geom_bodyid[geom]))
    return np.array(places), np.array(radii), np.array(bodies)


def _self_pairs(model: mujoco.MjModel, bodies: list[int]) -> list[tuple[int, int]]:
    """Return pairs of bodies that a joint moves against each other, no neighbours, none that the
    MJCF excludes."""
    weld = model.body_weldid
    excluded = set(model.exclude_signature.tolist())
    return [
        (first, second)
        for i, first in enumerate(bodies)
        for second in bodies[i + 1 :]
        if int(model.body_weldid[model.body_parentid[weld[second]]]) != weld[first]
        and weld[first] != weld[second]
        and not {(first << 16) + second, (second << 16) + first} & excluded
    ]


def _forward(model: mujoco.MjModel) -> Any:
    """Return a jax function from q to the turns [bodies, 3, 3] and places [bodies, 3]."""
    numpy = importlib.import_module("jax.numpy")
    turns = np.zeros((model.nbody, 9))
    for body in range(model.nbody):
        mujoco.mju_quat2Mat(turns[body], model.body_quat[body])
    turns = turns.reshape(-1, 3, 3)

    def function(q: Any) -> Any:
        turn, place = [numpy.eye(3)], [numpy.zeros(3)]
        for body in range(1, model.nbody):
            parent = int(model.body_parentid[body])
            place.append(place[parent] + turn[parent] @ model.body_pos[body])
            here = turn[parent] @ turns[body]
            for joint in range(
                model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]
            ):
                here = here @ _about(numpy, model.jnt_axis[joint], q[joint])
            turn.append(here)
        return numpy.stack(turn), numpy.stack(place)

    return function


def _about(numpy: Any, axis: Floats, angle: Any) -> Any:
    """Return the turn by `angle` about the unit `axis` (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + numpy.sin(angle) * cross + (1.0 - numpy.cos(angle)) * (cross @ cross)


def _outside(numpy: Any, volume: KeepOut, points: Any) -> Any:
    """Return how far outside `volume` each of `points` [n, 3] is (m)."""
    if isinstance(volume, PlaneSpec):
        return (points - np.array(volume.point_m)) @ np.array(volume.normal)
    if isinstance(volume, SphereSpec):
        return _norm(numpy, points - np.array(volume.center_m)) - volume.radius_m
    if isinstance(volume, CapsuleSpec):
        start, along = np.array(volume.from_m), np.subtract(volume.to_m, volume.from_m)
        share = numpy.clip((points - start) @ along / (along @ along), 0.0, 1.0)
        return _norm(numpy, points - start - share[:, None] * along) - volume.radius_m
    cos, sin = math.cos(volume.yaw_rad), math.sin(volume.yaw_rad)
    local = (points - np.array(volume.center_m)) @ np.array(
        [[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]
    )
    beyond = numpy.abs(local) - np.array(volume.half_size_m)
    inside = numpy.minimum(numpy.max(beyond, axis=1), 0.0)
    return _norm(numpy, numpy.maximum(beyond, 0.0)) + inside


def _norm(numpy: Any, vectors: Any) -> Any:
    # the gradient of a norm at zero is not a number
    return numpy.sqrt(numpy.sum(vectors**2, axis=1) + 1e-12)
