"""What one trial of the fault matrix came to: judged from the daemon's record and the robot's log.

All stamps are CLOCK_MONOTONIC of one machine, the simulated robot's without drift; only this judge
compares them. Evidence of a fault, and what is safe, are those of fault_evidence.
"""

import bisect
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from runtime.fault_tracker import names
from runtime.faults import ROWS, Fault, Response
from runtime.messages import Mode, TickRecord
from runtime.records import Record
from runtime.robot_spec import JointLimits, RobotSpec
from sims.robot_log import Changed, Entry, Period
from tests.benchmarks.executed import BRAKE_RAD_S2, DT_S, HIGH_RAD, LOW_RAD, SPEED_RAD_S
from tests.benchmarks.fault_evidence import EVIDENCE, Before, Reference, safe

PERIOD_NS = 2_000_000
MS = 1_000_000
# from a tick to the period that executes it, and rounding at both ends
_ON_ITS_WAY_PERIODS = 4
_STANDS_PERIODS = 5
# how long the simulated arm may creep after its target stands: its servos close in on it with a
# time constant of 0.16 s, and at rest is the protocol's 0.01 rad/s
SETTLE_MS = 1000.0
_REST_RAD_S = 0.01
_WARM_UP_TICKS = 500
# what is seen of a fault may come this long after it was taken away
AFTER_NS = 500 * MS


# modes in which the response has been given, or nothing is commanded that could be held
_DONE = {
    Response.HOLD: (Mode.HOLD, Mode.STOPPED, Mode.READY, Mode.DISARMED),
    Response.STOP: (Mode.STOPPED, Mode.DISARMED),
}


@dataclass(frozen=True)
class Trial:
    """One injection. `begin_ns`: just before it took effect, `end_ns`: when it was taken away;
    `acted`: how often it changed something; `said`: the injector's own words."""

    begin_ns: int
    end_ns: int
    acted: int
    said: str = ""


@dataclass
class Verdict:
    """`failures`: what was not kept, in words. Ticks and ms: None where they do not apply."""

    trial: Trial
    failures: list[str] = field(default_factory=list)
    ticks: dict[str, int] = field(default_factory=dict)
    device_ms: float | None = None
    rest_ms: float | None = None
    rest_allowed_ms: float | None = None
    settled_ms: float | None = None
    speed_rad_s: float = 0.0
    range_margin_rad: float = float("inf")
    speed_margin: float = float("inf")
    safe_ns: int = 0
    braking_s: float = 0.0


