"""The fault -> safe-action matrix over the wire: `python -m tests.benchmarks.fault_matrix`.

    [--trials 20] [--rows NAME...] [--json FILE]

Whole real processes in real time: the simulated robot behind its socket, the daemon, and between
them a proxy. Every trial: the arm moves, a fault, and what followed, judged on what the robot
executed and on what the daemon recorded. Allowed are, for a fault of the table, its debounce and a
tick from the first tick that can see it; for the robot by itself, its watchdog and a period; then
the time that braking takes. Not one command that was sent, and nothing that was executed, may break
an invariant.

A trial that failed while this machine stood still (core_witness.py sees that on every core, above
everybody's priority), and one whose fault met nobody whom it could act on (between two episodes the
base is not asked), is repeated, and counted as such. Ends with an error unless all is kept.
"""

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.core_witness import CoreWitness
from tests.benchmarks.executed import ExecutedChecker, Judged, Sent, command_violations
from tests.benchmarks.kit import load_text
from tests.benchmarks.matrix_judge import (
    PERIOD_NS,
    Log,
    Trial,
    Verdict,
    judge_device,
    judge_faults,
    judge_halt,
    judge_motion,
    judge_rest,
    judge_work,
)
from tests.benchmarks.matrix_rig import WATCHDOG_NS, NotReady, Rig
from tests.benchmarks.matrix_rows import ROWS, Row, Then, prepare

TRIALS = 20
# so many times a trial is repeated, on average, before the machine is called unfit
REPEATS = 3
_WITNESS_PRIORITY = 90
_STALL_NS = 1_500_000
_AROUND_NS = 20_000_000


@dataclass
class Result:
    """A row's: `verdicts` that count, how many were `repeated` because the machine stood still, how
    many `idle` because their fault met nobody, and what was `broken` of invariants and of the
    robot's own rules."""

    row: Row
    verdicts: list[Verdict] = field(default_factory=list)
    repeated: int = 0
    idle: int = 0
    broken: list[str] = field(default_factory=list)
    executed: Judged = field(default_factory=Judged)
    wanted: int = 0
    wall_s: float = 0.0

    @property
    def failures(self) -> list[str]:
        """Everything that was not kept, in words."""
        found = [text for verdict in self.verdicts for text in verdict.failures]
        missing = self.wanted - len(self.verdicts)
        found += [f"{missing} trials are missing"] if missing > 0 else []
        return [*found, *self.broken]


