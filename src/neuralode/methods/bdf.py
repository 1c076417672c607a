"""Numerical differentiation formulas of orders 1 to 5, with steps and orders of their own choice.

Shampine & Reichelt, The MATLAB ODE suite, SIAM J. Sci. Comput. 18 (1997), section 2: formulas for constant steps, on a
past that is interpolated to the step at hand. A step of order k solves, for g = nabla^(k + 1) y / h,

    alpha_k g = f(t + h, y + h (sum_j F_j + g)) - sum_j gamma_j F_j,        F_j = nabla^j y / h,  j = 1 ... k.

The carry is F_1 ... F_5: slopes all, with F_1 = f(t0, y0) at the start and the others zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size, merge, stage_times
from . import implicit
from .differences import ALPHA, MAX_ORDER, columns, interpolation, of_order, past
from .linear import linearize
from .method import Carry, Field, Method, Stages, Step, Verdict
from .newton import LEFT_IN_A_ROOT, Root, newton, rough
from .orders import Formula, Trial, judged, on_a_grid

# A contraction of Newton's iteration from which a new Jacobian pays: below, evaluations are saved, but a Jacobian as
# of the predicted state also draws the iteration to where the prediction went, past the jumps of a relaxation.
SLOW = 0.2


class Work(NamedTuple):
    """What is handed from trial to trial; tensors are (1,), or (B,) per sample.

    Attributes:
        formula: order and size of steps.
        equations: the linearisation in use.
        factored, c: the linear systems, with c = h / alpha.
        current: whose Jacobian was made since the last accepted step.
        trial: the step to be judged, or the last that was; None before the first.
    """

    formula: Formula
    equations: implicit.Work
    factored: Any
    c: Tensor
    current: Tensor
    trial: Trial | None = None


class Past(NamedTuple):
    """The past as a step of some size and order sees it.

    Attributes:
        sums: (R, 5, n), the new F if the predicted state were right.
        slope: (R, n), sum_j gamma_j F_j.
        above: (R, n), the last F_(k + 1).
        alpha, h: columns that broadcast against (R, n).
    """

    sums: Tensor
    slope: Tensor
    above: Tensor
    alpha: Tensor
    h: Tensor


@dataclass(frozen=True)
class Formulas:
    """The steps of orders 1 to ``max_order``."""

    max_order: int

    def init(self, f: Field, t: Size, y: Tensor) -> Carry:
        """f(t0, y0), and differences of which nothing is known."""
        f0 = f(stage_times(t, t * 0.0, (0.0,), y)[0], y)
        return (f0, *(torch.zeros_like(f0) for _ in range(self.max_order - 1)))

    def step(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Any) -> Step:
        """One step of the order that the work names."""
        size = as_tensor(h, y)
        work = work if isinstance(work, Work) else started(work, size)
        order, ratio = work.formula.order, work.formula.ratio(size)
        p = seen(f, size, y, carry, order, ratio)
        root, renewed, work = solved(f, t, h, y, p, work)
        y1, F = moved(f, y, p, root.x, order)
        top = (columns(self.max_order, order) == order[:, None]).to(F.dtype)[:, :, None]
        work = work._replace(trial=Trial((top * F).sum(1), root.x, root.x - p.above))
        if not work.equations.tolerance.given:
            work = accepted_on_a_grid(work, y, y1, size, self.max_order)
        return taken(y1, F, order, ratio)._replace(
            work=work,
            calls=implicit.plain(root.iterations, h),
            jacobians=implicit.plain(renewed, h),
            trouble=implicit.trouble(root.converged, work.factored.singular, h),
        )

    def decide(self, step: Step, tolerance: Tolerance, y: Tensor, h: Size) -> Verdict:
        """Whether the step is taken, and the formula of the next."""
        work, size = step.work, as_tensor(h, y)
        solvable = torch.as_tensor(step.trouble, device=y.device) == 0
        accept, factor, formula = judged(
            work.formula, work.trial, tolerance, y, step.y1, size, solvable, self.max_order
        )
        current = work.current & ~accept
        step = step._replace(work=work._replace(formula=formula, current=current))
        if isinstance(h, Tensor):
            return Verdict(accept, factor, step)
        return Verdict(bool(accept), float(factor), step)


def bdf(max_order: int = MAX_ORDER) -> Method:
    """The formulas of orders 1 to ``max_order``, which is at most 5.

    A step of order k errs by O(h^(k + 1)), inside it as at its end: ``dense_order`` is that of the highest order too.
    With steps that are given the order rises while its error estimates fall. It starts from order 1 there as well: an
    order above 2 pays off on a grid whose first steps are small.
    """
    formulas = Formulas(max_order)
    return Method(
        name="bdf",
        order=max_order,
        stages=1,
        kind="backward differentiation",
        adaptive=True,
        error_order=1,  # of the first step
        dense_order=max_order,
        evaluations=1,
        init=formulas.init,
        step=formulas.step,
        dense=dense,
        source="Shampine & Reichelt, The MATLAB ODE suite, SIAM J. Sci. Comput. 18 (1997), section 2",
        begin=implicit.begin,
        retake=retake,
        decide=formulas.decide,
        real=True,
        gradients=("direct", "discrete", "interpolated", "steady"),
    )


def retake(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
    """A recorded step as a differentiable function."""
    order, ratio, *news = stages
    size = as_tensor(h, y)
    p = seen(f, size, y, carry, order, ratio)
    time = stage_times(t, h, (1.0,), y)[0]
    with torch.no_grad():
        # Where a sample stands still its stages may be those of a step that was refused.
        root = torch.where(p.h == 0, 0.0, f.rows(news[0]) - p.sums[:, 0])
        end = moved(f, y, p, root, order)[0]
        system = linearize(f, time, end).factor(size / of_order(ALPHA, order))
    y1, F = moved(f, y, p, implicit.corrected(equation(f, time, y, p), system.solve, root), order)
    return taken(y1, F, order, ratio)


def taken(y1: Tensor, F: Tensor, order: Tensor, ratio: Tensor) -> Step:
    """The step to y1 with the differences F there."""
    news = tuple(part.reshape(y1.shape) for part in F.unbind(1))
    return Step(y1, None, news, (order, ratio, *news))


def as_tensor(h: Size, y: Tensor) -> Tensor:
    """h as (1,) or (B,) float64."""
    return h if isinstance(h, Tensor) else torch.tensor([h], dtype=torch.float64, device=y.device)


def started(equations: implicit.Work, h: Tensor) -> Work:
    """The work of the first step."""
    none = torch.zeros_like(h)
    return Work(Formula.first(h), equations, None, none, none > 0)


def seen(f: Field, h: Tensor, y: Tensor, carry: Carry, order: Tensor, ratio: Tensor) -> Past:
    """The past for a step of size h, which is ``ratio`` times the one that the carry belongs to."""
    most = len(carry)
    F = torch.stack([f.rows(part) for part in carry], 1)
    found = past(ratio, order, most).to(y.dtype) @ F
    alpha = of_order(ALPHA, order).to(y.dtype)[:, None]
    return Past(found[:, :most], found[:, most], found[:, most + 1], alpha, h.to(y.dtype)[:, None])


def equation(f: Field, time: Tensor, y: Tensor, p: Past) -> Callable[[Tensor], Tensor]:
    """The residual of g, rows to rows."""
    base = f.rows(y) + p.h * p.sums[:, 0]
    return lambda g: g - (f.rows(f(time, (base + p.h * g).reshape(y.shape))) - p.slope) / p.alpha


def moved(f: Field, y: Tensor, p: Past, g: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """(y1, F there (R, 5, n), zero above order k + 1)."""
    reached = columns(p.sums.shape[1], order) <= order[:, None] + 1
    F = p.sums + reached.to(g.dtype)[:, :, None] * g[:, None]
    return (f.rows(y) + p.h * F[:, 0]).reshape(y.shape), F


def solved(f: Field, t: Size, h: Size, y: Tensor, p: Past, work: Work) -> tuple[Root, Tensor, Work]:
    """(g, Jacobians made, the work). Where an older Jacobian fails, one of this step's gets a second chance."""
    time = stage_times(t, h, (1.0,), y)[0]
    root, made, work = iterated(f, time, h, y, p, work)
    again = ~root.converged & ~work.current
    if bool(again.any()):
        work = work._replace(equations=work.equations._replace(stale=again))
        other, more, work = iterated(f, time, h, y, p, work)
        x, made = merge(again, other.x, root.x), made + more
        other = other._replace(iterations=root.iterations + other.iterations)
        root = Root(x, *(torch.where(again, b, a) for a, b in zip(root[1:], other[1:], strict=True)))
    stale = ~root.converged | (root.theta > SLOW)
    return root, made, work._replace(equations=work.equations._replace(stale=stale, rate=root.rate))


