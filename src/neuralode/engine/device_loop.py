"""The loop in which every sample has its own time, step size, acceptance and end; all samples share the calls of f."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..methods import Step
from ..ops import merge
from ..output import Attempt, BatchRecorder
from ..problem import Problem
from ..solution import Status
from .device_step import State, Trial, advance, attempt, begin, counted, floor
from .run import Run


class End(NamedTuple):
    """Where every sample stopped, and why; ``status`` and ``h`` are (B,)."""

    status: Tensor
    h: Tensor
    state: State


def integrate(problem: Problem, tape: bool = False) -> Run:
    """Solve ``problem`` for batch "independent"; ``tape``: keep what a gradient needs."""
    times = problem.times if len(problem.times) else problem.t0.new_empty((0, len(problem.y0)))
    recorder = BatchRecorder(times, problem.sign, problem.method.dense, tape, problem.dense_output)
    recorder.begin(problem.t0, problem.y0)
    loop = adaptive if problem.grid is None else fixed
    end = loop(problem, begin(problem), recorder)
    s = end.state
    return Run(
        ys=recorder.outputs(problem.y0),
        y1=merge(end.status >= 0, s.y, torch.full_like(s.y, torch.nan)),
        last=s.y,
        knots=recorder.knots(),
        times=recorder.output_times(),
        status=end.status,
        t=s.t,
        h=end.h,
        sample=None,
        nfev=s.nfev,
        njev=s.njev,
        accepted=s.accepted,
        rejected=s.rejected,
        tape=recorder.tape(),
    )


def adaptive(problem: Problem, state: State, recorder: BatchRecorder) -> End:
    """Steps sized by each sample's controller, never past its t1; one read from the device a trip."""
    p, s = problem, state
    bad = ~torch.isfinite(s.size)
    status = torch.where(bad, int(Status.FIRST_NONFINITE), int(Status.SUCCESS))
    s, h = s._replace(running=~bad & s.running), torch.zeros_like(s.t)
    trips, going = 0, bool(s.running.any())
    while going and trips < p.max_steps:
        before = s
        trial, s = attempt(p, before)
        h = torch.where(s.running, trial.h, h)
        accept, step = trial.accepted, trial.step
        t1, stopped, step = end_at_event(p, before, trial)
        after = recorder.reach(t1, accept)
        failed = s.running & ~accept & (s.size < floor(p, s.t))
        reason = torch.where(trial.trouble < 0, trial.trouble, int(Status.STEP_TOO_SMALL))
        status = torch.where(failed, reason, status)
        status = torch.where(stopped, int(Status.EVENT), status)
        running = s.running & ~failed & ~stopped & ~(accept & (t1 == p.t1))
        inside = recorder.inside(after, t1)
        going, any_output, any_inside = torch.stack(
            (running.any(), (after > recorder.cursor).any(), inside.any())
        ).tolist()
        s = keep(
            p, recorder, before, s, trial._replace(step=step), t1, (after, any_output, inside, any_inside)
        )
        s = advance(s._replace(running=running), trial, t1)
        trips += 1
    return End(torch.where(s.running, int(Status.MAX_STEPS), status), h, s)


def fixed(problem: Problem, state: State, recorder: BatchRecorder) -> End:
    """Steps at given times, (N + 1, B); a sample whose grid has ended stands still."""
    p, s = problem, state
    last = torch.zeros_like(s.t)
    status = torch.zeros_like(s.t, dtype=torch.long)
    for start, stop in pairwise(p.grid[: p.max_steps + 1]):
        active = (start != stop) & (status == 0)
        h = torch.where(active, stop - start, 0.0)
        last = torch.where(active, h, last)
        before = s._replace(running=active)
        step = p.method.step(p.field, s.t, h, s.y, s.carry, s.work)
        trouble = torch.as_tensor(step.trouble, device=h.device).expand(h.shape)
        finite = torch.isfinite(step.y1).reshape(len(s.y), -1).all(1)
        accept = active & finite & (trouble == 0)
        reason = torch.where(trouble < 0, trouble, int(Status.NONFINITE))
        status = torch.where(active & ~accept, reason, status)
        trial = Trial(h, stop, step, accept, trouble)
        s = counted(p, before._replace(work=step.work), trial)
        stop, stopped, step = end_at_event(p, before, trial)
        status = torch.where(stopped, int(Status.EVENT), status)
        after = recorder.reach(stop, accept)
        inside = recorder.inside(after, stop)
        any_output, any_inside = torch.stack(((after > recorder.cursor).any(), inside.any())).tolist()
        s = keep(
            p, recorder, before, s, trial._replace(step=step), stop, (after, any_output, inside, any_inside)
        )
        s = advance(s, trial, stop)
        # A sample with no finite state goes no further, but its clock does: what is wrong was wrong in this step.
        s = s._replace(
            t=torch.where(active & ~accept, stop, s.t),
            rejected=torch.zeros_like(s.rejected),
        )
    status = torch.where((s.t != p.t1) & (status == 0), int(Status.MAX_STEPS), status)
    return End(status, last, s)


def keep(
    problem: Problem,
    recorder: BatchRecorder,
    before: State,
    after_trial: State,
    trial: Trial,
    t1: Tensor,
    reached: tuple[Tensor, bool, Tensor, bool],
) -> State:
    """Record a trip of the loop; the state with the evaluations counted that outputs inside steps have cost."""
    p, step, s = problem, trial.step, after_trial
    after, any_output, inside, any_inside = reached
    solved = step.stages if p.method.retake else ()
    whole = step
    if p.method.extend is not None and (p.dense_output or any_inside):
        whole = p.method.complete(p.field, before.t, trial.h, before.y, step)
        s = s._replace(nfev=s.nfev + p.method.extra * (trial.accepted if p.dense_output else inside))
    attempt = Attempt(before.t, trial.h, before.y, before.carry, whole.stages, solved, trial.accepted)
    recorder.keep(t1, after, any_output, any_inside, attempt, step.y1)
    return s


def end_at_event(problem: Problem, before: State, trial: Trial) -> tuple[Tensor, Tensor, Step]:
    """(the end of each sample's step, which samples a terminal event stops there, the step with its dense stages)."""
    p, s, step = problem, before, trial.step
    if p.watch is None:
        return trial.t1, torch.zeros_like(trial.accepted), step
    step = p.method.complete(p.field, s.t, trial.h, s.y, step)
    theta = p.watch.look(s.t, trial.h, trial.t1, s.y, step, trial.accepted)
    stopped = torch.isfinite(theta)
    return torch.where(stopped, s.t + theta.nan_to_num(posinf=0.0) * trial.h, trial.t1), stopped, step
