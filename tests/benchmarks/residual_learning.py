"""Does it learn? `python -m tests.benchmarks.residual_learning`: fixed budget, unseen seeds.

Counted is every policy step that the robot executes, prefill and exploration included; nothing is
recorded before. Evaluated is the snapshot that was live when the budget was spent: its mean action,
learner off, once, on fresh episodes that select nothing. Learner and gate see the record alone; the
field's numbers are in the simulation and nowhere else. Ends with an error unless the field `field`
has a median of at least 98 % with every seed at 95 % or more, and the others a median of 95 %.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from runtime.config import read_yaml
from runtime.summary import wilson
from tests.benchmarks.kit import load_text
from tests.benchmarks.residual_kit import (
    FIELDS_FILE,
    Run,
    Study,
    evaluate,
    study_deployment,
    train,
)

SEEDS = (101, 102, 103, 104, 105)
EPISODES = 200
STEPS = 6000
TUNED_FIELD = "field"
GOAL_MEDIAN = {True: 0.98, False: 0.95}
GOAL_EACH = {True: 0.95, False: 0.0}


@dataclass(frozen=True)
class Learned:
    """One training run and what came of it. `shares` maps steps to evaluated success."""

    field: str
    seed: int
    shares: dict[int, float]
    pressed: dict[int, float]
    trained: Run
    wall_s: float

    def line(self) -> str:
        tally = self.trained.tally
        curve = ", ".join(
            f"{steps}: {share:.1%} ({self.pressed[steps]:.1%} pressing)"
            for steps, share in self.shares.items()
        )
        gate = self.trained.gate
        return (
            f"{self.field:9} seed {self.seed}: {curve}; while learning "
            f"{tally.share:.1%} of {len(tally.outcomes)}, worst 40 in a row "
            f"{tally.worst_window():.0%}, {tally.pressed / tally.steps:.1%} pressing; "
            f"{len(gate.promoted)} snapshots, {len(gate.refused)} refused, "
            f"{gate.trainer.experience.dropped} episodes left out; {self.wall_s:.0f} s"
        )


def measure(study: Study, marks: Sequence[int], episodes: int) -> Learned:
    """Train once to the largest mark and evaluate what was live at each."""
    begin = time.monotonic()
    run = train(study, max(marks), marks)
    found = {steps: evaluate(study, snapshot, episodes) for steps, snapshot in run.kept.items()}
    return Learned(
        field=study.field,
        seed=study.seed,
        shares={steps: tally.share for steps, tally in found.items()},
        pressed={steps: tally.pressed / tally.steps for steps, tally in found.items()},
        trained=run,
        wall_s=time.monotonic() - begin,
    )


def summary(field: str, runs: Sequence[Learned], episodes: int) -> tuple[str, bool]:
    """Return the field's line and whether its goal is reached at the smallest judged budget."""
    tuned = field == TUNED_FIELD
    words, reached = [], False
    for steps in runs[0].shares:
        shares = [run.shares[steps] for run in runs]
        interval = wilson(round(sum(shares) * episodes), episodes * len(runs))
        words.append(
            f"{steps} steps: median {median(shares):.1%}, worst {min(shares):.1%} "
            f"(together {interval.low:.1%} to {interval.high:.1%})"
        )
        if steps == STEPS:
            reached = median(shares) >= GOAL_MEDIAN[tuned] and min(shares) >= GOAL_EACH[tuned]
    return f"{field:9} {'reached' if reached else 'NOT REACHED'}: {'; '.join(words)}", reached


def main() -> int:
    fields = (TUNED_FIELD, *read_yaml(FIELDS_FILE))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fields", nargs="+", choices=fields, default=fields)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--marks", nargs="+", type=int, default=(3000, STEPS))
    parser.add_argument("--episodes", type=int, default=EPISODES)
    options = parser.parse_args()
    lines, passed = [], True
    for field in options.fields:
        base = evaluate(Study(study_deployment(), field, seed=0), b"", options.episodes)
        print(f"{field:9} the base alone: {base.share:.1%} of {options.episodes}", flush=True)
        runs = []
        for seed in options.seeds:
            study = Study(study_deployment(), field, seed)
            runs.append(measure(study, options.marks, options.episodes))
            print(runs[-1].line(), flush=True)
        line, reached = summary(field, runs, options.episodes)
        lines.append(line)
        passed = passed and reached
    print("\n".join([*lines, load_text()]))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