@dataclass
class Batch:
    """What one set of processes served: a verdict a trial, whether the machine stood still in it,
    and what was wrong with everything that was sent and executed."""

    judged: list[tuple[Row, Verdict, bool]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    executed: Judged = field(default_factory=Judged)


def run_row(row: Row, trials: int, seed: int) -> Result:
    """Run a row until so many trials count."""
    chance = random.Random(f"{row.name} {seed}")
    result, begin_s = Result(row, wanted=trials), time.monotonic()
    for _ in range(REPEATS * (1 + trials // row.most)):
        left = trials - len(result.verdicts)
        if left <= 0:
            break
        _add(result, run_batch([row] * min(left, row.most), chance))
    result.wall_s = time.monotonic() - begin_s
    return result


def _add(result: Result, batch: Batch) -> None:
    for _, verdict, stalled in batch.judged:
        if verdict.failures and stalled:
            result.repeated += 1
        elif not verdict.trial.acted:
            result.idle += 1
        else:
            result.verdicts.append(verdict)
    result.broken += batch.broken
    total, more = result.executed, batch.executed
    total.periods += more.periods
    total.commands += more.commands
    total.unmatched += more.unmatched


def run_batch(rows: Sequence[Row], chance: random.Random) -> Batch:
    """Run a trial of each row, all of one scene, with one set of processes; judge them when all of
    it has ended."""
    scene, batch, shots = rows[0].scene, Batch(), []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trimtab-matrix-")))
        rig = Rig(folder, scene, lambda config: prepare(config, scene))
        stack.callback(rig.close)
        with ExitStack() as watching:
            witnesses = [
                watching.enter_context(CoreWitness(cpu, _WITNESS_PRIORITY))
                for cpu in sorted(os.sched_getaffinity(0))
            ]
            try:
                for row in rows:
                    rig.bring_to_work(chance)
                    shots.append(_inject(row, rig))
                rig.bring_to_work(chance)
            except NotReady as error:
                batch.broken.append(f"after {len(shots)} trials: {error}")
            rig.end()
        _judge(batch, rows, rig, shots, witnesses)
    return batch


def _inject(row: Row, rig: Rig) -> Trial:
    with row.inject(rig) as shot:
        time.sleep(row.lasts_s)
        end_ns = time.monotonic_ns()
    return Trial(shot.begin_ns, end_ns, shot.acted, shot.said)


def _judge(
    batch: Batch,
    rows: Sequence[Row],
    rig: Rig,
    shots: Sequence[Trial],
    witnesses: Sequence[CoreWitness],
) -> None:
    entries, records = rig.entries(), rig.records()
    log = Log(entries)
    for row, shot in zip(rows, shots, strict=False):
        verdict = _judge_trial(row, shot, log, records)
        stalled = any(_stood_still(witness, verdict) for witness in witnesses)
        batch.judged.append((row, verdict, stalled))
    checker = ExecutedChecker(Sent(records), rig.bridge_starts_ns)
    batch.executed = checker.follow(entries)
    batch.broken += [f"executed: {one.what} at {one.now_ns}" for one in checker.judged.broken]
    for record in records:
        batch.broken += command_violations(record)


def _judge_trial(row: Row, shot: Trial, log: Log, records: Sequence[Any]) -> Verdict:
    verdict = Verdict(shot)
    judge_faults(verdict, records, row.faults, needed=row.needed and bool(row.faults))
    if row.device:
        judge_device(verdict, log, WATCHDOG_NS + PERIOD_NS)
    if row.halts_ns is not None:
        judge_halt(verdict, log, row.halts_ns)
    rests = row.then is Then.RESTS or (row.then is Then.EITHER and verdict.safe_ns)
    if rests and verdict.safe_ns:
        judge_rest(verdict, log)
    elif row.then in (Then.WORKS, Then.EITHER):
        judge_work(verdict, log, records)
    judge_motion(verdict, log)
    verdict.failures += row.check(log, shot) if row.check is not None else []
    return verdict


def _stood_still(witness: CoreWitness, verdict: Verdict) -> bool:
    """Whether a core did nothing for longer than a period may bear, while the trial was judged."""
    begin_ns, end_ns = verdict.trial.begin_ns - _AROUND_NS, verdict.trial.end_ns + _AROUND_NS
    gaps = witness.gaps
    inside = (gaps[:, 0] < end_ns) & (gaps[:, 1] > begin_ns)
    return bool((gaps[inside, 1] - gaps[inside, 0] >= _STALL_NS).any())


# -- the table ------------------------------------------------------------------------------------


def line(result: Result) -> str:
    """Return one row of the table."""
    verdicts = result.verdicts
    ticks = {name for verdict in verdicts for name in verdict.ticks}
    seen = ", ".join(
        f"{name} {_spread([v.ticks[name] for v in verdicts if name in v.ticks], 'd')}"
        for name in sorted(ticks)
    )
    return (
        f"{result.row.name:24} {result.row.then.value:7} {len(verdicts):3} "
        f"{result.repeated + result.idle:3} "
        f"{_spread([v.trial.acted for v in verdicts], 'd'):>13} "
        f"{_spread([v.device_ms for v in verdicts], '.1f'):>13} "
        f"{_spread([v.rest_ms for v in verdicts], '.0f'):>11} "
        f"{_spread([v.settled_ms for v in verdicts], '.0f'):>11} "
        f"{max((v.speed_rad_s for v in verdicts), default=0.0):5.2f} "
        f"{1e3 * min((v.range_margin_rad for v in verdicts), default=0.0):5.0f} "
        f"{min((v.speed_margin for v in verdicts), default=0.0):5.2f}  "
        f"{'kept' if not result.failures else 'NOT KEPT'}  {seen}"
    )


HEAD = (
    f"{'fault':24} {'then':7} {'n':>3} {'rep':>3} {'acted':>13} {'robot ms':>13} {'rest ms':>11} "
    f"{'still ms':>11} {'rad/s':>5} {'mrad':>5} {'speed':>5}  {'':4}  ticks to the safe action"
)


def _spread(numbers: Sequence[float | None], form: str) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return "-"
    middle = statistics.median_low(known)
    return f"{middle:{form}} ({max(known):{form}})"


def _finite(number: float) -> float | None:
    """JSON has no infinity: a robot that is gone executed nothing."""
    return number if math.isfinite(number) else None


def as_json(result: Result) -> dict[str, Any]:
    """Return a row with every trial, for a machine."""
    return {
        "row": result.row.name,
        "then": result.row.then.value,
        "faults": [fault.name for fault in result.row.faults],
        "repeated_because_the_machine_stood_still": result.repeated,
        "repeated_because_the_fault_met_nobody": result.idle,
        "executed": {
            "periods": result.executed.periods,
            "commands": result.executed.commands,
            "beyond_any_record": result.executed.unmatched,
        },
        "failures": result.failures,
        "wall_s": result.wall_s,
        "trials": [
            {
                "acted": v.trial.acted,
                "said": v.trial.said,
                "ticks": v.ticks,
                "robot_let_go_ms": v.device_ms,
                "rest_ms": v.rest_ms,
                "rest_allowed_ms": v.rest_allowed_ms,
                "measured_at_rest_ms": v.settled_ms,
                "speed_max_rad_s": v.speed_rad_s,
                "range_margin_rad": _finite(v.range_margin_rad),
                "speed_margin": _finite(v.speed_margin),
                "failures": v.failures,
            }
            for v in result.verdicts
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    ask = parser.parse_args()
    print(HEAD, flush=True)
    results = []
    for name in ask.rows:
        result = run_row(ROWS[name], ask.trials, ask.seed)
        results.append(result)
        print(line(result), flush=True)
        for text in dict.fromkeys(result.failures):
            print(f"    {text}", flush=True)
    if ask.json is not None:
        ask.json.parent.mkdir(parents=True, exist_ok=True)
        ask.json.write_text(json.dumps([as_json(one) for one in results], indent=1))
    kept = sum(not one.failures for one in results)
    executed = sum(one.executed.commands for one in results)
    broken = sum(len(one.broken) for one in results)
    repeated, idle = sum(one.repeated for one in results), sum(one.idle for one in results)
    print(
        f"{kept} of {len(results)} rows kept; {executed} commands executed, {broken} violations; "
        f"{repeated} trials repeated because the machine stood still, {idle} because the fault met "
        f"nobody; {load_text()}"
    )
    return 0 if kept == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
