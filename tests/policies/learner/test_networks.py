"""Networks, densities and Adam against torch's own."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from policies.learner.networks import Actor, Critics, tanh_gaussian
from policies.learner.optimiser import adam, corrected, follow

ROWS = 7


def modules_of(critics: Critics, flat: torch.Tensor, which: int) -> nn.Sequential:
    """Build one critic of the ensemble from torch's modules."""
    parts = [part[which] for part in critics.split(flat)]
    layers: list[nn.Module] = []
    width = critics.inputs
    for hidden in critics.hidden:
        linear = nn.Linear(width, hidden)
        linear.weight.data, linear.bias.data = parts.pop(0).T.clone(), parts.pop(0)[0].clone()
        layers.append(linear)
        if critics.layer_norm:
            norm = nn.LayerNorm(hidden)
            norm.weight.data, norm.bias.data = parts.pop(0)[0].clone(), parts.pop(0)[0].clone()
            layers.append(norm)
        layers.append(nn.ReLU())
        width = hidden
    last = nn.Linear(width, 1)
    last.weight.data, last.bias.data = parts.pop(0).T.clone(), parts.pop(0)[0].clone()
    assert not parts
    return nn.Sequential(*layers, last)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_an_ensemble_is_as_many_networks(layer_norm: bool) -> None:
    critics = Critics(6, (8, 5), 4, layer_norm)
    rng = np.random.default_rng(0)
    flat = torch.from_numpy(critics.start(rng)) + 0.1 * torch.randn(len(critics.start(rng)))
    inputs = torch.randn(ROWS, 6)
    values = critics.forward(flat, inputs)
    assert values.shape == (4, ROWS)
    for which in range(4):
        wanted = modules_of(critics, flat, which)(inputs)[:, 0]
        torch.testing.assert_close(values[which], wanted)
    chosen = critics.forward(flat, inputs, torch.tensor([3, 1]))
    torch.testing.assert_close(chosen, values[[3, 1]])


def test_the_critics_of_an_ensemble_start_apart() -> None:
    critics = Critics(6, (8, 8), 3, True)
    flat = torch.from_numpy(critics.start(np.random.default_rng(0)))
    values = critics.forward(flat, torch.randn(ROWS, 6))
    assert (values.std(0) > 0.01).all()


def test_an_actor_starts_at_nothing_with_the_spread_it_was_given() -> None:
    actor = Actor(6, 3, (16, 16))
    flat = torch.from_numpy(actor.start(np.random.default_rng(0), -1.25))
    mean, log_std = actor.forward(flat, torch.randn(ROWS, 6))
    assert mean.abs().max() < 0.01
    torch.testing.assert_close(log_std, torch.full((ROWS, 3), -1.25), atol=0.01, rtol=0)


def test_the_spread_is_kept_between_its_limits() -> None:
    actor = Actor(2, 1, (4,))
    flat = torch.from_numpy(actor.start(np.random.default_rng(0), 0.0))
    for bias, wanted in ((-30.0, -5.0), (30.0, 1.0)):
        flat[-1] = bias
        assert actor.forward(flat, torch.randn(ROWS, 2))[1].eq(wanted).all()


def test_the_density_of_a_squashed_gaussian_is_torch_s() -> None:
    # theirs inverts the tanh, which near 1 leaves nothing to compare: so the draws are mild
    mean, log_std, noise = (0.5 * torch.randn(3, ROWS, 2).double()).unbind()
    action, density = tanh_gaussian(mean, log_std, noise)
    normal = torch.distributions.Normal(mean, log_std.exp())
    transform = torch.distributions.TanhTransform(cache_size=1)
    squashed = torch.distributions.TransformedDistribution(normal, [transform])
    wanted = squashed.log_prob(action)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(density, wanted.sum(-1), rtol=1e-6, atol=1e-6)


def test_the_density_stays_finite_where_the_tanh_is_flat() -> None:
    mean = torch.tensor([[60.0], [-60.0]])
    action, density = tanh_gaussian(mean, torch.zeros(2, 1), torch.zeros(2, 1))
    torch.testing.assert_close(action, torch.tensor([[1.0], [-1.0]]))
    # log N(0) - 2 (log 2 - 60), and the same on the other side
    torch.testing.assert_close(density, torch.full((2,), -0.918939 - 2 * (math.log(2) - 60)))


def test_adam_is_torch_s() -> None:
    start = torch.randn(20)
    ours, mean, square = start.clone(), torch.zeros(20), torch.zeros(20)
    theirs = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=3e-3)
    for step in range(1, 30):
        gradient = torch.randn(20) * 10.0 ** (step % 5 - 3)
        theirs.grad = gradient.clone()
        optimiser.step()
        adam(ours, mean, square, gradient, *torch.tensor(corrected(3e-3, step)).unbind())
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-6)


def test_following_goes_a_share_of_the_way() -> None:
    slow = torch.tensor([0.0, 4.0])
    follow(slow, torch.tensor([1.0, 0.0]), 0.25)
    torch.testing.assert_close(slow, torch.tensor([0.25, 3.0]))
