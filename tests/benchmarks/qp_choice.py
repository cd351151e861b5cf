"""Which QP solver the envelope takes: `python -m tests.benchmarks.qp_choice`.

Every solver gets the same problems (qp_problems) one at a time, in tick order; the time is that of
the whole call from the arrays that the envelope has to the shares that it needs, Python included.
"""

import argparse
import gc
import importlib.metadata
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.benchmarks.kit import load_text, quantile
from tests.benchmarks.qp_problems import Problem, Vector, cost, exact, problems, violation
from tests.benchmarks.qp_solvers import SOLVERS, Solve

SEQUENCES = 500
SEED = 11
FEW_ROWS = 4
# an answer that breaks a row by more than this share of it is not one
USABLE = 1e-5


@dataclass(frozen=True)
class Trial:
    """One solver on all problems: `took_us` (problems,), `shares` (None where it gave up), the
    most `steps` that a problem took."""

    took_us: Vector
    shares: list[Vector | None]
    steps: int


@dataclass(frozen=True)
class Errors:
    """How wrong a solver was. `failed`: answers that it did not give or that break a row by more
    than USABLE. `dearer`: than the cheapest usable answer, p99, as a share of what stopping costs.
    `broken`: by how much it broke a row at worst."""

    failed: int
    dearer: float
    broken: float


def measure(solve: Solve, tasks: list[Problem]) -> Trial:
    """Solve every problem once, in order."""
    took, shares, most = [], [], 0
    for problem in tasks[:50]:
        solve(problem)
    gc.collect()
    gc.disable()
    for problem in tasks:
        begin = time.perf_counter_ns()
        share, steps = solve(problem)
        took.append((time.perf_counter_ns() - begin) / 1e3)
        shares.append(share)
        most = max(most, steps)
    gc.enable()
    return Trial(np.array(took), shares, most)


def cheapest(tasks: list[Problem], trials: list[Trial]) -> Vector:
    """Return for every problem the cost of the cheapest usable answer, the exact one included."""
    least = []
    for i, problem in enumerate(tasks):
        answers = [exact(problem), *(trial.shares[i] for trial in trials)]
        costs = [
            cost(problem, share)
            for share in answers
            if share is not None and violation(problem, share) <= USABLE
        ]
        least.append(min(costs, default=1.0))
    return np.array(least)


def judge(tasks: list[Problem], trial: Trial, least: Vector) -> Errors:
    """Compare the answers of one solver with the least costs."""
    failed, dearer, broken = 0, [0.0], 0.0
    for problem, share, best in zip(tasks, trial.shares, least, strict=True):
        amount = violation(problem, share) if share is not None else np.inf
        if not (amount <= USABLE):
            failed += 1
        if share is not None:
            broken = max(broken, amount)
            dearer.append(cost(problem, share) - float(best))
    return Errors(failed, float(np.quantile(dearer, 0.99)), broken)


def line(name: str, rows: Vector, trial: Trial, errors: Errors) -> str:
    few = trial.took_us[rows <= FEW_ROWS]
    took = trial.took_us
    return (
        f"{name:26}{quantile(few, 0.5):9.1f}{quantile(few, 0.99):8.1f}{quantile(took, 0.5):10.1f}"
        f"{quantile(took, 0.99):8.1f}{took.max():9.0f}{trial.steps:7d}{errors.failed:8d}"
        f"{errors.dearer:12.1e}{errors.broken:10.1e}"
    )


def made_of(package: str) -> str:
    """Return version, licence and size of an installed package, as its metadata says."""
    metadata = importlib.metadata.metadata(package)
    said = [metadata[key] for key in ("License-Expression", "License") if key in metadata]
    licence = next((text for text in said if text), "see its files for the licence")
    paths = [Path(str(file.locate())) for file in importlib.metadata.files(package) or []]
    size = sum(path.stat().st_size for path in paths if path.exists())
    return f"{package} {metadata['Version']}, {licence.splitlines()[0]}, {size / 1e6:.1f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=SEQUENCES)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    tasks = list(problems(options.sequences, options.seed))
    trials: dict[str, Trial] = {}
    used: dict[str, None] = {}
    for name, (package, make) in SOLVERS.items():
        try:
            solve = make()
        except ImportError:
            print(f"{name} is not measured: {package} is not installed; pip install '.[bench]'")
            continue
        used[package] = None
        trials[name] = measure(solve, tasks)
    least = cheapest(tasks, list(trials.values()))
    rows = np.array([len(problem.bounds) for problem in tasks])
    print(f"{len(tasks)} problems, 7 shares, 1 to {rows.max()} rows; us a solve; {load_text()}")
    print(
        f"{'':26}{f'<= {FEW_ROWS} rows':>9}{'p99':>8}{'all':>10}{'p99':>8}{'max':>9}{'steps':>7}"
        f"{'failed':>8}{'dearer by':>12}{'broken':>10}"
    )
    for name, trial in trials.items():
        print(line(name, rows, trial, judge(tasks, trial, least)))
    print("\n".join(made_of(package) for package in used if package))


if __name__ == "__main__":
    main()
