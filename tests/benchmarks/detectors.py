"""How soon a fall of success is noticed, and how often by mistake.

`python -m tests.benchmarks.detectors [--robots N]`, about ten seconds.

Each simulated robot has a reference of its own, drawn at the rate that it really has. Five ways to
judge the same kinds of episodes, each set up as its user would:

    ours            runtime.change_detector, the reference as it was drawn
    ours, growing   the same, the robot's own episodes joining the reference 50 behind (OwnRecord)
    CUSUM           Page's, from the reference's point estimate to 20 points less, threshold log A
    window          the last 20 episodes; alarm where the point estimate makes so few successes
                    less likely than 1 / A
    SPRT            Wald's, between the rates of CUSUM, 1 % false alarms and 5 % misses, never
                    begun anew

A is the distance between false alarms that was asked for. An alarm by mistake sets the judge back
to its beginning and the same reference goes on, so that an unlucky reference raises many. Ends with
an error if ours do not keep the distance.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from runtime.change_detector import BEHIND_EPISODES, DOUBT, DOUBT_Z, SHARES
from tests.benchmarks.kit import load_text

DISTANCE = 500
RATES = (0.5, 0.9)
REFERENCES = (10, 50, 500)
GOOD_EPISODES = (0, 50, 500)
DROPS = (0.1, 0.2, 0.4)
# healthy episodes of each robot, and the most that is waited for an alarm after a drop
HORIZON = 2 * DISTANCE
PATIENCE = 1000
EXPECTED_DROP = 0.2
WINDOW = 20
SEED = 5

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]


class Judge(Protocol):
    """Judges many robots at once; arrays are (robots,)."""

    def step(self, success: Flags, successes: Numbers, count: Numbers) -> Flags:
        """Return where an alarm is raised, by an episode and the reference to compare it with."""
        ...

    def reset(self, which: Flags) -> None:
        """Begin anew with some of the robots."""
        ...


def floors(successes: Numbers, count: Numbers) -> Numbers:
    """Return what Reference.floor returns, for many."""
    square = DOUBT_Z * DOUBT_Z
    room = 4.0 * successes * (count - successes + 1.0) / count
    reach = DOUBT_Z * np.sqrt(np.maximum(square - 2.0 - 1.0 / count + room, 0.0))
    low: Numbers = (2.0 * successes + square - 1.0 - reach) / (2.0 * (count + square))
    return np.where(successes > 0.0, low, 0.0)


def point(successes: Numbers, count: Numbers) -> tuple[Numbers, Numbers]:
    """Return the reference's rate by Jeffreys' rule, and that of the drop a user would expect."""
    rate = (successes + 0.5) / (count + 1.0)
    return rate, np.maximum(rate - EXPECTED_DROP, 0.01)


def log_ratio(success: Flags, rate: Numbers, dropped: Numbers) -> Numbers:
    """Return what one episode says for the drop."""
    ratio = np.where(success, dropped / rate, (1.0 - dropped) / (1.0 - rate))
    said: Numbers = np.log(ratio)
    return said


class Ours:
    """runtime.change_detector.ChangeDetector for many robots; a test compares the two."""

    def __init__(self, robots: int, distance: float) -> None:
        self._shares = np.array(SHARES)[:, None]
        self._alarm_at = distance / (1.0 - DOUBT)
        self.bets = np.zeros((len(SHARES), robots))

    def step(self, success: Flags, successes: Numbers, count: Numbers) -> Flags:
        floor = floors(successes, count)
        lost = (1.0 - self._shares * floor) / (1.0 - floor)
        after = (self.bets + 1.0) * np.where(success, self._shares, lost)
        self.bets = np.where(floor > 0.0, after, self.bets)
        alarm: Flags = self.bets.mean(axis=0) >= self._alarm_at
        return alarm

    def reset(self, which: Flags) -> None:
        self.bets[:, which] = 0.0


class Cusum:
    """Page's cumulative sum from the point estimate."""

    def __init__(self, robots: int, distance: float) -> None:
        self._threshold = np.log(distance)
        self._sum = np.zeros(robots)

    def step(self, success: Flags, successes: Numbers, count: Numbers) -> Flags:
        self._sum = np.maximum(self._sum, 0.0) + log_ratio(success, *point(successes, count))
        alarm: Flags = self._sum >= self._threshold
        return alarm

    def reset(self, which: Flags) -> None:
        self._sum[which] = 0.0


