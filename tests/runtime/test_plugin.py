"""Code that a config names: found beside the config, named when it is not."""

import sys
from pathlib import Path

import pytest

from runtime.errors import ConfigError
from runtime.plugin import link_factory


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_a_module_beside_the_config_is_found(tmp_path: Path) -> None:
    (tmp_path / "robot_of_ones_own.py").write_text("def open_it():\n    return 5\n")
    factory = link_factory("robot_of_ones_own:open_it", tmp_path / "config.yaml")
    assert factory.__module__ == "robot_of_ones_own"


def test_what_is_installed_comes_first(tmp_path: Path) -> None:
    (tmp_path / "sims").mkdir()
    (tmp_path / "sims/link.py").write_text("def open_link():\n    return 5\n")
    factory = link_factory("sims.link:open_link", tmp_path / "config.yaml")
    assert "RobotSpec" in str(factory.__annotations__)


@pytest.mark.parametrize("name", ["nobody_has_this:open_it", "sims.link:nothing_like_this"])
def test_what_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.*module:function.*{tmp_path.name}"):
        link_factory(name, tmp_path / "config.yaml")
