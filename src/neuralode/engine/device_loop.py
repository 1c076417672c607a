"""The loop in which every sample has its own time, step size, acceptance and end; all samples share the calls of f."""

import sys
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..control import MEASURES, error_ratio, initial_step
from ..methods import Carry, Step
from ..ops import merge, stage_times
from ..output import Attempt, BatchRecorder
from ..problem import Problem
from ..solution import Status
from .run import Run


class End(NamedTuple):
    """Where every sample stopped, and why; all (B,)."""

    status: Tensor
    t: Tensor
    y: Tensor
    h: Tensor
    accepted: Tensor
    rejected: Tensor


def integrate(problem: Problem, tape: bool = False) -> Run:
    """Solve ``problem`` for batch "independent"; ``tape``: keep what a gradient needs."""
    times = problem.times if len(problem.times) else problem.t0.new_empty((0, len(problem.y0)))
    recorder = BatchRecorder(times, problem.sign, problem.method.dense, tape, problem.dense_output)
    recorder.begin(problem.t0, problem.y0)
    carry = problem.method.init(problem.start, problem.t0, problem.y0)
    size = None if problem.grid is not None else first_size(problem, carry)
    shared = problem.field.count
    end = fixed(problem, carry, recorder) if size is None else adaptive(problem, carry, size, recorder)
    return Run(
        ys=recorder.outputs(problem.y0),
        y1=merge(end.status >= 0, end.y, torch.full_like(end.y, torch.nan)),
        knots=recorder.knots(),
        times=recorder.output_times(),
        status=end.status,
        t=end.t,
        h=end.h,
        sample=None,
        nfev=shared + problem.method.evaluations * (end.accepted + end.rejected),
        accepted=end.accepted,
        rejected=end.rejected,
        tape=recorder.tape(),
    )


def adaptive(problem: Problem, carry: Carry, size: Tensor, recorder: BatchRecorder) -> End:
    """Steps sized by each sample's controller, never past its t1; one read from the device a trip."""
    p, method = problem, problem.method
    t, y, sign = p.t0, p.y0, p.sign
    floor = (4 * sys.float_info.epsilon * torch.maximum(t.abs(), p.t1.abs())).clamp(min=p.min_step)
    bad = ~torch.isfinite(size)
    status = torch.where(bad, int(Status.FIRST_NONFINITE), int(Status.SUCCESS))
    running = ~bad & (t != p.t1)
    h, memory = torch.zeros_like(t), None
    accepted = rejected = torch.zeros_like(status)
    trips, going = 0, bool(running.any())
    while going and trips < p.max_steps:
        h, t1 = clip_step(t, p.t1, sign, size.clamp(max=p.max_step), running)
        step = method.step(p.field, t, h, y, carry)
        assert step.error is not None
        scaled = error_ratio(step.error, y, step.y1, p.rtol, p.atol)
        accept, factor, memory = p.controller.judge(
            MEASURES[p.batch](p.norm, scaled).double(), memory, method.error_order
        )
        accept = accept & running
        t1, stopped = end_at_event(p, t, h, t1, y, step, accept)
        clipped = (h.abs() < size) & accept & (factor >= 1)
        after = recorder.reach(t1, accept)
        size = torch.where(clipped, torch.maximum(size, factor * h.abs()), factor * h.abs())
        failed = running & ~accept & (size < floor)
        status = torch.where(failed, int(Status.STEP_TOO_SMALL), status)
        accepted, rejected = accepted + accept, rejected + (running & ~accept)
        status = torch.where(stopped, int(Status.EVENT), status)
        running = running & ~failed & ~stopped & ~(accept & (t1 == p.t1))
        going, any_output = torch.stack((running.any(), (after > recorder.cursor).any())).tolist()
        recorder.keep(t1, after, any_output, Attempt(t, h, y, carry, step.stages, accept), step.y1)
        t, y, carry = advance(accept, t1, step, t, y, carry)
        trips += 1
    status = torch.where(running, int(Status.MAX_STEPS), status)
    return End(status, t, y, h, accepted, rejected)


