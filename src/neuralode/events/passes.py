"""A solve with events, in two passes.

The first pass takes the steps without gradients and locates the events. The second is an ordinary differentiable
solve over the same steps that stops at the terminal event and has the event times among its outputs. From
g(t_e, y(t_e)) = 0 follows dt_e = -dg / (g_t + g_y f), and the state at the event moves along with f dt_e.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..engine import LOOPS, Run
from ..errors import SolverWarning
from ..ops import REAL, merge, spread
from ..problem import Problem
from .watch import BatchWatch, Event, Watch, evaluate

# |dg/dt| below which the time of an event has no usable derivative.
GRAZING = 1e-14


@dataclass(frozen=True)
class Found:
    """What the event functions met.

    Attributes:
        t_events: per event, (n,), or (n, B) padded with NaN; float64.
        y_events: per event, (n, *y0.shape).
        event_mask: (E,), or (E, B): which events occurred.
    """

    t_events: list[Tensor]
    y_events: list[Tensor]
    event_mask: Tensor


def solve_with_events(
    problem: Problem, events: Sequence[Event], integrate: Callable[[Problem], Run]
) -> tuple[Run, Found]:
    """The run up to each sample's terminal event, and what was found; ``integrate`` is the differentiable solve."""
    watching = BatchWatch if problem.batch == "independent" else Watch
    with torch.no_grad():
        still = replace(problem, y0=problem.y0.detach(), times="steps", dense_output=False)
        watch = watching(still, events)
        scout = LOOPS[problem.batch](replace(still, watch=watch))
    plan = Plan(problem, scout, watch.found)
    run = integrate(plan.problem)
    y1, t_events, y_events = run.y1, [], []
    for index, event in enumerate(events):
        times, states = plan.occurrences(index, run.ys)
        sharp = [_sharpen(problem, event, t, y) for t, y in zip(times, states, strict=True)]
        t_events.append(torch.stack([t for t, _ in sharp]) if sharp else times)
        y_events.append(torch.stack([y for _, y in sharp]) if sharp else states)
        if event.terminal and len(times):
            y1 = merge(plan.ended_by(times), _sharpen(problem, event, plan.stop, run.y1)[1], y1)
    reached = torch.as_tensor(scout.status, device=y1.device) >= 0
    y1 = merge(reached, y1, torch.full_like(y1, torch.nan))
    counts = [~torch.isnan(t.detach()) for t in t_events]
    found = Found(t_events, y_events, torch.stack([count.any(0) for count in counts]))
    ending = {name: getattr(scout, name) for name in ("status", "t", "h", "sample", "accepted", "rejected")}
    nfev = run.nfev + scout.nfev if problem.batch == "independent" else run.nfev
    return replace(run, ys=plan.outputs(run.ys), y1=y1, times=plan.user_times, nfev=nfev, **ending), found


