"""The exact gradient of a compiled solve: its reverse sweep as an autograd function."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from ..engine import Run, where_reached
from ..field import VectorField
from ..problem import Problem
from .call import Call, Record, address, pointers
from .field import Compiled
from .run import forward
from .source import Source

WHOLE = ("samples", "outputs", "threads", "time_row", "time_column", "tensors")
POINTERS = (
    "t0", "sign", "times", "y0", "args", "shared", "grad_ys", "grad_y1", "tapes", "before", "sizes", "by_lane", "grad_y0",
    "grad_args", "slope_bar", "grad_shared",
)  # fmt: skip


class Sweep(Record):
    """The fields of ``struct Sweep`` of ``cpp/reverse.hpp``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in WHOLE),
        *((name, ctypes.c_void_p) for name in POINTERS),
    )


def wanted_inputs(found: Compiled, f: VectorField, uniforms: tuple[Tensor, ...]) -> tuple[int, ...]:
    """Places of f's inputs, in the order of its trace, that a gradient is wanted of besides y."""
    tensors = (*found.lane_tensors(f), *uniforms)
    return tuple(2 + i for i, tensor in enumerate(tensors) if tensor.requires_grad)


def differentiable(
    problem: Problem, found: Compiled, uniforms: tuple[Tensor, ...], wanted: tuple[int, ...], memory: int
) -> Run:
    """Integrate; gradients of the outputs and the end come from the reverse sweep, whose tape has ``memory`` bytes."""
    f = problem.field
    assert isinstance(f, VectorField)
    source, built = found.build(problem, uniforms, wanted)
    box: list[Run] = []
    tensors = (*found.lane_tensors(f), *uniforms)
    ys, y1 = _Swept.apply(problem, found, source, built, box, wanted, memory, problem.y0, *tensors)
    return box[0].with_tensors((ys, y1))


class _Swept(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        problem: Problem,
        found: Compiled,
        source: Source,
        built: ctypes.CDLL,
        box: list[Run],
        wanted: tuple[int, ...],
        memory: int,
        y0: Tensor,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        shared = [tensor.contiguous() for tensor in tensors[len(found.lane) :]]
        run, call = forward(problem, found, built, shared, memory)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(y0, *tensors)
        ctx.source, ctx.built, ctx.wanted, ctx.lanes = source, built, wanted, len(found.lane)
        ctx.tape, ctx.call, ctx.reached, ctx.tally = run.tape, call, run.status, problem.field.tally
        ctx.work = int(torch.as_tensor(run.accepted).expand(call.samples).sum()) * built_vjps(problem)
        box.append(run)
        return run.ys.detach(), run.y1.detach()

    @staticmethod
    def backward(ctx: Any, grad_ys: Tensor | None, grad_y1: Tensor | None) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "backend='fused' has first derivatives only: for create_graph=True use backend='eager'"
            )
        y0, *tensors = ctx.saved_tensors
        grad_y0, lanes, shared = _swept(ctx, y0, tensors, grad_ys, grad_y1)
        ctx.tally.count += 1
        ctx.tally.rows += ctx.work
        grads: list[Tensor | None] = [None] * len(tensors)
        for place in ctx.wanted:
            i = place - 2
            grads[i] = lanes[i].reshape(tensors[i].shape) if i < ctx.lanes else shared.pop(0)
        return (*[None] * 7, grad_y0, *grads)


def built_vjps(problem: Problem) -> int:
    """Evaluations that the reverse sweep makes a step."""
    tableau = problem.method.tableau
    assert tableau is not None
    return 2 * tableau.stages


def _swept(
    ctx: Any, y0: Tensor, tensors: list[Tensor], grad_ys: Tensor | None, grad_y1: Tensor | None
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    call: Call = ctx.call
    samples = call.samples
    state = y0.detach().contiguous()
    names = ("samples", "outputs", "threads", "time_row", "time_column")
    sweep = Sweep(**{name: getattr(call, name) for name in names})
    for name in ("t0", "sign", "times", "args", "before", "tapes"):
        setattr(sweep, name, getattr(call, name))
    if grad_ys is not None:
        sweep.point(grad_ys=grad_ys.contiguous())
    if grad_y1 is not None:
        sweep.point(grad_y1=where_reached(ctx.reached >= 0, grad_y1).contiguous())
    widths = [t[0].numel() for t in tensors[: ctx.lanes]] if call.samples else []
    grad_y0, slope_bar = torch.empty_like(state), torch.zeros_like(state)
    grad_args = state.new_zeros((samples, max(1, sum(widths))))
    sizes = torch.tensor(ctx.source.shared_sizes or (0,), dtype=torch.int64)
    by_lane = torch.tensor(ctx.source.by_lane or (False,), dtype=torch.int64)
    totals = [torch.zeros((call.threads, n), dtype=torch.float64) for n in ctx.source.shared_sizes]
    table = pointers(totals)
    sweep.tensors, sweep.grad_shared = len(totals), ctypes.addressof(table)
    sweep.share([tensor.detach().contiguous() for tensor in tensors[ctx.lanes :]])
    sweep.point(y0=state, sizes=sizes, by_lane=by_lane)
    sweep.point(grad_y0=grad_y0, slope_bar=slope_bar, grad_args=grad_args)
    if ctx.built.reverse(address(sweep)):
        raise MemoryError("the fused reverse sweep ran out of memory")
    places = [place - 2 for place in ctx.wanted if place - 2 >= ctx.lanes]
    shared = [
        total.sum(0).to(y0.dtype).reshape(tensors[i].shape) for total, i in zip(totals, places, strict=True)
    ]
    lanes = list(grad_args[:, : sum(widths)].split(widths, 1)) if widths else []
    return grad_y0, lanes, shared
