"""The loop for a state that steps as one: Python decides, with one read from the device a step."""

import math
import sys
from typing import NamedTuple

import torch
from torch import Tensor

from ..control import MEASURES, error_ratio, initial_step
from ..methods import Carry
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


def integrate(problem: Problem, tape: bool) -> Run:
    """Solve ``problem`` for batch None or "lockstep"; ``tape``: keep what a gradient needs."""
    recorder = Recorder(problem.times, problem.sign, problem.method.dense, tape, problem.dense_output)
    recorder.begin(problem.t0, problem.y0)
    carry = problem.method.init(problem.first_field, problem.t0, problem.y0)
    loop = adaptive if problem.grid is None else fixed
    end = loop(problem, carry, recorder)
    return Run(
        ys=recorder.outputs(problem.y0),
        y1=end.y if end.status >= 0 else torch.full_like(problem.y0, math.nan),
        knots=recorder.knots(problem.y0),
        times=recorder.ts if problem.times == "steps" else problem.times,
        status=end.status,
        t=end.t,
        h=end.h,
        sample=end.sample,
        nfev=problem.field.count,
        accepted=end.accepted,
        rejected=end.rejected,
        tape=Tape(recorder.rows, recorder.initial) if tape else None,
    )


def adaptive(problem: Problem, carry: Carry, recorder: Recorder) -> End:
    """Steps sized by the controller, never past t1."""
    p, field, method = problem, problem.field, problem.method
    measure = MEASURES[p.batch]
    t, y, sign = p.t0, p.y0, p.sign
    size = first_size(p, carry)
    if not math.isfinite(size):
        return End(Status.FIRST_NONFINITE, t, y, 0.0, 0, 0, culprit(p, y.detach() * size))
    floor = max(p.min_step, 4 * sys.float_info.epsilon * max(abs(t), abs(p.t1)))
    memory = p.controller.start(1.0)
    accepted = rejected = 0
    while t != p.t1:
        if accepted + rejected >= p.max_steps:
            return End(Status.MAX_STEPS, t, y, h, accepted, rejected, culprit(p, scaled))
        h, t1 = clip_step(t, p.t1, sign, min(size, p.max_step))
        step = method.step(field, t, h, y, carry)
        scaled = error_ratio(step.error.detach(), y.detach(), step.y1.detach(), p.rtol, p.atol)
        accept, factor, memory = p.controller.judge(measure(p.norm, scaled).item(), memory, method.error_order)
        if accept:
            recorder.keep(t, h, t1, y, carry, step)
            size = max(size, factor * abs(h)) if abs(h) < size and factor >= 1 else factor * abs(h)
            t, y, carry = t1, step.y1, step.carry
            accepted += 1
            continue
        rejected += 1
        size = factor * abs(h)
        if size < floor:
            return End(Status.STEP_TOO_SMALL, t, y, h, accepted, rejected, culprit(p, scaled))
    return End(Status.SUCCESS, t, y, sign * size, accepted, rejected)


def fixed(problem: Problem, carry: Carry, recorder: Recorder) -> End:
    """Steps at given times. The device is read once, at the end, for a state that is no longer finite."""
    p, field, method = problem, problem.field, problem.method
    y, finite = p.y0, []
    for count, (t, t1) in enumerate(zip(p.grid[:-1], p.grid[1:], strict=True)):
        if count == p.max_steps:
            return End(Status.MAX_STEPS, t, y, t1 - t, count, 0)
        step = method.step(field, t, t1 - t, y, carry)
        recorder.keep(t, t1 - t, t1, y, carry, step)
        y, carry = step.y1, step.carry
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
    if p.first_step is not None or p.t0 == p.t1:
        return min(p.first_step or 1.0, abs(p.t1 - p.t0))
    with torch.no_grad():
        f0 = carry[0].detach() if carry else p.field(torch.tensor(p.t0, dtype=p.y0.real.dtype, device=p.y0.device), p.y0)
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


def clip_step(t: float, t1: float, sign: float, size: float) -> tuple[float, float]:
    """(h, t + h): the last step lands on t1, and one that would leave a sliver before it is halved."""
    left = sign * (t1 - t)
    if size < left:
        size = left / 2 if 2 * size > left else size
        return sign * size, t + sign * size
    while sign * (t + sign * left - t1) > 0:  # rounding must not carry a stage past the end
        left = math.nextafter(left, 0.0)
    return sign * left, t1


def culprit(problem: Problem, scaled: Tensor) -> int | None:
    """The sample with the largest entry (NaN counts as largest), in lockstep."""
    if problem.batch is None:
        return None
    rows = torch.nan_to_num(scaled.abs().reshape(len(scaled), -1), nan=math.inf)
    return int(rows.amax(1).argmax())