class Log:
    """The robot's periods, by time."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.periods = [entry for entry in entries if isinstance(entry, Period)]
        self._times = [period.now_ns for period in self.periods]

    def index(self, now_ns: int) -> int:
        """Return the index of the first period at or after a time."""
        return bisect.bisect_left(self._times, now_ns)

    def between(self, begin_ns: int, end_ns: int) -> list[Period]:
        """Return the periods between two times."""
        return self.periods[self.index(begin_ns) : self.index(end_ns)]


def let_go(log: Log, begin_ns: int) -> Period | None:
    """Return the first period from a time on in which the robot followed nobody."""
    since = log.periods[log.index(begin_ns) :]
    return next((p for p in since if p.did not in ("command", "coast")), None)


def judge_device(verdict: Verdict, log: Log, allowed_ns: int) -> None:
    """The robot by itself: it brakes within its watchdog and a period."""
    begin_ns = verdict.trial.begin_ns
    period = let_go(log, begin_ns)
    if period is None:
        verdict.failures.append("the robot never let go")
        return
    verdict.device_ms = (period.now_ns - begin_ns) / MS
    verdict.safe_ns = min(verdict.safe_ns or period.now_ns, period.now_ns)
    if not (period.now_ns - begin_ns <= allowed_ns):
        verdict.failures.append(
            f"the robot let go after {verdict.device_ms:.1f} ms, allowed {allowed_ns / MS:.0f}"
        )


def judge_halt(verdict: Verdict, log: Log, allowed_ns: int) -> None:
    """Nothing that was executed moves any more after so long, until somebody arms it again: for
    faults that take the record away in which it could be seen."""
    begin_ns = verdict.trial.begin_ns
    again = armed_again(log, begin_ns)
    periods = log.between(begin_ns, again.now_ns if again else log.periods[-1].now_ns)
    moved = [b for a, b in pairwise(periods) if a.target_rad != b.target_rad]
    verdict.device_ms = (moved[-1].now_ns - begin_ns) / MS if moved else 0.0
    if not (verdict.device_ms * MS <= allowed_ns):
        verdict.failures.append(
            f"the robot was moved for {verdict.device_ms:.0f} ms, allowed {allowed_ns / MS:.0f}"
        )


def judge_rest(verdict: Verdict, log: Log) -> None:
    """What was executed stands within the braking time after the safe action, and the arm soon
    after it, unless it was told to go on before that: its fault was over."""
    start = log.index(verdict.safe_ns)
    speeds = _speeds(log.periods[max(0, start - 3) : start + 1])
    braking_s = max(verdict.braking_s, float((speeds / np.array(BRAKE_RAD_S2)).max()))
    allowed_ns = round(braking_s * 1e9) + _ON_ITS_WAY_PERIODS * PERIOD_NS
    stands = _first_standing(log.periods, start)
    verdict.rest_allowed_ms = allowed_ns / MS
    if stands is None:
        verdict.failures.append("what was executed never came to rest")
        return
    verdict.rest_ms = max(0.0, (stands.now_ns - verdict.safe_ns) / MS)
    if not (stands.now_ns - verdict.safe_ns <= allowed_ns):
        verdict.failures.append(
            f"at rest {verdict.rest_ms:.1f} ms after the safe action, allowed "
            f"{verdict.rest_allowed_ms:.1f}"
        )
    _judge_settling(verdict, log.periods[start:], stands)


def _judge_settling(verdict: Verdict, periods: Sequence[Period], stands: Period) -> None:
    """The arm follows what `stands`."""
    later = [p for p in periods if p.now_ns >= stands.now_ns - PERIOD_NS]
    settled = next((p for p in later if p.speed_max_rad_s <= _REST_RAD_S), None)
    on = next((p for p in later if p.now_ns > stands.now_ns and p.did == "command"
               and p.target_rad != stands.target_rad), None)  # fmt: skip
    end_ns = stands.now_ns + SETTLE_MS * MS
    if on is not None and on.now_ns <= end_ns and (settled is None or on.now_ns <= settled.now_ns):
        return
    if settled is not None:
        verdict.settled_ms = (settled.now_ns - verdict.safe_ns) / MS
    if settled is None or not (settled.now_ns <= end_ns):
        verdict.failures.append(f"the arm was not measured at rest {SETTLE_MS:.0f} ms later")


def judge_work(verdict: Verdict, log: Log, records: Sequence[Record]) -> None:
    """Nothing may have changed for the arm: no hold, no stop, no period without a commander."""
    trial = verdict.trial
    periods = log.between(trial.begin_ns, trial.end_ns)
    idle = [p for p in periods if p.did not in ("command", "coast")]
    if idle or not periods:
        verdict.failures.append(f"the robot followed nobody in {len(idle)} of {len(periods)}")
    for record in records:
        now_ns = record.scalar("now_ns")
        inside = (now_ns >= trial.begin_ns) & (now_ns <= trial.end_ns)
        worst = record.scalar("response")[inside]
        if len(worst) and not (int(worst.max()) <= Response.DROP_RESIDUAL):
            seen = int(np.bitwise_or.reduce(record.scalar("faults")[inside]))
            answered = Response(int(worst.max())).name
            verdict.failures.append(f"the daemon answered {answered}: {', '.join(names(seen))}")


def judge_motion(verdict: Verdict, log: Log) -> None:
    """Note the fastest joint, and what was left to the robot's limits, until it was at rest."""
    trial = verdict.trial
    until_ns = trial.end_ns
    if verdict.settled_ms is not None:
        until_ns = max(until_ns, verdict.safe_ns + round(verdict.settled_ms * MS))
    periods = log.between(trial.begin_ns, until_ns)
    if not periods:
        return
    verdict.speed_rad_s = max(p.speed_max_rad_s for p in periods)
    targets = np.array([p.target_rad for p in periods])
    room = np.minimum(targets - np.array(LOW_RAD), np.array(HIGH_RAD) - targets)
    verdict.range_margin_rad = float(room.min())
    verdict.speed_margin = 1.0 - float((_speeds(periods) / np.array(SPEED_RAD_S)).max())


