"""How far an observation is from those that a policy was trained on."""

import math

import numpy as np

from runtime.layout import Floats
from runtime.policy_contract import TrainingStatistics

# A feature that never changed in training has no spread; any change of it is far.
_SPREAD_MIN = 1e-6


class Familiarity:
    """Distance from the box that the training's raw features fill, in their own spread.

    1 + the largest over all features of (distance outside [minimum, maximum]) / std: 1 is the edge,
    below it is inside, 3 is two standard deviations beyond anything that was ever seen. Ranges
    instead of a Mahalanobis distance: features that are clipped or bounded are not normal, and a
    person can read which sensor is out of which range.

    The peg task's base reaches 1.01 in its own runs in the nominal field and 1.9 in the biased one;
    with a task group of zeros, or one displaced by 0.1 m, it is past 10.
    """

    def __init__(self, statistics: TrainingStatistics) -> None:
        low, high = np.array(statistics.minimum), np.array(statistics.maximum)
        self._middle: Floats = 0.5 * (low + high)
        self._half: Floats = 0.5 * (high - low)
        self._per_spread: Floats = 1.0 / np.maximum(np.array(statistics.std), _SPREAD_MIN)
        self._away: Floats = np.zeros(len(low))

    def distance(self, raw: Floats) -> float:
        """Return the distance of raw features (shape [features]); inf if one is not finite."""
        away = self._away
        np.subtract(raw, self._middle, out=away)
        np.abs(away, out=away)
        np.subtract(away, self._half, out=away)
        np.multiply(away, self._per_spread, out=away)
        farthest = float(away.max())
        return 1.0 + farthest if math.isfinite(farthest) else math.inf
