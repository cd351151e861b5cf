"""The solvers that qp_choice compares, each with what its Python interface costs."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.benchmarks.qp_problems import Problem, Vector

# what a solver returns: the shares, or None when it gave up; and its iterations
Answer = tuple[Vector | None, int]
Solve = Callable[[Problem], Answer]

ITERATIONS_MAX = 100
# of the row: the certificate, not the solver, decides; tighter makes solvers fail where c is 0
_TOLERANCE = 1e-6
_STEPS_MAX = 40
_ROOT_STEPS_MAX = 16


def _scaled(problem: Problem) -> tuple[Vector, Vector, Vector]:
    """Return weights of size 1 and rows of norm 1 with their bounds: tolerances of solvers are
    absolute, metres per tick are not."""
    size = np.sqrt(np.einsum("ij,ij->i", problem.rows, problem.rows)) + 1e-300
    weights = problem.weights / problem.weights.max()
    return weights, problem.rows / size[:, None], problem.bounds / size


def _diagonal(weights: Vector) -> Vector:
    hessian = np.zeros((len(weights), len(weights)))
    np.fill_diagonal(hessian, weights)
    return hessian


def daqp_cold() -> Solve:
    """daqp.solve: a workspace of its own each time, no state between solves."""
    daqp: Any = importlib.import_module("daqp")

    def solve(problem: Problem) -> Answer:
        weights, rows, bounds = _scaled(problem)
        n, m = len(weights), len(bounds)
        upper = np.full(n + m, 1e30)
        upper[:n] = 1.0
        lower = np.zeros(n + m)
        lower[n:] = bounds
        sense = np.zeros(n + m, dtype=np.int32)
        x, _, flag, info = daqp.solve(
            _diagonal(weights),
            -weights,
            rows,
            upper,
            lower,
            sense,
            iter_limit=ITERATIONS_MAX,
            primal_tol=_TOLERANCE,
        )
        return (x if flag > 0 else None), info["iterations"]

    return solve


def _daqp_model(warm: bool) -> Solve:
    daqp: Any = importlib.import_module("daqp")
    models: dict[int, Any] = {}

    def solve(problem: Problem) -> Answer:
        weights, rows, bounds = _scaled(problem)
        n, m = len(weights), len(bounds)
        lower = np.zeros(n + m)
        lower[n:] = bounds
        model = models.get(m)
        if model is None:
            upper = np.full(n + m, 1e30)
            upper[:n] = 1.0
            model = models[m] = daqp.Model()
            model.settings = {"iter_limit": ITERATIONS_MAX, "primal_tol": _TOLERANCE}
            model.setup(_diagonal(weights), -weights, rows, upper, lower)
        else:
            sense = None if warm else np.zeros(n + m, dtype=np.int32)
            model.update(H=_diagonal(weights), f=-weights, A=rows, blower=lower, sense=sense)
        x, _, flag, info = model.solve()
        return (np.array(x) if flag > 0 else None), info["iterations"]

    return solve


def daqp_reused() -> Solve:
    """daqp.Model, one workspace for each number of rows, active set forgotten."""
    return _daqp_model(warm=False)


def daqp_warm() -> Solve:
    """daqp.Model, warm: the active set of the last problem with as many rows."""
    return _daqp_model(warm=True)


def quadprog() -> Solve:
    """quadprog.solve_qp: Goldfarb and Idnani's dual method."""
    module: Any = importlib.import_module("quadprog")

    def solve(problem: Problem) -> Answer:
        weights, rows, bounds = _scaled(problem)
        n = len(weights)
        columns = np.concatenate((np.eye(n), -np.eye(n), rows)).T
        right = np.concatenate((np.zeros(n), np.full(n, -1.0), bounds))
        try:
            found = module.solve_qp(_diagonal(weights), weights, columns, right)
        except ValueError:
            return None, 0
        return found[0], int(found[3][0])

    return solve


def proxsuite() -> Solve:
    """proxsuite's dense ProxQP with box constraints, workspace reused, warm."""
    proxqp: Any = importlib.import_module("proxsuite").proxqp
    models: dict[int, Any] = {}

    def solve(problem: Problem) -> Answer:
        weights, rows, bounds = _scaled(problem)
        n, m = len(weights), len(bounds)
        upper = np.full(m, 1e20)
        qp = models.get(m)
        if qp is None:
            qp = models[m] = proxqp.dense.QP(n, 0, m, True)
            qp.settings.eps_abs = _TOLERANCE
            qp.settings.max_iter = ITERATIONS_MAX
            qp.settings.initial_guess = (
                proxqp.InitialGuess.WARM_START_WITH_PREVIOUS_RESULT
            )
            qp.init(
                _diagonal(weights), -weights, None, None, rows, bounds, upper,
                np.zeros(n), np.ones(n),
            )
        else:
            qp.update(H=_diagonal(weights), g=-weights, C=rows, l=bounds)
        qp.solve()
        solved = qp.results.info.status == proxqp.QPSolverOutput.PROXQP_SOLVED
        return (np.array(qp.results.x) if solved else None), int(qp.results.info.iter)

    return solve


def piqp() -> Solve:
    """piqp's dense interior point method, workspace reused."""
    module: Any = importlib.import_module("piqp")
    models: dict[int, Any] = {}

    def solve(problem: Problem) -> Answer:
        weights, rows, bounds = _scaled(problem)
        n, m = len(weights), len(bounds)
        rows = np.asfortranarray(rows)
        solver = models.get(m)
        if solver is None:
            solver = models[m] = module.DenseSolver()
            solver.settings.max_iter = ITERATIONS_MAX
            solver.settings.eps_abs = _TOLERANCE
            solver.setup(
                _diagonal(weights), -weights, None, None, rows, bounds, np.full(m, 1e30),
                np.zeros(n), np.ones(n),
            )
        else:
            solver.update(P=_diagonal(weights), c=-weights, G=rows, h_l=bounds)
        status = solver.solve()
        solved = status == module.PIQP_SOLVED
        return (np.array(solver.result.x) if solved else None), int(solver.result.info.iter)

    return solve


