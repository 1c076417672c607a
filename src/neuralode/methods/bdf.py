"""Numerical differentiation formulas of orders 1 to 5 with steps and order of their own choice.

Shampine & Reichelt, The MATLAB ODE suite, SIAM J. Sci. Comput. 18 (1997), section 2, with constant-step formulas on a
past that is interpolated to the step at hand. A step of order k solves, for g = nabla^(k + 1) y / h,

    alpha_k g = f(t + h, y + h (sum_j F_j + g)) - sum_j gamma_j F_j,        F_j = nabla^j y / h,  j = 1 ... k.

The carry is F_1 ... F_5: slopes all, with F_1 = f(t0, y0) at the start.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size, merge, stage_times
from . import implicit
from .differences import ALPHA, ERROR, MAX_ORDER, columns, constant, interpolation, past
from .linear import linearize
from .method import Carry, Field, Method, Stages, Step, Verdict
from .newton import Root, newton

SMALLEST, LARGEST, SAFETY = 0.2, 10.0, 0.9
MOST = 4


class Trial(NamedTuple):
    """What judging a step takes: rows (R, n) of g, of nabla^k y / h and nabla^(k + 2) y / h; Newton's iterations."""

    g: Tensor
    lower: Tensor
    higher: Tensor
    iterations: Tensor


class Work(NamedTuple):
    """What is handed from trial to trial; one entry, (1,), or one a sample.

    Attributes:
        order: of the next step.
        count: accepted steps since order or size last changed.
        size: the signed step that the differences belong to; 0 before the first step.
        equations: the linearisation in use.
        factored, c: the linear systems with c = h / alpha.
        current: whose Jacobian was made since the last accepted step.
        trial: the step to be judged.
    """

    order: Tensor
    count: Tensor
    size: Tensor
    equations: implicit.Work
    factored: Any
    c: Tensor
    current: Tensor
    trial: Trial | None = None


class Past(NamedTuple):
    """The past as a step of some size and order sees it: rows of F' summed from the last on, the predicted slope, the
    difference above; alpha and h as columns that broadcast against rows."""

    sums: Tensor
    slope: Tensor
    above: Tensor
    alpha: Tensor
    h: Tensor


def number(h: Size, y: Tensor) -> Tensor:
    """h as (1,) or (B,) float64."""
    return h if isinstance(h, Tensor) else torch.tensor([h], dtype=torch.float64, device=y.device)


def started(work: Any, h: Tensor) -> Work:
    """The work of the first step."""
    if isinstance(work, Work):
        return work
    one = torch.ones_like(h, dtype=torch.long)
    zero = torch.zeros_like(h)
    return Work(one, 0 * one, zero, work, None, zero, zero > 0)


def seen(f: Field, h: Tensor, y: Tensor, carry: Carry, order: Tensor, ratio: Tensor) -> Past:
    """The past for a step of size h and of an order (1,) or (R,)."""
    most = len(carry)
    F = torch.stack([f.rows(part) for part in carry], 1)
    found = past(ratio, order, most).to(y.dtype) @ F
    alpha = constant(ALPHA, order).to(y.dtype)[:, None]
    return Past(found[:, :most], found[:, most], found[:, most + 1], alpha, h.to(y.dtype)[:, None])


def equation(f: Field, time: Tensor, y: Tensor, p: Past) -> Callable[[Tensor], Tensor]:
    """The residual of g, rows to rows."""
    base = f.rows(y) + p.h * p.sums[:, 0]
    return lambda g: g - (f.rows(f(time, (base + p.h * g).reshape(y.shape))) - p.slope) / p.alpha


