"""What the envelope costs an honest policy: `python -m tests.benchmarks.conservatism`.

The same starts, in lockstep in this process, with the envelope and with an admission that lets
everything pass, all else the same. Sims draw every episode from (seed, episode) alone, so both runs
meet the same tasks in the same order. An aborted episode is one that did not succeed. Motion is
planned inside the command limits in both runs: what those cost is no difference here. Ends with an
error unless the lower 95 % bound of the difference in success is above -1.5 points and the cycle at
most 5 % longer.
"""

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from unittest import mock

import numpy as np
from scipy.stats import binomtest

from runtime import wiring
from runtime.envelope.envelope import Envelope
from runtime.envelope.joint import Reference
from runtime.messages import Outcome
from runtime.tick import ControlTick
from runtime.wiring import Deployment
from tests.benchmarks.kit import CONFIG_FILE, SERVO_HZ, NoSink, Stuck, assemble, load_text

STARTS = 500
STARTS_PER_SEED = 50
SEED = 7001
LOST_MAX_POINTS = 1.5
CYCLE_RATIO_MAX = 1.05
PATIENCE_TICKS = 60 * SERVO_HZ
_Z95 = 1.959964


class PassThrough(Envelope):
    """Certifies whatever is asked, if it is a number; its stop is to stand still at once."""

    def admit(self, q_desired: Iterable[float]) -> None:
        """Take `q_desired` (rad) as it is; the reference rests if any of it is not finite."""
        desired = [float(value) for value in q_desired]
        self.finite = all(map(math.isfinite, desired))
        dt_s = 1.0 / SERVO_HZ
        moved = []
        for last, asked in zip(self._issued, desired, strict=True):
            q = asked if self.finite else last.q
            v = (q - last.q) / dt_s
            moved.append(
                Reference(
                    q=q,
                    v=v,
                    a=(v - last.v) / dt_s,
                    stop_a=-v / dt_s,
                    q_low=q,
                    q_high=q,
                    limited_by=0,
                    margin=1.0,
                )
            )
        self._show(tuple(moved))
        self._pending = True


@dataclass(frozen=True)
class Episode:
    """One episode: whether it succeeded, its own length, and the time since the one before ended
    (both s of robot time)."""

    success: bool
    episode_s: float
    cycle_s: float


class Watch:
    """Collects the episodes of a run, aborted ones included; ends it after `count`."""

    def __init__(self, count: int) -> None:
        self.episodes: list[Episode] = []
        self.limited_ticks = 0
        self.outcomes: Counter[str] = Counter()
        self._count = count
        self._last = self._began = self._tick = 0
        self._number = -1

    def __call__(self, tick: ControlTick) -> bool:
        record = tick.record
        self._tick += 1
        self.limited_ticks += bool(record.limited_by.any())
        if record.episode.item() != self._number:
            self._number = record.episode.item()
            self._began = self._tick
        if record.outcome[0]:
            outcome = Outcome(record.outcome.item())
            self.outcomes[outcome.name] += 1
            own, cycle = self._tick - self._began, self._tick - self._last
            self._last = self._tick
            self.episodes.append(
                Episode(outcome is Outcome.SUCCESS, own / SERVO_HZ, cycle / SERVO_HZ)
            )
        if self._tick - self._last > PATIENCE_TICKS:
            raise Stuck(f"no episode ended within {PATIENCE_TICKS} ticks after {self.outcomes}")
        return len(self.episodes) >= self._count


@dataclass(frozen=True)
class Arm:
    """One side of the comparison: its episodes in the order of the starts."""

    episodes: list[Episode]
    outcomes: Counter[str]
    limited_ticks: int
    wall_s: float


def run(
    deployment: Deployment, field: str, starts: int, seed: int, envelope: type[Envelope]
) -> Arm:
    """Run `starts` episodes of a field with `envelope` in the place of the runtime's."""
    begin = time.monotonic()
    episodes: list[Episode] = []
    outcomes: Counter[str] = Counter()
    limited = 0
    while len(episodes) < starts:
        watch = Watch(min(STARTS_PER_SEED, starts - len(episodes)))
        with mock.patch.object(wiring, "Envelope", envelope):
            loop = assemble(field, seed, NoSink(), watch, deployment=deployment).loop
        loop.run()
        episodes += watch.episodes
        outcomes += watch.outcomes
        limited += watch.limited_ticks
        seed += 1
    return Arm(episodes, outcomes, limited, time.monotonic() - begin)


