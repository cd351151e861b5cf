"""Soft actor-critic (arXiv 1801.01290, 1812.05905) over residuals, with an ensemble of critics."""

from dataclasses import dataclass

import torch
from torch import Tensor

from policies.learner.batch import Draws, LearnerState, Rates, Rows
from policies.learner.composition import ActorLoss, Networks
from policies.learner.networks import tanh_gaussian
from policies.learner.optimiser import BETA_MEAN, BETA_SQUARE
from policies.learner.settings import LearnerSettings


@dataclass(frozen=True)
class Sac:
    """`Algorithm`: a tanh-Gaussian policy whose entropy is held at a target by a temperature."""

    networks: Networks
    settings: LearnerSettings

    def next_action(self, state: LearnerState, rows: Rows, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return u' ~ pi(o', b') and -alpha log pi(u')."""
        inputs = self.networks.policy_inputs(rows.next_observation, rows.next_base)
        mean, log_std = self.networks.actor.forward(state.actor, inputs)
        action, log_probability = tanh_gaussian(mean, log_std, draws.target_noise)
        return action, -state.temperature[0].exp() * log_probability

    def actor_loss(self, actor: Tensor, state: LearnerState, rows: Rows, draws: Draws) -> ActorLoss:
        """Return mean[alpha log pi - (mean Q - weight * std Q) + cost |u|^2]."""
        inputs = self.networks.policy_inputs(rows.observation, rows.base)
        mean, log_std = self.networks.actor.forward(actor, inputs)
        action, log_probability = tanh_gaussian(mean, log_std, draws.actor_noise)
        values = self.networks.values(state.critic, rows.observation, rows.base, action)
        value = self.networks.cautious(values, self.settings.actor_std_weight)
        effort = self.settings.action_cost * (action * action).sum(-1)
        entropy = state.temperature[0].exp() * log_probability
        return ActorLoss((entropy - value + effort).mean(), action, log_probability, values)

    def after_actor(self, state: LearnerState, log_probability: Tensor, rates: Rates) -> None:
        """Move log alpha so that the entropy meets its target: Adam on
        -log alpha * (log pi + target).
        """
        log_alpha, mean, square = state.temperature.unbind()
        target = self.settings.target_entropy_per_action * self.networks.actor.actions
        gradient = -(log_probability.mean() + target)
        mean.mul_(BETA_MEAN).add_(gradient * (1.0 - BETA_MEAN))
        square.mul_(BETA_SQUARE).add_(gradient * gradient * (1.0 - BETA_SQUARE))
        log_alpha.sub_(rates.actor_step * (mean / (torch.sqrt(square) + rates.actor_epsilon)))
