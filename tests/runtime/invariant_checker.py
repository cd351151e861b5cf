"""Judges commands by their invariants, independently of the envelope.

Shares nothing with the code under test: it takes plain numbers, recomputes v = (q_k - q_(k-1))/dt
and so on from what was sent, and imports no file of the envelope.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RELATIVE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class JointInvariants:
    """What one joint's commands must keep: rad, rad/s, rad/s^2, rad/s^3."""

    q_min: float
    q_max: float
    v_max: float
    a_max: float
    j_max: float


@dataclass(frozen=True)
class Violation:
    """One broken invariant: `value` against `limit` at row `tick` of the array."""

    tick: int
    joint: int
    what: str
    value: float
    limit: float


@dataclass(frozen=True)
class Verdict:
    """All violations, and the largest share of each limit that was used (1 = at the limit)."""

    violations: tuple[Violation, ...]
    largest_share: Mapping[str, float]
    ticks: int


def check(
    q: NDArray[np.float64],
    dt_s: float,
    limits: Sequence[JointInvariants],
    segment_starts: Sequence[int] = (0,),
    tolerance: float = RELATIVE_TOLERANCE,
    history: int = 0,
) -> Verdict:
    """Return the verdict on commands `q`, shape [ticks, joints], rad, one row a sent command.

    `segment_starts`: the rows where a new reference begins at rest (see `segments`); the joint is
    taken to have stood at that row's position before. Row 0 must be among them.

    `history`: how many rows at the beginning of every segment show only where it came from, and at
    which speed; with 3 or more of them a segment may begin in motion.

    Raises:
        ValueError: the shapes differ, or row 0 starts no segment.
    """
    if q.ndim != 2 or q.shape[1] != len(limits):
        raise ValueError(f"q has shape {q.shape}; it must be [ticks, {len(limits)}]")
    if len(q) == 0:
        return Verdict((), {}, 0)
    if 0 not in segment_starts:
        raise ValueError(f"segment_starts {segment_starts} must contain 0")
    violations: list[Violation] = []
    shares: dict[str, float] = {}
    bounds = [*sorted(set(segment_starts)), len(q)]
    for start, stop in itertools.pairwise(bounds):
        for joint, limit in enumerate(limits):
            curves = _curves(q[start:stop, joint], dt_s, limit)
            for what, (curve, low, high, allowed) in curves.items():
                value = curve[history:]
                if not len(value):
                    continue
                use = np.maximum(value - high, low - value) / allowed
                shares[what] = max(shares.get(what, 0.0), _use(value, low, high))
                for row in np.flatnonzero(~(use <= tolerance)):
                    side = high if value[row] > high else low
                    violations.append(
                        Violation(start + history + int(row), joint, what, float(value[row]), side)
                    )
    return Verdict(tuple(violations), shares, len(q))


def segments(sent: Sequence[bool], epoch: Sequence[int], rest: Sequence[bool]) -> list[int]:
    """Return the rows, counted among sent commands only, at which a new reference may begin.

    That is the first sent command after a tick without one, and a command with a new epoch if the
    robot was measured at rest there (`rest`); any other new epoch continues the old reference.
    All three have one entry per tick, in order.
    """
    starts, row, was_sent, was_epoch = [], 0, False, -1
    for is_sent, number, at_rest in zip(sent, epoch, rest, strict=True):
        if is_sent:
            if not was_sent or (number != was_epoch and at_rest):
                starts.append(row)
            was_epoch = number
            row += 1
        was_sent = bool(is_sent)
    return starts


def _curves(
    q: NDArray[np.float64], dt_s: float, limit: JointInvariants
) -> dict[str, tuple[NDArray[np.float64], float, float, float]]:
    """Return per quantity: its values, low and high limit, and what the tolerance is a share of."""
    v = np.diff(q, prepend=q[0]) / dt_s
    a = np.diff(v, prepend=0.0) / dt_s
    j = np.diff(a, prepend=0.0) / dt_s
    return {
        "position": (q, limit.q_min, limit.q_max, limit.q_max - limit.q_min),
        "velocity": (v, -limit.v_max, limit.v_max, limit.v_max),
        "acceleration": (a, -limit.a_max, limit.a_max, limit.a_max),
        "jerk": (j, -limit.j_max, limit.j_max, limit.j_max),
    }


def _use(value: NDArray[np.float64], low: float, high: float) -> float:
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    return float(np.max(np.abs(value - middle))) / half
