"""How fast an event function changes along the solution, and what follows from that for the time of its zero.

From g(t_e, y(t_e)) = 0 follows dt_e = -dg / (g_t + g_y f), and the state at the event moves along with f dt_e.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from ..errors import SolverWarning
from ..ops import REAL, merge, spread, transforming
from ..problem import Problem
from .event import Event, evaluate

# |dg/dt| below which the time of an event has no usable derivative.
GRAZING = 1e-14
# A value of known sign whose size says nothing: g was taken at its zero, up to rounding.
TINY = 1e-300
# Roundings in the value of g at a located zero, in units of those of its terms.
ROUNDINGS = 16.0


def gradient_of(problem: Problem, event: Event, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(g_t, g_y) at a constant (t, y); zero where g does not depend on them differentiably."""
    time, state = t.detach(), y.detach()
    if transforming():
        value, pull, *_ = torch.func.vjp(lambda t, y: evaluate(problem, event, t, y).sum(), time, state)
        g_t, g_y = pull(torch.ones_like(value))
        return g_t, g_y
    time, state = time.clone().requires_grad_(), state.clone().requires_grad_()
    with torch.enable_grad():
        value = evaluate(problem, event, time, state).sum()
    if not value.requires_grad:
        return torch.zeros_like(time), torch.zeros_like(state)
    g_t, g_y = torch.autograd.grad(value, [time, state], allow_unused=True)
    return torch.zeros_like(time) if g_t is None else g_t, torch.zeros_like(state) if g_y is None else g_y


def slope_of(problem: Problem, t: Tensor, y: Tensor) -> Tensor:
    """f(t, y) at a constant (t, y)."""
    with torch.no_grad():
        clock = t.detach().to(REAL.get(y.dtype, y.dtype))
        clock = spread(clock.expand(len(y)), y.real) if problem.batch == "independent" else clock.reshape(())
        return problem.field(clock, y.detach())


def _per_clock(problem: Problem, products: Tensor) -> Tensor:
    """The sum over a state, or over every sample's, (C,)."""
    return (
        products.reshape(len(products), -1).sum(1) if problem.batch == "independent" else products.sum()[None]
    )


def rate_of(problem: Problem, event: Event, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(dg/dt along the solution, (C,) float64; f there); C is B, or 1 for a state that steps as one."""
    g_t, g_y = gradient_of(problem, event, t, y)
    slope = slope_of(problem, t, y)
    return _per_clock(problem, (g_y.conj() * slope).real).double() + g_t, slope


def sign_at_zero(problem: Problem, event: Event, t: Tensor, y: Tensor) -> Tensor:
    """A tiny number with the sign that g, zero at (t, y), is about to take; 0 where its rate is zero."""
    return TINY * rate_of(problem, event, t, y)[0].detach().sign()


def noise_of(problem: Problem, event: Event, t: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """What rounding can make of g's zero at (t, y), (C,); ``scale`` is the size of g in the step that led there."""
    g_t, g_y = gradient_of(problem, event, t, y)
    terms = _per_clock(problem, (g_y.conj() * y.detach()).abs()).double() + (g_t * t).abs() + scale
    return ROUNDINGS * torch.finfo(y.dtype).eps * terms.detach()


class _Once(torch.autograd.Function):
    """A tensor as it is, whose derivative is no function of anything: it must not be taken for one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("the time of an event, and the state there, have no second derivatives")
        return bar


def sharpen(problem: Problem, event: Event, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(t, y) at an event, differentiable with respect to all that moves it; first derivatives only.

    The values stay as they are: those of the dense output.
    ``t`` is (C,), NaN where a sample has no event.
    """
    if not torch.is_grad_enabled():
        return t, y
    batched = problem.batch == "independent"
    known = ~torch.isnan(t)
    here = torch.where(known, t, torch.as_tensor(problem.t0, dtype=t.dtype, device=t.device)).detach()
    state = merge(known, y, problem.y0.detach()) if batched else y
    value = evaluate(problem, event, here, state).double()
    if not (value.requires_grad or transforming()):
        return t, y
    rate, slope = rate_of(problem, event, here, state)
    flat = rate.abs() <= GRAZING
    if bool((known & flat).any()):
        warnings.warn(
            "an event grazes zero (dg/dt = 0): its time has no derivative", SolverWarning, stacklevel=2
        )
    move = -(value - value.detach()) / torch.where(flat, torch.inf, rate.detach())
    move = move if transforming() else _Once.apply(move)
    moved = state + slope * (spread(move, y.real) if batched else move.to(REAL.get(y.dtype, y.dtype)))
    return torch.where(known, here + move, t), merge(known, moved, y) if batched else moved
