"""One gradient step of the critics and one of the actor: functions of tensors and nothing else."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from policies.learner.batch import Draws, LearnerState, Rates, split_rows
from policies.learner.calql import conservative_gap
from policies.learner.composition import Algorithm, Networks
from policies.learner.optimiser import adam, follow
from policies.learner.replay import Columns
from policies.learner.settings import LearnerSettings
from policies.learner.update_guard import UpdateGuard

FIGURES = (
    # of the critics
    "critic_loss", "q_mean", "q_spread", "target_mean", "conservative_gap",
    # and of the actor
    "actor_loss", "log_probability", "action_rms", "saturated_share", "bound_rate", "constraint",
)  # fmt: skip
SATURATED = 0.95


class _CriticLoss(NamedTuple):
    """What is descended [], its two parts [], and values [critics, rows] and targets [rows]."""

    loss: Tensor
    error: Tensor
    gap: Tensor
    values: Tensor
    target: Tensor


@dataclass(frozen=True)
class Update:
    """Changes a `LearnerState` in place by one step."""

    networks: Networks
    algorithm: Algorithm
    guard: UpdateGuard | None
    columns: Columns
    settings: LearnerSettings

    def both_steps(
        self, state: LearnerState, packed: Tensor, draws: Draws, numbers: Tensor
    ) -> None:
        """Take a step of the critics, then one of the actor."""
        self.critic_step(state, packed, draws, numbers)
        self.actor_step(state, packed, draws, numbers)

    def critic_step(
        self, state: LearnerState, packed: Tensor, draws: Draws, numbers: Tensor
    ) -> None:
        """Fit the critics to y = R + discount * (min of the drawn targets + bonus), clipped."""
        rates = Rates(*numbers.unbind())
        critic = state.critic.detach().requires_grad_()
        loss = self._critic_loss(critic, state, packed, draws, rates).loss
        (gradient,) = torch.autograd.grad(loss, critic)
        with torch.no_grad():
            adam(
                state.critic, state.critic_mean, state.critic_square, gradient,
                rates.critic_step, rates.critic_epsilon,
            )  # fmt: skip
            follow(state.target, state.critic, self.settings.target_rate)

    def actor_step(
        self, state: LearnerState, packed: Tensor, draws: Draws, numbers: Tensor
    ) -> None:
        """Climb the critics' value, within the update guard; then the average follows."""
        rates = Rates(*numbers.unbind())
        rows = split_rows(packed, self.columns)
        actor = state.actor.detach().requires_grad_()
        judged = self.algorithm.actor_loss(actor, state, rows, draws)
        loss = judged.loss
        if self.guard is not None:
            loss = loss + self.guard.penalty(actor, state, draws.guard_inputs)
        (gradient,) = torch.autograd.grad(loss, actor)
        with torch.no_grad():
            moments = (state.actor, state.actor_mean, state.actor_square)
            before = tuple(part.clone() for part in moments) if self.guard is not None else ()
            adam(*moments, gradient, rates.actor_step, rates.actor_epsilon)
            if self.guard is not None:
                self.guard.judge(state, before, draws.guard_inputs)
            self.algorithm.after_actor(state, judged.log_probability.detach(), rates)
            follow(state.average, state.actor, self.settings.ema_rate)

    @torch.no_grad()
    def figures(
        self, state: LearnerState, packed: Tensor, draws: Draws, numbers: Tensor
    ) -> dict[str, float]:
        """Return what FIGURES names, of the present parameters on a batch; changes nothing."""
        rows = split_rows(packed, self.columns)
        fit = self._critic_loss(state.critic, state, packed, draws, Rates(*numbers.unbind()))
        judged = self.algorithm.actor_loss(state.actor, state, rows, draws)
        constraint = torch.zeros(())
        if self.guard is not None:
            constraint = self.guard.constraint(state.actor, state.average, draws.guard_inputs)
        found = (
            fit.error, fit.values.mean(), fit.values.std(0, correction=0).mean(),
            fit.target.mean(), fit.gap,
            judged.loss, judged.log_probability.mean(), judged.action.square().mean().sqrt(),
            (judged.action.abs() > SATURATED).float().mean(),
            (judged.values.amin(0) < rows.returns).float().mean(), constraint,
        )  # fmt: skip
        return {name: float(value) for name, value in zip(FIGURES, found, strict=True)}

    def _critic_loss(
        self, critic: Tensor, state: LearnerState, packed: Tensor, draws: Draws, rates: Rates
    ) -> _CriticLoss:
        rows = split_rows(packed, self.columns)
        target = self._target(state, packed, draws, rates)
        values = self.networks.values(critic, rows.observation, rows.base, rows.residual)
        error = ((values - target) ** 2).mean(1).sum()
        cal_ql = self.settings.cal_ql
        if cal_ql is None or not len(draws.uniform):
            return _CriticLoss(error, error, torch.zeros(()), values, target)
        gap = conservative_gap(
            self.networks, critic, state, rows, draws, calibrated=cal_ql.calibrated
        )
        loss = error + cal_ql.weight * rates.conservative_share * gap
        return _CriticLoss(loss, error, gap, values, target)

    @torch.no_grad()
    def _target(self, state: LearnerState, packed: Tensor, draws: Draws, rates: Rates) -> Tensor:
        rows = split_rows(packed, self.columns)
        action, bonus = self.algorithm.next_action(state, rows, draws)
        values = self.networks.values(
            state.target,
            rows.next_observation,
            rows.next_base,
            rates.policy_share * action,
            draws.subset,
        )
        ahead = values.amin(0) + rates.policy_share * bonus
        target = rows.reward + rows.discount * ahead
        return target.clamp(self.settings.target_low, self.settings.target_high)
