"""SciPy in float64: RK45 with all samples as one system; BDF, sample by sample, where the problem is stiff."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from operations import OfNumPy
from scipy.integrate import solve_ivp
from torch import Tensor

from .problem import Contender, Problem, RefusedError, no_gradient


def forward(problem: Problem) -> Callable[[float], Any]:
    if problem.y0.dim() > 2:
        raise RefusedError("NumPy has no convolution")
    y0, args, params = (
        [part.detach().cpu().double().numpy() for part in parts]
        for parts in ((problem.y0,), problem.args, problem.params)
    )
    times = problem.times.numpy()

    def solved(start: Any, of_each: Any, method: str, tol: float) -> Any:
        def f(t: float, y: Any) -> Any:
            return problem.formula(OfNumPy, t, y.reshape(start.shape), (*of_each, *params)).reshape(-1)

        found = solve_ivp(
            f, problem.t_span, start.reshape(-1), method, t_eval=times, **problem.tolerances(tol)
        )
        if not found.success:
            raise RefusedError(found.message)
        return found.y.T.reshape(len(times), *start.shape)

    def work(tol: float) -> Any:
        if not problem.stiff:
            return solved(y0[0], args, "RK45", tol)
        rows = [solved(start, [arg[k] for arg in args], "BDF", tol) for k, start in enumerate(y0[0])]
        return np.stack(rows, 1)

    return work


def numbers(result: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(result)).double().reshape(-1)


def contenders() -> Iterator[Contender]:
    yield Contender("SciPy", forward, no_gradient, numbers, per_sample=False)
