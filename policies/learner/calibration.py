"""Does the critic promise what is achieved? A range check is blind where targets are clipped."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from policies.learner.replay import Float32s


@dataclass(frozen=True)
class Calibration:
    """Mean of promised minus achieved return over `episodes`, and its lower confidence bound.

    `low` above zero: the critic promises too much, and that is no accident. No episodes: nan.
    """

    mean: float
    low: float
    episodes: int


@dataclass(frozen=True)
class CalibrationMonitor:
    """Compares Q at the starts of recent episodes with the returns they then had.

    `confidence`: one-sided, of the lower bound (Student's t; with n below `least` it is -inf).
    """

    confidence: float = 0.95
    least: int = 5

    def judge(self, promised: Float32s, achieved: Float32s) -> Calibration:
        """Return how `promised` and `achieved` returns, [episodes] each, compare."""
        excess = promised.astype(np.float64) - achieved
        count = len(excess)
        if count == 0:
            return Calibration(math.nan, -math.inf, 0)
        mean = float(excess.mean())
        if count < self.least:
            return Calibration(mean, -math.inf, count)
        error = float(excess.std(ddof=1)) / math.sqrt(count)
        return Calibration(
            mean, mean - float(stats.t.ppf(self.confidence, count - 1)) * error, count
        )
