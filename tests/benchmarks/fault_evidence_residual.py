"""When evidence against the residual could be seen: counted from the record alone.

Shares nothing with the watch in the tick. Limits are those of the committed config, written again
by hand, with a memory of MEMORY_STEPS.
"""

from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np

from runtime.layout import Floats
from runtime.messages import Mode, Outcome, Phase, TickRecord

MEMORY_STEPS = 20
JUDGED_STEPS = 5
SATURATED_MAX = 0.5
# 1.5 or 3 times the base's share, plus this; the injectors say that the base never does
SHARE_MAX = 0.05
PRESSED_N = 80.0
EDGE = 0.95 * 0.6
CRITIC_GAP_MAX = 0.3
UPDATE_RATIO_MAX = 3.0
WEIGHTS_AGE_MAX_NS = 600 * 1_000_000_000
FAILED = (Outcome.FAILURE, Outcome.TIMEOUT)


@dataclass
class ResidualPast:
    """The residual's policy steps in this trial, each with its ticks up to the next."""

    trial: int = 0
    sequence: int = 0
    in_step: bool = False
    now: Floats = field(default_factory=lambda: np.zeros(2))
    steps: list[Floats] = field(default_factory=list)
    at_bound: list[Floats] = field(default_factory=list)
    acted: bool = False

    def look(self, record: TickRecord) -> None:
        """Take in a tick."""
        trial, sequence = int(record.residual_trial[0]), int(record.base_sequence[0])
        if trial != self.trial:
            self._forget(trial)
        adaptive = bool(record.mode[0] == Mode.ADAPTIVE)
        if self.in_step and (sequence != self.sequence or not adaptive):
            self.steps.append(self.now)
            self.in_step = False
        if adaptive and sequence != self.sequence:
            self.now = np.zeros(2)
            self.in_step = bool(record.residual_takes_part[0])
            if self.in_step:
                asked = np.abs(record.residual_action - record.residual_noise)
                self.at_bound.append((asked > EDGE).astype(float))
                self.acted |= bool(record.authority.any())
        self.sequence = sequence
        if adaptive:
            happened = [record.limited_by.any(), record.contact_force_n[0] > PRESSED_N]
            self.now = np.maximum(self.now, happened)
        if record.phase[0] != Phase.RUNNING and not record.outcome[0]:
            self.acted = False

    def _forget(self, trial: int) -> None:
        self.trial, self.in_step, self.acted = trial, False, False
        self.steps, self.at_bound = [], []

    def with_tick(self, record: TickRecord) -> "ResidualPast":
        """Return what it is after one more tick."""
        after = deepcopy(self)
        after.look(record)
        return after


def _weighted(values: list[Floats]) -> Floats:
    """Return the exponentially weighted mean of what begins at nothing, newest last."""
    ages = np.arange(len(values))[::-1]
    weights = (1.0 - 1.0 / MEMORY_STEPS) ** ages / MEMORY_STEPS
    mean: Floats = np.array(values, dtype=float).T @ weights
    return mean


def _too_often(record: TickRecord, past: ResidualPast, which: int) -> bool:
    steps = past.with_tick(record).steps
    return len(steps) >= JUDGED_STEPS and bool(_weighted(steps)[which] > SHARE_MAX)


def limited(record: TickRecord, past: ResidualPast) -> bool:
    """True when the envelope acted in too many of its steps."""
    return _too_often(record, past, 0)


def presses(record: TickRecord, past: ResidualPast) -> bool:
    """True when too many of its steps pressed."""
    return _too_often(record, past, 1)


def saturated(record: TickRecord, past: ResidualPast) -> bool:
    """True when one of its actions is at its bound too often."""
    bound = past.with_tick(record).at_bound
    return len(bound) >= JUDGED_STEPS and bool(_weighted(bound).max() > SATURATED_MAX)


def failed(record: TickRecord, past: ResidualPast, reference: tuple[int, int]) -> bool:
    """True when an episode of the residual failed though the reference never has, in a million."""
    successes, episodes = reference
    ended = bool(np.isin(record.outcome[0], FAILED))
    return ended and past.with_tick(record).acted and episodes >= 10**6 and successes == episodes