class Sprt:
    """Wald's test, going on after it has decided for the reference."""

    def __init__(self, robots: int, distance: float) -> None:
        self._threshold = np.log(0.95 / 0.01)
        self._sum = np.zeros(robots)

    def step(self, success: Flags, successes: Numbers, count: Numbers) -> Flags:
        self._sum += log_ratio(success, *point(successes, count))
        alarm: Flags = self._sum >= self._threshold
        return alarm

    def reset(self, which: Flags) -> None:
        self._sum[which] = 0.0


class Window:
    """Successes among the last WINDOW episodes, once there are so many."""

    def __init__(self, robots: int, distance: float) -> None:
        self._share = 1.0 / distance
        self._last = np.zeros((WINDOW, robots), dtype=bool)
        self._seen = np.zeros(robots, dtype=np.int64)
        self._fewest: NDArray[np.int64] | None = None

    def step(self, success: Flags, successes: Numbers, count: Numbers) -> Flags:
        if self._fewest is None:
            rate, _ = point(successes, count)
            self._fewest = binom.ppf(self._share, WINDOW, rate).astype(np.int64)
        self._last = np.roll(self._last, 1, axis=0)
        self._last[0] = success
        self._seen += 1
        alarm: Flags = (self._seen >= WINDOW) & (self._last.sum(axis=0) < self._fewest)
        return alarm

    def reset(self, which: Flags) -> None:
        self._seen[which] = 0


@dataclass(frozen=True)
class Method:
    """A way to judge; `grows`: the robot's own episodes join its reference, 50 behind."""

    name: str
    make: Callable[[int, float], Judge]
    ours: bool = False
    grows: bool = False


METHODS = (
    Method("ours", Ours, ours=True),
    Method("ours, growing", Ours, ours=True, grows=True),
    Method("CUSUM", Cusum),
    Method("window", Window),
    Method("SPRT", Sprt),
)


@dataclass(frozen=True)
class Setting:
    """`rate` of success while healthy, a reference of so many episodes, the distance asked for."""

    rate: float
    reference: int
    distance: float


@dataclass(frozen=True)
class Watch:
    """What happened to each robot: `false_alarms` before its drop, `delay` of the first alarm after
    it in episodes (NaN: none for as long as was waited)."""

    false_alarms: NDArray[np.int64]
    delay: Numbers


def watch(
    method: Method,
    setting: Setting,
    good: NDArray[np.int64],
    drop: Numbers,
    patience: int,
    rng: np.random.Generator,
) -> Watch:
    """Judge robots (robots,) that are healthy for `good` episodes and then lose `drop`."""
    robots = len(good)
    judge = method.make(robots, setting.distance)
    count = np.full(robots, float(setting.reference))
    successes = rng.binomial(setting.reference, setting.rate, robots).astype(np.float64)
    false_alarms, delay = np.zeros(robots, dtype=np.int64), np.full(robots, np.nan)
    waiting: list[Flags] = []
    for episode in range(int(good.max()) + patience):
        healthy = episode < good
        success = rng.random(robots) < np.where(healthy, setting.rate, setting.rate - drop)
        alarm = judge.step(success, successes, count)
        if method.grows:
            waiting.append(success)
            if len(waiting) > BEHIND_EPISODES:
                successes, count = successes + waiting.pop(0), count + 1.0
        false_alarms += alarm & healthy
        first = alarm & ~healthy & np.isnan(delay)
        delay[first] = (episode + 1 - good)[first]
        judge.reset(alarm)
        if not (healthy | np.isnan(delay)).any():
            break
    delay[delay > patience] = np.nan
    return Watch(false_alarms, delay)


