"""Does dropping the residual jerk the arm? `python -m tests.benchmarks.bumpless`.

A learned snapshot works with full authority; at random moments, in contact and out of it, a person
takes the residual away and gives it back half a second later. Compared with windows of the same
length in which nothing happened: how far the desired joint positions step in the tick of the drop,
and the largest acceleration and jerk that were applied in the 100 ms after it. Ends with an error
unless each of the drops stays within 1.5 times the ordinary p99.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.events import Event
from runtime.gate_wire import Grant
from runtime.interfaces import GateHealth, ResidualPolicy
from runtime.layout import Floats
from runtime.messages import Mode, Phase, Stage, TickRecord
from runtime.tick import ControlTick
from tests.benchmarks.kit import SERVO_HZ, ColumnSink, load_text
from tests.benchmarks.residual_kit import UNCOMPARED, Study, study_deployment, train

SEEDS = (101, 102, 103, 104, 105)
DROPS = 100
STEPS = 3000
TIMES_MAX = 1.5
AWAY_TICKS = SERVO_HZ // 2
WINDOW_TICKS = SERVO_HZ // 10
# between two drops; long enough for the ramp back and some ordinary motion
APART_TICKS = (2 * SERVO_HZ, 4 * SERVO_HZ)
IN_CONTACT_N = 5.0
_COLUMNS = ("mode", "phase", "q_desired", "ddq_applied", "contact_force_n", "residual_held")


class Taking:
    """Grants everything to one snapshot, and takes it away at random moments of episodes."""

    def __init__(self, snapshot: bytes, actions: int, seed: int) -> None:
        self.grant = Grant(
            Stage.ADAPTIVE, [1.0] * actions, noise_share=0.0, references=UNCOMPARED
        )
        self.drops = 0
        self._snapshot = snapshot
        self._rng = np.random.default_rng(seed)
        self._away = 0
        self._next = self._wait()

    def health(self) -> GateHealth:
        """Well; a person holds the residual back for a while after each drop."""
        return GateHealth(held=self._away > 0)

    def after(self, record: TickRecord, residual: ResidualPolicy) -> Sequence[Event]:
        """Offer the snapshot at first; count down to the next drop while it acts."""
        if self._snapshot:
            reason = residual.offer(self._snapshot)
            assert not reason, reason
            self._snapshot = b""
        self._away = max(0, self._away - 1)
        if record.mode.item() == Mode.ADAPTIVE:
            self._next -= 1
            if self._next == 0:
                self.drops += 1
                self._away, self._next = AWAY_TICKS, self._wait()
        return ()

    def close(self) -> None:
        """Nothing to close."""

    def _wait(self) -> int:
        return int(self._rng.integers(*APART_TICKS))


@dataclass(frozen=True)
class Found:
    """Per drop and per ordinary window: step of the desired joint positions in its first tick
    (rad), largest acceleration (rad/s^2) and jerk (rad/s^3) applied inside it."""

    names = ("desired step", "acceleration", "jerk")
    dropped: Floats
    ordinary: Floats
    in_contact: int

    def lines(self) -> list[tuple[str, bool]]:
        """Return one line a quantity, and whether it is reached."""
        lines = []
        for name, drops, usual in zip(self.names, self.dropped.T, self.ordinary.T, strict=True):
            p99 = float(np.quantile(usual, 0.99))
            reached = bool(drops.max() <= TIMES_MAX * p99)
            text = (
                f"{name}: drops p50 {np.median(drops):.4g}, largest {drops.max():.4g}; ordinary "
                f"p50 {np.median(usual):.4g}, p99 {p99:.4g}: largest {drops.max() / p99:.2f} "
                f"times, {'reached' if reached else 'NOT REACHED'}"
            )
            lines.append((text, reached))
        return lines


def measure(study: Study, snapshot: bytes, drops: int) -> Found:
    """Drop the residual so many times and look at what followed."""
    base = study.base()
    gate = Taking(snapshot, len(base.contract.action.names), study.seed)
    sink = ColumnSink(_COLUMNS)

    def done(tick: ControlTick) -> bool:
        return gate.drops >= drops and tick.record.phase.item() != Phase.RUNNING

    study.run(base, sink, gate, study.seed, done)
    return judge(sink)


def judge(sink: ColumnSink) -> Found:
    """Compare the windows after drops with ordinary ones."""
    rows = sink.rows()
    acting = rows["mode"][:, 0] == Mode.ADAPTIVE
    running = rows["phase"][:, 0] == Phase.RUNNING
    held = rows["residual_held"][:, 0].astype(bool)
    steps = np.zeros(len(rows))
    steps[1:] = np.linalg.norm(np.diff(rows["q_desired"], axis=0), axis=1)
    acceleration = np.abs(rows["ddq_applied"]).max(axis=1)
    jerk = np.zeros(len(rows))
    jerk[1:] = np.abs(np.diff(rows["ddq_applied"], axis=0)).max(axis=1) * SERVO_HZ

    def look(starts: Sequence[int]) -> Floats:
        spans = [slice(at, at + WINDOW_TICKS) for at in starts]
        return np.array(
            [(steps[s.start], acceleration[s].max(), jerk[s].max()) for s in spans]
        )

    edges = np.flatnonzero(held[1:] & ~held[:-1] & acting[:-1]) + 1
    began = [int(at) for at in edges if running[at : at + WINDOW_TICKS].all()]
    undisturbed = np.convolve(acting & ~held, np.ones(WINDOW_TICKS), "valid") == WINDOW_TICKS
    ordinary = [int(at) for at in np.flatnonzero(undisturbed)[::7]]
    in_contact = sum(bool(rows["contact_force_n"][at, 0] > IN_CONTACT_N) for at in began)
    return Found(look(began), look(ordinary), in_contact)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--drops", type=int, default=DROPS)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    reached = True
    for seed in options.seeds:
        study = Study(study_deployment(), "field", seed)
        snapshot = train(study, options.steps).gate.live
        found = measure(study, snapshot, options.drops)
        print(f"seed {seed}: {len(found.dropped)} drops, {found.in_contact} of them in contact")
        for text, good in found.lines():
            print(f"  {text}", flush=True)
            reached = reached and good
    print(f"{'reached' if reached else 'NOT REACHED'}; {load_text()}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
