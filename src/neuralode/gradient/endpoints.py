"""Derivatives with respect to times.

A Runge-Kutta step of size zero leaves a state as it is, and its derivative with respect to that size is the flow's:
dy/dt = f to the order of the step. Appending such a step where a time wants a gradient makes every gradient method
give dL/dt1 = <a(t1), f(t1, y1)> and dL/dt0 = -<a(t0), f(t0, y0)> (Chen et al. 2018, appendix C, algorithm 2).
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..engine import Run
from ..ops import REAL, merge, spread
from ..problem import Problem


def nudge(problem: Problem, time: Tensor, y: Tensor, sign: float) -> Tensor:
    """y moved along the flow by sign * (time - its own value) = 0: a midpoint step, right to second derivatives.

    A state that was not reached, NaN, stays as it is, and keeps no derivative of the others.
    """
    if problem.batch != "independent":
        return _moved(problem, time, y, sign) if bool(torch.isfinite(y).all()) else y
    reached = torch.isfinite(y).reshape(len(y), -1).all(1)
    return merge(reached, _moved(problem, time, merge(reached, y, problem.y0.detach()), sign), y)


def _moved(problem: Problem, time: Tensor, y: Tensor, sign: float) -> Tensor:
    start = time.detach()
    size = sign * (time - start)
    base = start if sign > 0 else time
    if problem.batch == "independent":
        samples = len(y)
        base, size = spread(base.expand(samples), y.real), spread(size.expand(samples), y.real)
    else:
        base, size = (x.reshape(()).to(y.device, REAL.get(y.dtype, y.dtype)) for x in (base, size))
    half = y + (0.5 * size) * problem.field(base, y)
    return y + size * problem.field(base + 0.5 * size, half)


def with_start(problem: Problem) -> Problem:
    """The problem whose y0 depends on t0."""
    t0 = problem.inputs[0]
    return problem if t0 is None else replace(problem, y0=nudge(problem, t0, problem.y0, -1.0))


def with_outputs(problem: Problem, run: Run) -> Run:
    """The run whose end depends on t1, and whose outputs depend on t_eval."""
    _, t1, t_eval = problem.inputs
    ys, y1, *rest = run.tensors
    if t1 is not None:
        y1 = nudge(problem, t1, y1, 1.0)
    if t_eval is not None:
        rows: Any = t_eval.T if t_eval.dim() == 2 else t_eval
        ys = torch.stack([nudge(problem, row, y, 1.0) for row, y in zip(rows, ys, strict=True)])
    return run.with_tensors((ys, y1, *rest))
