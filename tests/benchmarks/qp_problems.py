"""Problems like those that the envelope solves when a barrier is near, and their exact answers.

minimise sum_k w_k (1 - s_k)^2  subject to  sum_k D_bk s_k >= c_b for every row b, 0 <= s <= 1:
s_k is the share of its admitted acceleration that joint k gets, 0 the kept stop, which is always
allowed (c_b <= 0). Rows come from the arm's own Jacobian, one capsule end against one plane, times
how much further the stop goes with the admitted acceleration than with the stop's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from scipy.optimize import nnls

from tests.benchmarks.kit import REPOSITORY

Vector = np.ndarray[Any, np.dtype[np.float64]]

MODEL_FILE = REPOSITORY / "sims" / "robots" / "panda.xml"
TICKS_PER_SEQUENCE = 10
ROWS_MAX = 20
# no joint may become so cheap that the cost does not tell its shares apart
WEIGHT_FLOOR = 1e-6
# stop lengths (rad) that one tick's jerk adds: at rest, and from full speed
EXTENT_RAD = (4e-5, 2e-3)
DRIFT = 0.02
PARALLEL = 1e-3


@dataclass(frozen=True)
class Problem:
    """One problem: `weights` (n,), `rows` (m, n) metres, `bounds` (m,) metres, all bounds <= 0."""

    weights: Vector
    rows: Vector
    bounds: Vector


def problems(sequences: int, seed: int) -> Iterator[Problem]:
    """Yield `sequences` x TICKS_PER_SEQUENCE problems; those of a sequence drift from one into
    the next, as from tick to tick, and so are what a warm start can use."""
    rng = np.random.default_rng(seed)
    model = mujoco.MjModel.from_xml_path(str(MODEL_FILE))
    data = mujoco.MjData(model)
    for _ in range(sequences):
        rows, bounds, weights = _first(rng, model, data)
        for _ in range(TICKS_PER_SEQUENCE):
            yield Problem(weights, rows, bounds)
            rows = rows * (1.0 + DRIFT * rng.standard_normal(rows.shape))
            bounds = np.minimum(bounds * (1.0 + DRIFT * rng.standard_normal(bounds.shape)), 0.0)
            weights = weights * np.exp(DRIFT * rng.standard_normal(weights.shape))


def _first(rng: np.random.Generator, model: Any, data: Any) -> tuple[Vector, Vector, Vector]:
    joints = 7
    low, high = model.jnt_range[:joints].T
    data.qpos[:joints] = rng.uniform(low, high)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    size = np.exp(rng.uniform(np.log(EXTENT_RAD[0]), np.log(EXTENT_RAD[1]), joints))
    extent = size * rng.choice([-1.0, 1.0], joints)
    rows = np.array([_row(rng, model, data) * extent for _ in range(rng.integers(1, ROWS_MAX + 1))])
    for i in range(1, len(rows)):
        # both ends of a capsule, or two capsules of a link, see one obstacle alike
        if rng.random() < 0.4:
            rows[i] = rows[i - 1] * (1.0 + PARALLEL * rng.standard_normal(joints))
    reach = np.sum(np.minimum(rows, 0.0), axis=1)
    # at the barrier nothing is left, further away most of what was asked
    bounds = reach * np.where(rng.random(len(rows)) < 0.1, 0.0, rng.random(len(rows)))
    weights = np.exp(rng.uniform(np.log(1e-6), np.log(1e-1), joints)) ** 2
    return rows, bounds, np.maximum(weights, WEIGHT_FLOOR * weights.max())


def _row(rng: np.random.Generator, model: Any, data: Any) -> Vector:
    body = int(rng.integers(3, 9))
    normal = rng.standard_normal(3)
    normal /= np.linalg.norm(normal)
    jacobian = np.zeros((3, model.nv))
    point = data.xpos[body] + rng.uniform(-0.1, 0.1, 3)
    mujoco.mj_jac(model, data, jacobian, None, point, body)
    row: Vector = normal @ jacobian[:, :7]
    return row


def exact(problem: Problem) -> Vector:
    """Return the solution by least distance programming on non-negative least squares.

    Lawson and Hanson, Solving Least Squares Problems, chapter 23: with y_k = sqrt(w_k) (s_k - 1)
    the problem is the point nearest to 0 that satisfies G y >= h.
    """
    root = np.sqrt(problem.weights)
    n = len(root)
    rows = problem.rows / root
    need = problem.bounds - problem.rows.sum(axis=1)
    size = np.linalg.norm(rows, axis=1)
    size[size == 0.0] = 1.0
    scale = root.max()
    g = np.vstack((rows / size[:, None], np.eye(n), -np.eye(n)))
    h = np.concatenate((need / size, -root, np.zeros(n))) / scale
    e = np.vstack((g.T, h))
    f = np.zeros(n + 1)
    f[n] = 1.0
    u, _ = nnls(e, f, maxiter=1000)
    residual = e @ u - f
    # where only the stop itself satisfies the rows, the residual may vanish: the stop, then
    y = -residual[:n] / residual[n] * scale if residual[n] else -root
    share: Vector = np.clip(1.0 + y / root, 0.0, 1.0)
    return share


def cost(problem: Problem, share: Vector) -> float:
    """Return the cost of `share`, relative to that of stopping altogether."""
    return float(problem.weights @ (1.0 - share) ** 2 / problem.weights.sum())


def violation(problem: Problem, share: Vector) -> float:
    """Return by how much `share` breaks its worst row, relative to the row's own size."""
    size = np.abs(problem.rows).sum(axis=1) + 1e-300
    worst = np.max((problem.bounds - problem.rows @ share) / size)
    return float(max(worst, np.max(-share), np.max(share - 1.0), 0.0))