def iterated(f: Field, time: Tensor, h: Size, y: Tensor, p: Past, work: Work) -> tuple[Root, Tensor, Work]:
    """(g from one Newton iteration, Jacobians made for it, the work)."""
    guess = (f.rows(y) + p.h * p.sums[:, 0]).reshape(y.shape)
    equations, renewed = implicit.refreshed(f, time, h, guess, work.equations)
    assert equations.linear is not None
    c = as_tensor(h, y) / of_order(ALPHA, work.formula.order)
    factored, tolerance = work.factored, equations.tolerance
    if factored is None or bool((renewed | (c != work.c)).any()):
        factored = equations.linear.factor(c)
    now, size, unsure = implicit.doubted(h, equations, renewed)
    unit = p.h / f.rows(tolerance.weights(guess))
    root = newton(
        equation(f, time, y, p),
        rough(factored, tolerance, unit, LEFT_IN_A_ROOT).solve,
        torch.zeros_like(p.slope),
        lambda delta: tolerance.sizes((delta * unit).reshape(y.shape)),
        tolerance,
        torch.where(renewed, 1.0, equations.rate),
        unsure=unsure,
    )
    current = work.current | renewed
    equations = equations._replace(size=torch.where(root.iterations > 1, now, size))
    work = work._replace(equations=equations, factored=factored, c=c, current=current)
    return root, renewed.long(), work


def accepted_on_a_grid(work: Work, y: Tensor, y1: Tensor, h: Tensor, max_order: int) -> Work:
    """The work after a step whose size was given."""
    assert work.trial is not None
    formula = on_a_grid(work.formula, work.trial, work.equations.tolerance, y, y1, h, max_order)
    return work._replace(formula=formula, current=work.current & (h == 0))


def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
    """The polynomial of the step's own order through y1 and its differences, which meets y too."""
    order, _, *news = stages
    shape = (-1, *(1,) * (y.dim() - 1))
    weights = interpolation(theta, order, len(news)).to(y.dtype)
    weights = weights * as_tensor(h, y).to(y.dtype)[:, None]
    return (y + sum(w.reshape(shape) * part for w, part in zip(weights.mT, news, strict=True))).reshape(
        y.shape
    )
