"""TD3 (arXiv 1802.09477) over residuals, TD3+BC (arXiv 2106.06860) as an option."""

from dataclasses import dataclass

import torch
from torch import Tensor

from policies.learner.batch import Draws, LearnerState, Rates, Rows
from policies.learner.composition import ActorLoss, Networks
from policies.learner.settings import LearnerSettings


@dataclass(frozen=True)
class Td3:
    """`Algorithm`: a deterministic policy tanh(mean); its average is the target actor."""

    networks: Networks
    settings: LearnerSettings

    def next_action(self, state: LearnerState, rows: Rows, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return the average actor's action with clipped noise, and no bonus."""
        inputs = self.networks.policy_inputs(rows.next_observation, rows.next_base)
        action = torch.tanh(self.networks.actor.forward(state.average, inputs)[0])
        edge = self.settings.target_noise_clip
        noise = (self.settings.target_noise * draws.target_noise).clamp(-edge, edge)
        return (action + noise).clamp(-1.0, 1.0), torch.zeros_like(rows.reward)

    def actor_loss(self, actor: Tensor, state: LearnerState, rows: Rows, draws: Draws) -> ActorLoss:
        """Return mean[-(mean Q - weight * std Q) + cost |u|^2], or TD3+BC's
        -w Q / mean|Q| + |u - u_data|^2 / d.
        """
        inputs = self.networks.policy_inputs(rows.observation, rows.base)
        action = torch.tanh(self.networks.actor.forward(actor, inputs)[0])
        values = self.networks.values(state.critic, rows.observation, rows.base, action)
        value = self.networks.cautious(values, self.settings.actor_std_weight)
        effort = self.settings.action_cost * (action * action).sum(-1)
        loss = (effort - value).mean()
        if self.settings.behaviour_cloning is not None:
            scale = self.settings.behaviour_cloning / value.detach().abs().mean()
            loss = scale * loss + ((action - rows.residual) ** 2).mean()
        return ActorLoss(loss, action, torch.zeros_like(rows.reward), values)

    def after_actor(self, state: LearnerState, log_probability: Tensor, rates: Rates) -> None:
        """Nothing: there is no temperature."""
