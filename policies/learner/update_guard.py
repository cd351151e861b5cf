"""Limits how far one update may move the actor (TD3-C, a reconstruction after arXiv 2303.17396)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from policies.learner.batch import LearnerState
from policies.learner.composition import Networks
from policies.learner.settings import UpdateGuardSettings


@dataclass(frozen=True)
class UpdateGuard:
    """Holds E|pi - pi_average|^2 / d <= epsilon on recent robot observations.

    The distance to the actor's own slow average is a limit on the rate of change, not on where the
    actor may end. Lagrangian: loss + dual * (constraint / epsilon - 1), dual >= 0 by ascent.
    """

    networks: Networks
    settings: UpdateGuardSettings

    def constraint(self, actor: Tensor, average: Tensor, inputs: Tensor) -> Tensor:
        """Return the mean squared distance of mean actions per dimension, [], bound units."""
        action = torch.tanh(self.networks.actor.forward(actor, inputs)[0])
        with torch.no_grad():
            reference = torch.tanh(self.networks.actor.forward(average, inputs)[0])
        return ((action - reference) ** 2).mean()

    def penalty(self, actor: Tensor, state: LearnerState, inputs: Tensor) -> Tensor:
        """Return what is added to the actor's loss, []."""
        excess = self.constraint(actor, state.average, inputs) / self.settings.epsilon - 1.0
        return state.guard[0] * excess

    def judge(self, state: LearnerState, before: tuple[Tensor, ...], inputs: Tensor) -> Tensor:
        """Return the constraint [] after a step; raise or lower the dual variable by it, and put
        `before` (actor and its two moments) back where it is beyond `discard_factor` epsilon.
        """
        found = self.constraint(state.actor, state.average, inputs)
        excess = found / self.settings.epsilon
        kept = excess <= self.settings.discard_factor
        for now, old in zip(
            (state.actor, state.actor_mean, state.actor_square), before, strict=True
        ):
            now.copy_(torch.where(kept, now, old))
        dual, undone = state.guard.unbind()
        raised = dual + self.settings.rate * (excess.nan_to_num(posinf=1e6) - 1.0)
        dual.copy_(raised.clamp(0.0, 1e6))
        undone.add_(torch.where(kept, 0.0, 1.0))
        return found