@dataclass(frozen=True)
class Distance:
    """Mean healthy episodes between false alarms with its interval at 95 %, and the share of robots
    without any."""

    mean: float
    low: float
    high: float
    spared: float


def distance_between(false_alarms: NDArray[Any], episodes: int) -> Distance:
    """Return the distance over a fleet whose robots were healthy for `episodes` each.

    The alarms of one robot depend on its one reference: the interval is that of a mean of robots.
    """
    mean = float(false_alarms.mean())
    error = 1.96 * float(false_alarms.std(ddof=1)) / np.sqrt(len(false_alarms))
    # no alarm at all: 3 in so many are still plausible
    most = max(mean + error, 3.0 / len(false_alarms))
    low, high = (episodes / rate if rate > 0.0 else np.inf for rate in (most, mean - error))
    middle = episodes / mean if mean else np.inf
    return Distance(middle, low, high, float(np.mean(false_alarms == 0)))


def healthy_distance(
    method: Method, setting: Setting, robots: int, episodes: int, rng: np.random.Generator
) -> Distance:
    """Return the distance between false alarms of robots that stay healthy."""
    good = np.full(robots, episodes)
    seen = watch(method, setting, good, np.zeros(robots), 0, rng)
    return distance_between(seen.false_alarms, episodes)


def delays(method: Method, setting: Setting, robots: int, rng: np.random.Generator) -> list[str]:
    """Return median/mean delays for every drop after every number of good episodes, as text."""
    cases = [(good, drop) for good in GOOD_EPISODES for drop in DROPS]
    good = np.repeat([good for good, _ in cases], robots)
    drop = np.repeat([drop for _, drop in cases], robots)
    late = watch(method, setting, good, drop, PATIENCE, rng).delay.reshape(len(cases), robots)
    return [delay_text(case) for case in late]


def delay_text(late: Numbers) -> str:
    """Return median and mean; robots without an alarm count as PATIENCE, marked by `+`."""
    waited = np.where(np.isnan(late), float(PATIENCE), late)
    mark = "+" if np.isnan(late).any() else ""
    return f"{np.median(waited):.0f}/{waited.mean():.0f}{mark}"


def heading() -> str:
    goods = "".join(f"{f'after {good} good':^33}" for good in GOOD_EPISODES)
    drops = "".join(f"{f'-{100 * drop:.0f}':>11}" for drop in DROPS) * len(GOOD_EPISODES)
    return f"{'':48}{goods}\n{'':16}{'between false alarms':>23}{'spared':>9}{drops}"


def measure(distance: float, robots: int, seed: int) -> list[str]:
    """Print the table; return in words where ours broke the promise."""
    broken = []
    for rate in RATES:
        for reference in REFERENCES:
            setting = Setting(rate, reference, distance)
            print(f"\nsuccess {rate:g}, reference of {reference} episodes\n{heading()}")
            for method in METHODS:
                rng = np.random.default_rng(seed)
                kept = healthy_distance(method, setting, robots, HORIZON, rng)
                late = "".join(f"{text:>11}" for text in delays(method, setting, robots, rng))
                span = f"{kept.mean:.0f} [{kept.low:.0f}, {kept.high:.0f}]"
                print(f"{method.name:16}{span:>23}{kept.spared:9.2f}{late}", flush=True)
                if method.ours and not (kept.high >= distance):
                    broken.append(f"{method.name}, {rate:g}, {reference}: {span}")
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--distance", type=float, default=DISTANCE)
    parser.add_argument("--robots", type=int, default=400)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    begin_s = time.monotonic()
    print(
        f"{options.robots} robots a row; delays in episodes, median/mean, waited for {PATIENCE}; "
        f"asked for {options.distance:g} between false alarms, measured over {HORIZON}"
    )
    broken = measure(options.distance, options.robots, options.seed)
    print(f"\n{time.monotonic() - begin_s:.0f} s; {load_text()}")
    print("NOT REACHED: " + "; ".join(broken) if broken else "reached: ours keep the distance")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
