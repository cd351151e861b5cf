"""Pictures of the simulated robot at the hole, rendered without a display."""

import os
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.errors import TrimtabError
from sims.plant import Plant
from sims.scenery import CAMERA, PICTURE_HEIGHT, PICTURE_WIDTH

_GEOMS_MAX = 1000


class RenderError(TrimtabError):
    """No picture could be made; the message says what is missing."""


def render(plant: Plant, camera: str = CAMERA) -> NDArray[np.uint8]:
    """Return a picture of the plant as it stands, shape [height, width, 3], RGB.

    Raises:
        RenderError: no GL library is present, or it cannot draw without a display.
    """
    back_end = os.environ.get("MUJOCO_GL", "egl")
    try:
        context = _gl_context(back_end)
        context.make_current()
        try:
            return _draw(plant, camera)
        finally:
            context.free()
    except Exception as error:
        # every GL back end fails in its own way: missing library, missing symbol, no device
        raise RenderError(
            f"no picture: the GL back end {back_end!r} cannot be used ({error}). Install EGL "
            "(Debian: libegl1 libgl1-mesa-dri), or OSMesa (libosmesa6) and set MUJOCO_GL=osmesa"
        ) from None


def _gl_context(back_end: str) -> Any:
    """Return a GL context; mujoco.Renderer would take the one chosen when mujoco was imported."""
    if back_end == "osmesa":
        from mujoco.osmesa import GLContext

        return GLContext(PICTURE_WIDTH, PICTURE_HEIGHT)
    from mujoco.egl import GLContext as EglContext

    return EglContext(PICTURE_WIDTH, PICTURE_HEIGHT)


def _draw(plant: Plant, camera: str) -> NDArray[np.uint8]:
    model, data = plant.model, plant.data
    context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, context)
    view = mujoco.MjvCamera()
    view.type = mujoco.mjtCamera.mjCAMERA_FIXED
    view.fixedcamid = model.camera(camera).id
    scene = mujoco.MjvScene(model, _GEOMS_MAX)
    mujoco.mjv_updateScene(
        model, data, mujoco.MjvOption(), None, view, mujoco.mjtCatBit.mjCAT_ALL.value, scene
    )
    window = mujoco.MjrRect(0, 0, PICTURE_WIDTH, PICTURE_HEIGHT)
    mujoco.mjr_render(window, scene, context)
    pixels = np.empty((PICTURE_HEIGHT, PICTURE_WIDTH, 3), dtype=np.uint8)
    mujoco.mjr_readPixels(pixels, None, window, context)
    context.free()
    # GL counts rows from below
    return np.ascontiguousarray(pixels[::-1])


def save_picture(plant: Plant, file: Path, camera: str = CAMERA) -> Path:
    """Render the plant to a PNG file and return its path.

    Raises:
        RenderError: see `render`.
    """
    pixels = render(plant, camera)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, format="PNG")
    return file
