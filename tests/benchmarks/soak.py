"""Half an hour of learning over ZeroMQ in real time: `python -m tests.benchmarks.soak`.

`trimtab run --learn` drives the simulated hardware in its own process for `--minutes`. A person
re-arms the robot after a stop. Prints memory, descriptors and threads of every process over time,
lateness in the first and the last third, missed deadlines and promoted versions. Ends with an error
if a process died, grew by more than a tenth after the first quarter, or ticks came later at the end
than at the beginning by more than that (and LATER_ALWAYS_MS), in the 99th percentile: what is
beyond it, and shown, is the machine's. Table, and JSON in `--out`.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from policies.lineage import Lineage
from runtime.faults import Fault
from runtime.messages import Outcome
from runtime.records import Record
from runtime.summary import fault_rows
from tests.benchmarks.kit import REPOSITORY, load_text
from tests.benchmarks.wire_rig import (
    GROWTH_MAX,
    Growth,
    Lateness,
    ProcessWatch,
    Sample,
    attend,
    attendant_of,
    await_mode,
    lateness,
    outcomes_between,
    processes_of,
)
from tests.daemon_kit import assert_kept_invariants, daemon
from tests.hardware_kit import hardware, hardware_config

MINUTES = 30.0
LATER_MAX = 1.1
# what the machine under us does in one third and not in the other
LATER_ALWAYS_MS = 0.1
# before that the base is still being observed
PROMOTES_MINUTES = 5.0
TURN_S = 0.1
LOOK_S = 2.0
THIRDS = 3
ROWS = 10


@dataclass(frozen=True)
class Soaked:
    """What became of a run. `late`: first and last third; `samples`: by process."""

    minutes: float
    died: dict[str, int]
    growth: list[Growth]
    samples: dict[str, list[Sample]]
    late: tuple[Lateness, Lateness]
    outcomes: list[dict[str, int]]
    faults: dict[str, int]
    promoted: list[int]
    refused: int
    rearms: int

    def failures(self) -> list[str]:
        """Return what falls short."""
        early, late = self.late
        allowed_ms = max(LATER_MAX * early.p99_ms, early.p99_ms + LATER_ALWAYS_MS)
        wanted = {
            f"died: {self.died}": not self.died,
            f"p99 of lateness {late.p99_ms:.3f} ms, allowed {allowed_ms:.3f}": (
                late.p99_ms <= allowed_ms
            ),
            "no version was promoted": bool(self.promoted) or self.minutes < PROMOTES_MINUTES,
        }
        wanted |= {
            f"{one.role} grew by {one.ratio:.3f}": one.ratio <= GROWTH_MAX for one in self.growth
        }
        return [words for words, reached in wanted.items() if not reached]

    def text(self) -> str:
        """Return the table."""
        lines = [f"  {name:<28} {', '.join(_course(s))} MiB" for name, s in self.samples.items()]
        early, late = self.late
        promoted = len(self.promoted)
        thirds = [
            f"{one.get(Outcome.SUCCESS.name, 0)} of {sum(one.values())}" for one in self.outcomes
        ]
        return "\n".join(
            [
                "memory over time:",
                *lines,
                "after the first quarter, and at the end:",
                *(one.line() for one in self.growth),
                f"first third: {early.text()}",
                f"last third:  {late.text()}",
                f"successes by third: {'; '.join(thirds)}; re-armed {self.rearms} times",
                f"{promoted} versions promoted, {self.refused} refused; faults {self.faults}",
            ]
        )


def _course(samples: list[Sample]) -> list[str]:
    """Return the memory at evenly spread times."""
    step = max(1, len(samples) // ROWS)
    return [f"{one.memory_mib:.0f}" for one in samples[::step]]


def soak(folder: Path, minutes: float) -> Soaked:
    """Let a daemon learn on the simulated hardware for so long."""
    lineage = folder / "lineage"
    changes = {"gate.lineage": str(lineage), "recorder.retention_mb": 50_000.0}
    config = hardware_config(folder, changes)
    run = ("--clock", "realtime", "--arm", "--learn")
    # the executed commands are other benchmarks' matter; here they would fill the disk
    with (
        hardware(config, None, "--log", "/dev/null") as bridge,
        daemon(config, *run) as robot,
        attendant_of(robot) as attendant,
    ):
        await_mode(robot, attendant)
        watch = ProcessWatch()

        def look() -> None:
            watch.look(processes_of(robot, bridge.process.pid))

        begin_ns = time.monotonic_ns()
        attend(robot, 60.0 * minutes, attendant, _every(LOOK_S, look), TURN_S)
        end_ns = time.monotonic_ns()
        died = dict(watch.restarted)
        died |= {"runtime.cli": 1} if robot.process.poll() is not None else {}
        died |= {"the robot": 1} if bridge.process.poll() is not None else {}
        robot.signal(signal.SIGTERM)
        robot.end()
        record = robot.record()
    assert_kept_invariants(record)
    return _told(minutes, record, (begin_ns, end_ns), watch, died, Lineage(lineage),
                 attendant.rearms)  # fmt: skip


def _every(seconds: float, do: Callable[[], None]) -> Callable[[], None]:
    due_s = 0.0

    def turn() -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + seconds
            do()

    return turn


def _told(
    minutes: float,
    record: Record,
    between_ns: tuple[int, int],
    watch: ProcessWatch,
    died: dict[str, int],
    lineage: Lineage,
    rearms: int,
) -> Soaked:
    begin_ns, end_ns = between_ns
    third_ns = (end_ns - begin_ns) // THIRDS
    marks = [begin_ns + part * third_ns for part in range(THIRDS + 1)]
    rows = record.scalar("now_ns").searchsorted(marks).tolist()
    verdicts = [entry for entry in lineage.entries() if entry.what == "verdict"]
    return Soaked(
        minutes=minutes,
        died=died,
        growth=watch.rows(),
        samples=dict(watch.samples),
        late=(lateness(record, rows[0], rows[1]), lateness(record, rows[-2], rows[-1])),
        outcomes=[outcomes_between(record, *pair) for pair in pairwise(marks)],
        faults={Fault[row.fault].name: row.times for row in fault_rows(record)},
        promoted=[entry.version for entry in verdicts if entry.passed],
        refused=sum(not entry.passed for entry in verdicts),
        rearms=rearms,
    )


def main() -> int:
    """Soak; 1 if anything falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "out/soak.json")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak") as name:
        found = soak(Path(name), asked.minutes)
    print(found.text())
    failures = found.failures()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    table = {"failures": failures, **asdict(found)}
    asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print("; ".join([*failures, load_text()]) if failures else f"reached; {load_text()}")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