def osqp() -> Solve:
    """osqp's operator splitting, workspace and pattern reused, warm."""
    module: Any = importlib.import_module("osqp")
    sparse: Any = importlib.import_module("scipy.sparse")
    models: dict[int, Any] = {}

    def solve(problem: Problem) -> Answer:
        weights, rows, bounds = _scaled(problem)
        n, m = len(weights), len(bounds)
        lower = np.concatenate((np.zeros(n), bounds))
        solver = models.get(m)
        if solver is None:
            solver = models[m] = module.OSQP()
            a = sparse.csc_matrix(np.concatenate((np.eye(n), np.where(rows == 0.0, 1e-30, rows))))
            solver.setup(
                sparse.diags(weights, format="csc"), -weights, a, lower,
                np.concatenate((np.ones(n), np.full(m, np.inf))),
                verbose=False, eps_abs=1e-6, eps_rel=1e-6, max_iter=4000,
            )
        else:
            full = np.concatenate((np.ones((1, n)), rows))
            solver.update(Px=weights, q=-weights, Ax=full.T.ravel(), l=lower)
        found = solver.solve(raise_error=False)
        solved = found.info.status_val == 1
        return (np.array(found.x) if solved else None), int(found.info.iter)

    return solve


def qpsolvers_daqp() -> Solve:
    """qpsolvers.solve_qp with daqp: what the common wrapper adds."""
    module: Any = importlib.import_module("qpsolvers")

    def solve(problem: Problem) -> Answer:
        weights, rows, bounds = _scaled(problem)
        n = len(weights)
        found = module.solve_qp(
            _diagonal(weights), -weights, -rows, -bounds, lb=np.zeros(n), ub=np.ones(n),
            solver="daqp", primal_tol=_TOLERANCE,
        )
        return found, 0

    return solve


def ascent() -> Solve:
    """Dual coordinate ascent in plain Python (Hildreth), the box solved exactly in every step,
    the most broken row next, a fixed number of steps, then shrunk towards the stop until every
    row holds. Carries nothing from solve to solve."""
    return _ascent


def _ascent(problem: Problem) -> Answer:
    rows: list[list[float]] = problem.rows.tolist()
    bounds: list[float] = problem.bounds.tolist()
    cheap = [1.0 / w for w in problem.weights.tolist()]
    steps = [[d * c for d, c in zip(row, cheap, strict=True)] for row in rows]
    sizes = [sum(map(abs, row)) + 1e-300 for row in rows]
    prices = [0.0] * len(rows)
    wish = [1.0] * len(cheap)
    share = wish
    taken = 0
    while taken < _STEPS_MAX:
        taken += 1
        worst, index = 1e-9, -1
        for i, row in enumerate(rows):
            gap = (bounds[i] - sum(map(_times, row, share))) / sizes[i]
            # a row with a price that is no longer needed gives it back
            if gap > worst or (prices[i] > 0.0 and -gap > worst):
                worst, index = abs(gap), i
        if index < 0:
            break
        price = _price(rows[index], steps[index], wish, prices[index], bounds[index])
        change = price - prices[index]
        prices[index] = price
        wish = [x + change * d for x, d in zip(wish, steps[index], strict=True)]
        share = [min(max(x, 0.0), 1.0) for x in wish]
    shrink = 1.0
    for i, row in enumerate(rows):
        reached = sum(map(_times, row, share))
        if reached < bounds[i]:
            shrink = min(shrink, bounds[i] / reached)
    return np.array(share) * shrink, taken


def _times(a: float, b: float) -> float:
    return a * b


def _price(
    row: list[float], step: list[float], wish: list[float], price: float, bound: float
) -> float:
    """Return the least price >= 0 at which the row holds, the other prices kept: the root of a
    rising piecewise linear function, by Newton's steps inside a bracket."""
    low, high = 0.0, float("inf")
    at = price
    for _ in range(_ROOT_STEPS_MAX):
        reached, slope = -bound, 0.0
        for d, c, x in zip(row, step, wish, strict=True):
            share = x + (at - price) * c
            if share >= 1.0:
                reached += d
            elif share > 0.0:
                reached += d * share
                slope += d * c
        if reached >= 0.0:
            high = at
        else:
            low = at
        flat = 0.0 if reached >= 0.0 else 2.0 * at + 1.0
        step_to = at - reached / slope if slope > 0.0 else flat
        if not (low <= step_to <= high):
            step_to = 0.5 * (low + high)
        if abs(step_to - at) <= 1e-12 * abs(at):
            return step_to
        at = step_to
    return high if high < float("inf") else at


SOLVERS: dict[str, tuple[str, Callable[[], Solve]]] = {
    "daqp, cold": ("daqp", daqp_cold),
    "daqp, workspace reused": ("daqp", daqp_reused),
    "daqp, reused and warm": ("daqp", daqp_warm),
    "quadprog": ("quadprog", quadprog),
    "proxsuite, warm": ("proxsuite", proxsuite),
    "piqp": ("piqp", piqp),
    "osqp, warm": ("osqp", osqp),
    "qpsolvers over daqp": ("qpsolvers", qpsolvers_daqp),
    "plain Python, dual ascent": ("", ascent),
}
