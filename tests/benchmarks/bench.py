"""A short form of every benchmark, and one summary: `python -m tests.benchmarks.bench`.

The full ones are commands of their own; each file's first line says which. Ends with an error if
anything that was wanted is not reached.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable

from tests.benchmarks import base_success, envelope_cost, invariants, realtime, tick_cost
from tests.benchmarks.kit import REPOSITORY, load_text

EPISODES = 20
HOSTILE_S = 20.0
TICK_ROBOT_S = 120.0
REALTIME_S = 10.0
ENVELOPE_TICKS = 3000
REALTIME_SLICES = 1
PRIORITY = 50


def success() -> bool:
    results = [base_success.measure(field, EPISODES) for field in base_success.ALLOWED]
    print("\n".join(result.line() for result in results))
    # of so few episodes only what the interval excludes is a failure
    return all(result.plausible for result in results)


def safety() -> bool:
    judgements = [
        invariants.run_base(EPISODES, seed=5),
        invariants.run_hostile(HOSTILE_S, seed=5, reference=False),
        invariants.run_hostile(HOSTILE_S, seed=5, reference=True),
    ]
    print("\n".join(judgement.text() for judgement in judgements))
    return all(judgement.passed for judgement in judgements)


def tick() -> bool:
    costs = tick_cost.measure(TICK_ROBOT_S)
    print(costs.text())
    failures = costs.failures()
    print("; ".join(failures) or "reached")
    return not failures


def envelope() -> bool:
    return envelope_cost.run(ENVELOPE_TICKS)


def real_time() -> bool:
    cpu = max(os.sched_getaffinity(0))
    slices, lines = realtime.measure(REALTIME_SLICES, REALTIME_S, cpu, PRIORITY)
    print("\n".join(lines))
    print(realtime.summary(slices))
    return all(one.cpu_share <= realtime.CPU_SHARE_MAX for one in slices)


PARTS: dict[str, Callable[[], bool]] = {
    "base, episodes that succeed": success,
    "invariants under attack": safety,
    "envelope alone": envelope,
    "servo tick and policy": tick,
    "real time": real_time,
}


def revision() -> str:
    """Return the commit that was measured, if git can tell."""
    asked = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown revision"
    return done.stdout.strip()


def main() -> int:
    print(f"{revision()}, Python {platform.python_version()}, {platform.machine()}; {load_text()}")
    reached: dict[str, bool] = {}
    for name, part in PARTS.items():
        print(f"\n== {name}", flush=True)
        reached[name] = part()
        print(load_text(), flush=True)
    print("\n== summary")
    for name, good in reached.items():
        print(f"{name:30} {'reached' if good else 'NOT REACHED'}")
    return 0 if all(reached.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
