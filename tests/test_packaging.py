"""The import names are ours, and what is imported is what is declared."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import policies
import runtime
import sims
from runtime.errors import StartRefused
from runtime.preflight import OWN_PACKAGES, require_own_packages

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def normal(requirement: str) -> str:
    """Return the name of a requirement as package indexes compare it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


REQUIRED = {normal(line) for line in PROJECT["dependencies"]}
LEARN = {normal(line) for line in PROJECT["optional-dependencies"]["learn"]}
DEV = {normal(line) for line in PROJECT["optional-dependencies"]["dev"]}
BENCH = {normal(line) for line in PROJECT["optional-dependencies"]["bench"]}
# for other people's environments; nothing of ours imports it
TEMPLATE = "sims/minimal_driver.py"
TRAINING = (
    "policies/train_base.py",
    "policies/export.py",
    "policies/learner_process.py",
    "policies/learner/",
)


def test_the_packages_are_ours_and_lie_together() -> None:
    homes = [Path(str(package.__file__)).parent for package in (runtime, policies, sims)]
    assert [home.name for home in homes] == list(OWN_PACKAGES)
    assert {home.parent.resolve() for home in homes} == {ROOT.resolve()}
    require_own_packages()


def test_a_package_from_elsewhere_is_refused() -> None:
    with pytest.raises(StartRefused, match=r"'numpy' comes from .*numpy, not from .* shadows it"):
        require_own_packages(["numpy"])


def test_a_package_that_is_missing_is_refused() -> None:
    with pytest.raises(StartRefused, match="'runtimes' is not installed"):
        require_own_packages(["runtimes"])


def test_a_distribution_that_shadows_ours_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "sims").mkdir()
    (tmp_path / "sims" / "__init__.py").write_text("", encoding="utf-8")
    code = (
        "import sys\n"
        f"sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "from runtime.preflight import require_own_packages\n"
        "require_own_packages()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode
    assert "StartRefused: the package 'sims' comes from" in done.stderr


@cache
def owners() -> Mapping[str, list[str]]:
    """Return import name -> distributions that bring it (slow to ask)."""
    return packages_distributions()


def third_party(path: Path) -> set[str]:
    """Return the distributions whose modules a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    tops = {name.split(".")[0] for name in names}
    if any(name.startswith("ruamel.yaml") for name in names):
        tops = (tops - {"ruamel"}) | {"ruamel.yaml"}
    outside = tops - set(sys.stdlib_module_names) - set(OWN_PACKAGES) - {"tests", "google"}
    found = {"protobuf"} if "google" in tops else set()
    for top in outside:
        found |= {normal(owner) for owner in owners().get(top, [top])}
    return found - {"mujoco-core", "mujoco-studio"}


def imported(folders: tuple[str, ...]) -> dict[str, set[str]]:
    """Return distribution -> files that import it."""
    users: dict[str, set[str]] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name in third_party(path):
                users.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return users


def test_what_the_packages_import_is_declared_and_nothing_else() -> None:
    users = {name: files - {TEMPLATE} for name, files in imported(OWN_PACKAGES).items()}
    users = {name: files for name, files in users.items() if files}
    plain = {
        name
        for name, files in users.items()
        if not all(file.startswith(TRAINING) for file in files)
    }
    training = set(users) - plain
    assert plain == REQUIRED
    assert training == LEARN


def test_what_the_tests_import_is_declared() -> None:
    assert set(imported(("tests",))) <= REQUIRED | LEARN | DEV


def test_constraints_pin_every_direct_dependency_once() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    named = [normal(pin) for pin in pins]
    assert sorted(named) == sorted(REQUIRED | LEARN | DEV | BENCH | {"hatchling"})


def test_every_dependency_has_its_reason_in_writing() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").lower()
    missing = {name for name in REQUIRED | LEARN | DEV | BENCH if f"`{name}`" not in text}
    assert not missing


def test_the_console_script_is_there() -> None:
    module, function = PROJECT["scripts"]["trimtab"].split(":")
    path = ROOT / Path(*module.split(".")).with_suffix(".py")
    names = [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    ]
    assert function in names
