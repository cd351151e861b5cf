"""What hostile demands look like: streams of levels; -1 and 1 are the ends of a joint's range.

Every stream goes on for ever; 1.2 times the level is asked, so that the ends are beyond the range.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from runtime.layout import Floats

Levels = Iterator[Floats]
Stream = Callable[[np.random.Generator, int], Levels]

HUGE = 1e300
HOLDS = (1, 1, 2, 5, 50, 300)  # ticks that a level of the noise lasts: slow and fast demands mix
_CYCLES = 2
_LEAST_TICKS = 40
_EVERY_UP_TO = 60  # half periods, ticks: each one of them, then in steps of a tenth
_SLOWEST = 750


def noise(rng: np.random.Generator, size: int) -> Levels:
    """Levels drawn anew, each held for one to 300 ticks."""
    while True:
        level = rng.uniform(-1.0, 1.0, size)
        for _ in range(int(rng.choice(HOLDS))):
            yield level


def with_bursts(*values: float) -> Stream:
    """Return noise into which one to three ticks of `values` fall, in one joint or in all."""

    def stream(rng: np.random.Generator, size: int) -> Levels:
        quiet = noise(rng, size)
        while True:
            for _ in range(int(rng.integers(5, 60))):
                yield next(quiet)
            for _ in range(int(rng.integers(1, 4))):
                burst = next(quiet).copy()
                hit = rng.integers(size) if rng.random() < 0.5 else slice(None)
                burst[hit] = rng.choice(values)
                yield burst

    return stream


def huge(rng: np.random.Generator, size: int) -> Levels:
    """Plus or minus 1e300."""
    while True:
        level = np.where(rng.random(size) < 0.5, -HUGE, HUGE)
        for _ in range(int(rng.choice(HOLDS))):
            yield level


def sign_flips(rng: np.random.Generator, size: int) -> Levels:
    """A level whose sign is wrong every other tick, or every other few."""
    while True:
        level, ticks = rng.uniform(-1.0, 1.0, size), int(rng.choice((1, 1, 1, 2, 3)))
        for flip in range(50):
            for _ in range(ticks):
                yield level if flip % 2 else -level


def half_periods() -> list[int]:
    """Return the half periods of the sweep, ticks: the first is Nyquist's frequency."""
    periods, slow = list(range(1, _EVERY_UP_TO + 1)), float(_EVERY_UP_TO)
    while (slow := slow * 1.1) <= _SLOWEST:
        periods.append(round(slow))
    return periods


def squares(rng: np.random.Generator, size: int) -> Levels:
    """Full-range square waves, swept from Nyquist's frequency down, over and over."""
    while True:
        for half in half_periods():
            signs = np.where(rng.random(size) < 0.5, -1.0, 1.0)
            for swing in range(max(2 * _CYCLES, math.ceil(_LEAST_TICKS / half))):
                for _ in range(half):
                    yield signs if swing % 2 else -signs


def walks(rng: np.random.Generator, size: int) -> Levels:
    """A random walk that bounces between the ends; its step changes now and then."""
    place = np.zeros(size)
    while True:
        step = float(rng.choice((0.003, 0.03, 0.3)))
        for _ in range(300):
            place = np.clip(place + rng.normal(0.0, step, size), -1.0, 1.0)
            yield place


def swings(rng: np.random.Generator, size: int) -> Levels:
    """Square waves around the arm's natural periods, other ones every second."""
    while True:
        half = np.exp(rng.uniform(math.log(20.0), math.log(_SLOWEST), size))
        shift, reach = rng.uniform(0.0, 2.0, size), rng.uniform(0.2, 1.0, size)
        middle = rng.uniform(-1.0, 1.0, size) * (1.0 - reach)
        for tick in range(500):
            yield middle + reach * np.where((tick / half + shift) % 2.0 < 1.0, 1.0, -1.0)


STREAMS: dict[str, Stream] = {
    "nan": with_bursts(math.nan),
    "inf": with_bursts(math.inf, -math.inf),
    "huge": huge,
    "sign flips": sign_flips,
    "squares": squares,
    "walks": walks,
    "noise": noise,
    "swings": swings,
}
