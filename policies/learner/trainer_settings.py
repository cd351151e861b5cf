"""What the config's `learner` block says: when to learn and when to offer; no torch in here."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from policies.learner.settings import LearnerSettings
from runtime.robot_spec import StrictModel

Count = Annotated[int, Field(ge=1)]


class TrainerSettings(StrictModel):
    """The block `learner`.

    `agent`: the algorithm; see settings.py. `update_every_steps`: policy steps between two bouts
    of learning, each with the updates that are due by then. `candidate_every_steps`: policy steps
    between two candidates. `prefill_*`: learning begins once so many policy steps and so many
    successes were seen, or the most steps (reference study: 600, 8 and 2500). `stored`: what a
    transition's action is: `granted`, what was added to the base, or `executed`, what came of it
    behind the set-point's limits and the envelope. The limits belong to the plant, so what was
    granted is what the learner decides about; `executed` cut to the bound learnt slower (81 for
    89 % after 6000 steps, one seed). `normaliser`: `terms` takes each term's own scale, `data` mean
    and deviation of the prefill, which makes as much of joint speeds as of the last millimetre.
    """

    update_every_steps: Count = 10
    candidate_every_steps: Count = 50
    prefill_steps: Count = 600
    prefill_successes: Annotated[int, Field(ge=0)] = 8
    prefill_most_steps: Count = 2500
    stored: Literal["granted", "executed"] = "granted"
    normaliser: Literal["terms", "data"] = "terms"
    agent: LearnerSettings = LearnerSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "TrainerSettings":
        if not (self.prefill_steps <= self.prefill_most_steps):
            raise ValueError(
                f"prefill_steps {self.prefill_steps} above prefill_most_steps "
                f"{self.prefill_most_steps}; allowed: at most that"
            )
        return self
