"""What surrounds the arm while its envelope is timed: no barrier, the committed ones, ten close."""

import dataclasses
import math
from typing import Any

import mujoco
import numpy as np

from runtime.config import Config
from runtime.geometry_spec import BoxSpec, CapsuleSpec, KeepOut, SphereSpec
from runtime.layout import Floats
from runtime.wiring import Deployment

FAR = 1e6
# of each volume from the arm at home; the envelope's margin is part of it
GAP_M = 0.03
_PROBE_M = 0.05
_STEP_M = 0.002
_LIFT_M = 0.02
# which geom a volume stands beside, and on which side (base frame)
_PLACES = (
    ("link3_elbow", (0.0, 1.0, 0.3)),
    ("link4_axle", (0.0, -1.0, 0.3)),
    ("link4_bend", (-1.0, 0.2, 0.0)),
    ("link5_forearm", (0.0, 1.0, 0.0)),
    ("link5_forearm", (0.2, -1.0, 0.0)),
    ("link5_wrist", (0.3, 1.0, 0.6)),
    ("link6_axle", (1.0, -0.3, 0.3)),
    ("link6_hand", (1.0, 0.5, 0.2)),
    ("peg", (-1.0, 0.3, 0.0)),
    ("peg", (0.5, -1.0, 0.0)),
)


def close_volumes(deployment: Deployment) -> tuple[KeepOut, ...]:
    """Return ten volumes, spheres, boxes and capsules by turns, each GAP_M from the arm at home.

    A ball of _PROBE_M around each place is that far from every shape of the robot; spheres fill
    it, boxes and capsules lie inside it.
    """
    volumes: list[KeepOut] = []
    for index, ((geom, side), center) in enumerate(
        zip(_PLACES, _probe(deployment), strict=True)
    ):
        name = f"{index}: by {geom}"
        x, y, z = center
        if index % 3 == 0:
            volumes.append(
                SphereSpec(shape="sphere", name=name, center_m=center, radius_m=_PROBE_M)
            )
        elif index % 3 == 1:
            half = _PROBE_M / math.sqrt(3.0)
            yaw = math.atan2(side[1], side[0])
            volumes.append(
                BoxSpec(
                    shape="box", name=name, center_m=center, half_size_m=(half,) * 3, yaw_rad=yaw
                )
            )
        else:
            ends = (x, y, z - _LIFT_M), (x, y, z + _LIFT_M)
            volumes.append(
                CapsuleSpec(
                    shape="capsule",
                    name=name,
                    from_m=ends[0],
                    to_m=ends[1],
                    radius_m=_PROBE_M - _LIFT_M,
                )
            )
    return tuple(volumes)


def _probe(deployment: Deployment) -> list[tuple[float, float, float]]:
    """Return the centres of balls that are GAP_M from the nearest shape of the arm at home."""
    spec = mujoco.MjSpec.from_file(str(deployment.model_file))
    ball = spec.worldbody.add_body(name="probe", mocap=True)
    ball.add_geom(
        name="probe", type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[_PROBE_M, 0, 0], contype=0
    )
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:] = [joint.home_rad for joint in deployment.robot.joints]
    mujoco.mj_kinematics(model, data)
    others = [g for g in range(model.ngeom) if g != model.geom("probe").id]
    centers = []
    for geom, side in _PLACES:
        direction = np.array(side) / np.linalg.norm(side)
        place = data.geom_xpos[model.geom(geom).id].copy()
        while _distance(model, data, place, others) < GAP_M:
            place += _STEP_M * direction
        x, y, z = place.tolist()
        centers.append((x, y, z))
    return centers


def _distance(model: Any, data: Any, place: Floats, others: list[int]) -> float:
    data.mocap_pos[0] = place
    mujoco.mj_kinematics(model, data)
    probe = model.geom("probe").id
    return min(float(mujoco.mj_geomDistance(model, data, probe, g, 1.0, None)) for g in others)


def surrounded(deployment: Deployment, *, close: bool) -> Deployment:
    """Return the deployment with guards and monitors out of the way, and ten volumes if `close`.

    Guards would end every run of hostile demands within a few ticks.
    """
    config: Config = deployment.config
    far = {
        "torque_share": FAR,
        "tracking_error_rad": FAR,
        "joint_speed_share": FAR,
        "tool_speed_m_s": FAR,
        "elbow_speed_m_s": FAR,
        "contact_force": None,
        "workspace": config.guards.workspace,
    }
    geometry = config.geometry
    if close:
        volumes = geometry.keep_out + close_volumes(deployment)
        geometry = geometry.model_copy(update={"keep_out": volumes})
    update: dict[str, object] = {
        "guards": config.guards.model_copy(update=far),
        "geometry": geometry,
        "base": config.base.model_copy(update={"max_unfamiliarity": FAR}),
        "sim": {**config.sim, "start_offset_rad": 0.0} if close else config.sim,
        "episode": config.episode.model_copy(update={"steps": 1_000_000}),
    }
    return dataclasses.replace(deployment, config=config.model_copy(update=update))
