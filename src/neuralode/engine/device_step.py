"""One trial step of samples that step by themselves: tried for all at once, judged one by one."""

import math
import sys
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import initial_step, select
from ..methods import Carry, Step
from ..ops import merge, scalar, stage_times
from ..problem import Problem
from ..solution import Status
from .host_step import AFTER_TROUBLE, NEAR_ZERO


class State(NamedTuple):
    """As ``host_step.State``, of every sample; counts are (B,).

    Attributes:
        running: the samples that have not ended.
        nfev, njev: evaluations so far that each sample would have made alone.
        status: why the others have ended.
        h: the last step tried.
        report: what the method says of itself, known at the end.
    """

    t: Tensor
    y: Tensor
    carry: Carry
    work: Any
    size: Tensor
    memory: Any
    running: Tensor
    accepted: Tensor
    rejected: Tensor
    nfev: Tensor
    njev: Tensor
    status: Tensor
    h: Tensor
    report: Any = None


class Trial(NamedTuple):
    """As ``host_step.Trial``; ``accepted`` and ``ratio`` (B,). Samples that have ended: h = 0.

    ``trouble``: as in ``Step``, 0 or (B,).
    """

    h: Tensor
    t1: Tensor
    step: Step
    accepted: Tensor
    trouble: Any
    ratio: Tensor | None = None


def begin(problem: Problem) -> State:
    """The state before the first step."""
    p = problem
    carry = p.method.init(p.start, p.t0, p.y0)
    none = torch.zeros_like(p.t0, dtype=torch.long)
    size = torch.zeros_like(p.t0) if p.grid is not None else first_size(p, carry)
    good = torch.isfinite(size)
    return State(
        t=p.t0,
        y=p.y0,
        carry=carry,
        work=p.method.begin(p.tolerance),
        size=size,
        memory=None,
        running=good & (p.t0 != p.t1),
        accepted=none,
        rejected=none,
        nfev=none + p.field.count,
        njev=none,
        status=torch.where(good, int(Status.SUCCESS), int(Status.FIRST_NONFINITE)),
        h=torch.zeros_like(p.t0),
    )


def attempt(problem: Problem, state: State) -> tuple[Trial, State]:
    """Try one step of every running sample, and judge it. The state that follows is not yet moved: see ``advance``."""
    p, s = problem, state
    most = s.size if p.max_step == math.inf else s.size.clamp(max=p.max_step)
    h, t1 = clip_step(s.t, p.t1, None if p.forward else p.sign, most, s.running)
    step = p.method.step(p.field, s.t, h, s.y, s.carry, s.work)
    length = h.abs()
    ratio, accept, factor, memory, step = _judge(p, s, step, h, length)
    trouble = step.trouble
    accept = accept & s.running
    if isinstance(trouble, Tensor) or trouble:
        trouble = torch.as_tensor(trouble, device=h.device).expand(h.shape)
        accept = accept & (trouble == 0)
    size = factor * length
    size = torch.where((length < s.size) & accept & (factor >= 1), torch.maximum(s.size, size), size)
    trial = Trial(h, t1, step, accept, trouble, ratio)
    after = s._replace(size=torch.where(s.running, size, s.size), memory=memory, work=step.work)
    return trial, _ended(p, counted(p, after, trial), trial, length)


def _ended(problem: Problem, state: State, trial: Trial, length: Tensor) -> State:
    """The state after a trial, with the samples that cannot try a smaller step ended (see ``host_step.why``)."""
    s, r = state, trial.ratio
    least = floor(problem, s.t)
    stuck = (trial.t1 == s.t) & (s.size <= length)
    failed = s.running & torch.where(trial.accepted, stuck, s.size < least)
    finite = rows_finite(trial.step.y1) if r is None else torch.isfinite(r)
    small = finite | trial.accepted | (length < least)
    reason = torch.where(small, code(Status.STEP_TOO_SMALL, length), code(Status.NONFINITE, length))
    if isinstance(trial.trouble, Tensor):
        reason = torch.where(trial.trouble < 0, trial.trouble, reason)
    return s._replace(
        h=torch.where(s.running, trial.h, s.h),
        running=s.running & ~failed,
        status=torch.where(failed, reason, s.status),
    )


def rows_finite(y: Tensor) -> Tensor:
    """Which samples' states are finite, (B,)."""
    return torch.isfinite(y).reshape(len(y), -1).all(1)