def bdf(max_order: int = MAX_ORDER) -> Method:
    """The formulas of orders 1 to ``max_order``."""

    def init(f: Field, t: Size, y: Tensor) -> Carry:
        f0 = f(stage_times(t, t * 0.0, (0.0,), y)[0], y)
        return (f0, *(torch.zeros_like(f0) for _ in range(max_order - 1)))

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Any) -> Step:
        size = number(h, y)
        work = started(work, size)
        ratio = torch.where(work.size == 0, 1.0, size / work.size)
        p = seen(f, size, y, carry, work.order, ratio)
        root, renewed, work = solved(f, t, h, y, p, work)
        y1, news = moved(f, y, p, root.x, work.order)
        last = torch.stack([f.rows(part) for part in news], 1)
        lower = (last * at(work.order, last)).sum(1)
        work = work._replace(trial=Trial(root.x, lower, root.x - p.above, root.iterations))
        if not work.equations.tolerance.given:
            work = on_a_grid(work, y, y1, size, max_order)
        return Step(
            y1,
            None,
            news,
            (work.order, ratio, *news),
            work,
            implicit.plain(root.iterations, h),
            implicit.plain(renewed, h),
            implicit.trouble(root.converged, work.factored.singular, h),
        )

    def decide(step: Step, tolerance: Tolerance, y: Tensor, h: Size) -> Verdict:
        work: Work = step.work
        size = number(h, y)
        trouble = torch.as_tensor(step.trouble, device=y.device) != 0
        accept, factor, work = judged(work, tolerance, y, step.y1, size, trouble, max_order)
        step = step._replace(work=work)
        if isinstance(h, Tensor):
            return Verdict(accept, factor, step)
        return Verdict(bool(accept), float(factor), step)

    def retake(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        order, ratio, *news = stages
        size = number(h, y)
        p = seen(f, size, y, carry, order, ratio)
        time = stage_times(t, h, (1.0,), y)[0]
        with torch.no_grad():
            root = f.rows(news[0]) - p.sums[:, 0]
            # Rows that stand still may hold what a refused step left.
            root = torch.where(p.h == 0, 0.0, root)
            y1 = (f.rows(y) + p.h * (p.sums[:, 0] + root)).reshape(y.shape)
            system = linearize(f, time, y1).factor(size / constant(ALPHA, order))
        x = implicit.corrected(equation(f, time, y, p), system.solve, root)
        y1, again = moved(f, y, p, x, order)
        return Step(y1, None, again, (order, ratio, *again))

    return Method(
        name="bdf",
        order=max_order,
        stages=1,
        kind="backward differentiation",
        adaptive=True,
        error_order=1,
        dense_order=max_order,
        evaluations=1,
        init=init,
        step=step,
        dense=dense,
        source="Shampine & Reichelt, The MATLAB ODE suite, SIAM J. Sci. Comput. 18 (1997), section 2",
        begin=implicit.begin,
        retake=retake,
        decide=decide,
        real=True,
        gradients=("direct", "discrete"),
    )


def solved(
    f: Field, t: Size, h: Size, y: Tensor, p: Past, work: Work
) -> tuple[Root, Tensor, Work]:
    """(g, whose Jacobian was made, the work); a Jacobian that is not of this step gets a second chance."""
    time = stage_times(t, h, (1.0,), y)[0]
    root, renewed, work = iterated(f, time, h, y, p, work)
    again = ~root.converged & ~work.current
    if bool(again.any()):
        work = work._replace(equations=work.equations._replace(stale=again))
        second, more, work = iterated(f, time, h, y, p, work)
        root = Root(
            merge(again, second.x, root.x),
            torch.where(again, second.converged, root.converged),
            root.iterations + torch.where(again, second.iterations, 0),
            torch.where(again, second.rate, root.rate),
            torch.where(again, second.theta, root.theta),
        )
        renewed = renewed.long() + more
    equations = work.equations._replace(stale=~root.converged, rate=root.rate)
    return root, renewed.long(), work._replace(equations=equations)


def iterated(
    f: Field, time: Tensor, h: Size, y: Tensor, p: Past, work: Work
) -> tuple[Root, Tensor, Work]:
    """(g from one Newton iteration, whose Jacobian was made for it, the work)."""
    base = (f.rows(y) + p.h * p.sums[:, 0]).reshape(y.shape)
    equations, renewed = implicit.refreshed(f, time, h, base, work.equations)
    c = number(h, y) / constant(ALPHA, work.order)
    changed = renewed | (c != work.c)
    factored = work.factored
    if factored is None or bool(changed.any()):
        factored = equations.linear.factor(c)
    tolerance = equations.tolerance
    unit = p.h / f.rows(tolerance.weights(base).expand_as(base))
    root = newton(
        equation(f, time, y, p),
        factored.solve,
        torch.zeros_like(p.slope),
        lambda delta: tolerance.sizes((delta * unit).reshape(y.shape)),
        tolerance,
        torch.where(changed, 1.0, equations.rate),
    )
    return root, renewed, work._replace(
        equations=equations, factored=factored, c=c, current=work.current | renewed
    )


def moved(f: Field, y: Tensor, p: Past, g: Tensor, order: Tensor) -> tuple[Tensor, Carry]:
    """(y1, the differences there), of orders up to k + 1; zero above."""
    reached = (columns(p.sums.shape[1], order) <= order[:, None] + 1).to(g.dtype)
    F = p.sums + reached[:, :, None] * g[:, None]
    y1 = f.rows(y) + p.h * F[:, 0]
    return y1.reshape(y.shape), tuple(part.reshape(y.shape) for part in F.unbind(1))


def at(order: Tensor, like: Tensor) -> Tensor:
    """One at the place of F_order, zero at the others; broadcasts against (R, most, n)."""
    return (columns(like.shape[1], order) == order[:, None]).to(like.dtype)[:, :, None]


def errors(work: Work, tolerance: Tolerance, y: Tensor, y1: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The local errors of orders k - 1, k and k + 1 in units of the tolerance."""
    assert work.trial is not None
    k, trial = work.order, work.trial
    last = len(ERROR)

    def measured(part: Tensor, order: Tensor) -> Tensor:
        number = (h * constant(ERROR, order.clamp(1, last))).to(part.dtype)
        return tolerance.sizes(tolerance.scaled((number[:, None] * part).reshape(y.shape), y, y1))

    return measured(trial.lower, k - 1), measured(trial.g, k), measured(trial.higher, k + 1)


def judged(
    work: Work, tolerance: Tolerance, y: Tensor, y1: Tensor, h: Tensor, trouble: Tensor, max_order: int
) -> tuple[Tensor, Tensor, Work]:
    """(accept, factor for the next step, the work with order and counts brought up to date)."""
    assert work.trial is not None
    k = work.order
    lower, error, higher = errors(work, tolerance, y, y1, h)
    accept = (error <= 1) & ~trouble
    same = (h == work.size) | (work.size == 0)
    count = torch.where(accept, torch.where(same, work.count, 0) + 1, work.count)
    safety = SAFETY * (2 * MOST + 1) / (2 * MOST + work.trial.iterations)
    sizes = torch.stack(
        (
            torch.where(k > 1, grown(lower, k), 0.0),
            grown(error, k + 1),
            torch.where(accept & (k < max_order), grown(higher, k + 2), 0.0),
        )
    )
    best, choice = sizes.max(0)
    factor = (safety * best).clamp(SMALLEST, LARGEST)
    factor = torch.where(accept, factor, factor.clamp(max=0.9))
    due = ~accept | (count > k)
    due = due & ~trouble
    factor = torch.where(due, factor, 1.0)
    order = torch.where(due, k + choice - 1, k)
    move = accept & (h != 0)
    return accept, factor, work._replace(
        order=order,
        count=torch.where(due, 0, count),
        size=torch.where(move, h, work.size),
        current=work.current & ~accept,
        trial=None,
    )


def grown(error: Tensor, power: Tensor) -> Tensor:
    """The factor at which an error of O(h^power) meets the tolerance."""
    return error.clamp(min=1e-30).nan_to_num(nan=1e30, posinf=1e30) ** (-1.0 / power)


def on_a_grid(work: Work, y: Tensor, y1: Tensor, h: Tensor, max_order: int) -> Work:
    """The work after a step whose size was given: the order with the smallest error estimate is next."""
    k = work.order
    lower, error, higher = errors(work, work.equations.tolerance, y, y1, h)
    moving = h != 0
    count = work.count + moving
    due = moving & (count > k)
    down = due & (k > 1) & (lower < error)
    up = due & ~down & (k < max_order) & (higher < error)
    return work._replace(
        order=k + up.long() - down.long(),
        count=torch.where(up | down, 0, count),
        size=torch.where(moving, h, work.size),
        current=work.current & ~moving,
        trial=None,
    )


def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
    """The polynomial of the step's own order through y1 and its differences."""
    order, _, *news = stages
    weights = interpolation(theta, order, len(news)).to(y.dtype)
    total = sum(
        (column(weights[:, j], y) * part for j, part in enumerate(news)), start=torch.zeros_like(y)
    )
    return torch.addcmul(y, column(number(h, y).to(y.dtype), y), total).reshape(y.shape)


def column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (like.dim() - 1))
