"""From an episode to what the replay holds of it."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np

from policies.experience import Episode, PolicyStep
from policies.learner.replay import Float32s, Source, Step


def replay_steps(
    episode: Episode, features: Float32s, stored: Literal["granted", "executed"]
) -> Iterator[Step]:
    """Yield the steps of an episode. `features` [steps + 1, n] are normalised, those after the last
    step included; `stored` says which of its actions a step's is.
    """
    # the step after the last is never taken: its base action is bootstrapped on by nobody
    following = (*episode.steps[1:], episode.steps[-1])
    for step, after, (here, there) in zip(
        episode.steps, following, pairwise(features), strict=True
    ):
        action = step.executed if stored == "executed" else step.granted
        yield Step(
            observation=here,
            base_action=step.base.astype(np.float32),
            residual=action.astype(np.float32),
            next_observation=there,
            next_base_action=after.base.astype(np.float32),
            force_n=step.force_n,
            source=_source(step),
        )


def acting_versions(episode: Episode) -> tuple[int, ...]:
    """Return the snapshots that added something to the base in an episode, in order; a live one
    that only looked on did not act."""
    return tuple(dict.fromkeys(step.version for step in episode.steps if _acts(step)))


def _acts(step: PolicyStep) -> bool:
    return step.version > 0 and bool(step.granted.any())


def _source(step: PolicyStep) -> Source:
    if step.noisy:
        return Source.EXPLORING
    return Source.RESIDUAL if _acts(step) else Source.BASE
