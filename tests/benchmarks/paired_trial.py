"""Does the whole trial pay? `python -m tests.benchmarks.paired_trial`: pairs, from the first step.

For every episode of a robot that learns, the base alone runs the same one in a copy of the plant
that nothing else reads: drawn start, hole, and every image's error are the same, and so is the
field. Joint angles at the start and the force sensor's noise are not: they follow from what the arm
did before; the base sees no force. Shortfall = the base's successes minus the robot's, cumulated.
Ends with an error unless every seed's is at most 10 at any time and below 0 at the end, their
median is at most 5, and no robot presses with more than 80 N in a larger share of its policy steps
than its base. What was learnt is then evaluated on fresh episodes that select nothing, for the
price of a governor (residual_learning.py has none). A governor decides as in the gate process;
`--ungoverned`: the residual takes part in every episode from the first on.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import median

from runtime.config import read_yaml
from runtime.messages import Outcome, Phase, SignalKind, TickRecord
from runtime.tick import ControlTick
from tests.benchmarks.governed_kit import GovernedGate
from tests.benchmarks.kit import load_text
from tests.benchmarks.residual_kit import (
    FIELDS_FILE,
    PRESSED_N,
    CountingSink,
    Run,
    Study,
    Tally,
    evaluate,
    study_deployment,
    train,
)

SEEDS = (101, 102, 103, 104, 105)
STEPS = 6000
TUNED_FIELD = "field"
SHORTFALL_MAX = 10
SHORTFALL_MEDIAN_MAX = 5

# the set-point at which the simulation's driver begins an episode; drawn anew for each
Start = tuple[float, ...]


@dataclass
class PairedTally(Tally):
    """A tally that knows its episodes by their starts, so that it finds the twin of each.

    `drawn`: starts in the order in which they were asked for. `ended`: whether the episode from a
    start succeeded; one that was aborted did not.
    """

    drawn: list[Start] = field(default_factory=list)
    ended: dict[Start, bool] = field(default_factory=dict)

    def look(self, record: TickRecord) -> None:
        """Count one tick."""
        super().look(record)
        outcome = record.outcome.item()
        if outcome:
            self.ended[self.drawn[-1]] = outcome == Outcome.SUCCESS
        for slot, kind in enumerate(record.signal_kind.tolist()):
            if kind == SignalKind.RESET_BEGIN:
                self._draw(record, slot)

    def _draw(self, record: TickRecord, slot: int) -> None:
        """Note a start; the driver asks again for one that is not reached."""
        width = len(record.setpoint)
        start = tuple(record.signal_target[slot * width : (slot + 1) * width].tolist())
        if start not in self.drawn[-1:]:
            self.drawn.append(start)

    @property
    def pressed_share(self) -> float:
        """Share of policy steps that pressed with more than PRESSED_N."""
        return self.pressed / max(1, self.steps)


def run_twin(study: Study, deployed: PairedTally, alone: PairedTally) -> None:
    """Let the base alone run the episodes that `deployed` ended, and count them in `alone`."""
    last = next(reversed(deployed.ended))
    number = deployed.drawn.index(last) + 1

    def done(tick: ControlTick) -> bool:
        over = last in alone.ended or len(alone.drawn) > number
        return over and tick.record.phase.item() != Phase.RUNNING

    study.run(study.base(), CountingSink(alone), None, study.seed, done)


@dataclass(frozen=True)
class PairedTrial:
    """A trial and its twin."""

    seed: int
    deployed: PairedTally
    alone: PairedTally
    wall_s: float
    run: Run | None = None

    @property
    def shortfall(self) -> list[int]:
        """The cumulated shortfall before the first episode (0) and after each of the robot's; one
        that the twin never began counts as a success of the base."""
        pairs = ((self.alone.ended.get(s, True), ok) for s, ok in self.deployed.ended.items())
        return list(accumulate((base - ok for base, ok in pairs), initial=0))

    @property
    def largest(self) -> int:
        """The largest shortfall at any time."""
        return max(self.shortfall)

    def missed(self) -> list[str]:
        """Return in words which of the goals of one seed are not reached."""
        end, pressed, base = self.shortfall[-1], *(t.pressed_share for t in self._both)
        found = {
            f"shortfall {self.largest} > {SHORTFALL_MAX}": not (self.largest <= SHORTFALL_MAX),
            f"end {end} >= 0": not (end < 0),
            f"presses more than the base: {pressed:.1%} > {base:.1%}": not (pressed <= base),
        }
        return [words for words, true in found.items() if true]

    @property
    def _both(self) -> tuple[PairedTally, PairedTally]:
        return self.deployed, self.alone

    def line(self) -> str:
        """Return what is known of this seed."""
        shortfall, (deployed, alone) = self.shortfall, self._both
        without = len(deployed.ended.keys() - alone.ended.keys())
        same = [alone.ended[start] for start in deployed.ended if start in alone.ended]
        return (
            f"seed {self.seed}: shortfall at most {self.largest} (after episode "
            f"{shortfall.index(self.largest)}), {shortfall[-1]} at the end; successes "
            f"{sum(deployed.ended.values())} of {len(deployed.ended)}, the base "
            f"{sum(same)} of {len(same)}; worst 40 in a row "
            f"{deployed.worst_window():.0%}, the base {alone.worst_window():.0%}; above "
            f"{PRESSED_N:g} N {deployed.pressed_share:.2%} of steps, the base "
            f"{alone.pressed_share:.2%}; {f'{without} without a twin; ' if without else ''}"
            f"{self.wall_s:.0f} s; {', '.join(self.missed()) or 'reached'}"
        )


def measure(
    study: Study,
    steps: int,
    *,
    governed: bool = True,
    episodes: int | None = None,
    twin: PairedTally | None = None,
) -> PairedTrial:
    """Let a robot learn for `steps` policy steps or `episodes`, and its twin follow, unless `twin`
    is what the base did in these very episodes before."""
    begin = time.monotonic()
    deployed, alone = PairedTally(), twin or PairedTally()
    make_gate = GovernedGate if governed else None
    run = train(study, steps, tally=deployed, make_gate=make_gate, episodes=episodes)
    if isinstance(run.gate, GovernedGate):
        print("\n".join(run.gate.told), flush=True)
    if not deployed.ended.keys() <= alone.ended.keys():
        alone = PairedTally()
        run_twin(study, deployed, alone)
    return PairedTrial(study.seed, deployed, alone, time.monotonic() - begin, run)


def learnt(trial: PairedTrial, study: Study, episodes: int) -> str:
    """Return what the snapshot that was live at the end is worth: its mean action, learner off, on
    fresh episodes; and how far the governor trusted it by then."""
    assert trial.run is not None
    gate = trial.run.gate
    after, grant = evaluate(study, gate.live, episodes), gate.grant
    return (
        f"seed {trial.seed}: learnt {after.share:.1%} of {len(after.outcomes)}, above "
        f"{PRESSED_N:g} N {after.pressed / after.steps:.2%}; granted {grant.stage.name}, "
        f"{grant.share:.0%} of the episodes"
    )


def summary(trials: Sequence[PairedTrial]) -> tuple[str, bool]:
    """Return the line of all seeds together, and whether every goal is reached."""
    largest = [trial.largest for trial in trials]
    middle = median(largest)
    missed = [trial.seed for trial in trials if trial.missed()]
    reached = not missed and middle <= SHORTFALL_MEDIAN_MAX
    ends = ", ".join(str(trial.shortfall[-1]) for trial in trials)
    return (
        f"{'reached' if reached else 'NOT REACHED'}: largest shortfall median {middle:g} (wanted "
        f"<= {SHORTFALL_MEDIAN_MAX}), worst {max(largest)} (<= {SHORTFALL_MAX}); at the end {ends} "
        f"(all < 0); goals missed by seeds {', '.join(map(str, missed)) or 'none'}"
    ), reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    fields = (TUNED_FIELD, *read_yaml(FIELDS_FILE))
    parser.add_argument("--field", choices=fields, default=TUNED_FIELD)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--ungoverned", action="store_true")
    parser.add_argument("--evaluate", type=int, default=200, help="episodes; 0: none")
    options = parser.parse_args()
    trials = []
    for seed in options.seeds:
        study = Study(study_deployment(), options.field, seed)
        trials.append(measure(study, options.steps, governed=not options.ungoverned))
        print(trials[-1].line(), flush=True)
        if options.evaluate:
            print(learnt(trials[-1], study, options.evaluate), flush=True)
    words, reached = summary(trials)
    print(f"{options.field}, {options.steps} steps: {words}\n{load_text()}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
