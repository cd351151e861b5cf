"""The MuJoCo model of the peg task: the robot's MJCF, the hole block and what a field changes.

Body `block` is a mocap body whose origin is the centre of the hole's lip, z up. Its boxes: four
walls, four chamfers of 45 degrees and four lips.
"""

import math
from pathlib import Path

import mujoco
import numpy as np

from runtime.errors import ConfigError
from sims.config import ContactConfig, FieldConfig, SimConfig
from sims.scenery import add_scenery

PEG_HALF_WIDTH_M = 0.012
CHAMFER_M = 0.003
WALL_M = 0.02
HOLE_DEPTH_M = 0.05

_BLOCK_COLOUR = (0.33, 0.37, 0.43, 1.0)
_CHAMFER_COLOUR = (0.55, 0.60, 0.66, 1.0)
_OFF = (
    mujoco.mjtDisableBit.mjDSBL_EQUALITY
    | mujoco.mjtDisableBit.mjDSBL_FRICTIONLOSS
    | mujoco.mjtDisableBit.mjDSBL_ISLAND
)


def load_robot_spec(mjcf: Path) -> mujoco.MjSpec:
    """Read a robot's MJCF for editing.

    Raises:
        ConfigError: MuJoCo cannot read it.
    """
    try:
        return mujoco.MjSpec.from_file(str(mjcf))
    except ValueError as error:
        raise ConfigError(f"{mjcf}: MuJoCo cannot read this robot: {error}") from None


def build_model(mjcf: Path, config: SimConfig, field: FieldConfig) -> mujoco.MjModel:
    """Return the compiled scene: robot `mjcf`, the block, and the payload and gain of `field`.

    Raises:
        ConfigError: MuJoCo cannot read the robot's file.
    """
    spec = load_robot_spec(mjcf)
    spec.modelname = "peg_task"
    spec.option.timestep = config.physics_step_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    spec.option.iterations = 20
    spec.option.disableflags |= int(_OFF)
    _add_block(spec, config.task.clearance_m)
    add_scenery(spec, HOLE_DEPTH_M)
    for geom in spec.geoms:
        if geom.contype:
            _set_contact(geom, config.contact, field.friction)
    for actuator in spec.actuators:
        actuator.gainprm[0] *= field.actuator_gain
        actuator.biasprm[1:3] *= field.actuator_gain
    if field.payload_kg > 0:
        _add_payload(spec, field.payload_kg)
    return spec.compile()


def _set_contact(geom: mujoco.MjsGeom, contact: ContactConfig, friction: float) -> None:
    geom.condim = 3
    geom.friction[0] = friction
    geom.solref[:] = (contact.time_constant_s, contact.damping_ratio)
    geom.solimp[:] = (
        contact.impedance_min,
        contact.impedance_max,
        contact.impedance_width_m,
        0.5,
        2.0,
    )


def _add_block(spec: mujoco.MjSpec, clearance_m: float) -> None:
    block = spec.worldbody.add_body(name="block", mocap=True)
    hole = PEG_HALF_WIDTH_M + clearance_m
    mouth = hole + CHAMFER_M
    wall_height = (HOLE_DEPTH_M - CHAMFER_M) / 2
    lip_width = WALL_M - CHAMFER_M
    slope = CHAMFER_M / math.sqrt(2)
    for side in range(4):
        angle = side * math.pi / 2
        # each part is written for the side at +x of the hole and turned about the hole's axis;
        # walls and lips reach around one corner each, so that none overlaps its neighbour
        _add_box(
            block, f"wall{side}", angle, 0.0, _BLOCK_COLOUR,
            (hole + WALL_M / 2, WALL_M / 2, -CHAMFER_M - wall_height),
            (WALL_M / 2, hole + WALL_M / 2, wall_height),
        )  # fmt: skip
        _add_box(
            block, f"lip{side}", angle, 0.0, _BLOCK_COLOUR,
            (mouth + lip_width / 2, lip_width / 2, -CHAMFER_M / 2),
            (lip_width / 2, mouth + lip_width / 2, CHAMFER_M / 2),
        )  # fmt: skip
        # the sloped face runs from (hole, -chamfer) to (mouth, 0); the box lies behind it
        middle = np.array([(hole + mouth) / 2, 0, -CHAMFER_M / 2])
        behind = np.array([1, 0, -1]) / math.sqrt(2) * slope / 2
        _add_box(
            block, f"chamfer{side}", angle, -math.pi / 4, _CHAMFER_COLOUR,
            tuple(middle + behind), (slope, mouth, slope / 2),
        )  # fmt: skip


def _add_box(
    body: mujoco.MjsBody,
    name: str,
    angle_rad: float,
    tilt_rad: float,
    colour: tuple[float, float, float, float],
    position: tuple[float, ...],
    half_size: tuple[float, float, float],
) -> None:
    """Add a box tilted about y, then turned by `angle_rad` about the hole's axis."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    x, y, z = position
    turn, tilt, quat = np.zeros(4), np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), angle_rad)
    mujoco.mju_axisAngle2Quat(tilt, np.array([0.0, 1.0, 0.0]), tilt_rad)
    mujoco.mju_mulQuat(quat, turn, tilt)
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=(cos * x - sin * y, sin * x + cos * y, z),
        quat=quat,
        size=half_size,
        rgba=colour,
        contype=1,
        conaffinity=1,
    )


def _add_payload(spec: mujoco.MjSpec, mass_kg: float) -> None:
    """Hang a mass on the tool that gravity compensation does not know."""
    payload = spec.body("tool").add_body(name="payload", pos=(0, 0, 0.012))
    payload.add_geom(
        name="payload",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=(0.034, 0.008, 0),
        mass=mass_kg,
        rgba=(0.62, 0.20, 0.18, 1),
        contype=0,
        conaffinity=0,
    )
