"""Judges what a robot executed, from its own log and from what daemons recorded that they sent.

Shares nothing with device, link or envelope: numbers of the protocol and the manufacturer's of the
arm are written again by hand. Commands themselves are judged by the independent checker.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile

import numpy as np

from runtime.layout import Floats
from runtime.records import Record
from sims.robot_log import Changed, Dropped, Entry, Period, Stopped
from tests.daemon_kit import limits_of
from tests.runtime.invariant_checker import check

ARMED = 1
COAST_PERIODS = 3
DT_S = 0.002
COMMAND_TYPE = 4
# where an arm's drive may be told to begin after it was armed, rad
JUMP_RAD = 0.05
_ROUNDING_RAD = 1e-9
# no robot executes what was sent before that: its watchdog is at most as long
_OLDEST_NS = 100_000_000
# how far a held arm is from its target at most
_AT_REST_RAD = 0.02
# manufacturer's numbers of the arm on the bench: rad, rad/s, rad/s^2
LOW_RAD = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)
HIGH_RAD = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)
SPEED_RAD_S = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
BRAKE_RAD_S2 = (15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0)


@dataclass(frozen=True)
class Broken:
    """One thing that must not have happened, and when on the robot's clock."""

    now_ns: int
    what: str


@dataclass
class Judged:
    """What came of a whole log. `unmatched`: executed commands of times that no record covers."""

    periods: int = 0
    commands: int = 0
    unmatched: int = 0
    broken: list[Broken] = field(default_factory=list)


class Sent:
    """Everything that daemons recorded as sent, by its joints."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._of: dict[bytes, list[tuple[int, Floats]]] = {}
        self.covered: list[tuple[int, int]] = []
        for record in records:
            self._add(record)

    def _add(self, record: Record) -> None:
        sent = record.scalar("command_sent").astype(bool)
        now_ns, ticks = record.scalar("now_ns"), record.scalar("tick")
        q, dq = record.column("q_applied"), record.column("dq_applied")
        for row in np.flatnonzero(sent):
            key = q[row].tobytes()
            self._of.setdefault(key, []).append((int(now_ns[row]), dq[row]))
        if not len(now_ns):
            return
        edges = [0, *(np.flatnonzero(np.diff(ticks.astype(np.int64)) > 1) + 1), len(ticks)]
        for begin, end in pairwise(edges):
            self.covered.append((int(now_ns[begin]), int(now_ns[end - 1])))

    def find(
        self, target_rad: Sequence[float], after_ns: int, until_ns: int
    ) -> list[tuple[int, Floats]]:
        """Return when commands to exactly there were sent between two times, and their speed
        (rad/s), the newest first. A stop's last two go to one place, the first of them still fast.
        """
        there = reversed(self._of.get(np.array(target_rad).tobytes(), []))
        newer = takewhile(lambda one: one[0] > after_ns, there)
        return [one for one in newer if one[0] <= until_ns]

    def knows(self, now_ns: int) -> bool:
        """Whether everything was recorded that could be executed at this time."""
        return any(a + 30_000_000 <= now_ns <= b for a, b in self.covered)


class ExecutedChecker:
    """Follows one robot's log. `starts_ns`: when the robot began, and began anew."""

    def __init__(self, sent: Sent, starts_ns: Sequence[int]) -> None:
        self._sent = sent
        self._starts = sorted(starts_ns)
        self.judged = Judged()
        self._forget()

    def _forget(self) -> None:
        self._target: list[float] = []
        # what the speed may be now; empty: unknown
        self._paces: list[list[float]] = [[0.0] * len(LOW_RAD)]
        self._coasted = 0
        self._counts: dict[int, int] = {}
        self._first = True
        self._stopped_epoch = -1
        # no command that was sent until then comes any more
        self._after_ns = 0
        self._last: tuple[int, list[float]] | None = None

    def follow(self, entries: Sequence[Entry]) -> Judged:
        """Judge the entries in their order."""
        for entry in entries:
            if self._starts and entry.now_ns >= self._starts[0]:
                self._starts.pop(0)
                self._forget()
            if isinstance(entry, Stopped):
                self._stopped_epoch = entry.epoch
            elif isinstance(entry, Changed) and entry.after == ARMED:
                self._first = True
            elif isinstance(entry, Period):
                self._period(entry)
        return self.judged

    def _period(self, period: Period) -> None:
        self.judged.periods += 1
        target = period.target_rad
        self._require(period, bool(np.isfinite(target).all()), "a target is not finite")
        inside = all(
            low - _ROUNDING_RAD <= at <= high + _ROUNDING_RAD
            for low, at, high in zip(LOW_RAD, target, HIGH_RAD, strict=True)
        )
        self._require(period, inside, "a target is beyond the robot's range")
        before = self._target or target
        pace = [(now - then) / DT_S for now, then in zip(target, before, strict=True)]
        if period.did == "command":
            self._command(period, pace)
        elif period.did == "coast":
            self._coast(period, pace)
        else:
            self._slow_down(period, pace)
        self._target = target

    def _command(self, period: Period, pace: list[float]) -> None:
        judged = self.judged
        judged.commands += 1
        self._require(period, period.state == ARMED, "a command was executed while not armed")
        self._require(
            period, period.epoch > self._stopped_epoch, "a command was executed after a stop"
        )
        last = self._counts.get(period.session, 0)
        self._require(period, period.count > last, "a command was executed twice, or an older one")
        self._counts[period.session] = period.count
        after_ns = max(self._after_ns, period.now_ns - _OLDEST_NS)
        found = self._sent.find(period.target_rad, after_ns, period.now_ns)
        if not found:
            judged.unmatched += 1
            known = self._sent.knows(period.now_ns)
            self._require(period, not known, "it executed no command of a daemon, or an old one")
        self._place(period, found)
        # a robot that is late may execute the one before the newest
        self._paces = [speed.tolist() for _, speed in found]
        self._after_ns = found[-1][0] if found else self._after_ns
        self._coasted, self._first = 0, False
        self._last = (found[0][0], period.target_rad) if found else None

    def _place(self, period: Period, found: Sequence[tuple[int, Floats]]) -> None:
        """No leap: after arming from where it stood, else what the speed limit allows in the time
        between two commands."""
        if self._first:
            near = zip(period.target_rad, self._target or period.target_rad, strict=True)
            began = all(abs(a - b) <= JUMP_RAD + _AT_REST_RAD for a, b in near)
            self._require(period, began, "it began elsewhere than it stood")
        elif found and self._last is not None:
            between_s = (found[0][0] - self._last[0]) * 1e-9 + DT_S
            joints = zip(period.target_rad, self._last[1], SPEED_RAD_S, strict=True)
            fair = all(abs(a - b) <= v * between_s + _ROUNDING_RAD for a, b, v in joints)
            self._require(period, fair and between_s > 0.0, "the target leapt")

    def _coast(self, period: Period, pace: list[float]) -> None:
        self._coasted += 1 + period.skipped
        self._require(period, self._coasted <= COAST_PERIODS, "coasted for more than three periods")
        same = [before for before in self._paces or [pace] if _alike(pace, before)]
        self._require(period, bool(same), "coasting changed the speed")
        self._paces = same or [pace]

    def _slow_down(self, period: Period, pace: list[float]) -> None:
        """Braking and holding: never faster, never turned round, no harder than the drive may."""
        wrong = min((_no_braking(pace, before) for before in self._paces or [pace]), key=len)
        for joint in wrong:
            self._require(period, False, f"{period.did} of joint {joint} was no braking")
        self._paces = [pace]

    def _require(self, period: Period, kept: bool, what: str) -> None:
        if not kept:
            self.judged.broken.append(Broken(period.now_ns, what))