def judge_faults(
    verdict: Verdict, records: Sequence[Record], faults: Sequence[Fault], *, needed: bool
) -> None:
    """Each fault that could be seen is answered within its debounce and a tick; `needed`: one of
    them must have been seen."""
    trial = verdict.trial
    for record in records:
        now_ns = record.scalar("now_ns")
        if len(now_ns) and now_ns[0] < trial.end_ns + AFTER_NS and now_ns[-1] > trial.begin_ns:
            # what is not finite is evidence, and compared like any other number
            with np.errstate(invalid="ignore"):
                for fault in faults:
                    _judge_fault(verdict, record, fault)
    if needed and not verdict.ticks and not verdict.failures:
        verdict.failures.append(f"none of {', '.join(f.name for f in faults)} was seen")


def _judge_fault(verdict: Verdict, record: Record, fault: Fault) -> None:
    trial, row = verdict.trial, ROWS[fault]
    before, last, run, at_least = Before(), None, 0, False
    limits, done = _limits(record), _DONE.get(row.response, ())
    for tick in _ticks(record, trial.begin_ns, trial.end_ns + AFTER_NS):
        now_ns = int(tick.now_ns[0])
        if now_ns >= trial.begin_ns and last is not None:
            # a daemon that has already done as much is asked for nothing more
            at_least = at_least or (last.mode not in done and EVIDENCE[fault](tick, before))
            run += at_least
            active = int(tick.faults[0]) >> fault & 1
            if at_least and active and safe(tick, row.response, last, limits, DT_S):
                _answered(verdict, fault, run, now_ns)
                verdict.braking_s = max(verdict.braking_s, _braking_s(last, limits))
                return
        last = Reference.of(tick)
        before.look(tick)
    if at_least:
        verdict.failures.append(f"{fault.name} was seen for {run} ticks and not answered")


def _answered(verdict: Verdict, fault: Fault, ticks: int, now_ns: int) -> None:
    row = ROWS[fault]
    verdict.ticks[fault.name] = ticks
    if row.response >= Response.HOLD:
        verdict.safe_ns = min(verdict.safe_ns or now_ns, now_ns)
    if not (ticks <= row.debounce_ticks + 1):
        verdict.failures.append(
            f"{fault.name} was answered in tick {ticks}, allowed {row.debounce_ticks + 1}"
        )


def _braking_s(last: Reference, limits: Sequence[JointLimits]) -> float:
    """Return how long the slowest joint brakes from a reference's speed and acceleration: down to
    no acceleration, down to the hardest braking, along it, and back to none."""
    times = []
    for limit, v, a in zip(limits, last.v, last.a, strict=True):
        hardest, jerk = limit.acceleration_max_rad_s2, limit.jerk_max_rad_s3
        speed = abs(v) + a * a / (2.0 * jerk)
        times.append(abs(a) / jerk + speed / hardest + hardest / jerk)
    return max(times)


def _limits(record: Record) -> Sequence[JointLimits]:
    return RobotSpec.model_validate(json.loads(record.header.robot), strict=False).command_limits()


def _ticks(record: Record, begin_ns: int, end_ns: int) -> Iterator[TickRecord]:
    """Yield the ticks between two times, and what was before, each in a copy of its own."""
    begin, end = np.searchsorted(record.scalar("now_ns"), (begin_ns, end_ns)).tolist()
    for row in range(max(0, begin - _WARM_UP_TICKS), end):
        tick = TickRecord(record.layout, bytearray(record.layout.size_bytes))
        tick.raw[:] = record.message(row)
        yield tick


def _speeds(periods: Sequence[Period]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the largest speed of each joint's target from period to period, rad/s."""
    if len(periods) < 2:
        return np.zeros(len(LOW_RAD))
    targets = np.array([p.target_rad for p in periods])
    steps = np.array([1 + p.skipped for p in periods[1:]])[:, np.newaxis]
    speeds: np.ndarray[tuple[int], np.dtype[np.float64]] = (
        np.abs(np.diff(targets, axis=0)) / (steps * DT_S)
    ).max(axis=0)
    return speeds


def _first_standing(periods: Sequence[Period], start: int) -> Period | None:
    """Return the first period from `start` on whose target stays for a while."""
    stood = 0
    for index in range(max(start, 1), len(periods)):
        stood = stood + 1 if periods[index].target_rad == periods[index - 1].target_rad else 0
        if stood == _STANDS_PERIODS:
            return periods[index - _STANDS_PERIODS]
    return None


def armed_again(log: Log, begin_ns: int) -> Changed | None:
    """Return the first time after `begin_ns` that the robot was armed."""
    changes = (e for e in log.entries if isinstance(e, Changed) and e.now_ns >= begin_ns)
    return next((c for c in changes if c.after == 1), None)
