"""A problem through the compiled solver: a ``Run`` as the eager loops make it."""

import ctypes
import weakref
from typing import Any

import torch
from torch import Tensor

from ..control import NORMS, Controller, PIDController, StepControl
from ..engine import Run
from ..engine.host_loop import culprit
from ..field import VectorField
from ..ops import merge, transforming
from ..problem import Problem
from ..solution import Status
from .call import Call, address
from .field import Compiled, flat_rows
from .graph import UnsupportedError

CHUNK = 64  # samples that a thread takes at once, as in cpp/forward.hpp


class Tape:
    """The accepted steps of every sample, in memory of the library's own."""

    def __init__(self, built: ctypes.CDLL, threads: int) -> None:
        self.pieces = (ctypes.c_void_p * threads)()
        self._finalizer = weakref.finalize(self, built.release, self.pieces, ctypes.c_int64(threads))


def refuse(problem: Problem) -> None:
    """Raise UnsupportedError for what the fused backend does not do."""
    p = problem
    reasons = {
        "the state is not on the CPU": p.y0.device.type != "cpu",
        f"the state is {p.y0.dtype}": p.y0.dtype not in (torch.float32, torch.float64),
        f"method {p.method.name!r} is no explicit Runge-Kutta method": p.method.tableau is None,
        "t_eval='steps' is not fused": isinstance(p.times, str),
        "dense_output=True is not fused": p.dense_output,
        "events and t_stops are not fused": p.watch is not None,
        "progress is not fused": p.progress is not None,
        "tolerances that are tensors are not fused": isinstance(p.rtol, Tensor) or isinstance(p.atol, Tensor),
        "a norm of your own is not fused": p.norm not in (NORMS["rms"], NORMS["max"]),
        "the controller is not one of 'pi', 'i', 'pid'": not isinstance(
            p.controller, (Controller, PIDController)
        ),
        "autocast is on": p.autocast[2],
        "a torch.func transform is active": transforming(),
        "the state is empty": p.y0.numel() == 0,
        "f is a pair": not isinstance(p.field, VectorField),
    }
    for reason, holds in reasons.items():
        if holds:
            raise UnsupportedError(f"backend='fused' cannot take this solve: {reason}")


def exponents(control: StepControl, order: int) -> tuple[float, float, float]:
    """Of the last three error ratios, in the factor between two steps."""
    if isinstance(control, PIDController):
        return tuple(-b / order for b in control.beta)  # type: ignore[return-value]
    assert isinstance(control, Controller)
    return -control.alpha / order, control.beta / order, 0.0


def threads_for(samples: int) -> int:
    """Threads that have at least a chunk each."""
    return max(1, min(torch.get_num_threads(), -(-samples // CHUNK)))


def column(value: Any, samples: int) -> Tensor:
    """A number per sample, (B,) float64."""
    if isinstance(value, Tensor):
        return value.contiguous()
    return torch.full((samples,), value, dtype=torch.float64)


def times_of(values: Any) -> tuple[Tensor, int, int]:
    """(times, steps in memory from one to the next, from one sample to the next)."""
    if not isinstance(values, Tensor):
        return torch.tensor(values, dtype=torch.float64), 1, 0
    if values.shape[1] > 1 and values.stride(1) == 0:
        return values, values.stride(0), 0
    values = values.contiguous()
    return values, values.stride(0), values.stride(1)


def prepared(problem: Problem) -> Call:
    """The call with a problem's settings, and its times."""
    p, samples = problem, problem.batch_size or 1
    order = p.method.error_order + 1
    control = p.controller
    call = Call(samples=samples, max_steps=p.max_steps, threads=threads_for(samples))
    call.rtol, call.atol = float(p.rtol), float(p.atol)
    call.first_step, call.min_step, call.max_step = p.first_step or 0.0, p.min_step, p.max_step
    call.k, call.safety, call.smallest, call.largest = (
        order,
        control.safety,
        control.smallest,
        control.largest,
    )
    call.exponent[:] = exponents(control, order)
    call.point(t0=column(p.t0, samples), t1=column(p.t1, samples), sign=column(p.sign, samples))
    times, call.time_row, call.time_column = times_of(p.times)
    call.outputs = len(times)
    call.point(times=times)
    if p.grid is not None:
        grid, call.grid_row, call.grid_column = times_of(p.grid)
        call.grid_steps = max(1, len(grid) - 1)
        call.max_steps = min(p.max_steps, call.grid_steps)
        call.point(grid=grid)
    return call


def forward(
    problem: Problem, found: Compiled, built: ctypes.CDLL, shared: list[Tensor], memory: int | None
) -> tuple[Run, Call]:
    """Integrate without gradients; with ``memory``, in bytes, the run has a tape."""
    p, samples = problem, problem.batch_size or 1
    f = p.field
    assert isinstance(f, VectorField)
    call = prepared(p)
    y0 = p.y0.detach().contiguous()
    lanes = [x if p.batch_size else x[None] for x in found.lane_tensors(f)]
    call.point(y0=y0, args=flat_rows(lanes, samples, y0))
    call.share(shared)
    ys = y0.new_full((call.outputs, *y0.shape), torch.nan)
    last = torch.empty_like(y0)
    t, h = torch.empty((2, samples), dtype=torch.float64)
    counts = torch.zeros((6, samples), dtype=torch.int64)
    status, accepted, rejected, nfev, before, worst = counts
    call.point(ys=ys, y1=last, t=t, h=h, status=status, accepted=accepted)
    call.point(rejected=rejected, nfev=nfev, before=before, worst=worst)
    tape = Tape(built, call.threads) if memory is not None else None
    if tape is not None and memory is not None:
        call.memory = memory
        call.tapes = ctypes.addressof(tape.pieces)
    if built.forward(address(call)):
        raise MemoryError("the fused solve ran out of memory")
    f.tally.count += int(nfev.max())
    f.tally.rows += int(nfev.sum())
    return _run(p, ys, last, t, h, counts, tape), call


def _culprit(problem: Problem, status: int, worst: int, last: Tensor) -> int | None:
    """The sample that a batch in lockstep failed by."""
    if problem.batch is None or status >= 0:
        return None
    if problem.grid is not None:
        return culprit(problem, last) if status == Status.NONFINITE else None
    return worst


def _run(
    p: Problem, ys: Tensor, last: Tensor, t: Tensor, h: Tensor, counts: Tensor, tape: Tape | None
) -> Run:
    status, accepted, rejected, nfev, _, worst = counts
    good = status == Status.SUCCESS
    single = p.samples is None
    y1 = last
    if not bool(good.all()):
        lost = torch.full_like(last, torch.nan)
        y1 = lost if single else merge(good, last, lost)

    def plain(x: Tensor) -> Any:
        return x[0].item() if single else x

    return Run(
        ys=ys,
        y1=y1,
        last=last,
        knots=None,
        times=p.times,
        status=Status(int(status[0])) if single else status,
        t=plain(t),
        h=plain(h),
        sample=_culprit(p, int(status[0]), int(worst[0]), last) if single else None,
        nfev=plain(nfev),
        njev=0 if single else torch.zeros_like(nfev),
        accepted=plain(accepted),
        rejected=plain(rejected),
        report={"backend": "fused"},
        tape=tape,
    )
