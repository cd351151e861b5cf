"""What makes pictures of the scene readable: table, light, sky and camera. Nothing collides."""

import math

import mujoco
import numpy as np

PICTURE_WIDTH, PICTURE_HEIGHT = 1280, 960
CAMERA = "view"

_CAMERA_POSITION_M = (1.30, -0.98, 0.62)
_LOOK_AT_M = (0.29, 0.0, 0.30)
_FIELD_OF_VIEW_DEG = 36.0
_PLATE_M = 0.01
_POST_M = 0.08
_STAND_COLOUR = (0.17, 0.19, 0.22, 1.0)


def add_scenery(spec: mujoco.MjSpec, block_height_m: float) -> None:
    """Add table, lights, sky, camera `view` and a stand under the body `block` to a scene."""
    _set_quality(spec)
    _add_table(spec)
    _add_stand(spec.body("block"), block_height_m)
    _add_light(spec, "key", (0.9, -0.9, 2.2), 0.50, shadow=True)
    _add_light(spec, "fill", (-0.6, 1.4, 1.6), 0.18, shadow=False)
    spec.worldbody.add_camera(
        name=CAMERA,
        pos=_CAMERA_POSITION_M,
        quat=_looking_at(np.array(_CAMERA_POSITION_M), np.array(_LOOK_AT_M)),
        fovy=_FIELD_OF_VIEW_DEG,
    )


def _add_table(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=(0.93, 0.95, 0.97),
        rgb2=(0.62, 0.69, 0.76),
        width=256,
        height=1536,
    )
    spec.add_texture(
        name="table",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        mark=mujoco.mjtMark.mjMARK_EDGE,
        rgb1=(0.74, 0.77, 0.80),
        rgb2=(0.74, 0.77, 0.80),
        markrgb=(0.66, 0.69, 0.73),
        width=512,
        height=512,
    )
    table = spec.add_material(name="table", texrepeat=(10, 10), reflectance=0.03)
    table.textures[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)] = "table"
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=(3, 3, 0.05),
        material="table",
        contype=0,
        conaffinity=0,
    )


def _add_stand(block: mujoco.MjsBody, block_height_m: float) -> None:
    """Put a plate and a post under the block; the post's end vanishes in the table."""
    for name, kind, size, depth in (
        ("plate", mujoco.mjtGeom.mjGEOM_BOX, (0.05, 0.05, _PLATE_M / 2), _PLATE_M / 2),
        ("post", mujoco.mjtGeom.mjGEOM_CYLINDER, (0.018, _POST_M / 2, 0), _PLATE_M + _POST_M / 2),
    ):
        block.add_geom(
            name=f"block_{name}",
            type=kind,
            pos=(0, 0, -block_height_m - depth),
            size=size,
            rgba=_STAND_COLOUR,
            contype=0,
            conaffinity=0,
        )


def _set_quality(spec: mujoco.MjSpec) -> None:
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = PICTURE_WIDTH, PICTURE_HEIGHT
    visual.quality.shadowsize = 4096
    visual.quality.offsamples = 8
    visual.quality.numslices = 64
    visual.quality.numstacks = 32
    visual.headlight.ambient[:] = 0.38
    visual.headlight.diffuse[:] = 0.25
    visual.headlight.specular[:] = 0.05
    visual.map.znear = 0.01


def _add_light(
    spec: mujoco.MjSpec, name: str, position: tuple[float, float, float], level: float, shadow: bool
) -> None:
    toward = np.array([0.35, 0.0, 0.2]) - position
    spec.worldbody.add_light(
        name=name,
        pos=position,
        dir=toward / np.linalg.norm(toward),
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        diffuse=(level, level, level),
        specular=(0.2, 0.2, 0.2),
        castshadow=shadow,
    )


def _looking_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the quaternion of a camera at `position` that looks at `target`, z up."""
    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= math.hypot(*right)
    rotation = np.stack([right, np.cross(back, right), back], axis=1)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, rotation.flatten())
    return quat