def fixed(problem: Problem, carry: Carry, recorder: BatchRecorder) -> End:
    """Steps at given times, (N + 1, B); a sample whose grid has ended stands still."""
    p, grid = problem, problem.grid
    t, y, last = p.t0, p.y0, torch.zeros_like(p.t0)
    status = torch.zeros_like(t, dtype=torch.long)
    accepted = torch.zeros_like(status)
    for start, stop in pairwise(grid[: p.max_steps + 1]):
        active = (start != stop) & (status == 0)
        h = torch.where(active, stop - start, 0.0)
        last = torch.where(active, h, last)
        step = p.method.step(p.field, t, h, y, carry)
        finite = torch.isfinite(step.y1).reshape(len(y), -1).all(1)
        accept = active & finite
        status = torch.where(active & ~finite, int(Status.NONFINITE), status)
        stop, stopped = end_at_event(p, t, h, stop, y, step, accept)
        status = torch.where(stopped, int(Status.EVENT), status)
        after = recorder.reach(stop, accept)
        any_output = bool((after > recorder.cursor).any())
        recorder.keep(stop, after, any_output, Attempt(t, h, y, carry, step.stages, accept), step.y1)
        t, y, carry = advance(accept, stop, step, t, y, carry)
        t = torch.where(active & ~finite, stop, t)
        accepted = accepted + accept
    status = torch.where((t != p.t1) & (status == 0), int(Status.MAX_STEPS), status)
    return End(status, t, y, last, accepted, torch.zeros_like(accepted))


def advance(
    accept: Tensor, t1: Tensor, step: Step, t: Tensor, y: Tensor, carry: Carry
) -> tuple[Tensor, Tensor, Carry]:
    """Every sample's next (t, y, carry): the step's where it was accepted."""
    carried = tuple(merge(accept, new, old) for new, old in zip(step.carry, carry, strict=True))
    return torch.where(accept, t1, t), merge(accept, step.y1, y), carried


def end_at_event(
    problem: Problem, t: Tensor, h: Tensor, t1: Tensor, y: Tensor, step: Step, accept: Tensor
) -> tuple[Tensor, Tensor]:
    """(the end of each sample's step, which samples a terminal event stops there)."""
    if problem.watch is None:
        return t1, torch.zeros_like(accept)
    theta = problem.watch.look(t, h, t1, y, step, accept)
    stopped = torch.isfinite(theta)
    return torch.where(stopped, t + theta.nan_to_num(posinf=0.0) * h, t1), stopped


def first_size(problem: Problem, carry: Carry) -> Tensor:
    """Magnitude of every sample's first step; NaN where f(t0, y0) is not finite."""
    p = problem
    span = (p.t1 - p.t0).abs()
    if p.first_step is not None or not p.y0.numel():
        return span if p.first_step is None else span.clamp(max=p.first_step)
    f0 = carry[0] if carry else p.start(stage_times(p.t0, 0.0 * p.t0, (0.0,), p.y0)[0], p.y0)
    finite = torch.isfinite(f0).reshape(len(f0), -1).all(1)
    size = initial_step(
        p.field,
        p.t0,
        p.y0,
        merge(finite, f0, torch.zeros_like(f0)),
        sign=p.sign,
        span=span,
        order=p.method.error_order + 1,
        scale=p.y0.abs() * p.rtol + p.atol,
        measure=lambda x: MEASURES[p.batch](p.norm, x).double(),
    )
    return torch.where(finite, size, torch.nan)


def clip_step(t: Tensor, t1: Tensor, sign: Tensor, size: Tensor, running: Tensor) -> tuple[Tensor, Tensor]:
    """(h, t + h) as in the host loop; h = 0 for samples that have ended."""
    left = sign * (t1 - t)
    last = size >= left
    size = torch.where(2 * size > left, left / 2, size)
    over = sign * (t + sign * left - t1) > 0
    left = torch.where(over, torch.nextafter(left, torch.zeros_like(left)), left)
    h = sign * torch.where(last, left, size)
    return torch.where(running, h, 0.0), torch.where(running, torch.where(last, t1, t + h), t)
