"""Actor and an ensemble of critics as functions of one flat parameter vector each.

One vector makes an optimiser step, an average and a checkpoint one operation; stacked weights make
N critics one batched matrix product.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Float32s = NDArray[np.float32]
LOG_STD_LOW, LOG_STD_HIGH = -5.0, 1.0
# a residual that starts at nothing: its last layer starts this much smaller than a usual one
_LAST_LAYER_SCALE = 0.01


def _uniform(rng: np.random.Generator, shape: Sequence[int], inputs: int) -> Float32s:
    """Draw from +-1/sqrt(inputs), the usual start of a dense layer."""
    edge = 1.0 / math.sqrt(inputs)
    return rng.uniform(-edge, edge, shape).astype(np.float32)


@dataclass(frozen=True)
class Actor:
    """Tanh-Gaussian policy of `inputs` = observation and base action; relu hidden layers."""

    inputs: int
    actions: int
    hidden: tuple[int, ...]

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        widths = (self.inputs, *self.hidden, 2 * self.actions)
        return [shape for n, m in pairwise(widths) for shape in ((n, m), (m,))]

    def split(self, flat: Tensor) -> list[Tensor]:
        """Return weight [in, out] and bias [out] of each layer, in turn, as views."""
        parts = torch.split_with_sizes(flat, [math.prod(shape) for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def forward(self, flat: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean before the tanh and log of the spread, [rows, d] each."""
        parts = self.split(flat)
        out = inputs
        for weight, bias in zip(parts[:-2:2], parts[1:-2:2], strict=True):
            out = torch.relu(out @ weight + bias)
        both = out @ parts[-2] + parts[-1]
        mean, log_std = both[:, : self.actions], both[:, self.actions :]
        return mean, log_std.clamp(LOG_STD_LOW, LOG_STD_HIGH)

    def start(self, rng: np.random.Generator, log_std: float) -> Float32s:
        """Return first parameters: actions close to zero, spread exp(log_std)."""
        parts: list[Float32s] = []
        for shape in self._shapes[:-2]:
            inputs = shape[0] if len(shape) == 2 else len(parts[-1])
            parts.append(_uniform(rng, shape, inputs))
        inputs = self._shapes[-2][0]
        last = _LAST_LAYER_SCALE * _uniform(rng, self._shapes[-2], inputs)
        spread = np.full(self.actions, log_std, dtype=np.float32)
        parts += [last, np.zeros(self.actions, dtype=np.float32), spread]
        return np.concatenate([part.ravel() for part in parts])


@dataclass(frozen=True)
class Critics:
    """`count` action values of `inputs` = observation and composed action, computed as one."""

    inputs: int
    hidden: tuple[int, ...]
    count: int
    layer_norm: bool

    @property
    def _shapes(self) -> list[tuple[int, ...]]:
        """Per layer: weight, bias and, of a normalised hidden layer, gain and shift."""
        shapes: list[tuple[int, ...]] = []
        for n, m in pairwise((self.inputs, *self.hidden)):
            shapes += [(self.count, n, m), (self.count, 1, m)]
            shapes += [(self.count, 1, m)] * 2 if self.layer_norm else []
        return [*shapes, (self.count, self.hidden[-1], 1), (self.count, 1, 1)]

    def split(self, flat: Tensor) -> list[Tensor]:
        """Return the parameters of all layers, first axis the critic, as views."""
        parts = torch.split_with_sizes(flat, [math.prod(shape) for shape in self._shapes])
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def forward(self, flat: Tensor, inputs: Tensor, subset: Tensor | None = None) -> Tensor:
        """Return values [critics, rows] of inputs [rows, n]; of the critics in `subset` only, where
        given.
        """
        parts = self.split(flat)
        if subset is not None:
            parts = [part.index_select(0, subset) for part in parts]
        out = inputs.expand(parts[0].shape[0], -1, -1)
        per_layer = 4 if self.layer_norm else 2
        for first in range(0, len(parts) - 2, per_layer):
            out = torch.bmm(out, parts[first]) + parts[first + 1]
            if self.layer_norm:
                out = functional.layer_norm(out, out.shape[-1:])
                out = out * parts[first + 2] + parts[first + 3]
            out = torch.relu(out)
        return (out * parts[-2].transpose(1, 2)).sum(-1) + parts[-1].squeeze(-1)

    def start(self, rng: np.random.Generator) -> Float32s:
        """Return first parameters; every critic its own."""
        parts: list[Float32s] = []
        for n, m in pairwise((self.inputs, *self.hidden)):
            parts += [_uniform(rng, (self.count, n, m), n), _uniform(rng, (self.count, 1, m), n)]
            if self.layer_norm:
                parts += [np.ones((self.count, m), dtype=np.float32)]
                parts += [np.zeros((self.count, m), dtype=np.float32)]
        width = self.hidden[-1]
        parts += [_uniform(rng, (self.count, width), width), _uniform(rng, (self.count,), width)]
        return np.concatenate([part.ravel() for part in parts])


def tanh_gaussian(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return u = tanh(mean + std * noise) and log pi(u), shapes [..., d] and [...].

    log pi = log N(z) - sum log(1 - tanh(z)^2), the latter as 2 (log 2 - z - softplus(-2 z)), which
    stays finite for large z (SAC, arXiv 1812.05905, appendix C).
    """
    z = mean + log_std.exp() * noise
    normal = -0.5 * noise * noise - log_std - 0.5 * math.log(2.0 * math.pi)
    squash = 2.0 * (math.log(2.0) - z - functional.softplus(-2.0 * z))
    return torch.tanh(z), (normal - squash).sum(-1)
