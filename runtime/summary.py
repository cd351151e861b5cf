"""What a record amounts to, as plain numbers: the end table, --json and the report use it."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from runtime.faults import ROWS, Fault, Response
from runtime.messages import GUARDS, STAGES, Limit, Mode, Outcome, Phase
from runtime.outcomes import outcomes_of
from runtime.records import Record
from runtime.residual_summary import ResidualSummary, residual_summary
from runtime.residual_tally import acting

LIMITS = tuple(limit for limit in Limit if limit)
COUNTED = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.ABORT, Outcome.TIMEOUT)

_NS_PER_S = 1e9
_NS_PER_US = 1e3


class Proportion(msgspec.Struct, frozen=True):
    """`successes` of `count`, with the Wilson score interval at 95 % (shares of 1)."""

    successes: int
    count: int
    share: float
    low: float
    high: float


class Quantiles(msgspec.Struct, frozen=True):
    """How long something took, in microseconds; `count` samples."""

    count: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float


class EpisodeRow(msgspec.Struct, frozen=True):
    """One episode that ended: when it began (from the record's first tick), and how it ended.

    `outcome`: what is known of it by the record's end, `source`: whose word that is, and `at_first`
    what it was before somebody corrected it, empty if nobody did. `version`: the snapshot at its
    end, 0 where the base was alone in it. `explored`: it was disturbed by noise. `run_steps`:
    policy steps of the whole run at its end.
    """

    episode: int
    outcome: str
    source: str
    begin_s: float
    duration_s: float
    steps: int
    version: int = 0
    explored: bool = False
    run_steps: int = 0
    at_first: str = ""

    @property
    def base_alone(self) -> bool:
        """True where nothing but the base acted."""
        return not self.version and not self.explored


class FaultRow(msgspec.Struct, frozen=True):
    """One fault that was active: how often it came, for how long in all, and when first."""

    fault: str
    response: str
    times: int
    active_s: float
    first_s: float
    sentence: str


class Summary(msgspec.Struct, frozen=True):
    """A record in numbers.

    `reset_s`: time in resets, kept apart from that of episodes.
    `success` leaves out episodes that ended UNKNOWN; aborts and time-outs count as not succeeded.
    `limited_ticks`: limit -> joint -> ticks. `limited_share`: of the ticks whose command was sent.
    `smallest_margin` (per joint) and `smallest_guard_margin` are shares of the limit that were
    left, over ticks whose command was sent. `stages` has an entry for each of messages.STAGES
    that took any time; `policy` counts only the ticks in which the policy ran. `residual`: None
    where nothing was granted to it.
    """

    run: str
    robot_id: str
    clock: str
    started_utc: str
    ticks: int
    duration_s: float
    size_bytes: int
    bytes_per_s: float
    episodes: list[EpisodeRow]
    outcomes: dict[str, int]
    success: Proportion | None
    mode_s: dict[str, float]
    reset_s: float
    faults: list[FaultRow]
    limited_ticks: dict[str, dict[str, int]]
    limited_share: float
    smallest_margin: dict[str, float]
    smallest_guard_margin: dict[str, float]
    stages: dict[str, Quantiles]
    missed_deadlines: int
    dropped: int
    missing: int
    truncated: bool
    notes: list[str]
    residual: ResidualSummary | None = None


def wilson(successes: int, count: int) -> Proportion:
    """Return the Wilson score interval at 95 %, `count` > 0 (Wilson 1927)."""
    interval = binomtest(successes, count).proportion_ci(0.95, method="wilson")
    return Proportion(
        successes, count, successes / count, float(interval.low), float(interval.high)
    )


def quantiles(times_ns: NDArray[Any]) -> Quantiles:
    """Return the quantiles of durations given in nanoseconds (at least one)."""
    p50, p99, p999 = np.percentile(times_ns, (50, 99, 99.9)) / _NS_PER_US
    longest = float(times_ns.max()) / _NS_PER_US
    return Quantiles(len(times_ns), float(p50), float(p99), float(p999), longest)


def seconds(record: Record) -> NDArray[np.float64]:
    """Return the time of each tick since the first, in seconds, shape [ticks]."""
    now_ns = record.scalar("now_ns")
    since_first: NDArray[np.float64] = (now_ns - now_ns[:1]) / _NS_PER_S
    return since_first


def tick_period_s(record: Record) -> float:
    """Return the nominal time between two ticks."""
    return 1.0 / record.header.servo_hz


def runs_of(flags: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return first and past-the-last index of each unbroken run of True."""
    edges = np.diff(np.concatenate(([False], flags, [False])).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def episode_rows(record: Record) -> list[EpisodeRow]:
    """Return every episode whose outcome is in the record, in order."""
    time_s = seconds(record)
    begins, _ = runs_of(record.scalar("phase") == Phase.RUNNING)
    acted = acting(record.ticks)
    noisy = acted & record.column("residual_noise").any(axis=1)
    ledger = outcomes_of(record.ticks, record.events)
    rows = []
    for end in np.flatnonzero(record.scalar("outcome")):
        before = begins[begins <= end]
        begin = int(before[-1]) if len(before) else 0
        begin_s = float(time_s[begin]) if len(before) else 0.0
        version = int(record.scalar("residual_version")[end])
        number = int(record.scalar("episode")[end])
        at_first, outcome = Outcome(int(record.scalar("outcome")[end])), ledger.outcome(number)
        rows.append(
            EpisodeRow(
                episode=number,
                outcome=outcome.name,
                source=ledger.source(number).name,
                begin_s=begin_s,
                duration_s=float(time_s[end]) - begin_s,
                steps=int(record.scalar("episode_step")[end]),
                version=version if acted[begin:end].any() else 0,
                explored=bool(noisy[begin:end].any()),
                run_steps=int(record.scalar("base_sequence")[end]),
                at_first=at_first.name if outcome is not at_first else "",
            )
        )
    return rows


def success_of(rows: Sequence[EpisodeRow]) -> Proportion | None:
    """Return the share of successes among episodes whose outcome is known; None without any."""
    known = [row.outcome for row in rows if Outcome[row.outcome] in COUNTED]
    return wilson(known.count(Outcome.SUCCESS.name), len(known)) if known else None


def fault_rows(record: Record) -> list[FaultRow]:
    """Return every fault that was active, the gravest and then the longest first."""
    masks = record.scalar("faults")
    time_s = seconds(record)
    rows = []
    for row in ROWS:
        active = (masks >> int(row.fault) & 1).astype(bool)
        if not active.any():
            continue
        begins, _ = runs_of(active)
        active_s = float(np.count_nonzero(active)) * tick_period_s(record)
        rows.append(
            FaultRow(
                fault=row.fault.name,
                response=row.response.name,
                times=len(begins),
                active_s=active_s,
                first_s=float(time_s[begins[0]]),
                sentence=row.sentence,
            )
        )
    return sorted(rows, key=lambda fault: (-Response[fault.response], -fault.active_s))


def stage_times_ns(record: Record) -> dict[str, NDArray[np.int64]]:
    """Return the measured times of each stage; a record carries those of the tick before it."""
    stages = record.column("stage_ns")[1:]
    times = {name: stages[:, index] for index, name in enumerate(STAGES)}
    times["policy"] = times["policy"][record.scalar("policy_due")[:-1] != 0]
    return {name: values for name, values in times.items() if values.any()}


def summary(record: Record) -> Summary:
    """Return the record in numbers."""
    episodes = episode_rows(record)
    outcomes = {
        outcome.name: sum(row.outcome == outcome.name for row in episodes)
        for outcome in Outcome
        if outcome
    }
    duration_s = record.duration_s
    modes = record.scalar("mode")
    period_s = tick_period_s(record)
    limited, limited_share = _limits(record)
    return Summary(
        run=record.header.run,
        robot_id=record.header.robot_id,
        clock=record.header.clock,
        started_utc=record.header.started_utc,
        ticks=len(record),
        duration_s=duration_s,
        size_bytes=record.size_bytes,
        bytes_per_s=record.size_bytes / duration_s if duration_s else 0.0,
        episodes=episodes,
        outcomes={name: times for name, times in outcomes.items() if times},
        success=success_of(episodes),
        mode_s={
            mode.name: int(times) * period_s
            for mode in Mode
            if (times := np.count_nonzero(modes == mode))
        },
        reset_s=float(np.count_nonzero(record.scalar("phase") == Phase.RESETTING)) * period_s,
        faults=fault_rows(record),
        limited_ticks=limited,
        limited_share=limited_share,
        smallest_margin=_smallest(record, "margin", record.header.joints),
        smallest_guard_margin=_smallest(record, "guard_margin", list(GUARDS)),
        stages={name: quantiles(times) for name, times in stage_times_ns(record).items()},
        missed_deadlines=int(record.scalar("missed_ticks").sum()),
        dropped=int(record.scalar("records_dropped").max(initial=0)),
        missing=sum(gap.count for gap in record.gaps),
        truncated=record.truncated,
        notes=list(record.notes),
        residual=residual_summary(record),
    )


def _limits(record: Record) -> tuple[dict[str, dict[str, int]], float]:
    """Return ticks per limit and joint, and the share of sent ticks in which any limit acted."""
    sent = record.scalar("command_sent") != 0
    limited = record.column("limited_by")[sent]
    counts = {
        limit.name or "": {
            joint: int(np.count_nonzero(limited[:, index] & limit))
            for index, joint in enumerate(record.header.joints)
        }
        for limit in LIMITS
    }
    share = float(np.count_nonzero(limited.any(axis=1)) / len(limited)) if len(limited) else 0.0
    return counts, share


def _smallest(record: Record, name: str, labels: list[str]) -> dict[str, float]:
    values = record.column(name)[record.scalar("command_sent") != 0]
    if not len(values):
        return {}
    return dict(zip(labels, values.min(axis=0).tolist(), strict=True))


def active_faults(record: Record) -> list[Fault]:
    """Return the faults that were active at any time."""
    mask = int(np.bitwise_or.reduce(record.scalar("faults"))) if len(record) else 0
    return [fault for fault in Fault if mask >> fault & 1]
