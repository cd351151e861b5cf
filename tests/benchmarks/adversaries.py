"""What adversaries reach: `python -m tests.benchmarks.adversaries [--ticks N] [--seed N]`.

Envelope and simulated arm without guards, by default 2.1 million demanded ticks, at least 5 % of
them for each kind of adversary. Commands are judged by the independent checkers (joint limits, and
in the cluttered scene distances); what the arm does is judged by the manufacturer's position and
speed, for pushes up to 30 N for 200 ms anywhere on it, payload up to 1.5 times declared, gain
within 15 % and latency up to 50 ms, all at once. Beyond that the overshoot is a table. Writes
out/adversaries.json. Ends with an error after any violation, any measured tick outside, or if the
trained adversary does not beat noise at equal ticks: in speed, in position, in clearance (how near
to a barrier commands come at all, from wherever bouts begin: noise at random, the trained one where
it learned to) and in approach (the same of bouts that both begin 5 mm away).
"""

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass

import numpy as np

from tests.benchmarks.adversary_arena import Arena, Disturbance, Result, judge, random_pushes
from tests.benchmarks.adversary_campaign import (
    APPROACH,
    BOUT_TICKS,
    GAINS,
    LATENCY_S,
    NOISE,
    PAYLOAD_KG,
    PUSH_N,
    SWINGS,
    TRAINED,
    Campaign,
    demand_of,
)
from tests.benchmarks.adversary_demands import STREAMS
from tests.benchmarks.adversary_trained import PUSH_TICKS, attack
from tests.benchmarks.kit import REPOSITORY, load_text

TICKS = 2_100_000
SEED = 7
LEAST_SHARE = 0.05
BOUTS_BEYOND = 12
OUT_FILE = REPOSITORY / "out/adversaries.json"

BEYOND: tuple[tuple[str, Disturbance, float], ...] = (
    ("all the stated ones", Disturbance(PAYLOAD_KG, GAINS[0], LATENCY_S), PUSH_N),
    ("push 150 N", Disturbance(), 150.0),
    ("payload 2 x declared", Disturbance(payload_kg=0.8), 0.0),
    ("gain 0.7", Disturbance(gain=0.7), 0.0),
    ("gain 1.3", Disturbance(gain=1.3), 0.0),
    ("latency 100 ms", Disturbance(latency_s=0.1), 0.0),
    ("all beyond, gain 0.7", Disturbance(0.8, 0.7, 0.1), 150.0),
    ("all beyond, gain 1.3", Disturbance(0.8, 1.3, 0.1), 150.0),
)


@dataclass
class Worst:
    """The worst of some bouts; units as in adversary_arena.Result."""

    ticks: int = 0
    violations: int = 0
    outside: int = 0
    speed: float = 0.0
    position_rad: float = math.inf
    clearance_m: float = math.inf

    def add(self, result: Result, ticks: int) -> None:
        """Take one more bout."""
        self.ticks += ticks
        self.violations += len(result.violations)
        self.outside += result.outside
        self.speed = max(self.speed, result.speed)
        self.position_rad = min(self.position_rad, result.position_rad)
        self.clearance_m = min(self.clearance_m, result.clearance_m)

    def line(self, name: str) -> str:
        """Return a row of the table."""
        near = f"{1e3 * self.clearance_m:9.3f}" if math.isfinite(self.clearance_m) else "        -"
        return (
            f"{name:24}{self.ticks:9d}{self.violations:11d}{self.outside:9d}"
            f"{self.speed:9.3f}{1e3 * self.position_rad:11.1f}{near}"
        )

    def plain(self) -> dict[str, float | None]:
        """Return it for JSON, which has no infinity."""
        return {
            key: value if math.isfinite(value) else None for key, value in asdict(self).items()
        }


HEADER = (
    f"{'':24}{'ticks':>9}{'violations':>11}{'outside':>9}{'speed':>9}{'room mrad':>11}"
    f"{'near mm':>9}"
)

LEGEND = (
    "speed: largest share of the manufacturer's; room: least way to the ends of its range; "
    "near: least distance beyond the margin"
)


