"""What the benchmarks share: the in-process loop, sinks that keep little, and how results read."""

import math
import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.events import Event
from runtime.interfaces import (
    BasePolicy,
    GateClient,
    RecorderHealth,
    RecordSink,
    ResidualPolicy,
)
from runtime.layout import Layout
from runtime.loop import ControlLoop
from runtime.messages import Mode, Outcome, TickRecord
from runtime.operator_port import Port, ScriptedPort
from runtime.tick import ControlTick
from runtime.wiring import (
    Deployment,
    Surroundings,
    build_loop,
    load_base,
    load_deployment,
    open_link,
    zero_residual,
)
from sims.link import SimulatedLink

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG_FILE = REPOSITORY / "config.yaml"
SERVO_HZ = 500

Rows = np.ndarray[Any, np.dtype[Any]]
_HEALTHY = RecorderHealth(dropped=0, lost=False)
_CHUNK_TICKS = 4096


class NoSink:
    """A sink that keeps nothing."""

    def record(self, record: TickRecord) -> None:
        """Let the tick go."""

    def event(self, event: Event) -> None:
        """Let the event go."""

    def health(self) -> RecorderHealth:
        return _HEALTHY

    def close(self) -> None:
        """Nothing to close."""


class ColumnSink(NoSink):
    """Keeps the named fields of every tick; `rows` returns them as one structured array."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._layout: Layout | None = None
        self._buffer = bytearray()
        self._filled = 0
        self._chunks: list[Rows] = []

    def record(self, record: TickRecord) -> None:
        if self._layout is None:
            self._layout = record.layout
            self._buffer = bytearray(_CHUNK_TICKS * record.layout.size_bytes)
        size = self._layout.size_bytes
        self._buffer[self._filled * size : (self._filled + 1) * size] = record.raw
        self._filled += 1
        if self._filled == _CHUNK_TICKS:
            self._take()

    def _take(self) -> None:
        assert self._layout is not None
        used = memoryview(self._buffer)[: self._filled * self._layout.size_bytes]
        rows = self._layout.read(used)
        kept = np.dtype([(name, self._layout.dtype[name]) for name in self._columns])
        chunk = np.empty(len(rows), dtype=kept)
        for name in self._columns:
            chunk[name] = rows[name]
        self._chunks.append(chunk)
        self._filled = 0

    def rows(self) -> Rows:
        if self._filled:
            self._take()
        return np.concatenate(self._chunks)


class Stuck(Exception):
    """No episode ended for so long that the run would never end."""


class OutcomeCounter:
    """Ends a run after `count` episodes with a verdict; aborted ones are counted apart."""

    def __init__(self, count: int, patience_s: float = 120.0) -> None:
        self.outcomes: list[Outcome] = []
        self.aborted = 0
        self._count = count
        self._patience_ticks = round(patience_s * SERVO_HZ)
        self._last_tick = 0

    def __call__(self, tick: ControlTick) -> bool:
        record = tick.record
        if record.outcome[0]:
            self._last_tick = record.tick.item()
            outcome = Outcome(record.outcome.item())
            if outcome is Outcome.ABORT:
                self.aborted += 1
            else:
                self.outcomes.append(outcome)
        if record.tick.item() - self._last_tick > self._patience_ticks:
            raise Stuck(
                f"no episode ended within {self._patience_ticks / SERVO_HZ:g} s of robot time; "
                f"mode {Mode(record.mode.item()).name}, faults {record.faults.item():#x}"
            )
        return len(self.outcomes) >= self._count


@dataclass(frozen=True)
class Assembly:
    """An in-process loop and what it was made of."""

    loop: ControlLoop
    tick: ControlTick
    link: SimulatedLink
    base: BasePolicy


def assemble(
    field: str | None,
    seed: int,
    sink: RecordSink,
    is_done: Callable[[ControlTick], bool],
    *,
    deployment: Deployment | None = None,
    base: BasePolicy | None = None,
    port: Port | None = None,
    residual: ResidualPolicy | None = None,
    gate: GateClient | None = None,
) -> Assembly:
    """Compose the simulated robot and its loop in this process, in lockstep.

    `field`: None takes the config's.
    """
    deployment = deployment or load_deployment(CONFIG_FILE)
    base = base or load_base(deployment)
    link = open_link(deployment, base.contract, lockstep=True, field=field, seed=seed)
    assert isinstance(link, SimulatedLink)
    residual, port = residual or zero_residual(), port or ScriptedPort()
    surroundings = Surroundings(link, base, residual, sink, port, None, gate=gate)
    loop = build_loop(deployment, surroundings, is_done)
    return Assembly(loop, loop._parts.tick, link, base)


def quantile(values: np.ndarray[Any, Any], share: float) -> float:
    """Return the value below which `share` of the values lie; NaN without values."""
    return float(np.quantile(values, share)) if len(values) else math.nan


def spread(values: Sequence[float]) -> str:
    """Return the median with the range in brackets."""
    return f"{statistics.median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"


def load_text() -> str:
    """Return the load average, without which no timing on a shared machine can be read."""
    one, five, fifteen = os.getloadavg()
    cores = len(os.sched_getaffinity(0))
    return f"load average {one:.2f} {five:.2f} {fifteen:.2f} on {cores} cores"


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmRSS; memory can be measured on Linux only")


def histogram(values: np.ndarray[Any, Any], unit: str, bins: int = 10) -> str:
    """Return a text histogram of absolute values, with percentiles; counts are in log10 bars."""
    size = np.abs(values.ravel())
    counts, edges = np.histogram(size, bins=bins)
    lines = [
        f"    {low:10.3g} .. {high:10.3g} {unit:8} {count:9d} {'#' * _bar(count)}"
        for low, high, count in zip(edges, edges[1:], counts.tolist(), strict=False)
    ]
    marks = ", ".join(f"p{100 * q:g} {np.quantile(size, q):.3g}" for q in (0.5, 0.99, 0.999))
    return "\n".join([*lines, f"    {marks}, max {size.max():.3g} {unit}"])


def _bar(count: int) -> int:
    return round(6 * math.log10(1 + count))
