"""Cal-QL's labels, gradient mask and tabular chain (arXiv 2303.05479), each beside plain CQL."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from policies.learner.calql import Candidates, gap, sparse_labels
from policies.learner.networks import Float32s
from policies.learner.replay import returns_to_go

DISCOUNT = 0.99


def floats(*values: float) -> Float32s:
    return np.array(values, dtype=np.float32)


def test_labels_are_returns_to_go() -> None:
    found = sparse_labels(floats(-5, -5, 5), DISCOUNT, negative_reward=-5.0)
    np.testing.assert_allclose(found, [-5.0495, -0.05, 5.0], atol=1e-5)


def test_an_episode_that_never_succeeds_is_labelled_as_if_it_went_on() -> None:
    found = sparse_labels(floats(-5, -5, -5), DISCOUNT, negative_reward=-5.0)
    np.testing.assert_allclose(found, [-500.0] * 3, rtol=1e-5)
    # the product's own convention: a failure is worth nothing
    np.testing.assert_array_equal(returns_to_go(floats(0, 0, 0), DISCOUNT), [0, 0, 0])


def slopes(policy_value: float, *, calibrated: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return d gap / d Q of two uniform candidates, one of the policy, and the data's action; the
    return is 1, the uniform ones are worth .3 and .7.
    """
    uniform = torch.tensor([[[0.3], [0.7]]], requires_grad=True)
    policy = torch.tensor([[[policy_value]]], requires_grad=True)
    data = torch.tensor([[0.2]], requires_grad=True)
    candidates = Candidates(
        uniform, torch.full((2, 1), math.log(0.5)), policy, torch.full((1, 1), -0.4)
    )
    total = gap(candidates, data, torch.tensor([1.0]), calibrated=calibrated)
    found = torch.autograd.grad(total, (uniform, policy, data))
    return found[0].flatten(), found[1].flatten(), found[2].flatten()


def test_nothing_pushes_the_policy_s_value_below_the_return() -> None:
    uniform, policy, data = slopes(0.5, calibrated=True)
    z = np.array([0.3 - math.log(0.5), 0.7 - math.log(0.5), 1.0 + 0.4])
    weights = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(uniform, weights[:2], rtol=1e-5)
    assert policy == 0.0
    assert data == -1.0


@pytest.mark.parametrize(("value", "calibrated"), [(1.5, True), (0.5, False)])
def test_above_the_return_or_uncalibrated_it_is_pushed(value: float, calibrated: bool) -> None:
    uniform, policy, _ = slopes(value, calibrated=calibrated)
    z = np.array([0.3 - math.log(0.5), 0.7 - math.log(0.5), value + 0.4])
    weights = np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(policy, weights[2], rtol=1e-5)
    np.testing.assert_allclose(uniform, weights[:2], rtol=1e-5)


STATES, CHAIN_DISCOUNT, GOAL_REWARD = 12, 0.9, 10.0
RIGHT_SHARE = 0.6  # of the behaviour in the data
ROWS = 600


class Chain:
    """Twelve states in a row, left and right; beyond the last one is the goal. One table of Q is
    fitted to a log of the behaviour, with expectations over actions in place of samples: every
    action is a candidate once, weighted by its own probability, so that densities cancel.
    """

    def __init__(self) -> None:
        place = torch.arange(STATES)
        self.after = torch.stack((place.sub(1).clamp(min=0), place + 1), dim=1)
        self.reward = torch.zeros(STATES, 2)
        self.reward[-1, 1] = GOAL_REWARD
        self.behaviour = torch.tensor([1.0 - RIGHT_SHARE, RIGHT_SHARE])
        self.measured = self._values_of_behaviour()
        self.state, self.action = self._log(np.random.default_rng(0))

    def ahead(self, value: Tensor) -> Tensor:
        """Return the discounted value of what follows each state and action, [states, 2]."""
        return CHAIN_DISCOUNT * torch.cat((value, torch.zeros(1)))[self.after]

    def _values_of_behaviour(self) -> Tensor:
        value = torch.zeros(STATES)
        for _ in range(300):
            value = ((self.reward + self.ahead(value)) * self.behaviour).sum(1)
        return value

    def _log(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return states and actions of episodes that start at the left end."""
        states, actions, now = [], [], 0
        for _ in range(ROWS):
            right = rng.random() < RIGHT_SHARE
            states.append(now)
            actions.append(int(right))
            now = min(now + 1, STATES) if right else max(now - 1, 0)
            now = 0 if now == STATES else now
        return torch.tensor(states), torch.tensor(actions)

    def excess(self, weight: float, *, calibrated: bool) -> float:
        """Return E_D[E_pi Q - V^mu] after fitting with the conservative term."""
        q = torch.zeros(STATES, 2, requires_grad=True)
        optimiser = torch.optim.Adam([q], lr=0.05)
        nothing = torch.zeros(2, ROWS)
        returns = self.measured[self.state]
        for _ in range(500):
            with torch.no_grad():
                target = self.reward + self.ahead(self._policy(q))
            data = q[self.state, self.action]
            error = ((data - target[self.state, self.action]) ** 2).mean()
            actions = q[self.state].T[None]
            candidates = Candidates(actions, nothing, actions, nothing)
            loss = error + weight * gap(candidates, data[None], returns, calibrated=calibrated)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            return float((self._policy(q) - self.measured)[self.state].mean())

    def _policy(self, q: Tensor) -> Tensor:
        """Return E_pi Q of each state, pi a soft maximum."""
        return (torch.softmax(q, dim=1) * q).sum(1)


def test_on_a_chain_calibration_keeps_the_critic_above_what_was_measured() -> None:
    chain = Chain()
    plain = [chain.excess(weight, calibrated=False) for weight in (1.0, 5.0, 20.0)]
    kept = [chain.excess(weight, calibrated=True) for weight in (1.0, 5.0, 20.0)]
    # plain: the heavier, the lower, at last below the behaviour's own value
    assert plain[0] > plain[1] > plain[2]
    assert plain[2] < -0.3
    # calibrated: never below it
    assert min(kept) > 0.2
    assert kept[2] - plain[2] > 0.6
