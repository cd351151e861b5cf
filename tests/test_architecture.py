"""What the import contracts cannot say: sizes, words, and who may make what."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("runtime", "policies", "sims")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
RUNTIME = [path for path in SOURCES if path.relative_to(ROOT).parts[0] == "runtime"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

MAX_LINES = 400
# a runtime that names one robot or one task is not a runtime
ROBOT_WORDS = ("panda", "franka", "emika", "kuka", "peg", "pegs", "hole", "holes", "insertion")
# the joint count of the robot that this was first built for
JOINT_COUNT = 7


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[str]:
    """Return the top-level names that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def contract(identity: str) -> dict[str, list[str]]:
    (found,) = [c for c in PYPROJECT["tool"]["importlinter"]["contracts"] if c["id"] == identity]
    result: dict[str, list[str]] = found
    return result


def floors() -> list[list[str]]:
    """Return the floors of the import contract, top first."""
    return [re.findall(r"[\w.]+", layer) for layer in contract("floors")["layers"]]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_file_is_too_long_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_LINES


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name == "__init__.py"], ids=name_of)
def test_packages_hold_one_docstring(path: Path) -> None:
    assert ast.get_docstring(tree(path))
    said = [ast.unparse(line) for line in tree(path).body[1:]]
    # what has to be said before numpy is imported has no other place
    assert said == ["import runtime.blas"] * (path == ROOT / "runtime" / "__init__.py")


def test_every_package_folder_is_a_package() -> None:
    assert {path.parent for path in SOURCES} == {
        path.parent for path in SOURCES if path.name == "__init__.py"
    }


def test_every_file_has_a_floor_and_every_floor_its_files() -> None:
    on_floors = [name for floor in floors() for name in floor]
    assert len(on_floors) == len(set(on_floors))
    present = {
        f"runtime.{path.stem}" for path in (ROOT / "runtime").glob("*.py") if path.stem[0] != "_"
    }
    present |= {f"runtime.{path.parent.name}" for path in (ROOT / "runtime").glob("*/__init__.py")}
    assert present | {"policies", "sims"} == set(on_floors)
    assert "(" not in "".join(contract("floors")["layers"]), "no floor is for a file to come"


def test_contracts_make_no_exceptions() -> None:
    for entry in PYPROJECT["tool"]["importlinter"]["contracts"]:
        assert not {"ignore_imports", "skip_descendants"} & set(entry), entry["id"]


def test_everything_below_the_tick_that_decides_is_held_to_purity() -> None:
    """Whatever the tick imports from its own floors must be in the purity contracts."""
    order = [name for floor in floors() for name in floor]
    below = order[order.index("runtime.tick") :]
    deciding = below[: below.index("runtime.kinematics")]
    for identity in ("tick-reaches-nothing", "tick-has-no-clock"):
        assert set(contract(identity)["source_modules"]) == set(deciding)


@pytest.mark.parametrize("path", RUNTIME, ids=name_of)
def test_the_runtime_names_no_robot_and_no_task(path: Path) -> None:
    text = path.read_text(encoding="utf-8").lower()
    found = re.findall(rf"(?<![a-z])(?:{'|'.join(ROBOT_WORDS)})(?![a-z])", text)
    assert not found
    assert not re.findall(r"joint_?\d", text)


def counted(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions of a node that stand for a count of something."""
    if isinstance(node, ast.Call):
        yield from node.args
        for argument in node.args:
            if isinstance(argument, ast.Tuple):
                yield from argument.elts
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        yield from (node.left, node.right)
    elif isinstance(node, ast.Slice):
        yield from (part for part in (node.lower, node.upper) if part is not None)
    elif isinstance(node, ast.Compare):
        yield from (node.left, *node.comparators)


@pytest.mark.parametrize("path", RUNTIME, ids=name_of)
def test_the_runtime_counts_no_joints(path: Path) -> None:
    lines = [
        part.lineno
        for node in ast.walk(tree(path))
        for part in counted(node)
        if isinstance(part, ast.Constant) and part.value == JOINT_COUNT
    ]
    assert not lines


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_the_envelope_makes_certificates(path: Path) -> None:
    if (ROOT / "runtime" / "envelope") in path.parents:
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).split(".")[-1]
            assert called not in ("Certificate", "_Seal", "__new__")
        if isinstance(node, ast.Name | ast.Attribute | ast.alias):
            assert "SEAL" not in ast.unparse(node)


def test_certificates_are_made_in_few_places() -> None:
    calls = [
        (path.name, ast.unparse(node.args[-1]))
        for path in RUNTIME
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Certificate"
    ]
    assert calls
    assert set(calls) == {("envelope.py", "ENVELOPE_SEAL")}


def test_links_are_written_to_in_one_place() -> None:
    writes = [
        path.name
        for path in RUNTIME
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("link.write")
    ]
    assert writes == ["loop.py"]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_is_pickled(path: Path) -> None:
    assert not imports(path) & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}
    assert "allow_pickle=True" not in path.read_text(encoding="utf-8")


def test_torch_and_onnx_stay_in_training() -> None:
    using = {name_of(path) for path in SOURCES if imports(path) & {"torch", "onnx"}}
    using = {name for name in using if not name.startswith("policies/learner")}
    assert using == {"policies/train_base.py", "policies/export.py"}
    users = {
        name_of(path)
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom)
        and node.module in ("policies.train_base", "policies.export")
    }
    assert users <= {"policies/train_base.py", "policies/export.py"}


def published() -> list[Path]:
    folders = (*PACKAGES, "tests", ".ci")
    inside = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    text = {".py", ".md", ".yaml", ".xml", ".toml", ".html", ".txt", ".sh", ""}
    return [
        path
        for path in [*inside, *ROOT.iterdir()]
        if path.is_file() and path.suffix in text and "__pycache__" not in path.parts
        and path.name != ".coverage"
    ]  # fmt: skip


def test_nothing_published_names_a_place_of_its_author() -> None:
    # in pieces, so that this file does not find itself
    places = ["/" + "work/", "/" + "home/", "/" + "root/", "/" + "tmp/venv", "pythonhosted" + "."]
    found = [
        (name_of(path), place)
        for path in published()
        for place in places
        if place in path.read_text(encoding="utf-8")
    ]
    assert not found
