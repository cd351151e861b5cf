"""Cal-QL (arXiv 2303.05479): reference returns, and the conservative term that they bound."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from policies.learner.batch import Draws, LearnerState, Rows
from policies.learner.composition import Networks
from policies.learner.networks import tanh_gaussian
from policies.learner.replay import Float32s, returns_to_go


def sparse_labels(rewards: Float32s, discount: float, negative_reward: float) -> Float32s:
    """Return G of one episode in the paper's own convention, shape of `rewards`: one that never
    leaves `negative_reward` gets negative_reward / (1 - discount), as if it went on for ever.

    The product's convention is `returns_to_go`: a failed episode is worth 0.
    """
    if (rewards == negative_reward).all():
        return np.full(len(rewards), negative_reward / (1.0 - discount), dtype=np.float32)
    return returns_to_go(rewards, discount)


class Candidates(NamedTuple):
    """Values [critics, candidates, rows] of actions beside the data's, and their log densities
    [candidates, rows]: of uniform ones, and of the policy's at s and at s'.
    """

    uniform: Tensor
    uniform_density: Tensor
    policy: Tensor
    policy_density: Tensor


def gap(candidates: Candidates, data: Tensor, returns: Tensor, *, calibrated: bool) -> Tensor:
    """Return the sum over critics of mean[logsumexp z - Q(s, u_data)], [].

    z holds, per row, Q - log density of every candidate; the policy's Q, not the uniform ones', are
    raised to the return G where they are below (`calibrated`), so that nothing pushes the critic
    below what was measured. `data`: Q(s, u_data) [critics, rows]; `returns`: G [rows].
    """
    policy = candidates.policy.maximum(returns) if calibrated else candidates.policy
    z = torch.cat(
        (candidates.uniform - candidates.uniform_density, policy - candidates.policy_density),
        dim=1,
    )
    return (torch.logsumexp(z, dim=1) - data).mean(1).sum()


def conservative_gap(
    networks: Networks,
    critic: Tensor,
    state: LearnerState,
    rows: Rows,
    draws: Draws,
    *,
    calibrated: bool,
) -> Tensor:
    """Return `gap` of critic parameters on a batch, with as many uniform candidates as of the
    policy at s and of the policy at s'.
    """
    count, _, actions = draws.uniform.shape
    with torch.no_grad():
        here = _policy_candidates(
            networks, state, (rows.observation, rows.base), draws.candidate_noise[:count]
        )
        ahead = _policy_candidates(
            networks, state, (rows.next_observation, rows.next_base), draws.candidate_noise[count:]
        )
    proposed = torch.cat((draws.uniform, here[0], ahead[0]))
    values = _candidate_values(networks, critic, rows, proposed)
    candidates = Candidates(
        uniform=values[:, :count],
        uniform_density=torch.full_like(here[1], actions * math.log(0.5)),
        policy=values[:, count:],
        policy_density=torch.cat((here[1], ahead[1])),
    )
    data = networks.values(critic, rows.observation, rows.base, rows.residual)
    return gap(candidates, data, rows.returns, calibrated=calibrated)


def _policy_candidates(
    networks: Networks, state: LearnerState, place: tuple[Tensor, Tensor], noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Return actions [candidates, rows, d] and their log probabilities [candidates, rows]."""
    mean, log_std = networks.actor.forward(state.actor, networks.policy_inputs(*place))
    return tanh_gaussian(mean, log_std, noise)


def _candidate_values(networks: Networks, critic: Tensor, rows: Rows, candidates: Tensor) -> Tensor:
    """Return Q(s, u), [critics, candidates, rows]."""
    count, batch, _ = candidates.shape
    values = networks.values(
        critic,
        rows.observation.repeat(count, 1),
        rows.base.repeat(count, 1),
        candidates.reshape(count * batch, -1),
    )
    return values.view(-1, count, batch)