@dataclass(frozen=True)
class Comparison:
    """Success (shares) and time with the envelope on and off, paired; differences are on - off.

    `low`, `high`: 95 % interval of the difference by the adjusted Wald interval for matched pairs
    (Agresti and Min 2005, Statistics in Medicine 24), which stays honest where no pair differs.
    `p_mcnemar`: exact, two-sided. Ratios are of pairs that both succeeded, the mean one of sums.
    """

    starts: int
    success_on: float
    success_off: float
    only_on: int
    only_off: int
    difference: float
    low: float
    high: float
    p_mcnemar: float
    episode_median_ratio: float
    cycle_median_ratio: float
    cycle_mean_ratio: float
    cycle_s_on: float
    cycle_s_off: float
    limited_ticks_on: int

    @property
    def passed(self) -> bool:
        return (
            100.0 * self.low > -LOST_MAX_POINTS
            and self.cycle_mean_ratio <= CYCLE_RATIO_MAX
            and self.cycle_median_ratio <= CYCLE_RATIO_MAX
        )

    def text(self) -> str:
        interval = f"{100 * self.low:+.2f} to {100 * self.high:+.2f}"
        test = f"{self.starts} pairs, McNemar p {self.p_mcnemar:.3f}"
        means = f"mean {self.cycle_mean_ratio:.4f}, median {self.cycle_median_ratio:.4f}"
        return "\n".join(
            (
                f"{'':22}{'envelope on':>14}{'off':>14}",
                f"{'success':22}{self.success_on:14.1%}{self.success_off:14.1%}",
                f"{'only this one':22}{self.only_on:14}{self.only_off:14}",
                f"{'cycle, mean s':22}{self.cycle_s_on:14.4f}{self.cycle_s_off:14.4f}",
                f"difference {100 * self.difference:+.2f} points, 95 % interval {interval}",
                f"  wanted > -{LOST_MAX_POINTS}; {test}",
                f"cycle on/off: {means}; wanted: at most {CYCLE_RATIO_MAX}",
                f"  (episode alone: median {self.episode_median_ratio:.4f})",
                f"ticks that the envelope limited: {self.limited_ticks_on}",
            )
        )


def compare(on: Arm, off: Arm) -> Comparison:
    """Pair the episodes of both arms, start by start."""
    pairs = list(zip(on.episodes, off.episodes, strict=True))
    n = len(pairs)
    only_on = sum(a.success and not b.success for a, b in pairs)
    only_off = sum(b.success and not a.success for a, b in pairs)
    low, high = matched_interval(only_on, only_off, n)
    differing = only_on + only_off
    both = [(a, b) for a, b in pairs if a.success and b.success]
    cycles = np.array([(a.cycle_s, b.cycle_s) for a, b in both])
    own = np.array([(a.episode_s, b.episode_s) for a, b in both])
    mean_on, mean_off = cycles.mean(axis=0)
    return Comparison(
        starts=n,
        success_on=sum(a.success for a, _ in pairs) / n,
        success_off=sum(b.success for _, b in pairs) / n,
        only_on=only_on,
        only_off=only_off,
        difference=(only_on - only_off) / n,
        low=low,
        high=high,
        p_mcnemar=float(binomtest(only_on, differing).pvalue) if differing else 1.0,
        episode_median_ratio=float(np.median(own[:, 0] / own[:, 1])),
        cycle_median_ratio=float(np.median(cycles[:, 0] / cycles[:, 1])),
        cycle_mean_ratio=float(mean_on / mean_off),
        cycle_s_on=float(mean_on),
        cycle_s_off=float(mean_off),
        limited_ticks_on=on.limited_ticks,
    )


def matched_interval(only_first: int, only_second: int, pairs: int) -> tuple[float, float]:
    """Return the 95 % interval of p_first - p_second from the counts of pairs that differ."""
    first, second, n = only_first + 0.5, only_second + 0.5, pairs + 2.0
    difference = (first - second) / n
    half = _Z95 * math.sqrt(first + second - (first - second) ** 2 / n) / n
    return difference - half, difference + half


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--field", default="nominal")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    # once: a file that changes in between would make the arms two robots
    deployment = wiring.load_deployment(CONFIG_FILE)
    on = run(deployment, options.field, options.starts, options.seed, Envelope)
    print(f"on:  {dict(on.outcomes)} in {on.wall_s:.0f} s", flush=True)
    off = run(deployment, options.field, options.starts, options.seed, PassThrough)
    print(f"off: {dict(off.outcomes)} in {off.wall_s:.0f} s", flush=True)
    comparison = compare(on, off)
    print(comparison.text())
    print(json.dumps(asdict(comparison)))
    print(f"{'reached' if comparison.passed else 'NOT REACHED'}; {load_text()}")
    return 0 if comparison.passed else 1


if __name__ == "__main__":
    sys.exit(main())
