"""What learning waits for: episodes enough, and somebody who says how they ended."""

from collections.abc import Sequence

from policies.experience import Episode
from policies.learner.trainer_settings import TrainerSettings
from runtime.messages import Outcome
from runtime.outcomes import KNOWN


class Prefill:
    """Keeps the episodes before learning begins: at most as many steps as the replay holds, so that
    a reward that never comes fills no memory; the oldest make room, whole.
    """

    def __init__(self, settings: TrainerSettings) -> None:
        self._settings = settings
        self._held = 0
        self._told = False
        self.episodes: list[Episode] = []

    def add(self, episode: Episode) -> None:
        """Keep an episode."""
        self.episodes.append(episode)
        self._held += len(episode.steps)
        while self._held > self._settings.agent.capacity:
            self._held -= len(self.episodes.pop(0).steps)

    def take(self) -> list[Episode]:
        """Return all that was kept, oldest first, and keep nothing."""
        taken, self.episodes, self._held = self.episodes, [], 0
        return taken

    def is_over(self, steps: int, outcomes: Sequence[Outcome]) -> bool:
        """Return whether learning begins after so many policy steps. `outcomes`: of `episodes`, as
        far as they are known by now."""
        settings = self._settings
        if not any(outcome in KNOWN for outcome in outcomes):
            return False
        successes = outcomes.count(Outcome.SUCCESS)
        enough = steps >= settings.prefill_steps and successes >= settings.prefill_successes
        return enough or steps >= settings.prefill_most_steps

    def complaint(self, steps: int, outcomes: Sequence[Outcome]) -> str:
        """Return, once, that nobody says how the episodes ended; nothing while it is early, or
        somebody did."""
        known = any(outcome in KNOWN for outcome in outcomes)
        if known or self._told or steps < self._settings.prefill_most_steps:
            return ""
        self._told = True
        return (
            f"nothing is learnt: after {steps} policy steps no episode has a known outcome, and "
            "the base works on; say how one ended: trimtab mark success --episode N"
        )
