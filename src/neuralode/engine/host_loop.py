"""The loop for a state that steps as one: Python decides, with one read from the device a step."""

import math
import sys
from typing import NamedTuple

import torch
from torch import Tensor

from ..control import MEASURES, error_ratio, initial_step
from ..methods import Carry
from ..ops import stage_times
from ..output import Recorder, Tape
from ..problem import Problem
from ..solution import Status
from .run import Run


class End(NamedTuple):
    """Where a loop stopped, and why."""

    status: Status
    t: float
    y: Tensor
    h: float
    accepted: int
    rejected: int
    sample: int | None = None


def integrate(problem: Problem, tape: bool = False) -> Run:
    """Solve ``problem`` for batch None or "lockstep"; ``tape``: keep what a gradient needs."""
    t0, y0 = problem.t0, problem.y0
    at_start = [t0] if problem.times == "steps" else [t for t in problem.times if t == t0]
    initial = len(at_start)
    recorder = Recorder(
        problem.times,
        problem.sign,
        problem.method.dense,
        tape,
        problem.dense_output,
        at_start,
        [y0] * initial,
    )
    loop = adaptive if problem.grid is None else fixed
    end = loop(problem, recorder)
    ys, knots = recorder.finish(y0)
    return Run(
        ys=ys,
        y1=end.y if end.status >= 0 else torch.full_like(y0, math.nan),
        knots=knots,
        times=recorder.ts if problem.times == "steps" else problem.times,
        status=end.status,
        t=end.t,
        h=end.h,
        sample=end.sample,
        nfev=problem.field.count,
        accepted=end.accepted,
        rejected=end.rejected,
        tape=Tape(recorder.rows, initial) if tape else None,
    )


def adaptive(problem: Problem, recorder: Recorder) -> End:
    """Steps sized by the controller, never past t1."""
    p, field, method, measure = problem, problem.field, problem.method, MEASURES[problem.batch]
    t, y, sign = p.t0, p.y0, p.sign
    carry = method.init(p.start, t, y)
    size = p.first_step or first_size(p, carry)
    if not math.isfinite(size):
        return End(Status.FIRST_NONFINITE, t, y, 0.0, 0, 0, culprit(p, y.detach() * size))
    floor = max(p.min_step, 4 * sys.float_info.epsilon * max(abs(t), abs(p.t1)))
    memory = scaled = None
    h, accepted, rejected = 0.0, 0, 0
    while t != p.t1:
        if accepted + rejected >= p.max_steps:
            return End(Status.MAX_STEPS, t, y, h, accepted, rejected, culprit(p, scaled))
        left, h = sign * (p.t1 - t), min(size, p.max_step)
        if last := h >= left:
            h = left
            while sign * (t + sign * h - p.t1) > 0:  # rounding must not carry a stage past the end
                h = math.nextafter(h, 0.0)
        elif 2 * h > left:  # two even steps rather than a long one and a sliver
            h = left / 2
        step = method.step(field, t, sign * h, y, carry)
        assert step.error is not None
        scaled = error_ratio(step.error.detach(), y.detach(), step.y1.detach(), p.rtol, p.atol)
        accept, factor, memory = p.controller.judge(
            measure(p.norm, scaled).item(), memory, method.error_order
        )
        if accept:
            t1 = p.t1 if last else t + sign * h
            recorder.keep(t, sign * h, t1, y, carry, step)
            stop = None if p.watch is None else p.watch.look(t, sign * h, t1, y, step)
            size = max(size, factor * h) if h < size and factor >= 1 else factor * h
            t, y, carry = t1, step.y1, step.carry
            accepted += 1
            if stop is not None:
                return End(Status.EVENT, stop, y, size, accepted, rejected)
            continue
        rejected += 1
        size = factor * h
        if size < floor:
            return End(Status.STEP_TOO_SMALL, t, y, h, accepted, rejected, culprit(p, scaled))
    return End(Status.SUCCESS, t, y, size, accepted, rejected)


def fixed(problem: Problem, recorder: Recorder) -> End:
    """Steps at given times. The device is read once, at the end, for a state that is no longer finite."""
    p, field, method = problem, problem.field, problem.method
    y, carry, finite = p.y0, method.init(p.start, p.t0, p.y0), []
    for count, (t, t1) in enumerate(zip(p.grid[:-1], p.grid[1:], strict=True)):
        if count == p.max_steps:
            return End(Status.MAX_STEPS, t, y, t1 - t, count, 0)
        step = method.step(field, t, t1 - t, y, carry)
        recorder.keep(t, t1 - t, t1, y, carry, step)
        stop = None if p.watch is None else p.watch.look(t, t1 - t, t1, y, step)
        y, carry = step.y1, step.carry
        if stop is not None:
            return End(Status.EVENT, stop, y, t1 - t, count + 1, 0)
        finite.append(torch.isfinite(y.detach()).all())
    steps = len(finite)
    if finite and not torch.stack(finite).all():
        bad = int(torch.stack(finite).int().argmin())
        t, t1 = p.grid[bad], p.grid[bad + 1]
        return End(Status.NONFINITE, t1, y, t1 - t, steps, 0, culprit(p, y))
    return End(Status.SUCCESS, p.t1, y, 0.0, steps, 0)


def first_size(problem: Problem, carry: Carry) -> float:
    """Magnitude of the first step; NaN when f(t0, y0) is not finite."""
    p = problem
    if p.t0 == p.t1:
        return 1.0
    with torch.no_grad():
        f0 = carry[0].detach() if carry else p.start(stage_times(p.t0, 0.0, (0.0,), p.y0)[0], p.y0)
        if not torch.isfinite(f0).all():
            return math.nan
        return initial_step(
            p.field,
            p.t0,
            p.y0.detach(),
            f0,
            sign=p.sign,
            span=abs(p.t1 - p.t0),
            order=p.method.error_order + 1,
            scale=p.y0.detach().abs() * p.rtol + p.atol,
            measure=lambda x: MEASURES[p.batch](p.norm, x).item(),
        )


def culprit(problem: Problem, scaled: Tensor | None) -> int | None:
    """The sample with the largest entry (NaN counts as largest), in lockstep."""
    if problem.batch is None or scaled is None:
        return None
    rows = torch.nan_to_num(scaled.abs().reshape(len(scaled), -1), nan=math.inf)
    return int(rows.amax(1).argmax())
