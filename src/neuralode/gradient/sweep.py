"""The reverse sweep: one recorded step re-run under autograd at a time.

Formulas: Zhuang et al., Adaptive Checkpoint Adjoint (ICML 2020), algorithm 2, with the first-same-as-last stage's
cotangent carried to the step that computed it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..output import BatchRow, Row
from ..problem import Problem
from .capture import node_of, verify


class Entry(NamedTuple):
    """A recorded step with the state and the carry it started from."""

    row: Row | BatchRow
    y: Tensor
    carry: tuple[Tensor, ...]


def sweep(
    problem: Problem,
    tape: Any,
    entries: Iterable[Entry],
    tensors: list[Tensor],
    cotangents: Sequence[Tensor | None],
) -> tuple[Tensor, list[Tensor]]:
    """Cotangents of y0 and of the captured tensors, from those of ys, y1 and the knots.

    ``entries``: the steps of the tape, from the last one to the first.
    """
    grad_ys, grad_y1, *grad_knots = cotangents
    totals = [torch.zeros_like(tensor) for tensor in tensors]
    known = {node for node in map(node_of, tensors) if node is not None}
    ybar = torch.zeros_like(problem.y0) if grad_y1 is None else grad_y1
    carrybar: tuple[Tensor, ...] | None = None
    for n, (row, y, carry) in enumerate(entries, 1):
        knots = [None if grad is None else grad[-n] for grad in grad_knots]
        entry = [part.detach().requires_grad_() for part in (y, *carry)]
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
        old = carrybar or tuple(torch.zeros_like(part) for part in carry)
        carrybar = tuple(row.merge(new, bar) for new, bar in zip(grads[1:], old, strict=True))
        del entry, step, read, pairs, grads  # the tape of this step, before that of the next is made
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
    verify([output for output, _ in live], known, entry)
    outputs, bars = zip(*live, strict=True)
    # What lies behind a captured tensor is shared by all steps: it must outlive this one.
    grads = torch.autograd.grad(outputs, [*entry, *tensors], bars, allow_unused=True, retain_graph=True)
    here, there = grads[: len(entry)], grads[len(entry) :]
    used = [(total, grad) for total, grad in zip(totals, there, strict=True) if grad is not None]
    if used:
        torch._foreach_add_([total for total, _ in used], [grad for _, grad in used])
    return [torch.zeros_like(part) if grad is None else grad for part, grad in zip(entry, here, strict=True)]
