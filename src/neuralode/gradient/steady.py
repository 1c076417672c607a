"""steady: the state that a solution comes to rest in, differentiated where it is, whatever led there.

At rest f(t, y*; theta) = 0, so that dy* = -(df/dy)^-1 (df/dtheta) dtheta: the implicit function theorem (for equilibria
as layers of a network: Bai, Kolter & Koltun, Deep Equilibrium Models, NeurIPS 2019, theorem 1).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..control import Tolerance, rounding_level
from ..engine import LOOPS, Run, Span
from ..methods import Step, corrected, linearize, newton
from ..ops import Size, merge, spread, stage_times, transforming
from ..output import Sight
from ..problem import Problem
from ..solution import Status
from .stretches import check_tolerances

# Newton's iteration may move the state by so many tolerances, these or the solve's; more, and no zero of f was near.
NEAR = 1e3


@dataclass(frozen=True)
class Steady:
    """The integration ends where dy/dt has become small, and y1 is the zero of f next to it.

    Small: the solve's norm (rms) of f / (atol + rtol |y|), per unit of time, is below one, per sample with
    batch="independent"; and so is df/dt, or the zero of f would move on. t1 may be infinite. The state is then moved
    onto the zero of f, at the time reached, by Newton's iteration, and y1 is a differentiable function of all that f
    depends on, to second derivatives; its derivatives with respect to y0, t0 and t1 are zero. Memory and cost of the
    gradient do not depend on the number of steps: one system with df/dy, dense up to 256 unknowns of a sample, by GMRES
    above.

    Args:
        rtol, atol: numbers; None: those of the solve.

    Only y1 has this gradient: t_eval, events, t_stops and dense_output are refused. Status ``UNSTEADY``: dy/dt is still
    large at t1, or no zero of f is within a thousand tolerances; ``DEGENERATE``: df/dy is singular, as where a
    quantity is conserved. An explicit method may hover around a stiff system's state of rest at the size of its own
    tolerance: an implicit one comes to rest.
    """

    rtol: float | None = None
    atol: float | None = None

    def __post_init__(self) -> None:
        check_tolerances("Steady", self.rtol, self.atol)

    def check(self, **others: Any) -> None:
        """Refuse options of a solve that ask for more than y1."""
        for name, value in others.items():
            if value is not None and value is not False:
                raise ValueError(
                    f"gradient='steady' has a gradient for y1 alone: it does not go with {name}="
                )

    def solve(self, problem: Problem) -> Run:
        """Integrate until f is small; y1 is the zero of f there, differentiable."""
        if problem.y0.numel() == 0:
            return LOOPS[problem.batch](problem)
        rest = self.tolerance(problem)
        with torch.no_grad(), forward_ad._set_fwd_grad_enabled(False):
            p = replace(problem, y0=problem.y0.detach())
            run = LOOPS[p.batch](replace(p, first_step=first_step(p), watch=Rest(p, rest)))
            calls, jacobians = p.field.count, p.field.jacobians
            root, status = refined(p, run, rest)
            good = torch.as_tensor(status, device=root.device) >= 0
        y1 = self._differentiable(problem, run.t, root, good)
        return replace(
            run,
            y1=_linked(problem, _where(good, y1, torch.full_like(root, torch.nan))),
            status=status,
            nfev=run.nfev + p.field.count - calls,
            njev=run.njev + p.field.jacobians - jacobians,
        )

    def tolerance(self, problem: Problem) -> Tolerance:
        """What dy/dt is measured against."""
        p = problem
        rtol, atol = (own or given for own, given in ((self.rtol, p.rtol), (self.atol, p.atol)))
        return Tolerance(rtol, atol, p.norm, p.batch)

    def _differentiable(self, problem: Problem, t: Size, root: Tensor, good: Tensor) -> Tensor:
        """The zero of f as a function of what f depends on; that of samples without one is constant."""
        if not (torch.is_grad_enabled() or transforming()) or not bool(good.any()):
            return root
        field: Any = problem.field
        time = clock(t, root)
        linear = linearize(field, time, root).only(good)
        x = corrected(residual(field, time, root), linear.factor(-1.0, identity=0.0).solve, field.rows(root))
        return x.reshape(root.shape)


@dataclass
class Rest:
    """Stops samples whose state no longer changes."""

    problem: Problem
    tolerance: Tolerance

    def look(self, span: Span, step: Step) -> Sight | None:
        """Who is at rest at the end of a step, as an event of no kind."""
        p = self.problem
        known = p.method.tableau is not None and p.method.tableau.fsal
        slope = step.carry[0] if known else p.field(clock(span.t1, step.y1), step.y1)
        size = self.tolerance.measure(slope / self.tolerance.weights(step.y1))
        rest = torch.as_tensor(size < 1.0, device=slope.device).reshape(-1)
        if bool(rest.any()):
            rest = rest & ~self._moving(span, step)
        if span.accepted is not None:
            rest = rest & span.accepted
        if not bool(rest.any()):
            return None
        nothing = torch.full((1, len(rest)), torch.inf, dtype=torch.float64, device=slope.device)
        return Sight(nothing, torch.zeros_like(nothing, dtype=torch.long), torch.where(rest, 1.0, nothing[0]))

    def _moving(self, span: Span, step: Step) -> Tensor:
        """Where f is zero for a moment alone, since it changes with time: df/dt against what dy/dt is measured by."""
        field: Any = self.problem.field
        rate = field.rate(clock(span.t1, step.y1), step.y1)
        size = self.tolerance.measure(rate / self.tolerance.weights(step.y1))
        return torch.as_tensor(size >= 1.0, device=rate.device).reshape(-1)


def first_step(problem: Problem) -> Size | None:
    """Magnitude of the first step where t_span has no end whose share it could be."""
    p = problem
    if p.first_step is not None or bool(torch.isfinite(torch.as_tensor(p.t1)).all()):
        return p.first_step
    weights = p.tolerance.weights(p.y0)
    speed = p.tolerance.sizes(p.field.rows(p.start(clock(p.t0, p.y0), p.y0) / weights))
    size = p.tolerance.sizes(p.field.rows(p.y0 / weights))
    found = torch.where(
        speed > 0, 0.01 * size.clamp(min=1.0) / speed, torch.where(speed == 0, 1.0, torch.nan)
    )
    found = torch.where(torch.isfinite(speed), found, torch.nan)
    return found if p.batch == "independent" else found.item()


def refined(problem: Problem, run: Run, rest: Tolerance) -> tuple[Tensor, Any]:
    """(the zeros of f next to where a run has ended, its status: STEADY, or why not)."""
    p, y = problem, run.last
    field: Any = p.field
    time, level = clock(run.t, y), rounding_level(y, p.norm, p.batch)
    linear = linearize(field, time, y)
    weights = field.rows(level.weights(y))
    unknown_rate = torch.ones_like(level.sizes(weights))
    system = linear.factor(-1.0, identity=0.0)
    root = newton(
        residual(field, time, y),
        system.solve,
        field.rows(y),
        lambda move: level.sizes(move / weights),
        level,
        unknown_rate,
    )
    allowed = torch.maximum(rest.weights(y), Tolerance(p.rtol, p.atol, p.norm, p.batch).weights(y))
    moved = rest.sizes((root.x - field.rows(y)) / field.rows(allowed))
    singular = linear.singular()
    singular = singular if len(singular) == len(moved) else singular.any().reshape(1)
    found = torch.where(root.converged & (moved <= NEAR), int(Status.STEADY), int(Status.UNSTEADY))
    found = torch.where(singular, int(Status.DEGENERATE), found)
    before = torch.as_tensor(run.status, device=y.device).reshape(-1)
    status = torch.where(before == int(Status.EVENT), found, before)
    status = torch.where(status == int(Status.SUCCESS), int(Status.UNSTEADY), status)
    x = _where(status >= 0, root.x.reshape(y.shape), y)
    return x, status if p.batch == "independent" else Status(int(status))


def residual(field: Any, time: Tensor, like: Tensor) -> Callable[[Tensor], Tensor]:
    """f(t, y) on rows."""
    return lambda x: field.rows(field(time, x.reshape(like.shape)))


def clock(t: Size, y: Tensor) -> Tensor:
    """A time as f gets it."""
    return stage_times(t, t * 0.0, (0.0,), y)[0]


def _where(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """``new`` for the samples in a mask, (), (1,) or (B,)."""
    return merge(mask, new, old) if mask.numel() > 1 else torch.where(mask.reshape(()), new, old)


def _linked(problem: Problem, y1: Tensor) -> Tensor:
    """y1 with derivatives of zero with respect to y0, t0 and t1."""
    never = torch.zeros((), dtype=torch.bool, device=y1.device)
    for given in (problem.y0, *problem.inputs[:2]):
        if given is not None:
            linked = given.to(y1) if given.dim() in (0, y1.dim()) else spread(given, y1)
            y1 = torch.where(never, linked, y1)
    return y1
