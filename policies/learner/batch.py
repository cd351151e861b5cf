"""What one update works on: the learner's whole state, a batch, and all that chance decides."""

import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from policies.learner.networks import Float32s
from policies.learner.replay import Columns
from policies.learner.settings import LearnerSettings


class LearnerState(NamedTuple):
    """All that learning changes; float32 vectors, changed in place.

    critic, target: parameters of the critics and their slow copy. actor, average: the actor and its
    average, the only candidate for promotion. Each `_mean` and `_square` are Adam's moments.
    temperature: log of SAC's temperature and its two moments. guard: the dual variable, and how
    many steps were undone.
    """

    critic: Tensor
    critic_mean: Tensor
    critic_square: Tensor
    target: Tensor
    actor: Tensor
    actor_mean: Tensor
    actor_square: Tensor
    average: Tensor
    temperature: Tensor
    guard: Tensor


class Rows(NamedTuple):
    """A batch of replay rows, as `Columns` says; [rows, n], [rows, d] or [rows]."""

    observation: Tensor
    base: Tensor
    residual: Tensor
    reward: Tensor
    discount: Tensor
    next_observation: Tensor
    next_base: Tensor
    returns: Tensor


class Draws(NamedTuple):
    """Chance, drawn outside so that every way to compute an update gives the same learner.

    target_noise, actor_noise: normal, [rows, d]. subset: target critics, [k]. uniform: in [-1, 1],
    [candidates, rows, d]; candidate_noise: normal, [2 * candidates, rows, d]; none where Cal-QL's
    term does not count. guard_inputs: actor inputs of recent robot steps, [rows, n + d]; no rows
    where the guard is off.
    """

    target_noise: Tensor
    actor_noise: Tensor
    subset: Tensor
    uniform: Tensor
    candidate_noise: Tensor
    guard_inputs: Tensor


class Rates(NamedTuple):
    """Adam's step size and epsilon with the bias corrections folded in, and whether targets
    bootstrap on the policy (1) or on the base action (0, warm-up), and the share of Cal-QL's term
    (1 or 0); [] each.
    """

    critic_step: Tensor
    critic_epsilon: Tensor
    actor_step: Tensor
    actor_epsilon: Tensor
    policy_share: Tensor
    conservative_share: Tensor


RATES = len(Rates._fields)


@dataclass(frozen=True)
class Chance:
    """Two seeded generators: numpy's for rows and critics, torch's for noise (it is faster)."""

    rows: np.random.Generator
    noise: torch.Generator

    @classmethod
    def seeded(cls, seed: int) -> "Chance":
        """Return both at the start of their streams."""
        return cls(np.random.default_rng(seed), torch.Generator().manual_seed(seed))

    def save(self) -> tuple[str, bytes]:
        """Return where both streams are."""
        return json.dumps(self.rows.bit_generator.state), self.noise.get_state().numpy().tobytes()

    def restore(self, rows: str, noise: bytes) -> None:
        """Go on from what `save` returned."""
        self.rows.bit_generator.state = json.loads(rows)
        self.noise.set_state(torch.from_numpy(np.frombuffer(noise, dtype=np.uint8).copy()))


def draw(
    settings: LearnerSettings,
    actions: int,
    chance: Chance,
    guard_inputs: Float32s,
    count: int,
    candidates: int = 0,
) -> list[Draws]:
    """Return the draws of `count` updates; all look at the same `guard_inputs` [rows, n + d].
    `candidates`: how many actions of each kind Cal-QL's term weighs in them."""
    shape = (count, 2 + 2 * candidates, settings.batch, actions)
    noise = torch.randn(shape, generator=chance.noise)
    numbers = np.tile(np.arange(settings.critics), (count, 1))
    subsets = torch.from_numpy(chance.rows.permuted(numbers, axis=1)[:, : settings.target_critics])
    shape = (count, candidates, settings.batch, actions)
    uniform = 2.0 * torch.rand(shape, generator=chance.noise) - 1.0
    guard = torch.from_numpy(guard_inputs)
    return [
        Draws(normal[0], normal[1], subset, flat, normal[2:], guard)
        for normal, subset, flat in zip(
            noise.unbind(), subsets.unbind(), uniform.unbind(), strict=True
        )
    ]


def split_rows(packed: Tensor, columns: Columns) -> Rows:
    """Return the parts of packed rows, [rows, columns.width]."""
    parts = torch.split_with_sizes(packed, list(columns.widths), dim=1)
    o, b, u, reward, discount, next_o, next_b, returns = parts
    return Rows(o, b, u, reward[:, 0], discount[:, 0], next_o, next_b, returns[:, 0])
