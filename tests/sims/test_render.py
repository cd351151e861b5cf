"""A picture where GL is present, a clear sentence where it is not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sims import render
from sims.render import RenderError, save_picture
from sims.scenery import PICTURE_HEIGHT, PICTURE_WIDTH
from tests.sims.kit import make_plant


def test_picture_shows_something(tmp_path: Path) -> None:
    try:
        file = save_picture(make_plant(), tmp_path / "new" / "arm.png")
    except RenderError as error:
        pytest.skip(str(error))
    with Image.open(file) as picture:
        assert picture.size == (PICTURE_WIDTH, PICTURE_HEIGHT)
        pixels = np.asarray(picture)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500


def test_without_gl_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_library(back_end: str) -> None:
        raise ImportError("libEGL.so.1: cannot open shared object file")

    monkeypatch.setattr(render, "_gl_context", no_library)
    with pytest.raises(RenderError, match=r"libEGL\.so\.1.*Install EGL"):
        save_picture(make_plant(), tmp_path / "arm.png")
    assert not (tmp_path / "arm.png").exists()
