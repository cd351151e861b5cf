"""Success and safety on a bad network: `python -m tests.benchmarks.bad_network`.

Daemon and robot talk over tcp with CURVE keys, each cell of the table for `--seconds`, with frames
lost and delayed each way (two_networks.py; the table says where). Ages that the daemon and the
robot accept are as wide as the protocol allows (PATIENT), or nothing would move at 5 ms already:
the committed ones are for a robot beside its computer. Reached when in every cell the robot
executed no command but the daemon's, kept every invariant and its manufacturer's speeds, and the
clean cell succeeded. Success is expected to fall. Table, and JSON in `--out`.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from runtime.errors import LinkError
from runtime.faults import Fault, Response
from runtime.messages import Mode, Outcome
from runtime.records import Record, read_record
from runtime.robot_spec import RobotSpec
from runtime.summary import FaultRow, fault_rows
from tests.benchmarks.kit import REPOSITORY, load_text
from tests.benchmarks.two_networks import Condition, Keys, Network, free_port, keys, network
from tests.benchmarks.wire_rig import attend, attendant_of, await_mode, outcomes_between
from tests.daemon_kit import Daemon, assert_kept_invariants, daemon
from tests.executed_judge import Executed, judge
from tests.hardware_kit import Hardware, hardware, hardware_config

LOSSES = (0.0, 0.01, 0.05, 0.2)
DELAYS_S = (0.0, 0.005, 0.02, 0.1)
SECONDS = 40.0
CONNECT_S = 30.0
PATIENT: dict[str, object] = {
    "control.command_valid_s": 0.1,
    "observations.joints_max_age_s": 0.1,
    "observations.link_lost_after_s": 0.3,
    "observations.groups": [
        {"name": "force", "size": 3, "max_age_s": 0.1},
        {"name": "task", "size": 4, "max_age_s": 0.3},
    ],
}
_GRAVE = (Response.HOLD.name, Response.STOP.name)
_OURS = Fault.OPERATOR_STOP.name


@dataclass(frozen=True)
class Cell:
    """What happened under one condition. `holds`, `stops`: how often the daemon went into them;
    `speed_share`: of the fastest joint's measured speed over its manufacturer's limit."""

    condition: Condition
    where: str
    seconds: float
    outcomes: dict[str, int]
    holds: int
    stops: int
    rearms: int
    faults: dict[str, int]
    executed: Executed
    speed_max_allowed_rad_s: float
    refused: str = ""

    @property
    def safe(self) -> bool:
        """Whether nothing happened that must never."""
        return self.executed.faultless and (
            self.executed.speed_max_rad_s <= self.speed_max_allowed_rad_s
        )

    @property
    def successes(self) -> int:
        """How many episodes succeeded."""
        return self.outcomes.get(Outcome.SUCCESS.name, 0)

    def line(self) -> str:
        """Return the row of the table."""
        done, ended = self.executed, sum(self.outcomes.values())
        causes = ", ".join(f"{name} {times}" for name, times in self.faults.items())
        return (
            f"{self.condition!s:<28} {self.successes:3d} of {ended:3d} episodes; "
            f"{self.holds:3d} holds, {self.stops:3d} stops, re-armed {self.rearms:2d}; let go "
            f"{done.lets_go:3d}, coasted {done.coasts:5d}; {done.commands:6d} commands, "
            f"{done.foreign} foreign, {len(done.violations)} violations, fastest joint "
            f"{done.speed_max_rad_s:.2f} rad/s: {'safe' if self.safe else 'NOT SAFE'}"
            f"{self.refused}{f' ({causes})' * bool(causes)}"
        )


def try_cell(folder: Path, condition: Condition, seconds: float) -> Cell:
    """Let a daemon and its robot work under one condition."""
    folder.mkdir(parents=True)
    pairs = keys(folder)
    with network(condition) as net:
        config, changes = _configs(folder, pairs, net)
        with (
            hardware(config, changes, "--field", "nominal", prefix=net.robot) as bridge,
            daemon(config, "--clock", "realtime", "--arm", prefix=net.daemon) as robot,
        ):
            rearms = _work(robot, seconds)
            end_ns = time.monotonic_ns()
            robot.signal(signal.SIGTERM)
            robot.process.wait(60.0)
            bridge.end()
            return _cell(condition, net, (seconds, end_ns), robot, bridge, rearms)


def _configs(folder: Path, pairs: Keys, net: Network) -> tuple[Path, dict[str, object]]:
    """Return the daemon's config file, and what the robot's differs in."""
    endpoint = f"tcp://{net.host}:{free_port()}"
    ours = {"endpoint": endpoint, "curve": pairs.daemon, "connect_s": CONNECT_S}
    config = hardware_config(folder, {**PATIENT, "zmq": ours})
    return config, {"endpoint": endpoint, "curve": pairs.robot, **net.faults}


def _work(robot: Daemon, seconds: float) -> int:
    """Stay beside it for so long from its first tick; return how often it was armed again."""
    with attendant_of(robot) as attendant:
        try:
            await_mode(robot, attendant)
        except SystemExit:
            # where nobody answers it refuses to start: that is a result, and told as one
            return 0
        attend(robot, seconds, attendant, lambda: None)
        return attendant.rearms


def _cell(
    condition: Condition,
    net: Network,
    lasted: tuple[float, int],
    robot: Daemon,
    bridge: Hardware,
    rearms: int,
) -> Cell:
    """Read what happened. `lasted`: seconds, and when (ns) they were over; then came our stop."""
    seconds, end_ns = lasted
    said = robot.said()
    runs = [one for one in robot.records.glob("*") if one.is_dir()]
    if not runs:
        why = said.err.strip().splitlines()[-1:] or ["it said nothing"]
        if said.code != LinkError.exit_code:
            raise SystemExit(f"{condition}: the daemon ended with {said.code}: {why[0]}")
        nothing = Executed(0, 0, 0, 0, 0, 0, 0, (), 0, 0.0)
        return Cell(condition, net.said, seconds, {}, 0, 0, 0, {}, nothing, 0.0, f"; {why[0]}")
    record = read_record(runs[0])
    assert_kept_invariants(record)
    rows = sorted(fault_rows(record), key=lambda row: -row.times)
    return Cell(
        condition=condition,
        where=net.said,
        seconds=seconds,
        outcomes=outcomes_between(record, 0, end_ns),
        holds=_entries(record, Mode.HOLD, end_ns),
        stops=_entries(record, Mode.STOPPED, end_ns),
        rearms=rearms,
        faults={row.fault: row.times for row in rows if _counts(row)},
        executed=judge(bridge.entries(), record),
        speed_max_allowed_rad_s=_fastest_allowed(record),
    )


def _counts(row: FaultRow) -> bool:
    """Whether a fault says something of the network: not the stop that ended it all."""
    return row.response in _GRAVE and row.fault != _OURS


def _entries(record: Record, mode: Mode, end_ns: int) -> int:
    """Return how often the daemon went into a mode before a time."""
    inside = (record.scalar("mode") == mode) & (record.scalar("now_ns") < end_ns)
    return int(np.sum(inside[1:] & ~inside[:-1]))


def _fastest_allowed(record: Record) -> float:
    """Return the largest speed that the manufacturer allows any joint."""
    spec = RobotSpec.model_validate(json.loads(record.header.robot), strict=False)
    return max(joint.velocity_max_rad_s for joint in spec.joints)


def failures(cells: Sequence[Cell]) -> list[str]:
    """Return what falls short."""
    found = [f"not safe: {cell.condition}" for cell in cells if not cell.safe]
    clean = [one for one in cells if one.condition == Condition(0.0, 0.0)]
    return [*found, *("nothing succeeded on a clean network" for c in clean if not c.successes)]


def main() -> int:
    """Fill the table; 1 if anything falls short."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--losses", type=float, nargs="+", default=LOSSES)
    parser.add_argument("--delays", type=float, nargs="+", default=DELAYS_S, help="seconds")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "out/bad_network.json")
    asked = parser.parse_args()
    conditions = [Condition(loss, delay) for delay in asked.delays for loss in asked.losses]
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory(prefix="net") as name:
        for number, condition in enumerate(conditions):
            cells.append(try_cell(Path(name) / str(number), condition, asked.seconds))
            if not number:
                print(f"{cells[0].where}; tcp with CURVE keys; {asked.seconds:g} s each")
            print(cells[-1].line(), flush=True)
    missing = failures(cells)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    table = {"failures": missing, "cells": [asdict(cell) for cell in cells]}
    asked.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print("; ".join([*(missing or ["reached"]), load_text()]))
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
