"""One mutant, judged in a forked child: the changed file comes from memory, never from disk."""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Literal

import hypothesis
import pytest

Outcome = Literal["assertion", "crash", "survived", "timeout"]

# a failing example is a verdict; making it small is time lost
hypothesis.settings.register_profile(
    "mutation",
    derandomize=True,
    deadline=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(hypothesis.HealthCheck),
)

# folders whose files may be under test, or import what is
_OURS = ("runtime", "policies", "sims", "tests")

_ARGUMENTS = (
    "-q", "--no-header", "--tb=no", "--hypothesis-profile=mutation",
    "--assert=plain", "--continue-on-collection-errors", "-p", "no:cacheprovider",
    "-o", "timeout=0",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """`by`: the test that failed by assertion, else the first that crashed, else empty."""

    outcome: Outcome
    by: str = ""
    reason: str = ""


_MISMATCH = "another_was_expected"


def _mark_mismatches() -> None:
    """Let `pytest.raises` mark what passes it and is not what it asked for."""
    leave = pytest.RaisesExc.__exit__

    def marking(
        self: pytest.RaisesExc[BaseException],
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        expected = leave(self, kind, value, trace)
        if value is not None and not expected:
            setattr(value, _MISMATCH, True)
        return expected

    pytest.RaisesExc.__exit__ = marking  # type: ignore[method-assign]


class _Judge:
    """A pytest plugin that ends the run at the first failed assertion.

    So does an exception that came where a test expected another. A crash is any exception where
    none was expected; the run goes on after one: perhaps a later test fails by assertion.
    """

    def __init__(self) -> None:
        self.asserted: tuple[str, str] | None = None
        self.crashed: tuple[str, str] | None = None

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> object:
        """See with what a test failed."""
        yield
        if call.excinfo is None or issubclass(call.excinfo.type, pytest.skip.Exception):
            return
        failure = (item.nodeid, call.excinfo.typename)
        mismatch = getattr(call.excinfo.value, _MISMATCH, False)
        if mismatch or issubclass(call.excinfo.type, AssertionError | pytest.fail.Exception):
            self.asserted = failure
            item.session.shouldfail = "killed"
        else:
            self.crashed = self.crashed or failure

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A test file that cannot be imported has crashed."""
        if report.failed:
            self.crashed = self.crashed or (report.nodeid, "collection")

    def verdict(self, code: int) -> Verdict:
        """Return the verdict; a code that nothing explains is a crash."""
        if self.asserted:
            return Verdict("assertion", *self.asserted)
        if self.crashed:
            return Verdict("crash", *self.crashed)
        if code:
            return Verdict("crash", "", f"pytest exit {code}")
        return Verdict("survived")


class _FromMemory(importlib.machinery.SourceFileLoader):
    """Loads one module from a changed syntax tree."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:
        """Compile the tree instead of the file."""
        return compile(self._tree, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, loader: _FromMemory) -> None:
        self._loader = loader

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for the one module only."""
        if fullname != self._loader.name:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self._loader.path, loader=self._loader
        )


def judge(path: str, tree: ast.Module | None, tests: Sequence[str]) -> Verdict:
    """Run `tests` with the module at `path` taken from `tree` (None: as it is on disk).

    Call it only in a process that has not imported the module, and once.
    """
    if tree is not None:
        name = ".".join(Path(path).with_suffix("").parts)
        loader = _FromMemory(name, str(Path(path).resolve()), tree)
        sys.meta_path.insert(0, _Finder(loader))
    _mark_mismatches()
    plugin = _Judge()
    # a folder of its own: in a shared one pytest clears up after others, and they get in each
    # other's way
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        code = pytest.main([*_ARGUMENTS, f"--basetemp={folder}/kept", *tests], plugins=[plugin])
    return plugin.verdict(int(code))


def run_forked(path: str, tree: ast.Module | None, tests: Sequence[str], pipe: int) -> None:
    """Judge and write as JSON into `pipe` the verdict and which modules of others were imported for
    it; never returns."""
    code, before = 1, set(sys.modules)
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        verdict = judge(path, tree, tests)
        foreign = [name for name in sorted(set(sys.modules) - before) if _foreign(name)]
        said = json.dumps({"verdict": asdict(verdict), "imported": foreign})
        os.write(pipe, said.encode())
        code = 0
    finally:
        os._exit(code)


def _foreign(name: str) -> bool:
    return name.partition(".")[0] not in _OURS
