"""Whose an episode was: what the residual said in the one before it does not count."""

import numpy as np

from runtime.residual_tally import acting

_NAMES = ("residual_takes_part", "authority", "episode_step")


def rows(*given: tuple[int, float, int]) -> np.ndarray:
    found = np.zeros(len(given), dtype=[(name, np.float64, (1,)) for name in _NAMES])
    for at, values in enumerate(given):
        for name, value in zip(_NAMES, values, strict=True):
            found[name][at] = value
    return found


def test_the_residual_acts_where_it_takes_part_and_has_authority() -> None:
    assert acting(rows((1, 1.0, 1), (0, 1.0, 1), (1, 0.0, 1))).tolist() == [True, False, False]


def test_the_last_answer_of_the_episode_before_is_not_this_one_s() -> None:
    # authority is there at once, the answer is the old one until the first policy step
    assert acting(rows((1, 1.0, 0), (0, 1.0, 1), (0, 1.0, 2))).tolist() == [False] * 3
