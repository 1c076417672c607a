"""backsolve: the paper's adjoint sensitivity method (Chen et al., NeurIPS 2018, eqs. 3-5 and algorithm 1).

The state, its adjoint a and the parameter gradient g are integrated backward together,

    d[y, a, g]/dt = [f, -a df/dy, -a df/dtheta],

from one output to the one before it, where y restarts from its stored value and a receives that output's cotangent.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..control import Norm
from ..engine import LOOPS, Run
from ..errors import SolverWarning, unknown
from ..ops import REAL, Size, spread
from ..problem import Problem
from ..solution import Status
from .drift import drifted
from .function import through
from .pieces import Pieces
from .stretches import (
    check_tolerances,
    failed,
    refuse_dense_output,
    refuse_second_derivatives,
    same,
    scalar,
    stops_of,
)


@dataclass(frozen=True)
class Backsolve:
    """The continuous adjoint: memory O(1) in the number of steps, error of the size of its own tolerances.

    Args:
        rtol, atol: tolerances of the backward solve; None: those of the forward solve.
        norm: ``"seminorm"`` controls y and a and leaves the parameter gradient, a mere quadrature, out of the error
            (Kidger, Chen & Lyons, ICML 2021); ``"full"`` controls all three.

    The re-integrated path drifts from the one that was solved, most on contracting dynamics; when it misses a
    stored output by more than a thousand times the tolerance a warning says by how much.
    """

    rtol: float | None = None
    atol: float | None = None
    norm: str = "seminorm"

    def __post_init__(self) -> None:
        if self.norm not in ("seminorm", "full"):
            raise unknown("Backsolve norm", self.norm, ("seminorm", "full"))
        check_tolerances("Backsolve", self.rtol, self.atol)

    def solve(self, problem: Problem) -> Run:
        """Integrate without any tape; gradients come from a solve backward in time."""
        refuse_dense_output("backsolve", problem)
        return through(_Backsolve, self, problem)


class _Backsolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, options: Backsolve, problem: Problem, box: list[Run], y0: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        run = LOOPS[problem.batch](replace(problem, y0=y0.detach()))
        ys, y1 = run.ys.detach(), run.y1.detach().clone()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y0, ys, y1, *tensors)
        ctx.options, ctx.problem, ctx.times = (
            options,
            replace(problem, y0=y0.detach(), start=problem.field),
            run.times,
        )
        box.append(run)
        return ys, y1

    @staticmethod
    def backward(ctx: Any, grad_ys: Tensor | None, grad_y1: Tensor | None) -> tuple[Any, ...]:
        refuse_second_derivatives("backsolve")
        y0, ys, y1, *tensors = ctx.saved_tensors
        stops, states, bars = stops_of(ctx.problem, ctx.times, (y0, ys, y1), grad_ys, grad_y1)
        with ctx.problem.reenter_autocast():
            abar, totals = _sweep(ctx.options, ctx.problem, stops, states, bars, tensors)
        return None, None, None, abar, *totals


def _sweep(
    options: Backsolve,
    problem: Problem,
    stops: list[Size],
    states: list[Tensor],
    bars: list[Tensor | None],
    tensors: list[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """Adjoint at t0 and the parameter gradients, one backward solve per stretch between stops."""
    pieces = Pieces(problem.y0, tensors)
    abar = torch.zeros_like(problem.y0)
    totals = [torch.zeros_like(tensor) for tensor in tensors]
    size = None
    for k in range(len(stops) - 1, 0, -1):
        if (bar := bars[k]) is not None:
            abar = abar + bar
        here, before = stops[k], stops[k - 1]
        if same(here, before):
            continue
        stretch = _stretch(options, problem, pieces, tensors, (here, before), size)
        run = LOOPS[None](replace(stretch, y0=pieces.join(states[k], abar, totals)))
        if run.status < 0:
            t = run.t if not isinstance(here, Tensor) else float((here + run.t * (before - here))[0])
            raise failed("backsolve", Status(run.status), t, run.sample, run.h)
        y, abar, totals = pieces.split(run.y1)
        size = abs(run.h) if problem.batch != "independent" else None
        _check_drift(problem, y, states[k - 1], before)
    if (bar := bars[0]) is not None:
        abar = abar + bar
    return abar, totals


def _stretch(
    options: Backsolve,
    problem: Problem,
    pieces: Pieces,
    tensors: list[Tensor],
    ends: tuple[Size, Size],
    size: float | None,
) -> Problem:
    """The augmented problem from ``here`` back to ``before``.

    Samples with times of their own share a clock that runs from 0 to 1 while each covers its own stretch.
    """
    here, before = ends
    own_clocks = isinstance(here, Tensor)
    t0, t1 = (0.0, 1.0) if own_clocks else (here, before)
    sign = 1.0 if t1 > t0 else -1.0
    batched = problem.batch is not None
    norm = _norm(problem.norm, options.norm, pieces, len(problem.y0) if batched else 1)
    grid = None
    if problem.grid is not None:
        grid = _grid_between(problem.grid, here, before)
    field: Any = _Augmented(problem, pieces, tensors, ends if own_clocks else None)
    return replace(
        problem, field=field, start=field,
        t0=t0, t1=t1, sign=sign, times=[t1], grid=grid, batch=None, norm=norm, first_step=size,
        rtol=scalar(options.rtol, problem.rtol), atol=scalar(options.atol, problem.atol),
        max_step=math.inf if own_clocks else problem.max_step, min_step=0.0, dense_output=False,
        progress=None, watch=None,
    )  # fmt: skip


def _grid_between(grid: Any, here: Any, before: Any) -> list[float]:
    """The forward steps of a stretch, walked backward (on the shared clock: as many equal steps)."""
    if not isinstance(grid, Tensor):
        low, high = sorted((here, before))
        return [here, *(t for t in reversed(grid) if low < t < high), before]
    low, high = torch.minimum(here, before), torch.maximum(here, before)
    inside = int(((grid > low) & (grid < high)).sum(0).max()) + 1
    return [i / inside for i in range(inside + 1)]


def _norm(norm: Norm, kind: str, pieces: Pieces, samples: int) -> Norm:
    """The forward norm of y and of a, the larger (per sample, the worst); ``"full"``: of each gradient too."""
    n, sizes = pieces.size, [size for _, size, _ in pieces.tensors if size]

    def seminorm(x: Tensor) -> Tensor:
        return norm(x[: 2 * n].reshape(2 * samples, -1)).amax()

    def full(x: Tensor) -> Tensor:
        parts = [norm(part) for part in x[2 * n :].split(sizes)] if sizes else []
        return torch.stack([seminorm(x), *parts]).amax()

    return seminorm if kind == "seminorm" else full


class _Augmented:
    """The right-hand side of [y, a, g] (and, per sample, the clock's speed)."""

    def __init__(
        self, problem: Problem, pieces: Pieces, tensors: list[Tensor], clock: tuple[Any, Any] | None
    ) -> None:
        self.problem, self.pieces, self.tensors, self.clock = problem, pieces, tensors, clock

    @property
    def count(self) -> int:
        return self.problem.field.count

    @property
    def jacobians(self) -> int:
        return self.problem.field.jacobians

    def __call__(self, t: Tensor, flat: Tensor) -> Tensor:
        y, a, _ = self.pieces.split(flat)
        y = y.detach().to(self.problem.y0.dtype).requires_grad_()
        speed = None
        if self.clock is not None:
            here, before = self.clock
            t = spread(here + t.double() * (before - here), y.detach().real).to(REAL.get(y.dtype, y.dtype))
            speed = spread(before - here, y.detach().real)
        with torch.enable_grad():
            dy = self.problem.field(t, y)
            scaled = dy if speed is None else dy * speed
        grads: Sequence[Tensor | None] = [None] * (1 + len(self.tensors))
        if dy.requires_grad:
            grads = torch.autograd.grad(
                scaled, [y, *self.tensors], -a.to(y.dtype), allow_unused=True, retain_graph=True
            )
        full = [
            torch.zeros_like(x) if g is None else g for x, g in zip([y, *self.tensors], grads, strict=True)
        ]
        return self.pieces.join(scaled.detach(), full[0], full[1:])


def _check_drift(problem: Problem, y: Tensor, stored: Tensor, t: Size) -> None:
    """Warn when the re-integrated state misses the stored one by more than the tolerance explains."""
    miss = float(drifted(problem, y, stored).max()) if y.numel() else 0.0
    if not miss <= 1e3:
        warnings.warn(
            f"gradient='backsolve': the path integrated backward misses the stored state at t = {t} by {miss:.3g} "
            "times the tolerance, so the gradient is as wrong; use gradient='discrete', or smaller "
            "Backsolve(rtol, atol)",
            SolverWarning,
            stacklevel=2,
        )
