"""How often the committed base succeeds: `python -m tests.benchmarks.base_success`.

200 episodes each in the fields nominal and field, in lockstep, in this process. Ends with an error
unless nominal is at least 95 % and field between 30 and 60 %.
"""

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np

from runtime.messages import Mode, Outcome
from runtime.summary import wilson
from tests.benchmarks.kit import SERVO_HZ, ColumnSink, OutcomeCounter, assemble, load_text

EPISODES = 200
SEED = 1001  # not one that the base was trained on
ALLOWED = {"nominal": (0.95, 1.0), "field": (0.30, 0.60)}


@dataclass(frozen=True)
class Success:
    """What came of the episodes in one field. `silent`: share of ticks that were not limited, of
    those in which the policy moved the arm and of all that were commanded."""

    field: str
    outcomes: Counter[str]
    aborted: int
    silent_in_episodes: float
    silent: float
    robot_s: float
    wall_s: float

    @property
    def episodes(self) -> int:
        return sum(self.outcomes.values())

    @property
    def share(self) -> float:
        return self.outcomes[Outcome.SUCCESS.name] / self.episodes

    @property
    def passed(self) -> bool:
        low, high = ALLOWED[self.field]
        return low <= self.share <= high

    @property
    def plausible(self) -> bool:
        """Whether the 95 % interval leaves the wanted share possible."""
        interval = wilson(self.outcomes[Outcome.SUCCESS.name], self.episodes)
        least, most = ALLOWED[self.field]
        return interval.low <= most and interval.high >= least

    def line(self) -> str:
        interval = wilson(self.outcomes[Outcome.SUCCESS.name], self.episodes)
        least, most = ALLOWED[self.field]
        others = {name: n for name, n in self.outcomes.items() if name != Outcome.SUCCESS.name}
        return (
            f"{self.field:8} {self.share:6.1%} of {self.episodes} (95 % interval "
            f"{interval.low:.1%} to {interval.high:.1%}; wanted {least:.0%} to {most:.0%}); "
            f"others {others or 'none'}, aborted "
            f"{self.aborted}; not limited {self.silent_in_episodes:.2%} of policy ticks, "
            f"{self.silent:.2%} of all; {self.robot_s:.0f} s of robot time in {self.wall_s:.0f} s"
        )


def measure(field: str, episodes: int, seed: int = SEED) -> Success:
    """Run the base in one field until `episodes` have ended with a verdict."""
    counter = OutcomeCounter(episodes)
    sink = ColumnSink(["mode", "command_sent", "limited_by"])
    begin = time.monotonic()
    assemble(field, seed, sink, counter).loop.run()
    rows = sink.rows()
    silent = np.asarray(~rows["limited_by"].any(axis=1))
    sent, acting = rows["command_sent"][:, 0] > 0, rows["mode"][:, 0] == Mode.BASE
    return Success(
        field=field,
        outcomes=Counter(outcome.name for outcome in counter.outcomes),
        aborted=counter.aborted,
        silent_in_episodes=float(np.mean(silent[acting])),
        silent=float(np.mean(silent[sent])),
        robot_s=len(rows) / SERVO_HZ,
        wall_s=time.monotonic() - begin,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    passed = True
    for field in ALLOWED:
        success = measure(field, options.episodes, options.seed)
        passed = passed and success.passed
        print(success.line(), flush=True)
    print(f"{'reached' if passed else 'NOT REACHED'}; {load_text()}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
