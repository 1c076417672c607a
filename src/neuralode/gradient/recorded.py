"""Gradients from recorded steps: the forward pass keeps a tape of them, the backward pass re-runs them one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ..engine import LOOPS, Run, where_reached
from ..output import Keeping
from ..problem import Problem
from .direct import replay
from .function import through
from .sweep import Entry, sweep


class Recorded(Protocol):
    """What tells such gradients apart: which states they keep, and how they get back the others."""

    def keeping(self, problem: Problem) -> Keeping:
        """The steps that keep their state during the forward pass."""

    def entries(self, problem: Problem, run: Run) -> Iterator[Entry]:
        """The steps with the states they started from, from the last one to the first."""


def solve_recorded(gradient: Recorded, problem: Problem) -> Run:
    """Integrate without a tape of f; gradients come from the recorded steps."""
    return through(_Recorded, gradient, problem)


class _Recorded(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gradient: Recorded, problem: Problem, box: list[Run], y0: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        problem = replace(problem, y0=y0.detach())
        run = LOOPS[problem.batch](problem, tape=gradient.keeping(problem))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y0, *tensors)
        ctx.gradient, ctx.problem = gradient, replace(problem, start=problem.field)
        # Without the outputs and the knots: what a Function keeps of its own outputs is never freed.
        ctx.run = replace(run, ys=run.ys[:0], y1=run.y1[:0], knots=None)
        ctx.reached = run.status >= 0
        ctx.shapes = [(tensor.shape, tensor.dtype, tensor.device) for tensor in run.tensors]
        box.append(replace(run, tape=None))
        return tuple(tensor.detach() for tensor in run.tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        y0, *tensors = ctx.saved_tensors
        cotangents = tuple(_where_reached(ctx.reached, cotangents))
        if torch.is_grad_enabled():
            return None, None, None, *_again(ctx, y0, tensors, cotangents)
        with ctx.problem.reenter_autocast():
            entries = ctx.gradient.entries(ctx.problem, ctx.run)
            grad_y0, grads = sweep(ctx.problem, ctx.run.tape, entries, tensors, cotangents)
        return None, None, None, grad_y0, *grads


def _where_reached(reached: Any, cotangents: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """The cotangents, that of y1 by ``where_reached``."""
    grad_ys, grad_y1, *rest = cotangents
    return grad_ys, None if grad_y1 is None else where_reached(reached, grad_y1), *rest


def _again(
    ctx: Any, y0: Tensor, tensors: list[Tensor], cotangents: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The same gradient as a differentiable function of y0, the captured tensors and the cotangents."""
    like = [torch.empty(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.shapes]
    like[1] = like[1].zero_()
    with ctx.problem.reenter_autocast():
        start = y0 if y0.requires_grad else y0.detach().requires_grad_()
        outputs = replay(ctx.problem, ctx.run.tape, start, like)
    pairs = [(o, g) for o, g in zip(outputs, cotangents, strict=True) if g is not None and o.requires_grad]
    inputs = [start, *tensors]
    grads = torch.autograd.grad(
        [o for o, _ in pairs], inputs, [g for _, g in pairs], create_graph=True, allow_unused=True
    )
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, grads, strict=True)]
