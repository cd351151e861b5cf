"""Targets and losses of SAC and TD3 against their formulas, written out again."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.learner.agent import Agent
from policies.learner.batch import Chance, Draws, Rates, Rows, draw, split_rows
from policies.learner.networks import tanh_gaussian
from policies.learner.settings import LearnerSettings
from tests.policies.learner.kit import BOUND, fill, new_agent


class Case:
    """An agent a few updates old, one batch, and its draws."""

    def __init__(self, **settings: Any) -> None:
        self.agent: Agent = fill(new_agent(learning_rate=0.01, **settings))
        self.agent.update(6)
        self.state = self.agent._state
        self.networks = self.agent._networks
        self.packed = torch.from_numpy(self.agent.replay.sample(16, np.random.default_rng(5))[0])
        guard = np.zeros((0, 7), np.float32)
        cal_ql = self.agent.settings.cal_ql
        candidates = cal_ql.candidates if cal_ql else 0
        (drawn,) = draw(self.agent.settings, 2, Chance.seeded(6), guard, 1, candidates)
        self.draws: Draws = drawn
        self.rows: Rows = split_rows(self.packed, self.agent.problem.columns)

    def target(self, policy_share: float = 1.0) -> Tensor:
        rates = Rates(*torch.tensor([0.01, 1e-8, 0.01, 1e-8, policy_share, 0.0]).unbind())
        return self.agent._update._target(self.state, self.packed, self.draws, rates)

    def q(self, parameters: Tensor, base: Tensor, residual: Tensor, *, ahead: bool) -> Tensor:
        """Q of all critics for base + bound * residual, written out again."""
        observation = self.rows.next_observation if ahead else self.rows.observation
        inputs = torch.cat((observation, base + torch.tensor(BOUND) * residual), dim=1)
        return self.networks.critics.forward(parameters, inputs)

    def expected(self, residual: Tensor, bonus: Tensor) -> Tensor:
        values = self.q(self.state.target, self.rows.next_base, residual, ahead=True)
        least = values[self.draws.subset].min(0).values
        target = self.rows.reward + self.rows.discount * (least + bonus)
        return target.clamp(-1.0, 1.0)

    def policy(self, flat: Tensor, *, ahead: bool) -> tuple[Tensor, Tensor]:
        if ahead:
            inputs = torch.cat((self.rows.next_observation, self.rows.next_base), dim=1)
        else:
            inputs = torch.cat((self.rows.observation, self.rows.base), dim=1)
        return self.networks.actor.forward(flat, inputs)


def test_sac_s_target() -> None:
    case = Case()
    u, log_p = tanh_gaussian(*case.policy(case.state.actor, ahead=True), case.draws.target_noise)
    alpha = float(case.state.temperature[0].exp())
    torch.testing.assert_close(case.target(), case.expected(u, -alpha * log_p))
    assert len(case.draws.subset) == 2


def test_warm_up_bootstraps_on_the_base_s_action() -> None:
    case = Case()
    zero = torch.zeros(16, 2)
    torch.testing.assert_close(case.target(0.0), case.expected(zero, torch.zeros(16)))
    assert not torch.equal(case.target(0.0), case.target(1.0))


def test_targets_are_clipped() -> None:
    case = Case(target_low=-0.01, target_high=0.02)
    target = case.target()
    assert target.min() >= -0.01
    assert target.max() == pytest.approx(0.02)


def test_td3_s_target_takes_the_averaged_actor_with_clipped_noise() -> None:
    case = Case(algorithm="td3", target_noise=0.4)
    mean, _ = case.policy(case.state.average, ahead=True)
    noise = (0.4 * case.draws.target_noise).clamp(-0.5, 0.5)
    assert (noise.abs() == 0.5).any()
    u = (torch.tanh(mean) + noise).clamp(-1, 1)
    torch.testing.assert_close(case.target(), case.expected(u, torch.zeros(16)))


def test_sac_s_actor_climbs_mean_less_half_the_spread() -> None:
    case = Case(actor_std_weight=0.5, action_cost=0.02)
    judged = case.agent._update.algorithm.actor_loss(
        case.state.actor, case.state, case.rows, case.draws
    )
    u, log_p = tanh_gaussian(*case.policy(case.state.actor, ahead=False), case.draws.actor_noise)
    q = case.q(case.state.critic, case.rows.base, u, ahead=False)
    alpha = float(case.state.temperature[0].exp())
    value = q.mean(0) - 0.5 * q.std(0, correction=0)
    wanted = (alpha * log_p - value + 0.02 * (u**2).sum(1)).mean()
    torch.testing.assert_close(judged.loss, wanted, rtol=1e-4, atol=1e-5)


def test_two_critics_with_weight_one_are_their_minimum() -> None:
    case = Case(critics=2, actor_std_weight=1.0)
    values = torch.tensor([[1.0, -2.0, 0.5], [0.25, 3.0, 0.5]])
    torch.testing.assert_close(
        case.networks.cautious(values, 1.0), values.min(0).values, atol=1e-5, rtol=0
    )


def test_td3_bc_weighs_value_by_its_size() -> None:
    case = Case(algorithm="td3", behaviour_cloning=2.5, action_cost=0.0, actor_std_weight=0.0)
    judged = case.agent._update.algorithm.actor_loss(
        case.state.actor, case.state, case.rows, case.draws
    )
    u = torch.tanh(case.policy(case.state.actor, ahead=False)[0])
    q = case.q(case.state.critic, case.rows.base, u, ahead=False).mean(0)
    cloning = ((u - case.rows.residual) ** 2).mean()
    torch.testing.assert_close(judged.loss, -2.5 * q.mean() / q.abs().mean() + cloning)


def test_the_temperature_moves_entropy_to_its_target() -> None:
    case = Case()
    rates = Rates(*torch.tensor([0.0, 0.0, 0.1, 1e-8, 1.0, 0.0]).unbind())
    algorithm = case.agent._update.algorithm
    # two actions: the target is -2 nats; a density of 5 is too narrow, of -5 too wide
    for density, sign in ((5.0, 1), (-5.0, -1)):
        case.state.temperature.zero_()
        algorithm.after_actor(case.state, torch.full((16,), density), rates)
        assert float(case.state.temperature[0]) * sign > 0.0
    case.state.temperature.zero_()
    algorithm.after_actor(case.state, torch.full((16,), 2.0), rates)
    assert case.state.temperature[0] == 0.0


def test_a_critic_step_fits_the_target() -> None:
    case = Case()
    numbers = torch.tensor([0.01, 1e-8, 0.0, 1.0, 1.0, 0.0])
    losses = []
    for _ in range(50):
        batch = (case.state, case.packed, case.draws, numbers)
        losses.append(case.agent._update.figures(*batch)["critic_loss"])
        case.agent._update.critic_step(*batch)
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_critics": 6},
        {"target_low": 1.0, "target_high": 1.0},
        {"behaviour_cloning": 2.5},
        {"algorithm": "td3", "cal_ql": {}},
        {"learning_rate": float("nan")},
        {"hidden": ()},
        {"ema_rate": 0.0},
        {"unheard_of": 1},
    ],
)
def test_settings_that_contradict_themselves_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(reversed(wrong))):
        LearnerSettings(**wrong)
