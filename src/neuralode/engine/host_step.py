"""One trial step of a state that steps as one: tried, judged, and the state that follows."""

import math
import sys
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import initial_step
from ..methods import Carry, Step
from ..ops import stage_times
from ..problem import Problem
from ..solution import Status

# After a step whose equations could not be solved.
AFTER_TROUBLE = 0.5
# Of the larger end of t_span: next to t = 0 steps may be smaller than what the end resolves, but not without limit.
NEAR_ZERO = 1e-10


class State(NamedTuple):
    """All that the next trial step depends on.

    Attributes:
        t, y: where the integration is.
        carry, work: the method's.
        size: magnitude of the next step; NaN where f(t, y) is not finite.
        memory: the controller's.
        accepted, rejected: counts so far.
    """

    t: float
    y: Tensor
    carry: Carry
    work: Any
    size: float
    memory: Any
    accepted: int = 0
    rejected: int = 0


class Trial(NamedTuple):
    """A step that was tried: from t to t1 = t + h.

    Attributes:
        scaled: the error in units of the tolerance, entry by entry; None where the method judged by itself.
        ratio: its norm; None likewise.
    """

    h: float
    t1: float
    step: Step
    accepted: bool
    scaled: Tensor | None = None
    ratio: float | None = None


def begin(problem: Problem) -> State:
    """The state before the first step."""
    p = problem
    carry = p.method.init(p.start, p.t0, p.y0)
    size = 0.0 if p.grid is not None else float(p.first_step or first_size(p, carry))
    return State(p.t0, p.y0, carry, p.method.begin(p.tolerance), size, None)


def take(problem: Problem, state: State) -> tuple[Trial | None, State, Status]:
    """Try steps until one is accepted: (the last trial, the state after it, SUCCESS or why none was accepted)."""
    p, s, trial = problem, state, None
    while s.accepted + s.rejected < p.max_steps:
        t = s.t
        trial, s = attempt(p, s)
        if trial.accepted:
            stuck = trial.t1 == t and s.size <= abs(trial.h)
            return trial, s, Status.STEP_TOO_SMALL if stuck else Status.SUCCESS
        if s.size < (least := floor(p, t)):
            return trial, s, Status(trial.step.trouble or why(trial, least))
    return trial, s, Status.MAX_STEPS


def why(trial: Trial, least: float) -> Status:
    """What it means that no step smaller than this one can be tried.

    A step that still resolved t and gave no finite result says that f has none there; a state that blows up
    overflows only in steps far smaller than that.
    """
    finite = bool(torch.isfinite(trial.step.y1).all()) if trial.ratio is None else math.isfinite(trial.ratio)
    return Status.STEP_TOO_SMALL if finite or abs(trial.h) < least else Status.NONFINITE


def given(problem: Problem, state: State) -> tuple[Trial, State, Status]:
    """The next of the given steps: as ``take``. A state that is no longer finite is not looked for."""
    p, s = problem, state
    t, t1 = p.grid[s.accepted], p.grid[s.accepted + 1]
    step = p.method.step(p.field, t, t1 - t, s.y, s.carry, s.work)
    trial = Trial(t1 - t, t1, step, not step.trouble)
    if step.trouble:
        return trial, s._replace(t=t), Status(step.trouble)
    return trial, State(t1, step.y1, step.carry, step.work, 0.0, None, s.accepted + 1), Status.SUCCESS


def attempt(problem: Problem, state: State) -> tuple[Trial, State]:
    """Try one step, and judge it."""
    p, s, method = problem, state, problem.method
    h, t1 = clip_step(p, s.t, s.size)
    step = method.step(p.field, s.t, h, s.y, s.carry, s.work)
    accept, factor, memory, scaled, ratio = False, AFTER_TROUBLE, s.memory, None, None
    if step.trouble:
        memory = p.controller.after_trouble(memory)
    elif method.decide is not None:
        accept, factor, step = method.decide(step, p.tolerance, s.y, h)
    else:
        assert step.error is not None
        scaled = p.tolerance.scaled(step.error, s.y, step.y1)
        ratio = p.tolerance.measure(scaled)
        accept, factor, memory = p.controller.judge(ratio, memory, method.error_order, abs(h))
    trial = Trial(h, t1, step, accept, scaled, ratio)
    size = factor * abs(h)
    if not accept:
        return trial, s._replace(work=step.work, size=size, memory=memory, rejected=s.rejected + 1)
    if abs(h) < s.size and factor >= 1:  # shortened to land on the end: no reason for a smaller next one
        size = max(s.size, size)
    return trial, State(t1, step.y1, step.carry, step.work, size, memory, s.accepted + 1, s.rejected)


def clip_step(problem: Problem, t: float, size: float) -> tuple[float, float]:
    """(h, t + h), never past t1; two even steps rather than a long one and a sliver."""
    p, sign = problem, problem.sign
    left, size = sign * (p.t1 - t), min(size, p.max_step)
    if size >= left:
        size = left
        while sign * (t + sign * size - p.t1) > 0:  # rounding must not carry a stage past the end
            size = math.nextafter(size, 0.0)
        return sign * size, p.t1
    if 2 * size > left:
        size = left / 2
    return sign * size, t + sign * size


def floor(problem: Problem, t: float) -> float:
    """The smallest step at t: what t resolves, or min_step."""
    end = problem.t1 if math.isfinite(problem.t1) else t
    scale = max(abs(t), NEAR_ZERO * max(abs(problem.t0), abs(end)))
    return max(problem.min_step, 4 * sys.float_info.epsilon * scale)


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
            measure=p.tolerance.measure,
        )
