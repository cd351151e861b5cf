"""Whether every state can be stopped: `python -m tests.benchmarks.stoppability [--states N]`.

States are sampled at random along adversarial bouts, in the open and among obstacles. In each the
demands are cut off, the envelope brakes until it rests, and the independent checkers judge every
command until then; afterwards the bout goes on as if nothing had been. Ends with an error if a
limit is passed or a stop does not rest.
"""

import argparse
import sys
import time
from dataclasses import dataclass, field

import numpy as np

from runtime.envelope.envelope import Envelope
from runtime.layout import Floats
from tests.benchmarks.adversary_arena import Arena, Disturbance, Scene
from tests.benchmarks.adversary_campaign import BOUT_TICKS, demand_of
from tests.benchmarks.adversary_demands import STREAMS
from tests.benchmarks.adversary_smooth import SmoothDemand
from tests.benchmarks.invariants import COMMANDS, DT_S
from tests.benchmarks.kit import load_text
from tests.runtime.invariant_checker import Violation, check

STATES = 10_000
SEED = 3
EVERY_TICKS = 20
_HISTORY = 3
_PATIENCE_TICKS = 2000


@dataclass
class Stops:
    """Stops from sampled states: their commands with three before each, and how they went."""

    rng: np.random.Generator
    commands: list[Floats] = field(default_factory=list)
    ticks: list[int] = field(default_factory=list)
    restless: int = 0
    _last: list[list[float]] = field(default_factory=list)

    def begin(self) -> None:
        """Forget the commands before, at the start of a bout."""
        self._last = []

    def watch(self, envelope: Envelope) -> None:
        """Note the command, and now and then cut off the demands and put everything back."""
        before = self._last or [list(envelope.q)] * _HISTORY
        self._last = [*before[1:], list(envelope.q)]
        if self.rng.integers(EVERY_TICKS):
            return
        state, path = envelope.save(), list(self._last)
        while not envelope.at_rest and len(path) < _PATIENCE_TICKS:
            envelope.brake()
            path.append(list(envelope.certify(0, 0, 0, 0, 1).command.q))
        self.restless += not envelope.at_rest
        self.commands.append(np.array(path))
        self.ticks.append(len(path) - _HISTORY)
        envelope.restore(state)

    def judge(self, scene: Scene) -> list[Violation]:
        """Return what the stops taken so far broke, and drop their commands."""
        starts = np.cumsum([0, *map(len, self.commands)])[:-1].tolist()
        q = np.concatenate(self.commands)
        self.commands.clear()
        found = list(check(q, DT_S, COMMANDS, starts, history=_HISTORY).violations)
        if scene.checker is not None:
            found += scene.checker.check(q).violations
        return found


@dataclass(frozen=True)
class Outcome:
    """`violations` and stops that did not rest, of so many; `ticks` each took."""

    violations: list[Violation]
    restless: int
    ticks: list[int]

    @property
    def passed(self) -> bool:
        return not self.violations and not self.restless


def run(states: int, seed: int) -> Outcome:
    """Stop from at least so many states."""
    arena, rng = Arena(), np.random.default_rng(seed)
    stops = Stops(np.random.default_rng((seed, 1)))
    names = [*STREAMS, "smooth"]
    violations: list[Violation] = []
    bout = 0
    while len(stops.ticks) < states:
        name, scene = names[bout % len(names)], (arena.open, arena.cluttered)[bout // 2 % 2]
        demand = (
            SmoothDemand(rng)
            if name == "smooth"
            else demand_of(STREAMS[name](rng, len(COMMANDS)))
        )
        stops.begin()
        start = arena.start(scene, rng)
        arena.play(scene, start, demand, BOUT_TICKS, Disturbance(), watch=stops.watch)
        violations += stops.judge(scene)
        bout += 1
    return Outcome(violations, stops.restless, stops.ticks)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=STATES)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    begin = time.monotonic()
    outcome = run(options.states, options.seed)
    moving = sum(ticks > 0 for ticks in outcome.ticks)
    print(
        f"{len(outcome.violations)} violations in stops from {len(outcome.ticks)} states, {moving} "
        f"of them in motion; {outcome.restless} did not rest; a stop took "
        f"{np.median(outcome.ticks):.0f} ticks in the middle, {max(outcome.ticks)} at most; "
        f"{time.monotonic() - begin:.0f} s; {load_text()}"
    )
    print("\n".join(map(str, outcome.violations[:5])))
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    sys.exit(main())
