"""From what a loop hands back to the user's ``Solution``, or to a ``SolverError``."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .engine import Run
from .errors import SolverError
from .layout import Layout
from .output import DenseOutput
from .problem import Problem
from .solution import HINTS, SENTENCES, Solution, Status


def build(problem: Problem, run: Run, layout: Layout | None, t_eval: Any, throw: bool) -> Solution:
    """The solution in the user's structure.

    Raises:
        SolverError: some sample did not reach the end, and ``throw`` is set.
    """
    status, success, message = _ending(run, throw)
    shape = (lambda tensor: tensor) if layout is None else layout.unravel
    forward = problem.field.count
    return Solution(
        t=_times(problem, run, t_eval),
        y=shape(run.ys),
        y1=shape(run.y1),
        nfev=run.nfev,
        accepted=run.accepted,
        rejected=run.rejected,
        njev=0,
        status=status,
        success=success,
        message=message,
        interpolant=_interpolant(problem, run, shape) if problem.dense_output else None,
        backward_count=lambda: problem.field.count - forward,
    )


def _ending(run: Run, throw: bool) -> tuple[Any, bool, str]:
    """(status, success, message); raises for the first failed sample if ``throw``."""
    if not isinstance(run.status, Tensor):
        status, sample, t, h = Status(run.status), run.sample, run.t, run.h
    elif not len(run.status) or int(run.status.min()) >= 0:
        return run.status, True, SENTENCES[Status.SUCCESS]
    else:
        sample = int((run.status < 0).int().argmax())
        status, t, h = Status(int(run.status[sample])), float(run.t[sample]), float(run.h[sample])
    if status >= 0:
        return int(status), True, SENTENCES[status]
    reason = SENTENCES[status]
    if throw:
        raise SolverError(reason, t, sample, abs(h), HINTS[status])
    where = "" if sample is None else f" (first in sample {sample})"
    return (run.status if isinstance(run.status, Tensor) else int(status)), False, f"{reason}, at t = {t:.8g}{where}"


def _times(problem: Problem, run: Run, t_eval: Any) -> Tensor:
    if isinstance(t_eval, Tensor):
        return t_eval
    if not isinstance(run.times, Tensor):
        return torch.tensor(run.times, dtype=torch.float64, device=problem.y0.device)
    same = run.times.shape[1] > 0 and bool((run.times == run.times[:, :1]).all())
    return run.times[:, 0] if same else run.times.T


def _interpolant(problem: Problem, run: Run, shape: Callable[[Tensor], Any]) -> Callable[[Any], Any]:
    if run.knots is None:

        def constant(t: Any) -> Any:
            return shape(run.y1.expand(*torch.as_tensor(t).shape, *run.y1.shape))

        return constant
    t0, t, sign = (
        torch.as_tensor(x, dtype=torch.float64, device=problem.y0.device) for x in (problem.t0, run.t, problem.sign)
    )
    found = DenseOutput(run.knots, problem.method.dense, t0, t, sign, problem.batch == "independent")
    return lambda times: shape(found(times))
