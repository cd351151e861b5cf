"""Adam on one flat vector, in place: eight element-wise operations whatever the network."""

import math

from torch import Tensor

BETA_MEAN, BETA_SQUARE, EPSILON = 0.9, 0.999, 1e-8


def corrected(learning_rate: float, step: int) -> tuple[float, float]:
    """Return step size and epsilon of Adam's `step`-th step (from 1), bias corrections folded in.

    m^ / (sqrt(v^) + e) with m^ = m / (1 - b1^t), v^ = v / (1 - b2^t) (arXiv 1412.6980, section 2).
    """
    square = math.sqrt(1.0 - BETA_SQUARE**step)
    return learning_rate * square / (1.0 - BETA_MEAN**step), EPSILON * square


def adam(
    parameters: Tensor,
    mean: Tensor,
    square: Tensor,
    gradient: Tensor,
    size: Tensor,
    epsilon: Tensor,
) -> None:
    """Take one step; all four vectors of one shape, `size` and `epsilon` as `corrected` gives."""
    mean.mul_(BETA_MEAN).add_(gradient, alpha=1.0 - BETA_MEAN)
    square.mul_(BETA_SQUARE).addcmul_(gradient, gradient, value=1.0 - BETA_SQUARE)
    parameters.sub_(size * (mean / (square.sqrt() + epsilon)))


def follow(slow: Tensor, fast: Tensor, rate: float) -> None:
    """Move `slow` by `rate` of its distance to `fast`, in place."""
    slow.lerp_(fast, rate)
