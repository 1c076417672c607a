"""The loop in which every sample has its own time, step size, acceptance and end; all samples share the calls of f."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..methods import Step
from ..ops import merge
from ..output import Attempt, BatchRecorder, Keeping, Sight
from ..problem import Problem
from ..progress import MILLION
from ..solution import Status
from .compaction import Crew
from .device_step import State, Trial, advance, attempt, begin, given
from .run import Run, Span

# What ``BatchRecorder.reach`` and ``inside`` say, each with whether it says anything.
Reached = tuple[Tensor, bool, Tensor, bool]


class Look(NamedTuple):
    """A trip of the loop after events were looked for.

    Attributes:
        t1: the end of every sample's step, or where an event stops it.
        stopped: the samples that an event stops; None where none are looked for.
        whole: the step with all that dense output needs, where that was made; sight: the events, if there are any.
    """

    t1: Tensor
    stopped: Tensor | None
    whole: Step | None = None
    sight: Sight | None = None


def integrate(problem: Problem, tape: Keeping | None = None) -> Run:
    """Solve ``problem`` for batch "independent"; ``tape``: the trips that keep their state for a gradient."""
    times = problem.times if len(problem.times) else problem.t0.new_empty((0, len(problem.y0)))
    recorder = BatchRecorder(times, problem.sign, problem.method.dense, tape, problem.dense_output)
    recorder.begin(problem.t0, problem.y0)
    loop = adaptive if problem.grid is None else fixed
    s = loop(problem, begin(problem), recorder)
    recorder.settle()
    return Run(
        ys=recorder.outputs(problem.y0),
        y1=merge(s.status == 0, s.y, torch.full_like(s.y, torch.nan)),
        last=s.y,
        knots=recorder.knots(),
        times=recorder.output_times(),
        status=s.status,
        t=s.t,
        h=s.h,
        sample=None,
        nfev=s.nfev,
        njev=s.njev,
        accepted=s.accepted,
        rejected=s.rejected,
        report=s.report,
        tape=recorder.tape(),
        marks=recorder.marks,
        size=s.size,
    )


def adaptive(problem: Problem, state: State, recorder: BatchRecorder) -> State:
    """Steps sized by each sample's controller, never past its t1; one read from the device a trip."""
    p, s, crew = problem, state, Crew(problem, recorder)
    trips, running = 0, int(s.running.sum())
    while running and trips < p.max_steps:
        if trips:
            p, s = crew.without_ended(p, s, running)
        before = s
        trial, s = attempt(p, before)
        look = look_for_events(p, crew, before, trial)
        if look.stopped is not None:
            status = torch.where(look.stopped, int(Status.EVENT), s.status)
            s = s._replace(status=status, running=s.running & ~look.stopped)
        moved = advance(p, s, trial, look.t1)
        running, reached = read(p, crew, recorder, moved, look.t1, trial.accepted, trips)
        extra = keep(p, recorder, before, trial, look, reached)
        s = moved._replace(nfev=moved.nfev + extra) if p.method.extra else moved
        trips += 1
    s = crew.all(s)
    return s._replace(status=torch.where(s.running, int(Status.MAX_STEPS), s.status))


def fixed(problem: Problem, state: State, recorder: BatchRecorder) -> State:
    """Steps at given times, (N + 1, B); a sample whose grid has ended stands still."""
    p, s, crew = problem, state, Crew(problem, recorder)
    for n in range(min(len(p.grid) - 1, p.max_steps)):
        before = s
        trial, s = given(p, before, p.grid[n], p.grid[n + 1])
        look = look_for_events(p, crew, before, trial)
        if look.stopped is not None:
            s = s._replace(status=torch.where(look.stopped, int(Status.EVENT), s.status))
        s = advance(p, s, trial, look.t1)
        s = s._replace(running=(s.status == 0) & (s.t != p.t1))
        running, reached = read(p, crew, recorder, s, look.t1, trial.accepted, n)
        s = s._replace(nfev=s.nfev + keep(p, recorder, before, trial, look, reached))
        p, s = crew.without_ended(p, s, running)
    s = crew.all(s)
    return s._replace(
        status=torch.where((s.t != problem.t1) & (s.status == 0), int(Status.MAX_STEPS), s.status)
    )


def read(
    problem: Problem,
    crew: Crew,
    recorder: BatchRecorder,
    moved: State,
    t1: Tensor,
    accepted: Tensor,
    trips: int,
) -> tuple[int, Reached]:
    """(how many samples go on, which outputs steps to t1 have reached): the one read of a trip."""
    p = problem
    after = recorder.reach(t1, accepted)
    inside = recorder.inside(after, t1)
    numbers = [moved.running.sum(), (after - recorder.cursor).sum(), inside.sum()]
    if p.progress is not None:
        numbers.append(p.progress.millionths(moved.t, crew.mine(p.progress.t1), moved.running))
    running, outputs, insides, *covered = torch.stack(numbers).tolist()
    if p.progress is not None:
        p.progress.tell(covered[0] / MILLION, trips + 1, p.field.count)
    return running, (after, bool(outputs), inside, bool(insides))


def keep(
    problem: Problem, recorder: BatchRecorder, before: State, trial: Trial, look: Look, reached: Reached
) -> Any:
    """Record a trip of the loop; the evaluations that outputs inside steps have cost each sample."""
    p, step = problem, trial.step
    after, any_output, inside, any_inside = reached
    solved = step.stages if p.method.retake else ()
    whole = look.whole
    if whole is None and p.method.extend is not None and (p.dense_output or any_inside):
        whole = p.method.complete(p.field, before.t, trial.h, before.y, step)
    extra: Any = 0
    if whole is not None:
        extra = p.method.extra * (trial.accepted if p.dense_output or look.whole is not None else inside)
    stages = (whole or step).stages
    tried = Attempt(
        before.t, trial.h, before.y, before.carry, stages, solved, trial.accepted, recorder.samples
    )
    recorder.keep(look.t1, after, any_output, any_inside, tried, (trial.t1, step.y1), look.sight)
    return extra


def look_for_events(problem: Problem, crew: Crew, before: State, trial: Trial) -> Look:
    """What ``Problem.watch`` finds in every sample's step.

    It looks at the whole batch: event functions are cheap, and f is not called for them.
    """
    p, s, t1 = problem, before, trial.t1
    if p.watch is None:
        return Look(t1, None)
    made: list[Step] = []

    def finish() -> Step:
        made.append(p.method.complete(p.field, s.t, trial.h, s.y, trial.step))
        return crew.spread_step(made[0])

    carry, accepted = tuple(crew.spread(part) for part in s.carry), crew.spread(trial.accepted)
    later = finish if p.method.extend is not None else None
    span = Span(
        crew.spread(s.t), crew.spread(trial.h), crew.spread(t1), crew.spread(s.y), carry, later, accepted
    )
    sight = p.watch.look(span, crew.spread_step(trial.step))
    whole = made[0] if made else None
    if sight is None:
        return Look(t1, None, whole)
    sight = Sight(crew.mine(sight.theta.T).T, crew.mine(sight.event.T).T, crew.mine(sight.stop))
    stopped = torch.isfinite(sight.stop)
    t1 = torch.where(stopped, s.t + sight.stop.nan_to_num(posinf=0.0) * trial.h, t1)
    return Look(t1, stopped, whole, sight)