def _alike(pace: Sequence[float], before: Sequence[float]) -> bool:
    return all(abs(a - b) <= 1e-6 for a, b in zip(pace, before, strict=True))


def _no_braking(pace: Sequence[float], before: Sequence[float]) -> list[int]:
    """Return the joints that did not brake fairly from one speed to the next."""
    joints = []
    for joint, (now, then) in enumerate(zip(pace, before, strict=True)):
        slower = abs(then) - abs(now)
        fair = now * then >= -1e-6 and slower >= -1e-6
        if not (fair and slower <= BRAKE_RAD_S2[joint] * DT_S + 1e-6):
            joints.append(joint)
    return joints


def command_violations(record: Record) -> list[str]:
    """Return what broke an invariant among everything that a daemon sent, by the independent
    checker: a reference begins at rest where the robot was measured, except after lost records."""
    sent = record.scalar("command_sent").astype(bool)
    ticks = record.scalar("tick").astype(np.int64)
    lost = np.concatenate(([False], np.diff(ticks) > 1))
    first = sent & (~np.concatenate(([False], sent[:-1])) | lost)
    last = sent & (~np.concatenate((sent[1:], [False])) | np.concatenate((lost[1:], [True])))
    limits, dt_s = limits_of(record), 1.0 / record.header.servo_hz
    found = []
    for begin, end in zip(np.flatnonzero(first), np.flatnonzero(last) + 1, strict=True):
        q = record.column("q_applied")[begin:end]
        if lost[begin]:
            verdict = check(q, dt_s, limits, history=3)
        else:
            verdict = check(np.vstack((record.column("q")[begin], q)), dt_s, limits)
        found += [f"tick {ticks[begin]} + {v.tick}: {v}" for v in verdict.violations]
    return found


def dropped_commands(entries: Sequence[Entry], begin_ns: int, end_ns: int) -> list[Dropped]:
    """Return the COMMANDs that had no effect between two times."""
    return [
        entry
        for entry in entries
        if isinstance(entry, Dropped)
        and entry.type == COMMAND_TYPE
        and begin_ns <= entry.now_ns <= end_ns
    ]
