"""Base and residual as one action: what actor and critics see, and what an algorithm must say."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from policies.learner.batch import Draws, LearnerState, Rates, Rows
from policies.learner.networks import Actor, Critics
from policies.learner.settings import LearnerSettings


@dataclass(frozen=True)
class Networks:
    """Actor, critics and the contract's bound [d] that ties a residual to the base's action.

    Policy Decorator (arXiv 2412.13630): action = base + bound * u. The actor sees observation and
    base action (ResFiT, arXiv 2509.19301), the critics observation and composed action.
    """

    actor: Actor
    critics: Critics
    bound: Tensor

    def policy_inputs(self, observation: Tensor, base: Tensor) -> Tensor:
        """Return what the actor sees, [rows, n + d]."""
        return torch.cat((observation, base), dim=1)

    def values(
        self,
        critic: Tensor,
        observation: Tensor,
        base: Tensor,
        residual: Tensor,
        subset: Tensor | None = None,
    ) -> Tensor:
        """Return values of composed actions, [critics, rows]."""
        inputs = torch.cat((observation, base + self.bound * residual), dim=1)
        return self.critics.forward(critic, inputs, subset)

    def cautious(self, values: Tensor, weight: float) -> Tensor:
        """Return mean - weight * spread over the critics, [rows]. Of two critics with weight 1 that
        is the lesser one.
        """
        mean = values.mean(0)
        if weight == 0.0 or values.shape[0] == 1:
            return mean
        spread = ((values - mean) ** 2).mean(0)
        # the root's slope at zero is infinite
        return mean - weight * torch.sqrt(spread + 1e-12)


class ActorLoss(NamedTuple):
    """The loss [], the actions it judged [rows, d], their log probability [rows] (0 where there is
    none) and their values [critics, rows].
    """

    loss: Tensor
    action: Tensor
    log_probability: Tensor
    values: Tensor


class Algorithm(Protocol):
    """What SAC and TD3 differ in."""

    def next_action(self, state: LearnerState, rows: Rows, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return u' [rows, d] and what is added to its value [rows]."""
        ...

    def actor_loss(self, actor: Tensor, state: LearnerState, rows: Rows, draws: Draws) -> ActorLoss:
        """Return what the actor descends."""
        ...

    def after_actor(self, state: LearnerState, log_probability: Tensor, rates: Rates) -> None:
        """Change what follows the actor, in place."""
        ...


def first_state(
    networks: Networks, settings: LearnerSettings, rng: np.random.Generator
) -> LearnerState:
    """Return untrained networks; targets and average equal what they follow."""
    critic = torch.from_numpy(networks.critics.start(rng))
    actor = torch.from_numpy(networks.actor.start(rng, settings.initial_log_std))
    return LearnerState(
        critic=critic,
        critic_mean=torch.zeros_like(critic),
        critic_square=torch.zeros_like(critic),
        target=critic.clone(),
        actor=actor,
        actor_mean=torch.zeros_like(actor),
        actor_square=torch.zeros_like(actor),
        average=actor.clone(),
        temperature=torch.tensor([np.log(settings.initial_temperature), 0, 0]).float(),
        guard=torch.zeros(2),
    )
