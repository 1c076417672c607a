"""The loop for a state that steps as one: Python decides, with one read from the device a step."""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..methods import Step
from ..ops import mapped
from ..output import Keeping, Marks, Recorder, Tape
from ..problem import Problem
from ..solution import Status
from .host_step import State, Trial, begin, given, take
from .run import Run, Span


class End(NamedTuple):
    """Where a loop stopped, and why: at t, which an event may put before the state's; h was the last step tried."""

    status: Status
    state: State
    t: float
    h: float
    sample: int | None = None


def integrate(problem: Problem, tape: Keeping | None = None) -> Run:
    """Solve ``problem`` for batch None or "lockstep"; ``tape``: the steps that keep their state for a gradient."""
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
    s = end.state
    ys, knots = recorder.finish(y0)
    return Run(
        ys=ys,
        y1=s.y if end.status == Status.SUCCESS else torch.full_like(y0, math.nan),
        last=s.y,
        knots=knots,
        times=recorder.ts,
        status=end.status,
        t=end.t,
        h=end.h,
        sample=end.sample,
        nfev=problem.field.count,
        njev=problem.field.jacobians,
        accepted=s.accepted,
        rejected=s.rejected,
        report=problem.method.report(s.work),
        tape=None if tape is None else Tape(recorder.rows, initial),
        marks=_marks(recorder.marks),
        size=s.size,
    )


def _marks(found: list[tuple[int, int]]) -> Marks:
    rows, events = torch.tensor(found, dtype=torch.long).reshape(-1, 2).unbind(1)
    return Marks(rows, torch.zeros_like(rows), events)


def adaptive(problem: Problem, recorder: Recorder) -> End:
    """Steps sized by the controller, never past t1."""
    p, s = problem, begin(problem)
    if not math.isfinite(s.size):
        return End(Status.FIRST_NONFINITE, s, s.t, 0.0, culprit(p, s.y.detach() * s.size))
    trial: Trial | None = None
    while s.t != p.t1:
        before = s
        tried, s, status = take(p, before)
        trial = tried or trial
        if status < 0 or trial is None:
            return _failed(p, status, s, trial)
        if p.progress is not None:
            p.progress.at(s.t, s.accepted, p.field.count)
        stop = keep(p, recorder, before, trial.h, trial.t1, trial.step)
        if stop is not None:
            return End(Status.EVENT, s, stop, s.size)
    return End(Status.SUCCESS, s, s.t, s.size)


def fixed(problem: Problem, recorder: Recorder) -> End:
    """Steps at given times. The device is read once, at the end, for a state that is no longer finite."""
    p, s, finite = problem, begin(problem), []
    for t, t1 in pairwise(p.grid):
        if s.accepted == p.max_steps:
            return End(Status.MAX_STEPS, s, t, t1 - t)
        before = s
        trial, s, status = given(p, before)
        if status < 0:
            return End(status, s, t, t1 - t, culprit(p, trial.step.y1.detach() - s.y))
        if p.progress is not None:
            p.progress.at(t1, s.accepted, p.field.count)
        stop = keep(p, recorder, before, t1 - t, t1, trial.step)
        if stop is not None:
            return End(Status.EVENT, s, stop, t1 - t)
        if not mapped(s.y):
            finite.append(torch.isfinite(s.y.detach()).all())
    if finite and not torch.stack(finite).all():
        bad = int(torch.stack(finite).int().argmin())
        t, t1 = p.grid[bad], p.grid[bad + 1]
        return End(Status.NONFINITE, s, t1, t1 - t, culprit(p, s.y))
    return End(Status.SUCCESS, s, p.t1, 0.0)


def keep(
    problem: Problem, recorder: Recorder, before: State, h: float, t1: float, step: Step
) -> float | None:
    """Record an accepted step; the time of a terminal event inside it, if there is one."""
    p, s = problem, before
    solved = step.stages if p.method.retake else ()
    if p.watch is None and p.method.extend is None:
        recorder.keep(s.t, h, t1, s.y, s.carry, step, solved)
        return None
    made: list[Step] = []

    def finish() -> Step:
        made.append(p.method.complete(p.field, s.t, h, s.y, step))
        return made[0]

    sight, later = None, None if p.method.extend is None else finish
    if later is not None and (p.dense_output or recorder.inside(t1)):
        later = None
        finish()
    if p.watch is not None:
        sight = p.watch.look(Span(s.t, h, t1, s.y, s.carry, later), made[0] if made else step)
    recorder.keep(s.t, h, t1, s.y, s.carry, made[0] if made else step, solved, sight)
    stop = math.inf if sight is None else float(sight.stop)
    return None if stop == math.inf else s.t + stop * h


def _failed(problem: Problem, status: Status, s: State, trial: Trial | None) -> End:
    scaled = None if trial is None else trial.scaled
    h = 0.0 if trial is None else trial.h
    return End(status, s, s.t, h, culprit(problem, scaled))


def culprit(problem: Problem, scaled: Tensor | None) -> int | None:
    """The sample with the largest entry (NaN counts as largest), in lockstep."""
    if problem.batch is None or scaled is None:
        return None
    rows = torch.nan_to_num(scaled.abs().reshape(len(scaled), -1), nan=math.inf)
    return int(rows.amax(1).argmax())