class Plan:
    """The second pass: its steps, and outputs that hold the user's and the events', sorted per sample.

    Times are (rows, B) here, with one column for a state that steps as one.
    """

    def __init__(self, problem: Problem, scout: Run, found: list[tuple[int, Tensor]]) -> None:
        self.single = problem.batch != "independent"
        self.like = problem.y0
        table = self._columns(scout.times)
        self.sign = self._columns([problem.sign])[0] if self.single else problem.sign
        self.stop = self._columns([scout.t])[0] if self.single else scout.t
        self.user = table if problem.times == "steps" else self._columns(problem.times)
        self.user_times = scout.times if problem.times == "steps" else problem.times
        self.events = [index for index, _ in found]
        self.times = torch.stack([t for _, t in found]) if found else table[:0]
        merged = torch.cat([self._up_to_stop(self.user), self._up_to_stop(self.times)])
        order = torch.argsort(merged * self.sign, dim=0, stable=True)
        self.back = torch.argsort(order, dim=0)
        outputs = merged.gather(0, order)
        grid = torch.cat([self._up_to_stop(table), self.stop[None]])
        if self.single:
            steps = list(dict.fromkeys(grid[:, 0].tolist()))
            self.problem = replace(problem, t1=steps[-1], times=outputs[:, 0].tolist(), grid=steps)
        else:
            self.problem = replace(problem, t1=self.stop, times=outputs, grid=grid)
        self.problem = replace(self.problem, max_steps=len(grid), inputs=self._inputs(problem, scout))
        self.stop = self.stop[0] if self.single else self.stop

    def _columns(self, times: object) -> Tensor:
        found = torch.as_tensor(times, dtype=torch.float64, device=self.like.device)
        return found[:, None] if found.dim() == 1 else found

    def _up_to_stop(self, times: Tensor) -> Tensor:
        late = torch.isnan(times) | ((times - self.stop) * self.sign > 0)
        return torch.where(late, self.stop, times)

    def _inputs(self, problem: Problem, scout: Run) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The end of t_span has no influence where an event came first; output times are planned anew."""
        stopped = bool((scout.status == 1).any()) if isinstance(scout.status, Tensor) else scout.status == 1
        return problem.inputs[0], None if stopped else problem.inputs[1], None

    def _rows(self, ys: Tensor) -> Tensor:
        """Outputs of the second pass back in the order (user's, events')."""
        if self.single:
            return ys[self.back[:, 0]]
        return ys[self.back, torch.arange(self.back.shape[1], device=ys.device).expand_as(self.back)]

    def outputs(self, ys: Tensor) -> Tensor:
        """The user's outputs; NaN behind a terminal event."""
        rows = self._rows(ys)[: len(self.user)]
        late = torch.isnan(self.user) | ((self.user - self.stop) * self.sign > 0)
        late = late[:, 0] if self.single else late
        return torch.where(late.reshape(*late.shape, *(1,) * (rows.dim() - late.dim())), torch.nan, rows)

    def occurrences(self, event: int, ys: Tensor) -> tuple[Tensor, Tensor]:
        """Times and states of one event, the first ones first; samples with fewer are padded with NaN."""
        mine = torch.tensor([i for i, index in enumerate(self.events) if index == event], dtype=torch.long)
        times = self.times[mine.to(self.times.device)]
        states = self._rows(ys)[len(self.user) + mine.to(ys.device)]
        if self.single:
            return times[:, 0], states
        missing = torch.isnan(times)
        order = (
            torch.argsort(missing.int(), dim=0, stable=True)[: int((~missing).sum(0).max())]
            if len(mine)
            else mine
        )
        if not len(mine):
            return times, states
        times, states = times.gather(0, order), states[order, torch.arange(order.shape[1], device=ys.device)]
        gone = torch.isnan(times)
        return times, torch.where(gone.reshape(*gone.shape, *(1,) * (states.dim() - 2)), torch.nan, states)

    def ended_by(self, times: Tensor) -> Tensor:
        """Which samples an event with these times has ended."""
        return (times == self.stop).any(0)


def _sharpen(problem: Problem, event: Event, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(t, y) at an event, differentiable with respect to all that moves it; first derivatives only."""
    if not torch.is_grad_enabled():
        return t, y
    batched = problem.batch == "independent"
    known = ~torch.isnan(t)
    here = torch.where(known, t, torch.as_tensor(problem.t0, device=t.device)).detach()
    state = merge(known, y, problem.y0.detach()) if batched else y
    time, at = here.clone().requires_grad_(), state.detach().requires_grad_()
    with torch.enable_grad():
        value = evaluate(problem, event, time, at)
    if not value.requires_grad:
        return t, y
    g_t, g_y = torch.autograd.grad(value.sum(), [time, at], allow_unused=True)
    with torch.no_grad():
        clock = here.to(REAL.get(y.dtype, y.dtype))
        slope = problem.field(spread(clock, y.real) if batched else clock, at.detach())
    along = torch.zeros_like(slope.real) if g_y is None else (g_y.conj() * slope).real
    rate = along.reshape(len(y), -1).sum(1) if batched else along.sum()
    rate = (rate if g_t is None else rate + g_t).double()
    flat = rate.abs() <= GRAZING
    if bool((known & flat).any()):
        warnings.warn(
            "an event grazes zero (dg/dt = 0): its time has no derivative", SolverWarning, stacklevel=2
        )
    move = -evaluate(problem, event, here, state).double() / torch.where(flat, torch.inf, rate)
    moved = state + slope * (spread(move, y) if batched else move.to(REAL.get(y.dtype, y.dtype)))
    return torch.where(known, here + move, t), merge(known, moved, y) if batched else moved
