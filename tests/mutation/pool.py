"""Forked children, so many at a time, each with a limit of its own."""

import gc
import importlib
import json
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# imported here, so that every child has them at once; nothing of ours may be among them
import hypothesis.stateful
import msgspec
import mujoco
import numpy as np
import pydantic
import pytest
import ruamel.yaml
import ruckig

from tests.mutation.child import Verdict, run_forked
from tests.mutation.operators import Enumerations, mutants

PRELOADED = (hypothesis.stateful, msgspec, mujoco, np, pydantic, pytest, ruamel.yaml, ruckig)
_POLL_S = 0.01


@dataclass(frozen=True)
class _Child:
    index: int | None
    pipe: int
    ends_s: float


class Pool:
    """Judges mutants of one file. `seconds`: what its tests take without a mutant."""

    def __init__(self, path: str, tests: Sequence[str], enums: Enumerations, jobs: int) -> None:
        """Run the tests once on the file as it is.

        Raises:
            SystemExit: they do not pass.
        """
        self._path = path
        self._tests = tests
        self._enums = enums
        self._jobs = jobs
        self._source = Path(path).read_text()
        self._limit_s = 300.0
        self._imported: set[str] = set()
        verdict = self.judge([None])[None]
        self._preload()
        started = time.monotonic()
        self.judge([None])
        self.seconds = time.monotonic() - started
        self._limit_s = 20.0 + 10.0 * self.seconds
        if verdict.outcome != "survived":
            raise SystemExit(f"{path}: its tests fail without any mutant: {verdict}")

    def judge(self, indices: Sequence[int | None]) -> dict[int | None, Verdict]:
        """Return the verdict on each mutant by its index; None is the file as it is."""
        waiting = list(reversed(indices))
        running: dict[int, _Child] = {}
        verdicts: dict[int | None, Verdict] = {}
        while waiting or running:
            while waiting and len(running) < self._jobs:
                self._start(waiting.pop(), running)
            self._collect(running, verdicts)
            time.sleep(_POLL_S)
        return verdicts

    def _preload(self) -> None:
        """Import here what the first child had to import, so that the next need not."""
        for name in self._imported:
            # what cannot be imported by itself stays the child's own affair
            with suppress(Exception):
                importlib.import_module(name)
        # a child's garbage collections shall not walk through all this
        gc.collect()
        gc.freeze()

    def _start(self, index: int | None, running: dict[int, _Child]) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.setpgid(0, 0)
            tree = None
            if index is not None:
                tree, found = mutants(self._path, self._source, self._enums)
                found[index].apply()
            run_forked(self._path, tree, self._tests, writing)
        os.close(writing)
        running[pid] = _Child(index, reading, time.monotonic() + self._limit_s)

    def _collect(
        self, running: dict[int, _Child], verdicts: dict[int | None, Verdict]
    ) -> None:
        """Take up the verdicts of children that ended, and end those that are past their time."""
        for pid, child in list(running.items()):
            late = time.monotonic() > child.ends_s
            if late:
                os.killpg(pid, signal.SIGKILL)
            ended, _ = os.waitpid(pid, 0 if late else os.WNOHANG)
            if not ended:
                continue
            said = os.read(child.pipe, 65536)
            os.close(child.pipe)
            verdicts[child.index] = self._heard(said, late=late)
            del running[pid]

    def _heard(self, said: bytes, *, late: bool) -> Verdict:
        if said:
            told = json.loads(said)
            self._imported.update(told["imported"])
            return Verdict(**told["verdict"])
        return Verdict("timeout") if late else Verdict("crash", "", "the child died")
