"""What solves cost and achieve, ours and SciPy's, and costs at equal achieved error."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp

import neuralode
from problems import Known


@dataclass(frozen=True)
class Work:
    """``error`` is that of ``Known.error``, infinite where the end was not reached.

    ``nfev`` leaves out what a Jacobian costs, in SciPy and here.
    """

    error: float
    nfev: int
    njev: int
    nlu: int = 0


@cache
def scipy_work(problem: Known, method: str, tol: float) -> Work:
    """One of solve_ivp's methods at rtol = tol and the problem's atol."""

    def f(t: float, y: np.ndarray) -> np.ndarray:
        return problem.f(torch.tensor(t, dtype=torch.float64), torch.from_numpy(y)).numpy()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of LSODA, and of overflow on the way to a failure
        found = solve_ivp(
            f, problem.t_span, problem.y0.numpy(), method, rtol=tol, atol=tol * problem.atol_ratio
        )
    error = problem.error(torch.from_numpy(found.y[:, -1])) if found.success else math.inf
    return Work(error, found.nfev, found.njev, found.nlu)


@cache
def our_work(problem: Known, method: str, tol: float) -> Work:
    """The method of that name, alike."""
    return work_of(problem, method, tol)


def work_of(problem: Known, method: str, tol: float, **options: Any) -> Work:
    """``neuralode.solve`` with further options, for one system: batch=None, or lockstep or independent with one row."""
    y0 = problem.y0 if options.get("batch") is None else problem.y0[None]
    atol = tol * problem.atol_ratio
    with torch.no_grad():
        found = neuralode.solve(
            field(problem, method),
            problem.t_span,
            y0,
            method=method,
            rtol=tol,
            atol=atol,
            throw=False,
            **options,
        )
    error = problem.error(found.y1) if found.success else math.inf
    return Work(error, int(found.nfev), int(found.njev))


def field(problem: Known, method: str) -> Any:
    """f, or for a method that splits it two shares of it."""
    if not next(record for record in neuralode.methods() if record.name == method).split:
        return problem.f
    return lambda t, y: 0.3 * problem.f(t, y), lambda t, y: 0.7 * problem.f(t, y)


def cost_at(error: Any, errors: Sequence[float], costs: Sequence[float]) -> Any:
    """What it costs to reach an error, by a parabola of log error over log cost through a ladder of tolerances.

    The parabola evens out lucky and unlucky errors. NaN outside the ladder's errors: nothing is extrapolated.
    """
    reached = [(math.log(c), math.log(e)) for e, c in zip(errors, costs, strict=True) if 0 < e < math.inf]
    if len({cost for cost, _ in reached}) < 3:
        return np.full(np.shape(error), np.nan)
    cost, size = np.array(reached).T
    grid = np.linspace(cost.min(), cost.max(), 200)
    curve = np.minimum.accumulate(np.polyval(np.polyfit(cost, size, 2), grid))
    return np.exp(np.interp(-np.log(error), -curve, grid, left=np.nan, right=np.nan))


def evaluations_at(error: Any, ladder: Sequence[Work]) -> Any:
    """Evaluations that reach an error."""
    return cost_at(error, [work.error for work in ladder], [work.nfev for work in ladder])


def ratio_at_equal_error(ours: Sequence[Work], theirs: Sequence[Work]) -> float:
    """Our evaluations over theirs, the largest of five errors that both ladders reach; NaN where there is none."""
    errors = [[work.error for work in ladder if 0 < work.error < math.inf] for ladder in (ours, theirs)]
    if not all(errors):
        return math.nan
    low, high = max(map(min, errors)), min(map(max, errors))
    if not low < high:
        return math.nan
    at = np.geomspace(low, high, 5)
    ratios = evaluations_at(at, ours) / evaluations_at(at, theirs)
    return float(np.nanmax(ratios)) if np.isfinite(ratios).any() else math.nan
