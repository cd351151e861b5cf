"""Exact distances between the arm and every barrier at one pose, by MuJoCo's own geometry.

The envelope bounds distances from below, over the whole kept stop, with shapes wrapped in capsules;
here the true shapes stand at one pose. So these distances are at least what the envelope counted.
"""

import mujoco
import numpy as np

from runtime.config import BoxConfig
from runtime.errors import RecordError
from runtime.explain_facts import OWN, Distance
from runtime.geometry_spec import BoxSpec, CapsuleSpec, GeometryConfig, KeepOut, PlaneSpec
from runtime.layout import Floats
from runtime.robot_spec import RobotSpec

_FAR_M = 1e3
_AXES = "xyz"
_PREFIX = "keep_out/"


class BarrierModel:
    """The robot's model with the keep-out volumes in it.

    Raises:
        RecordError: the model in the record cannot be compiled, or lacks a joint or the tool site.
    """

    def __init__(
        self, xml: str, robot: RobotSpec, geometry: GeometryConfig, workspace: BoxConfig
    ) -> None:
        self._geometry, self._workspace = geometry, workspace
        try:
            spec = mujoco.MjSpec.from_string(xml)
            for volume in geometry.keep_out:
                _add(spec, volume)
            self._model = spec.compile()
            joints = [self._model.joint(name).qposadr[0] for name in robot.joint_names]
            self._site = int(self._model.site(robot.tool.site).id)
        except (ValueError, KeyError) as error:
            raise RecordError(
                f"the robot's model in the record cannot be used: {error}; explain the tick with "
                "the version that recorded it"
            ) from None
        self._data = mujoco.MjData(self._model)
        self._q_index = np.array(joints)
        moved = self._model.body_weldid[self._model.geom_bodyid] != 0
        self._volumes = [
            int(self._model.geom(_PREFIX + volume.name).id) for volume in geometry.keep_out
        ]
        own = [geom for geom in range(self._model.ngeom) if geom not in self._volumes]
        self._moving = [geom for geom in own if moved[geom]]
        self._pairs = self._self_pairs(own) if geometry.self_collision else []

    def tool_m(self, q: Floats) -> list[float]:
        """Return the tool site in base (m) at joint positions `q` (rad)."""
        self._move_to(q)
        place: list[float] = self._data.site_xpos[self._site].tolist()
        return place

    def distances(self, q_commanded: Floats, q_measured: Floats) -> list[Distance]:
        """Return one Distance per barrier: the six walls, each keep-out volume, the arm itself."""
        margin_m = self._geometry.margin_m
        measured = self._nearest(q_measured)
        return [
            Distance(group, between, distance_m, there[2], margin_m)
            for (group, between, distance_m), there in zip(
                self._nearest(q_commanded), measured, strict=True
            )
        ]

    def _nearest(self, q: Floats) -> list[tuple[str, str, float]]:
        """Return group, the two nearest shapes and their distance (m) for each barrier at `q`."""
        self._move_to(q)
        found = self._walls()
        for volume, geom in zip(self._geometry.keep_out, self._volumes, strict=True):
            distance_m, other = min((self._between(geom, own), own) for own in self._moving)
            found.append((f"keep-out {volume.name}", self._name(other), distance_m))
        if self._pairs:
            distance_m, one, other = min(
                (self._between(one, other), one, other) for one, other in self._pairs
            )
            found.append(
                (OWN, f"{self._name(one)} and {self._name(other)}", distance_m)
            )
        return found

    def _walls(self) -> list[tuple[str, str, float]]:
        tool_m = self._data.site_xpos[self._site].tolist()
        box = self._workspace
        found = []
        for axis, at, low, high in zip(_AXES, tool_m, box.low_m, box.high_m, strict=True):
            found.append((f"workspace {axis} low", "tool", at - low))
            found.append((f"workspace {axis} high", "tool", high - at))
        return found

    def _between(self, one: int, other: int) -> float:
        return float(
            mujoco.mj_geomDistance(self._model, self._data, one, other, _FAR_M, None)
        )

    def _self_pairs(self, own: list[int]) -> list[tuple[int, int]]:
        """Return the pairs of shapes whose bodies move against each other, are no neighbours in
        the chain, and are not excluded by the model."""
        body = self._model.geom_bodyid.tolist()
        excluded = set(self._model.exclude_signature.tolist())
        return [
            (one, other)
            for number, one in enumerate(own)
            for other in own[number + 1 :]
            if not self._are_neighbours(body[one], body[other])
            and _signature(body[one], body[other]) not in excluded
            and _signature(body[other], body[one]) not in excluded
        ]

    def _are_neighbours(self, one: int, other: int) -> bool:
        """True for bodies that are one piece, or that one joint connects."""
        weld = self._model.body_weldid
        together = int(weld[one]) == int(weld[other])
        return together or self._hangs_on(one, other) or self._hangs_on(other, one)

    def _hangs_on(self, outer: int, inner: int) -> bool:
        """True if the joint of `outer` is on `inner`. What stands on the world beside the arm's
        foot is no part of the foot."""
        weld, parents = self._model.body_weldid, self._model.body_parentid
        parent = int(parents[weld[outer]])
        if int(weld[parent]) == 0:
            return parent == inner
        return int(weld[parent]) == int(weld[inner])

    def _name(self, geom: int) -> str:
        name = str(self._model.geom(geom).name)
        return name or f"a shape of {self._model.body(self._model.geom_bodyid[geom]).name}"

    def _move_to(self, q: Floats) -> None:
        self._data.qpos[self._q_index] = q
        mujoco.mj_kinematics(self._model, self._data)


def _signature(one: int, other: int) -> int:
    """Return how MuJoCo writes an excluded pair: 16 bits for each body."""
    return (one << 16) + other


def _add(spec: mujoco.MjSpec, volume: KeepOut) -> None:
    geom = spec.worldbody.add_geom()
    geom.name = _PREFIX + volume.name
    geom.contype = geom.conaffinity = 0
    if isinstance(volume, PlaneSpec):
        geom.type = mujoco.mjtGeom.mjGEOM_PLANE
        geom.size, geom.pos = [0.0, 0.0, 1.0], list(volume.point_m)
        turn = np.zeros(4)
        mujoco.mju_quatZ2Vec(turn, np.array(volume.normal))
        geom.quat = turn
    elif isinstance(volume, BoxSpec):
        geom.type = mujoco.mjtGeom.mjGEOM_BOX
        geom.size, geom.pos = list(volume.half_size_m), list(volume.center_m)
        geom.quat = [np.cos(0.5 * volume.yaw_rad), 0.0, 0.0, np.sin(0.5 * volume.yaw_rad)]
    elif isinstance(volume, CapsuleSpec):
        geom.type = mujoco.mjtGeom.mjGEOM_CAPSULE
        geom.size = [volume.radius_m, 0.0, 0.0]
        geom.fromto = [*volume.from_m, *volume.to_m]
    else:
        geom.type = mujoco.mjtGeom.mjGEOM_SPHERE
        geom.size, geom.pos = [volume.radius_m, 0.0, 0.0], list(volume.center_m)