def given(problem: Problem, state: State, start: Tensor, stop: Tensor) -> tuple[Trial, State]:
    """Take a given step; samples whose steps have ended, start = stop, or that failed before stand still."""
    p = problem
    s = state._replace(running=(start != stop) & (state.status == 0))
    h = torch.where(s.running, stop - start, 0.0)
    step = p.method.step(p.field, s.t, h, s.y, s.carry, s.work)
    trouble = torch.as_tensor(step.trouble, device=h.device).expand(h.shape)
    accept = s.running & rows_finite(step.y1) & (trouble == 0)
    reason = torch.where(trouble < 0, trouble, int(Status.NONFINITE))
    failed = s.running & ~accept
    trial = Trial(h, stop, step, accept, trouble)
    after = counted(p, s._replace(work=step.work), trial)
    # A sample with no finite state goes no further, but its clock does: what is wrong was wrong in this step.
    return trial, after._replace(
        t=torch.where(failed, stop, s.t),
        h=torch.where(s.running, h, s.h),
        status=torch.where(failed, reason, s.status),
        rejected=s.rejected,
    )


def code(status: Status, like: Tensor) -> Tensor:
    """A status as a tensor."""
    return scalar(int(status), torch.long, like.device)


def _judge(
    p: Problem, s: State, step: Step, h: Tensor, length: Tensor
) -> tuple[Tensor | None, Tensor, Tensor, Any, Step]:
    if p.method.decide is not None:
        accept, factor, step = p.method.decide(step, p.tolerance, s.y, h)
        ratio, memory = None, s.memory
    else:
        assert step.error is not None
        ratio = p.tolerance.ratio(step.error, s.y, step.y1)
        accept, factor, memory = p.controller.judge(ratio, s.memory, p.method.error_order, length)
    if not isinstance(step.trouble, Tensor):
        return ratio, accept, factor, memory, step
    troubled = step.trouble != 0
    factor = torch.where(troubled, AFTER_TROUBLE, factor)
    if p.method.decide is None:
        kept = p.controller.after_trouble(s.memory)
        memory = tuple(select(troubled, old, new) for old, new in zip(kept, memory, strict=True))
    return ratio, accept, factor, memory, step


def counted(problem: Problem, state: State, trial: Trial) -> State:
    """The state with the counts of a trial step."""
    s, step = state, trial.step
    calls = problem.method.evaluations if step.calls is None else step.calls
    none = isinstance(step.jacobians, int) and not step.jacobians
    return s._replace(
        accepted=s.accepted + trial.accepted,
        rejected=s.rejected + (s.running & ~trial.accepted),
        nfev=s.nfev + s.running * calls,
        njev=s.njev if none else s.njev + s.running * step.jacobians,
    )


def advance(problem: Problem, state: State, trial: Trial, t1: Tensor) -> State:
    """Every sample moved to the end of its step, t1, where it was accepted; it runs on if that is not the end."""
    s, step, accept = state, trial.step, trial.accepted
    carry = tuple(merge(accept, new, old) for new, old in zip(step.carry, s.carry, strict=True))
    return s._replace(
        t=torch.where(accept, t1, s.t),
        y=merge(accept, step.y1, s.y),
        carry=carry,
        running=s.running & ~(accept & (t1 == problem.t1)),
    )


def clip_step(
    t: Tensor, t1: Tensor, sign: Tensor | None, size: Tensor, running: Tensor
) -> tuple[Tensor, Tensor]:
    """(h, t + h) as in the host loop; h = 0 for samples that have ended. Without a sign all go forward."""

    def signed(x: Tensor) -> Tensor:
        return x if sign is None else sign * x

    left = signed(t1 - t)
    last, half, zero = size >= left, 0.5 * left, scalar(0.0, left.dtype, left.device)
    size = torch.where(size > half, half, size)
    over = signed(t + signed(left)) > signed(t1)
    left = torch.where(over, torch.nextafter(left, zero), left)
    h = signed(torch.where(last, left, size))
    return torch.where(running, h, zero), torch.where(running, torch.where(last, t1, t + h), t)


def floor(problem: Problem, t: Tensor) -> Tensor:
    """The smallest step of every sample at t, as in ``host_step.floor``."""
    scale = torch.maximum(t.abs(), NEAR_ZERO * problem.reach)
    return (4 * sys.float_info.epsilon * scale).clamp(min=problem.min_step)


def first_size(problem: Problem, carry: Carry) -> Tensor:
    """Magnitude of every sample's first step; NaN where f(t0, y0) is not finite."""
    span = (problem.t1 - problem.t0).abs()
    if problem.first_step is None:
        return searched_size(problem, carry, span) if problem.y0.numel() else span
    given = torch.as_tensor(problem.first_step, dtype=span.dtype, device=span.device)
    unknown = torch.isnan(given)
    size = torch.minimum(span, given)
    return torch.where(unknown, searched_size(problem, carry, span), size) if bool(unknown.any()) else size


def searched_size(problem: Problem, carry: Carry, span: Tensor) -> Tensor:
    """As ``initial_step`` finds it, for every sample."""
    p = problem
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
        measure=p.tolerance.measure,
    )
    return torch.where(finite, size, torch.nan)
