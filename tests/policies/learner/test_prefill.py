"""What learning waits for: enough episodes, somebody who judges them, and no memory without end."""

import numpy as np
import pytest

from policies.experience import Episode, PolicyStep
from policies.learner.prefill import Prefill
from policies.learner.settings import LearnerSettings
from policies.learner.trainer_settings import TrainerSettings
from runtime.messages import Outcome

SUCCESS, FAILURE, UNKNOWN = Outcome.SUCCESS, Outcome.FAILURE, Outcome.UNKNOWN
ZERO = np.zeros(1)
STEP = PolicyStep(ZERO, ZERO, ZERO, ZERO, 0.0, limited=False, noisy=False, version=0)
SETTINGS = TrainerSettings(
    prefill_steps=20,
    prefill_successes=2,
    prefill_most_steps=50,
    agent=LearnerSettings(capacity=100),
)


def episode(number: int, steps: int) -> Episode:
    return Episode(number, (STEP,) * steps, ZERO, UNKNOWN)


@pytest.mark.parametrize(
    ("steps", "outcomes", "over"),
    [
        (19, [SUCCESS] * 3, False),
        (20, [SUCCESS] * 2, True),
        (20, [SUCCESS, FAILURE, UNKNOWN], False),
        (49, [SUCCESS, FAILURE, UNKNOWN], False),
        (50, [FAILURE], True),
        (5000, [UNKNOWN] * 60, False),
        (5000, [], False),
    ],
)
def test_it_is_over_with_enough_of_both_or_late_with_one_outcome(
    steps: int, outcomes: list[Outcome], over: bool
) -> None:
    assert Prefill(SETTINGS).is_over(steps, outcomes) is over


def test_a_reward_that_never_comes_is_said_once() -> None:
    prefill = Prefill(SETTINGS)
    assert not prefill.complaint(49, [UNKNOWN])
    assert not prefill.complaint(50, [UNKNOWN, FAILURE])
    assert "after 51 policy steps no episode has a known outcome" in prefill.complaint(
        51, [UNKNOWN]
    )
    assert not prefill.complaint(5000, [UNKNOWN])


def test_the_oldest_make_room_whole() -> None:
    prefill = Prefill(SETTINGS)
    for number in range(1, 12):
        prefill.add(episode(number, 30))
        assert sum(len(kept.steps) for kept in prefill.episodes) <= 100
    assert [kept.number for kept in prefill.take()] == [9, 10, 11]
    assert prefill.episodes == []
    prefill.add(episode(12, 100))
    prefill.add(episode(13, 101))
    assert prefill.take() == []
