"""From what a loop hands back to the user's ``Solution``, or to a ``SolverError``."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .diagnosis import explain, sentence
from .engine import Run
from .events import Found
from .layout import Layout, RealPairs
from .output import DenseOutput
from .problem import Problem
from .solution import SENTENCES, Solution, Status


def build(
    problem: Problem,
    run: Run,
    layout: Layout | RealPairs | None,
    t_eval: Any,
    found: Found | None,
    throw: bool,
) -> Solution:
    """The solution in the user's structure.

    Raises:
        SolverError: some sample did not reach the end, and ``throw`` is set.
    """
    per_sample = isinstance(run.status, Tensor)
    success = not (bool((run.status < 0).any()) if per_sample else run.status < 0)
    message = (
        _failure(problem, run, throw)
        if not success
        else SENTENCES[_common_status(run.status) if per_sample else run.status]
    )
    shape = (lambda tensor: tensor) if layout is None else layout.unravel
    field = problem.field
    forward = field.count
    times, ys = run.times, run.ys
    if t_eval is None:
        times = torch.stack((problem.t0, run.t)) if per_sample else [problem.t0, run.t]
        ys = torch.stack((problem.y0, run.y1))
    if isinstance(t_eval, Tensor):
        times = t_eval
    else:
        times = _common(times) if per_sample else torch.tensor(times, dtype=torch.float64, device=ys.device)
    return Solution(
        t=times,
        y=shape(ys),
        y1=shape(run.y1),
        nfev=run.nfev,
        accepted=run.accepted,
        rejected=run.rejected,
        njev=run.njev,
        report=_plain(run.report, per_sample),
        status=run.status if per_sample else int(run.status),
        success=success,
        message=message,
        t_events=None if found is None else found.t_events,
        y_events=None if found is None else [shape(y) for y in found.y_events],
        event_mask=None if found is None else found.event_mask,
        evaluations=field.rows_evaluated,
        interpolant=_interpolant(problem, run, shape) if problem.dense_output else None,
        backward_count=lambda: field.count - forward,
        backward_drift=lambda: _drift(field.tally.drift, per_sample),
    )


def _common_status(status: Tensor) -> Status:
    """That of samples which all end alike, else SUCCESS."""
    return Status(int(status[0])) if len(status) and bool((status == status[0]).all()) else Status.SUCCESS


def _failure(problem: Problem, run: Run, throw: bool) -> str:
    """The sentence about the first failed sample; raised if ``throw``."""
    status, sample, t, h = run.status, run.sample, run.t, run.h
    if isinstance(run.status, Tensor):
        sample = int((run.status < 0).int().argmax())
        status, t, h = Status(int(run.status[sample])), float(run.t[sample]), float(run.h[sample])
    if throw:
        raise explain(problem, status, sample, run.t, h, run.last)
    where = "" if sample is None else f" (first in sample {sample})"
    return f"{sentence(problem, status)}, at t = {t:.8g}{where}"


def _drift(found: Tensor | None, per_sample: bool) -> float | Tensor | None:
    """A plain number for a state that steps as one."""
    return found if found is None or per_sample else float(found.max())


def _plain(report: dict[str, Any], per_sample: bool) -> dict[str, Any]:
    """A method's report with counts (B,) per sample, and plain numbers otherwise."""
    return {
        name: value.item() if isinstance(value, Tensor) and not per_sample else value
        for name, value in report.items()
    }


def _common(times: Tensor) -> Tensor:
    """(T,) where all samples share their output times, else (B, T)."""
    same = times.shape[1] > 0 and bool((times == times[:, :1]).all())
    return times[:, 0] if same else times.T


def _interpolant(problem: Problem, run: Run, shape: Callable[[Tensor], Any]) -> Callable[[Any], Any]:
    if run.knots is None:

        def constant(t: Any) -> Any:
            return shape(run.y1.expand(*torch.as_tensor(t).shape, *run.y1.shape))

        return constant
    t0, t, sign = (
        torch.as_tensor(x, dtype=torch.float64, device=problem.y0.device)
        for x in (problem.t0, run.t, problem.sign)
    )
    found = DenseOutput(run.knots, problem.method.dense, t0, t, sign, problem.batch == "independent")
    return lambda times: shape(found(times))
