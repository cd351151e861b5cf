"""What each piece is worth: `python -m tests.benchmarks.residual_ablations`, fixed budget.

Each variant changes one thing of the committed recipe. Where a piece does not help here, the table
says so. Seeds are few and spreads wide: siblings that differ by less than their spread are equal.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.benchmarks.kit import load_text
from tests.benchmarks.residual_kit import Study, evaluate, study_deployment, train

SEEDS = (101, 102, 103)
STEPS = 6000
EPISODES = 100
BASE_LOG = 50
_EXPLORATION = "residual.exploration"
_PROGRESS = {f"{_EXPLORATION}.horizon_episodes": 60}


@dataclass(frozen=True)
class Variant:
    """What one variant changes; see `study_deployment` and `Study`."""

    changes: Mapping[str, Any] = field(default_factory=dict)
    bound: float | None = None
    base_log: int = 0


VARIANTS = {
    "recipe": Variant(),
    "bound .2": Variant(bound=0.2),
    "bound .8": Variant(bound=0.8),
    "progression, per step": Variant({**_PROGRESS, f"{_EXPLORATION}.segment_steps": 1}),
    "progression, per segment": Variant({**_PROGRESS, f"{_EXPLORATION}.segment_steps": 20}),
    "progression, per episode": Variant({**_PROGRESS, f"{_EXPLORATION}.segment_steps": 0}),
    "half clean while learning": Variant({f"{_EXPLORATION}.clean_share": 0.5}),
    "base log mixed in": Variant({"learner.agent.offline_share": 0.5}, base_log=BASE_LOG),
    "calibrated start": Variant(
        {"learner.agent.cal_ql": {"online": False}, "learner.agent.offline_share": 0.5},
        base_log=BASE_LOG,
    ),
    "update guard": Variant({"learner.agent.update_guard": {}}),
    "TD3": Variant({"learner.agent.algorithm": "td3", "learner.agent.actor_delay": 2}),
    "no warm-up": Variant({"learner.agent.warm_up_updates": 0}),
    "two critics, their minimum": Variant(
        {
            "learner.agent.critics": 2,
            "learner.agent.target_critics": 2,
            "learner.agent.actor_std_weight": 1.0,
        }
    ),
    "action cost 0": Variant({"learner.agent.action_cost": 0.0}),
    "force cost off": Variant({"learner.agent.force_cost": None}),
    "executed stored": Variant({"learner.stored": "executed"}),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--field", default="field")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    options = parser.parse_args()
    for name in options.variants:
        variant = VARIANTS[name]
        finals, trials, worst, pressed = [], [], [], []
        for seed in options.seeds:
            deployment = study_deployment(dict(variant.changes))
            study = Study(deployment, options.field, seed, variant.bound, variant.base_log)
            run = train(study, options.steps)
            after = evaluate(study, run.gate.live, options.episodes)
            finals.append(after.share)
            trials.append(run.tally.share)
            worst.append(run.tally.worst_window())
            pressed.append(after.pressed / after.steps)
        each = ", ".join(f"{share:.0%}" for share in finals)
        print(
            f"{name:28} median {median(finals):.1%} ({each}); while learning "
            f"{median(trials):.0%}, worst 40 in a row {min(worst):.0%}; pressing "
            f"{median(pressed):.1%}",
            flush=True,
        )
    print(f"{options.steps} steps, {options.episodes} evaluation episodes each; {load_text()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
