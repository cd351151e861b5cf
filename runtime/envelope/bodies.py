"""The robot's shapes as plain arrays, read once from its MJCF by the envelope itself.

What moves is enclosed in capsules (two end points and a radius), what stands in the way in
rounded boxes (half sizes and a radius; a sphere has no sizes, a capsule one) or half-spaces.
Every enclosure contains the shape it stands for, so it may only report too little distance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from runtime.errors import ConfigError
from runtime.layout import Floats
from runtime.robot_spec import JointLimits

_GEOM = mujoco.mjtGeom
_KINDS = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
# vertices of meshes are stored in single precision
_SINGLE_M = 1e-6


@dataclass(frozen=True)
class Capsule:
    """All points within `radius_m` of the segment between `ends` [2, 3], m, in the frame of
    `body`; a point has equal ends and radius 0."""

    name: str
    body: int
    ends: Floats
    radius_m: float


@dataclass(frozen=True)
class Obstacle:
    """All points within `radius_m` of a box, in the frame of `body`.

    The box has its centre at `center` [3], half sizes `half` [3] along the columns of `axes`
    [3, 3], all m. A half-space instead has a `normal` [3] (unit, out of the solid) and its border
    passes through `center`; its axes are the body's and its sizes 0. For a box `normal` is 0.
    """

    name: str
    body: int
    center: Floats
    axes: Floats
    half: Floats
    radius_m: float
    normal: Floats


class Arm:
    """Joints and shapes of one robot, and where they are at a pose.

    `joints`: ids in the MJCF, in the order of the spec; they are one chain that ends in the tool.
    `moves`: per body [bodies, joints], which joints of the spec move it. `deeper`: [joints,
    joints], 1 where the row's joint carries the column's, 1/2 on the diagonal, else 0. `order`:
    places in the spec, from the base outwards.
    """

    def __init__(self, mjcf_path: str, site: str, limits: Sequence[JointLimits]) -> None:
        """Read the MJCF.

        Raises:
            ConfigError: a name is not in it, the joints are no chain of hinges and slides that
                ends in the tool, or a shape moves that the envelope cannot follow.
        """
        self.path = mjcf_path
        try:
            self.model = mujoco.MjModel.from_xml_path(mjcf_path)
        except ValueError as error:
            raise ConfigError(f"{mjcf_path} cannot be read as MJCF: {error}") from None
        self._data = mujoco.MjData(self.model)
        model = self.model
        self.site = self._id(mujoco.mjtObj.mjOBJ_SITE, site)
        self.joints = [self._id(mujoco.mjtObj.mjOBJ_JOINT, limit.name) for limit in limits]
        self._addresses = [int(model.jnt_qposadr[joint]) for joint in self.joints]
        self.is_slide = np.array(
            [int(model.jnt_type[j]) == int(mujoco.mjtJoint.mjJNT_SLIDE) for j in self.joints]
        )
        self._travel_m = np.array(
            [
                max(abs(limit.position_min_rad), abs(limit.position_max_rad)) if slides else 0.0
                for limit, slides in zip(limits, self.is_slide, strict=True)
            ]
        )
        self.moves = self._moves()
        self._check_chain()
        self._check_known()
        # of a chain, MuJoCo numbers what is nearer to the base first
        self.deeper = np.array([[float(a < b) for b in self.joints] for a in self.joints])
        np.fill_diagonal(self.deeper, 0.5)
        self.order = sorted(range(len(self.joints)), key=self.joints.__getitem__)
        self.stand_at(np.zeros(len(self.joints)))
        self._joint_places = self.joint_place.copy(), self.joint_axis.copy()

    # -- poses --------------------------------------------------------------------------------

    def stand_at(self, q: Floats) -> None:
        """Set the pose, q rad (m for a slide), [joints]; joints outside the spec stay at 0."""
        self._data.qpos[self._addresses] = q
        mujoco.mj_kinematics(self.model, self._data)

    @property
    def body_place(self) -> Floats:
        """Where the bodies are, [bodies, 3], m; a view that the next pose changes."""
        place: Floats = self._data.xpos
        return place

    @property
    def body_turn(self) -> Floats:
        """The bodies' axes as columns, [bodies, 3, 3]; a view that the next pose changes."""
        turn: Floats = self._data.xmat.reshape(-1, 3, 3)
        return turn

    @property
    def joint_place(self) -> Floats:
        """A point on each joint's axis, [joints, 3], m, in spec order."""
        place: Floats = self._data.xanchor[self.joints]
        return place

    @property
    def joint_axis(self) -> Floats:
        """Each joint's axis, [joints, 3], in spec order."""
        axis: Floats = self._data.xaxis[self.joints]
        return axis

    # -- shapes -------------------------------------------------------------------------------

    def body_name(self, body: int) -> str:
        """Return a body's name."""
        return str(mujoco.mj_id2name(self.model, mujoco.mjtObj.mjOBJ_BODY, body) or f"body {body}")

    def tool(self) -> Capsule:
        """Return the tool site as a point."""
        place = self.model.site_pos[self.site].copy()
        ends = np.stack([place, place])
        return Capsule("tool", int(self.model.site_bodyid[self.site]), ends, 0.0)

    def moving_capsules(self) -> list[Capsule]:
        """Return a capsule around every geom that a joint of the spec moves."""
        bodies = self.model.geom_bodyid
        moving = [g for g in range(self.model.ngeom) if self.moves[bodies[g]].any()]
        return [self._capsule(geom) for geom in moving]

    def obstacle(self, geom: int) -> Obstacle:
        """Return a geom as something in the way of others."""
        model = self.model
        kind, size = int(model.geom_type[geom]), model.geom_size[geom]
        center, axes = model.geom_pos[geom].copy(), _matrix(model.geom_quat[geom])
        half, radius, normal = np.zeros(3), 0.0, np.zeros(3)
        if kind == int(_GEOM.mjGEOM_PLANE):
            normal, axes = axes[:, 2].copy(), np.eye(3)
        elif kind == int(_GEOM.mjGEOM_SPHERE):
            radius = float(size[0])
        elif kind == int(_GEOM.mjGEOM_CAPSULE):
            radius, half[2] = float(size[0]), size[1]
        elif kind == int(_GEOM.mjGEOM_CYLINDER):
            radius, half[2] = _around_cylinder(size[0], size[1])
        else:
            # a box, or what MuJoCo's own bounding box holds: ellipsoids, meshes, height fields
            center = center + axes @ model.geom_aabb[geom, :3]
            half = model.geom_aabb[geom, 3:] + _SINGLE_M
        body = int(model.geom_bodyid[geom])
        return Obstacle(self.geom_name(geom), body, center, axes, half, radius, normal)

    def geom_name(self, geom: int) -> str:
        """Return a geom's name, or whose it is."""
        name = mujoco.mj_id2name(self.model, mujoco.mjtObj.mjOBJ_GEOM, geom)
        return str(name or f"geom {geom} of {self.body_name(int(self.model.geom_bodyid[geom]))}")

    def levers_m(self, capsule: Capsule) -> Floats:
        """Return per joint [joints] the largest distance, over all poses, of the capsule's ends
        from the joint's axis, m; 1 for a slide, 0 for joints that do not move it.

        From an end to the nearest joint below it and on from joint to joint, the distances are
        the same at every pose (a slide adds its travel): their sum bounds any pose.
        """
        place, axis = self._joint_places
        self.stand_at(np.zeros(len(self.joints)))
        body = capsule.body
        ends = self.body_place[body] + capsule.ends @ self.body_turn[body].T
        levers = np.zeros(len(self.joints))
        # of both ends: the next point towards the base, and how far the end can be from it
        points, reach = ends, np.zeros(2)
        for joint in reversed([j for j in self.order if self.moves[body, j]]):
            towards = points - place[joint]
            away = np.linalg.norm(np.cross(towards, axis[joint]), axis=1)
            levers[joint] = 1.0 if self.is_slide[joint] else float(np.max(away + reach))
            reach = reach + np.linalg.norm(towards, axis=1) + self._travel_m[joint]
            points = np.stack([place[joint], place[joint]])
        return levers

    # -- reading ------------------------------------------------------------------------------

    def _id(self, kind: mujoco.mjtObj, name: str) -> int:
        number = int(mujoco.mj_name2id(self.model, kind, name))
        if number < 0:
            raise ConfigError(f"{self.path} has no {name!r}; the robot spec names it")
        return number

    def _moves(self) -> NDArray[np.bool_]:
        model = self.model
        moves = np.zeros((model.nbody, len(self.joints)), dtype=bool)
        for body in range(1, model.nbody):
            moves[body] = moves[int(model.body_parentid[body])]
            for index, joint in enumerate(self.joints):
                moves[body, index] |= int(model.jnt_bodyid[joint]) == body
        return moves

    def _check_chain(self) -> None:
        """Refuse joints that bounds do not reckon with: other kinds, and branches. Of a pair on
        two branches each would move on joints that the other has not."""
        carried = self.moves[int(self.model.site_bodyid[self.site])]
        for joint, carries in zip(self.joints, carried, strict=True):
            name = mujoco.mj_id2name(self.model, mujoco.mjtObj.mjOBJ_JOINT, joint)
            if int(self.model.jnt_type[joint]) not in _KINDS:
                raise ConfigError(
                    f"{self.path}: joint {name!r} is neither hinge nor slide; make it of several "
                    "hinges, one body each, or fix its body"
                )
            if not carries:
                raise ConfigError(
                    f"{self.path}: joint {name!r} does not move the tool site; distances are "
                    "watched along one chain of joints that ends there: take the joint out of the "
                    "robot spec and fix its body in the MJCF (in its widest position)"
                )

    def _check_known(self) -> None:
        """Refuse shapes that hang on joints outside the spec: nobody says where they are."""
        model = self.model
        for geom in range(model.ngeom):
            body = int(model.geom_bodyid[geom])
            while body:
                first = int(model.body_jntadr[body])
                count = int(model.body_jntnum[body])
                strangers = set(range(first, first + count)) - set(self.joints)
                if strangers:
                    joint = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, min(strangers))
                    raise ConfigError(
                        f"{self.path}: {self.geom_name(geom)} hangs on joint {joint!r}, which the "
                        "robot spec does not name, so nobody knows where it is; fix the body in "
                        "the MJCF (in its widest position), or add the joint to the spec"
                    )
                body = int(model.body_parentid[body])

    def _capsule(self, geom: int) -> Capsule:
        """Return the smallest of the capsules along the geom's longest axis around it."""
        shape = self.obstacle(geom)
        radius, half = shape.radius_m, shape.half
        longest = int(np.argmax(half))
        aside = math.hypot(*np.delete(half, longest))
        length = float(half[longest])
        if aside > 0.0:
            radius, length = _around_cylinder(aside, length)
        along = shape.axes[:, longest] * length
        ends = np.stack([shape.center - along, shape.center + along])
        return Capsule(shape.name, shape.body, ends, radius)


def _around_cylinder(radius: float, half_length: float) -> tuple[float, float]:
    """Return radius and half length of the capsule around a cylinder that stands out least.

    The rims must lie within r of the segment's ends: s >= l - sqrt(r^2 - R^2). It stands out by
    r - R at the side and by r + s - l at the ends; both are equal at r = sqrt(2) R.
    """
    if half_length > radius:
        return math.sqrt(2.0) * radius, half_length - radius
    return math.hypot(radius, half_length), 0.0


def _matrix(quat: Floats) -> Floats:
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)
