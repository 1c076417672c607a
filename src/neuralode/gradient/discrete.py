"""discrete: the exact gradient of the steps taken, one recorded step re-run under autograd at a time.

Formulas: Zhuang et al., Adaptive Checkpoint Adjoint (ICML 2020), algorithm 2, with the first-same-as-last stage's
cotangent carried to the step that computed it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..engine import LOOPS, Run
from ..ops import merge
from ..problem import Problem
from .capture import node_of, verify, with_captures
from .direct import replay


@dataclass(frozen=True)
class Discrete:
    """The exact gradient of the computed solution; no backward tolerance exists.

    The forward pass keeps (t, h, y) of accepted steps and, for FSAL methods, the slope there: 2 d numbers a step
    for a state of d numbers, independent of f's depth. The backward pass evaluates f once more per stage of each
    accepted step. Second derivatives (``create_graph=True``) re-run all steps under autograd. Under torch.func
    transforms the same gradient comes from ``Direct``.
    """

    def solve(self, problem: Problem) -> Run:
        """Integrate without a tape of f; gradients come from the recorded steps."""
        problem, tensors, wanted = with_captures(problem)
        if not wanted:
            with torch.no_grad():
                return LOOPS[problem.batch](problem)
        box: list[Run] = []
        outputs = _Discrete.apply(problem, box, problem.y0, *tensors)
        return replace(box[0].with_tensors(outputs), tape=None)


class _Discrete(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, problem: Problem, box: list[Run], y0: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        run = LOOPS[problem.batch](replace(problem, y0=y0.detach()), tape=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y0, *tensors)
        ctx.problem, ctx.tape = replace(problem, y0=y0.detach(), start=problem.field), run.tape
        ctx.reached = run.status >= 0
        ctx.shapes = [(tensor.shape, tensor.dtype, tensor.device) for tensor in run.tensors]
        box.append(run)
        return tuple(tensor.detach() for tensor in run.tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        y0, *tensors = ctx.saved_tensors
        cotangents = tuple(_where_reached(ctx.reached, cotangents))
        if torch.is_grad_enabled():
            return None, None, *_again(ctx, y0, tensors, cotangents)
        with ctx.problem.reenter_autocast():
            grad_y0, grads = sweep(ctx.problem, ctx.tape, tensors, cotangents)
        return None, None, grad_y0, *grads


def _where_reached(reached: Any, cotangents: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """The cotangents with that of y1 zeroed where the end was not reached, and y1 is a NaN that nothing made."""
    grad_ys, grad_y1, *rest = cotangents
    if grad_y1 is not None:
        nothing = torch.zeros_like(grad_y1)
        grad_y1 = (
            merge(reached, grad_y1, nothing)
            if isinstance(reached, Tensor)
            else grad_y1
            if reached
            else nothing
        )
    return grad_ys, grad_y1, *rest


def _again(
    ctx: Any, y0: Tensor, tensors: list[Tensor], cotangents: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The same gradient as a differentiable function of y0, the captured tensors and the cotangents."""
    like = [torch.empty(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.shapes]
    like[1] = like[1].zero_()
    with ctx.problem.reenter_autocast():
        start = y0 if y0.requires_grad else y0.detach().requires_grad_()
        outputs = replay(ctx.problem, ctx.tape, start, like)
    pairs = [(o, g) for o, g in zip(outputs, cotangents, strict=True) if g is not None and o.requires_grad]
    inputs = [start, *tensors]
    grads = torch.autograd.grad(
        [o for o, _ in pairs], inputs, [g for _, g in pairs], create_graph=True, allow_unused=True
    )
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, grads, strict=True)]


def sweep(
    problem: Problem, tape: Any, tensors: list[Tensor], cotangents: Sequence[Tensor | None]
) -> tuple[Tensor, list[Tensor]]:
    """Cotangents of y0 and of the captured tensors, from those of ys, y1 and the knots."""
    grad_ys, grad_y1, *grad_knots = cotangents
    totals = [torch.zeros_like(tensor) for tensor in tensors]
    known = {node for node in map(node_of, tensors) if node is not None}
    ybar = torch.zeros_like(problem.y0) if grad_y1 is None else grad_y1
    carrybar: tuple[Tensor, ...] | None = None
    for n in range(len(tape.rows) - 1, -1, -1):
        row = tape.rows[n]
        knots = [None if grad is None else grad[n] for grad in grad_knots]
        entry = [row.y.detach().requires_grad_(), *(part.detach().requires_grad_() for part in row.carry)]
        with torch.enable_grad():
            place = (problem.field, row.t, row.h, entry[0])
            step = problem.method.again(*place, tuple(entry[1:]), row.stages)
            if grad_knots or row.inside:
                step = problem.method.complete(*place, step)
            read = row.read(problem.method.dense, entry[0], step.y1, step.stages)
        pairs = [(step.y1, row.masked(ybar))]
        if carrybar is not None:
            pairs += [(part, row.masked(bar)) for part, bar in zip(step.carry, carrybar, strict=True)]
        if grad_ys is not None:
            pairs += zip(read, row.bars(grad_ys), strict=True)
        pairs += [(k, bar) for k, bar in zip(step.stages, knots[1:], strict=False) if bar is not None]
        grads = _pull(pairs, entry, tensors, totals, known)
        ybar = row.merge(grads[0], ybar)
        if knots and knots[0] is not None:
            ybar = ybar + knots[0]
        old = carrybar or tuple(torch.zeros_like(part) for part in row.carry)
        carrybar = tuple(row.merge(new, bar) for new, bar in zip(grads[1:], old, strict=True))
    if grad_ys is not None:
        ybar = ybar + tape.from_initial(grad_ys)
    return _start(problem, ybar, carrybar, tensors, totals, known), totals


def _start(
    problem: Problem,
    ybar: Tensor,
    carrybar: tuple[Tensor, ...] | None,
    tensors: list[Tensor],
    totals: list[Tensor],
    known: set[Any],
) -> Tensor:
    """Pull the cotangent of the first carry back through the method's start."""
    if not carrybar:
        return ybar
    y0 = problem.y0.detach().requires_grad_()
    with torch.enable_grad():
        carry = problem.method.init(problem.field, problem.t0, y0)
    return ybar + _pull(list(zip(carry, carrybar, strict=True)), [y0], tensors, totals, known)[0]


def _pull(
    pairs: list[tuple[Tensor, Tensor]],
    entry: list[Tensor],
    tensors: list[Tensor],
    totals: list[Tensor],
    known: set[Any],
) -> list[Tensor]:
    """Vector-Jacobian product onto ``entry``; what falls on the captured tensors is added to ``totals``."""
    live = [(output, bar) for output, bar in pairs if output.requires_grad]
    if not live:
        return [torch.zeros_like(part) for part in entry]
    verify([output for output, _ in live], known | {node for node in map(node_of, entry) if node is not None})
    outputs, bars = zip(*live, strict=True)
    # What lies behind a captured tensor is shared by all steps: it must outlive this one.
    grads = torch.autograd.grad(outputs, [*entry, *tensors], bars, allow_unused=True, retain_graph=True)
    here, there = grads[: len(entry)], grads[len(entry) :]
    used = [(total, grad) for total, grad in zip(totals, there, strict=True) if grad is not None]
    if used:
        torch._foreach_add_([total for total, _ in used], [grad for _, grad in used])
    return [torch.zeros_like(part) if grad is None else grad for part, grad in zip(entry, here, strict=True)]
