"""The range of the observations that a learner has learnt from."""

from collections.abc import Container

import numpy as np

from runtime.layout import Floats


class SeenRange:
    """Lowest and highest raw features [n], of the episodes of each set of snapshots that acted:
    when some are undone, what was seen in their episodes alone is no longer training data. One
    range per set, so it grows with the snapshots that act and not with the episodes."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._ranges: dict[tuple[int, ...], tuple[Floats, Floats]] = {}

    def add(self, versions: tuple[int, ...], features: Floats) -> None:
        """Take in the features [steps, n] of an episode in which these versions acted."""
        low, high = self._ranges.get(versions, self._nothing())
        self._ranges[versions] = (
            np.minimum(low, features.min(axis=0)),
            np.maximum(high, features.max(axis=0)),
        )

    def without(self, undone: Container[int]) -> tuple[Floats, Floats]:
        """Return lowest and highest [n] of the episodes in which no undone version acted; inf and
        -inf without any."""
        found = [
            both
            for versions, both in self._ranges.items()
            if not any(version in undone for version in versions)
        ]
        low, high = zip(self._nothing(), *found, strict=True)
        return np.min(low, axis=0), np.max(high, axis=0)

    def _nothing(self) -> tuple[Floats, Floats]:
        return np.full(self._width, np.inf), np.full(self._width, -np.inf)
