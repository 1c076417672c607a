"""interpolated: the continuous adjoint along the solution as it was computed.

    da/dt = -(df/dy)^T a,    dL/dtheta = integral of (df/dtheta)^T a dt    (Chen et al. 2018, eqs. 4 and 5),

y(t) is the dense output of the forward pass, so that nothing drifts; the integral is taken behind the solve for a, by
Gauss-Legendre quadrature on every step of it (GaussAdjoint: Rackauckas et al., arXiv:2001.04385, and SciMLSensitivity's
documentation), so that the parameters enter no step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine import LOOPS, Run
from ..ops import Size, spread
from ..output import DenseOutput
from ..problem import Problem
from ..solution import Status
from .adjoint import Adjoint
from .capture import node_of
from .function import through
from .stretches import (
    check_tolerances,
    failed,
    refuse_dense_output,
    refuse_second_derivatives,
    same,
    scalar,
    stops_of,
)

# Of a stretch: outputs that were meant to lie on given steps miss them by rounding.
SLIVER = 1e-9


@dataclass(frozen=True)
class Interpolated:
    """The continuous adjoint on the forward pass's dense output: error of the size of the tolerances, no drift.

    Args:
        rtol, atol: tolerances of the backward solve, atol for an adjoint whose largest entry (of a sample) is one, so
            that a loss may have any scale; None: those of the forward solve.
        nodes: of the quadrature on each backward step; None: (order + 1) // 2 + 1, exact to beyond the method's order.

    The adjoint is solved by the method of the forward pass, in its batch mode; with an implicit method, parameters
    never enter its equations. Memory O(N s d): N steps, s stages that dense output keeps, a state of d numbers; the
    same again for the stretch between two outputs that is solved backward. f is evaluated once a stage of every
    backward step and once a node, each time with one vector-Jacobian product; of an implicit step also its Jacobian. In
    the forward pass methods whose dense output has stages of its own (dop853, Verner's) evaluate these at every step.
    The solve restarts at every output, so that many outputs are costly for multistep methods.
    """

    rtol: float | None = None
    atol: float | None = None
    nodes: int | None = None

    def __post_init__(self) -> None:
        check_tolerances("Interpolated", self.rtol, self.atol)
        if self.nodes is not None and (isinstance(self.nodes, bool) or not self.nodes >= 1):
            raise ValueError(f"Interpolated nodes must be an integer of at least 1, got {self.nodes!r}")

    def solve(self, problem: Problem) -> Run:
        """Integrate without a tape of f; gradients come from a solve backward in time."""
        refuse_dense_output("interpolated", problem)
        return through(_Interpolated, self, problem)


class _Interpolated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, options: Interpolated, problem: Problem, box: list[Run], y0: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        problem = replace(problem, y0=y0.detach())
        run = LOOPS[problem.batch](replace(problem, dense_output=True))
        ys, y1 = run.ys.detach(), run.y1.detach().clone()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y0, ys, y1, *tensors)
        ctx.options, ctx.problem, ctx.times = options, replace(problem, start=problem.field), run.times
        ctx.path = path_of(problem, run)
        box.append(replace(run, knots=None))
        return ys, y1

    @staticmethod
    def backward(ctx: Any, grad_ys: Tensor | None, grad_y1: Tensor | None) -> tuple[Any, ...]:
        refuse_second_derivatives("interpolated")
        y0, ys, y1, *tensors = ctx.saved_tensors
        stops, _, bars = stops_of(ctx.problem, ctx.times, (y0, ys, y1), grad_ys, grad_y1)
        with ctx.problem.reenter_autocast():
            sweep = Sweep(ctx.options, ctx.problem, ctx.path, tensors)
            abar = sweep.over(stops, bars)
        return None, None, None, abar, *sweep.totals


def path_of(problem: Problem, run: Run) -> DenseOutput | None:
    """The solution of a run, or the adjoint of one, as a function of time; None where no step was taken."""
    if run.knots is None:
        return None
    t0, t1, sign = (torch.as_tensor(x, dtype=torch.float64, device=problem.y0.device) for x in problem.span)
    return DenseOutput(run.knots, problem.method.dense, t0, t1, sign, problem.batch == "independent")


class Sweep:
    """The backward solve, stretch by stretch.

    Attributes:
        totals: the gradients of the captured tensors so far.
        unit: the largest entry that each row of the adjoint has had where a stretch began, a power of two.
        size: of the next step; None: a search for it.
    """

    def __init__(
        self, options: Interpolated, problem: Problem, path: DenseOutput | None, tensors: list[Tensor]
    ) -> None:
        self.options, self.problem, self.path, self.tensors = options, problem, path, tensors
        self.totals = [torch.zeros_like(tensor) for tensor in tensors]
        self.known = {node for node in map(node_of, tensors) if node is not None}
        self.unit: Tensor | None = None
        self.size: Size | None = None
        nodes = options.nodes or (problem.method.order + 1) // 2 + 1
        places, weights = np.polynomial.legendre.leggauss(nodes)
        self.rule = [(0.5 + 0.5 * x, 0.5 * w) for x, w in zip(places.tolist(), weights.tolist(), strict=True)]

    def over(self, stops: list[Size], bars: list[Tensor | None]) -> Tensor:
        """The adjoint at the first stop."""
        a = torch.zeros_like(self.problem.y0)
        for k in range(len(stops) - 1, 0, -1):
            if (bar := bars[k]) is not None:
                a = a + bar
            if not same(stops[k], stops[k - 1]) and bool((a != 0).any()):
                a = self._across(stops[k], stops[k - 1], a)
        return a if bars[0] is None else a + bars[0]

    def _across(self, here: Size, before: Size, a: Tensor) -> Tensor:
        """The adjoint at ``before``, and the totals with their share of the stretch."""
        assert self.path is not None
        unit = self._unit(a)
        origin = torch.as_tensor(here, dtype=torch.float64, device=a.device)
        field = Adjoint(self.problem.field, self.path, self.known, origin)
        stretch = self._stretch(field, here, before, a / unit)
        run = LOOPS[stretch.batch](stretch)
        self._check(run, here)
        if stretch.grid is None:
            self.size = self._next_size(run, here, before)
        found = path_of(stretch, run)
        if self.tensors and found is not None:
            for t, y, bar in self._nodes(field, found):
                self._add(field.pulled(t, y, bar * unit, self.tensors))
        return run.y1 * unit

    def _unit(self, a: Tensor) -> Tensor:
        """What each row of the adjoint is measured in, shaped to multiply a."""
        largest = self.problem.field.rows(a).abs().amax(1)
        largest = torch.where((largest > 0) & torch.isfinite(largest), largest, 0.0)
        unit = torch.where(largest > 0, torch.ldexp(torch.ones_like(largest), torch.frexp(largest)[1]), 0.0)
        self.unit = unit if self.unit is None else torch.maximum(self.unit, unit)
        one = torch.where(self.unit > 0, self.unit, 1.0)
        return one.reshape(()) if self.problem.batch is None else spread(one, a.real)

    def _stretch(self, field: Adjoint, here: Size, before: Size, a: Tensor) -> Problem:
        p = self.problem
        eps = torch.finfo(a.dtype).eps
        grid = None if p.grid is None else grid_between(p.grid, here, before)
        adjoint: Any = field
        return replace(
            p, field=adjoint, start=field, y0=a, t0=0.0 * here, t1=before - here, sign=_direction(here, before),
            grid=grid, times=[], first_step=self.size, min_step=0.0, dense_output=bool(self.tensors), progress=None,
            watch=None, rtol=scalar(self.options.rtol, p.rtol), atol=max(scalar(self.options.atol, p.atol), eps),
        )  # fmt: skip

    def _check(self, run: Run, here: Size) -> None:
        """Raise where the solve has failed."""
        status, t, h, sample = run.status, here + run.t, run.h, run.sample
        if isinstance(status, Tensor) and bool((status < 0).any()):
            sample = int((status < 0).int().argmax())
            status, t, h = (x[sample].item() for x in (status, t, h))
        if not isinstance(status, Tensor) and status < 0:
            raise failed("interpolated", Status(status), t, sample, abs(h))

    def _next_size(self, run: Run, here: Size, before: Size) -> Size:
        """What the controller would try next; NaN, a search, of a sample that has not moved yet."""
        if not isinstance(here, Tensor):
            return run.size
        old = torch.full_like(here, torch.nan) if self.size is None else self.size
        return torch.where(here == before, old, run.size)

    def _nodes(self, field: Adjoint, found: DenseOutput) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(t, y, adjoint times its weight) at every node of every step."""
        for place, weight in self.rule:
            clock, bars = found.in_every_step(place)
            # dL/dtheta is an integral from t0 to t1, the steps go from t1 to t0.
            sizes = (-weight * found.knots.h).to(bars.real.dtype)
            bars = bars * sizes.reshape(*sizes.shape, *(1,) * (bars.dim() - sizes.dim()))
            yield from zip(*field.places(clock), bars, strict=True)

    def _add(self, found: tuple[Tensor | None, ...]) -> None:
        """The share of one node in the totals."""
        used = [(total, grad) for total, grad in zip(self.totals, found, strict=True) if grad is not None]
        if used:
            torch._foreach_add_([total for total, _ in used], [grad for _, grad in used])


def _direction(here: Size, before: Size) -> Size:
    if isinstance(here, Tensor):
        return torch.where(before < here, -1.0, 1.0).to(here.dtype)
    return -1.0 if before < here else 1.0


def grid_between(grid: Any, here: Any, before: Any) -> Any:
    """The forward steps of a stretch, walked backward, from ``here`` on; a sample with fewer repeats its ends."""
    room = SLIVER * abs(here - before)
    if not isinstance(here, Tensor):
        low, high = min(here, before) + room, max(here, before) - room
        return [t - here for t in (here, *(t for t in reversed(grid) if low < t < high), before)]
    low, high = torch.minimum(here, before), torch.maximum(here, before)
    table = torch.where(grid.flip(0) <= low + room, low, grid.flip(0))
    table = torch.where(table >= high - room, high, table)
    moves = (table[1:] != table[:-1]).any(1)
    return torch.cat([table[:1], table[1:][moves]]) - here