@dataclass(frozen=True)
class Report:
    """All of it. `duel`: per objective the trained adversary's best and noise's, larger worse."""

    kinds: dict[str, Worst]
    duel: dict[str, tuple[float, float]]
    beyond: dict[str, Worst]
    stop_ticks: int
    wall_s: float

    @property
    def ticks(self) -> int:
        """Demanded ticks, the kept stops at the ends of bouts not counted."""
        return sum(worst.ticks for worst in self.kinds.values())

    def failures(self) -> list[str]:
        """Return what was not reached, in words."""
        found = [
            f"{name}: {worst.violations} violations, {worst.outside} measured ticks outside"
            for name, worst in self.kinds.items()
            if worst.violations or worst.outside
        ]
        found += [
            f"{name}: {worst.violations} violations of invariants beyond the stated disturbances"
            for name, worst in self.beyond.items()
            if worst.violations
        ]
        found += [
            f"{name} has {worst.ticks / self.ticks:.1%} of the ticks"
            for name, worst in self.kinds.items()
            if not (worst.ticks >= LEAST_SHARE * self.ticks)
        ]
        return found + [
            f"{name}: the trained adversary reached {best:.4g}, noise {noise:.4g}"
            for name, (best, noise) in self.duel.items()
            if not (best > noise)
        ]

    def text(self) -> str:
        """Return the tables."""
        lines = ["within the stated disturbances", HEADER]
        lines += [worst.line(name) for name, worst in self.kinds.items()]
        lines += [LEGEND, "best of the trained adversary and of noise at equal ticks:"]
        lines += [
            f"  {name:10} trained {best:10.3g}   noise {noise:10.3g}   {UNITS[name]}"
            for name, (best, noise) in self.duel.items()
        ]
        lines += ["beyond them: commands are judged, the arm's overshoot is shown", HEADER]
        lines += [worst.line(name) for name, worst in self.beyond.items()]
        stops = f"{self.stop_ticks} of stops in {self.wall_s:.0f} s"
        return "\n".join([*lines, f"{self.ticks} demanded ticks and {stops}; {load_text()}"])


UNITS = {
    "speed": "largest share of the manufacturer's speed",
    "position": "rad, nearest to an end of the manufacturer's range, times -1",
    "clearance": "m, nearest commanded distance beyond the margin, times -1",
    "approach": "m, the same of bouts that begin 5 mm away, times -1",
}


def run(ticks: int, seed: int, bouts_beyond: int = BOUTS_BEYOND) -> Report:
    """Play a whole campaign, and so many bouts of each disturbance that lies beyond it."""
    begin, arena = time.monotonic(), Arena()
    campaign = Campaign(arena, ticks, seed)
    kinds: dict[str, Worst] = defaultdict(Worst)
    approaches: dict[str, Worst] = defaultdict(Worst)
    stop_ticks = 0
    for played in campaign.play():
        kinds[played.kind].add(played.result, played.bout.demanded)
        if played.objective == APPROACH:
            approaches[played.kind].add(played.result, played.bout.demanded)
        stop_ticks += len(played.bout.q) - played.bout.demanded
    duel = _duel(kinds[TRAINED], kinds[NOISE])
    duel[APPROACH] = -approaches[TRAINED].clearance_m, -approaches[NOISE].clearance_m
    beyond = {
        name: beyond_stated(campaign, disturbance, push_n, bouts_beyond)
        for name, disturbance, push_n in BEYOND
    }
    return Report(dict(kinds), duel, beyond, stop_ticks, time.monotonic() - begin)


def _duel(trained: Worst, noise: Worst) -> dict[str, tuple[float, float]]:
    return {
        "speed": (trained.speed, noise.speed),
        "position": (-trained.position_rad, -noise.position_rad),
        "clearance": (-trained.clearance_m, -noise.clearance_m),
    }


def beyond_stated(
    campaign: Campaign, disturbance: Disturbance, push_n: float, bouts: int
) -> Worst:
    """Play the best learned attacks, and bouts of swings and pushes, under one disturbance."""
    arena, worst = campaign.arena, Worst()
    for objective in SWINGS:
        best = campaign.trainers[objective].best
        if best is not None:
            plan = attack(best, BOUT_TICKS, arena.pushable, (disturbance,), push_n)
            bout = arena.play(
                arena.open, plan.start, plan.demand(), BOUT_TICKS, disturbance, plan.pushes
            )
            worst.add(judge(bout, arena.open), bout.demanded)
    rng = np.random.default_rng(campaign.seed)
    levels = STREAMS["swings"](rng, len(arena.start(arena.open, rng)))
    for _ in range(bouts):
        pushes = random_pushes(rng, arena.pushable, BOUT_TICKS, push_n, PUSH_TICKS)
        start = arena.start(arena.open, rng)
        bout = arena.play(
            arena.open, start, demand_of(levels), BOUT_TICKS, disturbance, pushes
        )
        worst.add(judge(bout, arena.open), bout.demanded)
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=TICKS)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    report = run(options.ticks, options.seed)
    failures = report.failures()
    OUT_FILE.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "ticks": report.ticks,
        "seed": options.seed,
        "wall_s": report.wall_s,
        "failures": failures,
        "kinds": {name: worst.plain() for name, worst in report.kinds.items()},
        "duel": {name: {"trained": a, "noise": b} for name, (a, b) in report.duel.items()},
        "beyond": {name: worst.plain() for name, worst in report.beyond.items()},
    }
    OUT_FILE.write_text(json.dumps(result, indent=1) + "\n", encoding="ascii")
    print(report.text())
    print("\n".join(["NOT REACHED", *failures]) if failures else "reached")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
