"""Judges what a robot executed: by its own log, beside the record of the daemon that drove it.

Shares nothing with envelope, link or device: it compares numbers, and has the invariants judged by
tests/runtime/invariant_checker.py.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from runtime.clock import seconds_to_ns
from runtime.records import Record
from sims.bridge_config import BridgeConfig
from sims.robot_log import Arrived, Changed, Entry, Period, Stopped
from tests.daemon_kit import limits_of
from tests.runtime.invariant_checker import JointInvariants, Violation, check

# rows of a segment that only show where it came from, and at which speed
_HISTORY = 3
_ARMED = 1
_STEP_RAD = 1e-9


@dataclass(frozen=True)
class Executed:
    """What a log amounts to.

    `commands`: periods in which a command was executed; `foreign`: those whose command is not in
    the daemon's record, in the order in which it was sent; `coasts`, `brakes`: periods without one;
    `lets_go`: how often the device left ARMED by itself; `stops`: STOPs that it acted on.
    `violations`: of invariants by commands that followed each other; `judged`: how many did.
    `froze`: periods in which a robot that holds was moved. `speed_max_rad_s`: measured.
    """

    commands: int
    foreign: int
    coasts: int
    brakes: int
    lets_go: int
    stops: int
    judged: int
    violations: tuple[Violation, ...]
    froze: int
    speed_max_rad_s: float

    @property
    def faultless(self) -> bool:
        """Whether nothing happened that must never."""
        return not (self.foreign or self.violations or self.froze)

    def text(self) -> str:
        """Return it in words."""
        return (
            f"{self.commands} commands executed, {self.foreign} not the daemon's; "
            f"{self.coasts} coasted, {self.brakes} braked, let go {self.lets_go} times, "
            f"{self.stops} stops; {len(self.violations)} violations in {self.judged} commands "
            f"that followed each other, {self.froze} moved while holding; "
            f"fastest joint {self.speed_max_rad_s:.2f} rad/s"
        )


def judge(entries: Sequence[Entry], record: Record) -> Executed:
    """Judge a robot's log by the record of its only daemon."""
    periods = [entry for entry in entries if isinstance(entry, Period)]
    did = [period.did for period in periods]
    rows = _rows_of(entries, record)
    pieces = list(_runs([row for row in rows if row >= 0]))
    limits, dt_s = limits_of(record), 1.0 / record.header.servo_hz
    applied = record.column("q_applied")
    found = [violation for piece in pieces for violation in _judged(applied, piece, dt_s, limits)]
    changes = [entry for entry in entries if isinstance(entry, Changed)]
    return Executed(
        commands=did.count("command"),
        foreign=sum(row < 0 for row in rows),
        coasts=did.count("coast"),
        brakes=did.count("brake"),
        lets_go=sum(one.before == _ARMED for one in changes),
        stops=sum(isinstance(entry, Stopped) for entry in entries),
        judged=sum(max(0, len(piece) - _HISTORY) for piece in pieces),
        violations=tuple(found),
        froze=_moved_while_holding(periods),
        speed_max_rad_s=max((period.speed_max_rad_s for period in periods), default=0.0),
    )


def _rows_of(entries: Sequence[Entry], record: Record) -> list[int]:
    """Return for each executed command the tick that sent it, by its place in the record; -1 where
    none did, or only one before the command that was executed last."""
    sent: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    # the daemon records the joints' own stamps, and answers those of the OBSERVATIONs they came in
    bus_ns = seconds_to_ns(BridgeConfig().bus_s)
    stamps = record.column("group_device_stamp_ns")[:, 0] + bus_ns
    applied = record.column("q_applied")
    for row in np.flatnonzero(record.scalar("command_sent")):
        sent[int(stamps[row]), applied[row].tobytes()].append(int(row))
    answered = {
        (entry.session, entry.count): entry.answers_stamp_ns
        for entry in entries
        if isinstance(entry, Arrived)
    }
    rows, last = [], -1
    for entry in entries:
        if not isinstance(entry, Period) or entry.did != "command":
            continue
        stamp_ns = answered.get((entry.session, entry.count), -1)
        key = (stamp_ns, np.array(entry.target_rad).tobytes())
        later = [row for row in sent.get(key, ()) if row > last]
        rows.append(later[0] if later else -1)
        last = max(last, rows[-1])
    return rows


def _runs(rows: Sequence[int]) -> Iterator[NDArray[np.intp]]:
    """Yield the pieces of `rows` in which each is the one before plus 1."""
    numbers = np.array(rows, dtype=np.intp)
    yield from np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)


def _judged(
    applied: NDArray[np.float64],
    piece: NDArray[np.intp],
    dt_s: float,
    limits: Sequence[JointInvariants],
) -> tuple[Violation, ...]:
    return check(applied[piece], dt_s, limits, history=_HISTORY).violations


def _moved_while_holding(periods: Sequence[Period]) -> int:
    """Return in how many periods of a hold the target is another one than in the period before."""
    moved = 0
    for before, now in pairwise(periods):
        step = np.abs(np.array(now.target_rad) - np.array(before.target_rad)).max()
        moved += now.did == "hold" and not (step <= _STEP_RAD)
    return moved
