"""How long from a fault to the safe action: `python -m tests.benchmarks.fault_times`.

Every fault of the table is injected into the real loop in lockstep while a policy moves the arm,
each time at another moment. Counted are servo ticks, the first one in which the fault could be
seen included, up to the one whose record and command show its response (see fault_evidence).
Allowed is the row's debounce and one tick more; anything longer ends it with an error.
"""

import argparse
import dataclasses
import json
import math
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.faults import ROWS, Fault, Response, Row
from runtime.layout import Floats
from runtime.messages import Mode, Request, TickRecord
from runtime.operator_port import ScriptedPort
from sims.injection import INJECTORS
from tests.benchmarks.fault_evidence import EVIDENCE, Before, Reference, safe
from tests.runtime.control_kit import BEGIN, DT_S, Base, Rig, panda, trained_base
from tests.sims.kit import with_short_memory

INJECTIONS = 20
PHASE_TICKS = 200
WAIT_TICKS = 4000
QUIET_TICKS = 30


class NeverSafe(Exception):
    """A fault was injected and nothing safe followed."""


@dataclasses.dataclass(frozen=True)
class Times:
    """One row's result: ticks from first seen to safe, one number an injection."""

    fault: str
    response: str
    debounce: int
    ticks: list[int]

    @property
    def allowed(self) -> int:
        """What the row promises."""
        return self.debounce + 1


def swaying(record: TickRecord) -> Floats:
    """Return actions that keep the tool moving to and fro."""
    turn = float(record.episode_step[0]) * 0.5
    return np.array([0.5 * math.sin(turn + i) for i in range(len(record.action))])


class Bench:
    """A loop with injectors in it, all off.

    At most one of them may damage the trajectory, and one the pacing: they take a part's place.
    """

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self.faults = faults
        self.rng = random.Random(seed)
        self.limits = panda().robot.command_limits()
        self._build()

    def _build(self) -> None:
        base = Base(swaying)
        speeds = trained_base().contract.start.speed_max_rad_s
        start = base.contract.start.model_copy(update={"speed_max_rad_s": speeds})
        base.contract = base.contract.model_copy(update={"start": start})
        self.rig = Rig(base=base, deployment=with_short_memory(panda()))
        self.injectors = {fault: INJECTORS[fault]() for fault in self.faults}
        for injector in self.injectors.values():
            self.rig.loop._parts = injector.attach(self.rig.loop._parts)
        self.before = Before()

    def tick(self) -> TickRecord:
        """Run one tick; what it was is before the next."""
        self.before.look(self.rig.tick.record)
        return self.rig.loop.tick_once()

    def measure(self, row: Row) -> int:
        """Inject once at a random moment; return the ticks from first seen to safe.

        Raises:
            NeverSafe: it was not seen, or nothing safe followed.
        """
        self._prepare(row.fault)
        injector = self.injectors[row.fault]
        acted = injector.acted
        injector.active = True
        run, run_at_least, ticks = 0, False, 0
        for _ in range(WAIT_TICKS):
            last = Reference.of(self.rig.tick.record)
            record = self.tick()
            if EVIDENCE[row.fault](record, self.before) or run_at_least:
                run += 1
                run_at_least = run >= row.debounce_ticks
            else:
                run = 0
            active = int(record.faults[0]) >> row.fault & 1
            if active and safe(record, row.response, last, self.limits, DT_S):
                ticks = run
                break
        injector.active = False
        if not ticks or injector.acted == acted:
            raise NeverSafe(
                f"{row.fault.name}: injected {injector.acted - acted} times; last seen for {run} "
                f"ticks, in mode {Mode(int(record.mode[0])).name}, faults {int(record.faults[0]):b}"
            )
        return ticks

    def _prepare(self, fault: Fault) -> None:
        """Bring the arm to where the fault can happen, and there to a random moment."""
        starts = fault is Fault.START_REFUSED
        if starts:
            # the simulation asks for a hand-over once, and later for a reset before
            self._build()
        self._recover(Mode.HOMING if starts else Mode.BASE)
        for _ in range(self.rng.randrange(PHASE_TICKS)):
            self.tick()
        if starts:
            return
        # the episode may have ended by itself
        self._recover(Mode.BASE)

    def _recover(self, wanted: Mode) -> None:
        """Bring the loop to `wanted` without a fault, as an operator would; else take a new one."""
        port = self.rig.port
        assert isinstance(port, ScriptedPort)
        quiet = 0
        for count in range(WAIT_TICKS):
            record = self.tick()
            mode = Mode(int(record.mode[0]))
            calm = mode is wanted and record.response[0] <= Response.WARN
            quiet = quiet + 1 if calm else 0
            if quiet >= QUIET_TICKS:
                return
            if count % 20 == 0:
                self._operate(mode, wanted, int(record.response[0]))
        self._build()
        self._recover(wanted)

    def _operate(self, mode: Mode, wanted: Mode, response: int) -> None:
        port = self.rig.port
        if mode is Mode.READY:
            port.ask(Request.ARM)
        elif mode is Mode.STOPPED or response > Response.WARN:
            port.ask(Request.REARM)
        elif mode is Mode.HOMING and wanted is Mode.BASE:
            port.signal(BEGIN)
        elif mode is Mode.BASE and wanted is Mode.HOMING:
            port.ask(Request.STOP)


def measured(bench: Bench, row: Row, injections: int) -> Times:
    """Return the times of a row, so many injections."""
    ticks = [bench.measure(row) for _ in range(injections)]
    return Times(row.fault.name, row.response.name, row.debounce_ticks, ticks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write the JSON file; 1 if a row breaks its promise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--injections", type=int, default=INJECTIONS, help="of each fault")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--only", help="only faults whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("out/fault_times.json"))
    ask = parser.parse_args(arguments)
    rows = [row for row in ROWS if ask.only is None or ask.only in row.fault.name]
    print(f"{'fault':26} {'response':14} {'median':>6} {'max':>5} {'allowed':>8}  ticks")
    broken, results = 0, []
    for row in rows:
        times = measured(Bench([row.fault], ask.seed), row, ask.injections)
        results.append(dataclasses.asdict(times) | {"allowed": times.allowed})
        late = max(times.ticks) > times.allowed
        broken += late
        print(
            f"{times.fault:26} {times.response:14} {statistics.median(times.ticks):6g} "
            f"{max(times.ticks):5} {times.allowed:8}  {'TOO LATE' if late else ''}",
            flush=True,
        )
    ask.out.parent.mkdir(parents=True, exist_ok=True)
    ask.out.write_text(json.dumps(results, indent=1))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
