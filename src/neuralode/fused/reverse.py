"""The exact gradient of a compiled solve: its reverse sweep as an autograd function."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..engine import where_reached
from ..field import Tally
from .call import Record, address
from .knots import Room, pulled_apart
from .run import Outcome, Plan, launch, tensors_of

SAME = ("samples", "outputs", "threads", "time_row", "time_column")
WHOLE = (*SAME, "knots")
SAME_POINTERS = ("t0", "sign", "times", "args", "before", "accepted", "tapes")
POINTERS = (
    "t0", "sign", "times", "y0", "args", "shared", "grad_ys", "grad_y1", "grad_knot_y", "grad_knot_k", "tapes",
    "before", "accepted", "grad_y0", "grad_args", "slope_bar", "grad_shared",
)  # fmt: skip


class Sweep(Record):
    """The fields of ``struct Sweep`` of ``cpp/reverse.hpp``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in WHOLE),
        *((name, ctypes.c_void_p) for name in POINTERS),
    )


@dataclass(eq=False)
class Job:
    """A solve that a gradient is wanted of.

    Attributes:
        ys: where the outputs go.
        outcome: what was solved.
        room: for the steps themselves, where they are wanted; every_step: whether they are outputs.
    """

    plan: Plan
    ys: Tensor
    tally: Tally
    outcome: Outcome | None = None
    room: Room | None = None
    every_step: bool = False


def differentiable(
    plan: Plan, y0: Tensor, tensors: Sequence[Tensor], ys: Tensor, tally: Tally, room: Room | None = None
) -> tuple[Outcome, tuple[Tensor, ...]]:
    """What a compiled solve has written, and ``tensors_of`` it, with the gradients of the reverse sweep."""
    job = Job(plan, ys, tally, room=room)
    results = _Swept.apply(job, y0, *tensors)
    assert job.outcome is not None
    return job.outcome, results


class _Swept(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, job: Job, y0: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        outcome = launch(job.plan, y0.detach(), tensors, job.ys, record=True, room=job.room)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y0, *tensors)
        job.outcome = outcome
        # Without the outputs: what a Function keeps of its own outputs is never freed.
        bare = outcome._replace(ys=job.ys[:0], last=job.ys[:0], room=None)
        every = job.room is not None and job.room.every
        ctx.job = replace(job, ys=job.ys[:0], outcome=bare, room=None, every_step=every)
        return tuple(tensor.detach() for tensor in tensors_of(outcome, job.plan.single))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "backend='fused' has first derivatives only: for create_graph=True use backend='eager'"
            )
        job: Job = ctx.job
        y0, *tensors = ctx.saved_tensors
        grad_y0, lanes, shared = _swept(job, y0, tensors, cotangents)
        _count(job)
        grads: list[Tensor | None] = [None] * len(tensors)
        for place in job.plan.wanted or ():
            i = place - 2
            grads[i] = lanes[i].reshape(tensors[i].shape) if i < job.plan.lanes else shared.pop(0)
        return (None, grad_y0, *grads)


def _count(job: Job) -> None:
    """The evaluations of f that are pulled back: those of the accepted steps, dense outputs' and the first slope."""
    assert job.outcome is not None
    plan, samples = job.plan, job.outcome.call.samples
    start = 2 if not (plan.template.grid_steps or plan.template.first_step) else plan.carried
    # All evaluations but those before the first step and in rejected steps.
    if plan.single:
        _, accepted, rejected, nfev = job.outcome.numbers[: 4 * samples : samples]
        pulled = max(nfev - start - rejected * plan.evaluations, accepted * plan.evaluations) + plan.carried
        job.tally.count += pulled
        job.tally.rows += pulled * samples
    else:
        _, accepts, rejects, all_nfev = job.outcome.counts[:4]
        most = all_nfev - start - rejects * plan.evaluations
        pulls = most.maximum(accepts * plan.evaluations) + plan.carried
        job.tally.count += int(pulls.max())
        job.tally.rows += int(pulls.sum())


def _seed(job: Job, sweep: Sweep, cotangents: Sequence[Tensor | None]) -> None:
    """Point to the cotangents of the outputs, the end and the kept steps."""
    assert job.outcome is not None
    (grad_ys, grad_y1), grad_knots = cotangents[:2], cotangents[2:]
    grad_y, grad_stages = (grad_knots[0], grad_knots[1:]) if grad_knots else (None, ())
    if grad_y1 is not None:
        status = job.outcome.counts[0]
        grad_y1 = where_reached(bool(status[0] >= 0) if job.plan.single else status >= 0, grad_y1)
    if grad_ys is not None and job.every_step:
        starts, ends = pulled_apart(grad_ys, job.outcome.counts[1])
        grad_ys = None
        grad_y = starts if grad_y is None else grad_y + starts
        grad_y1 = ends if grad_y1 is None else grad_y1 + ends
    stages = [stage for stage in grad_stages if stage is not None]
    if stages:
        blank = torch.zeros_like(stages[0])
        grad_y = blank if grad_y is None else grad_y
        sweep.point(grad_knot_k=torch.stack([blank if g is None else g for g in grad_stages]))
    if grad_y is not None:
        sweep.knots = len(grad_y)
    given = {"grad_ys": grad_ys, "grad_y1": grad_y1, "grad_knot_y": grad_y}
    sweep.point(**{name: g.contiguous() for name, g in given.items() if g is not None})


def _swept(
    job: Job, y0: Tensor, tensors: list[Tensor], cotangents: Sequence[Tensor | None]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    assert job.outcome is not None and job.outcome.tape is not None
    call = job.outcome.call
    samples = call.samples
    state = y0.detach().contiguous()
    sweep = Sweep(**{name: getattr(call, name) for name in (*SAME, *SAME_POINTERS)})
    _seed(job, sweep, cotangents)
    widths = [t[0].numel() for t in tensors[: job.plan.lanes]] if call.samples else []
    grad_y0, slope_bar = torch.empty_like(state), torch.zeros_like(state)
    grad_args = state.new_zeros((samples, max(1, job.plan.source.columns)))
    sizes = job.plan.source.shared_sizes
    grad_shared = state.new_empty(sum(sizes))
    sweep.share([tensor.contiguous() for tensor in tensors[job.plan.lanes :]])
    sweep.point(y0=state, grad_y0=grad_y0, slope_bar=slope_bar, grad_args=grad_args, grad_shared=grad_shared)
    if job.plan.built.reverse(address(sweep)):
        raise MemoryError("the fused reverse sweep ran out of memory")
    places = [place - 2 for place in job.plan.wanted or () if place - 2 >= job.plan.lanes]
    parts = zip(grad_shared.split(sizes), places, strict=True)
    shared = [part.view(tensors[i].shape) for part, i in parts]
    lanes = list(grad_args[:, : sum(widths)].split(widths, 1)) if widths else []
    return grad_y0, lanes, shared
