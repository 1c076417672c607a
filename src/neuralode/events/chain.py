"""A solve in legs: from one discontinuity in time, or one change of the state by an event, to the next.

Every leg is an ordinary differentiable solve. Its start may be an event's time, its end a time of discontinuity, both
with gradients of their own, so that the chain rule over the legs gives the jump of sensitivities ("saltation")
at their joints for every way of taking gradients.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..engine import Run
from ..ops import merge, transforming
from ..problem import Problem
from ..solution import Status
from .event import Event, changed
from .found import Found, found_in
from .ledger import Ledger, joined
from .leg import grid_between, times_from
from .rate import sharpen
from .restart import first_values, values_after
from .sided import sided
from .watch import Watch

# Two occurrences of an event that are no further apart than this, in units of t's rounding, are one.
ULPS = 8.0


def solve_in_legs(
    problem: Problem, stops: Tensor | None, events: Sequence[Event], integrate: Callable[[Problem], Run]
) -> tuple[Run, Found | None]:
    """The run over the whole span, and what was found; ``integrate`` is the differentiable solve.

    ``stops``: times of discontinuity, (S, C), sorted in the direction of each sample.
    """
    chain = Chain(problem, stops, events)
    while chain.active.any():
        leg = chain.leg()
        chain.add(leg, integrate(leg))
    return chain.run(), chain.found() if events else None


class Chain:
    """The legs so far. Times and masks are (C,): C is B with batch="independent", else 1.

    Attributes:
        t, y: where every sample is. clock: t, differentiable where a leg began or ended at a time that is.
        accepted: the last state of each that was accepted.
        active: the samples that go on. cut: those that are at a time of discontinuity.
    """

    def __init__(self, problem: Problem, stops: Tensor | None, events: Sequence[Event]) -> None:
        self.problem, self.stops, self.events = problem, stops, events
        self.single = problem.batch != "independent"
        self.t, self.end, self.sign = (self._clocks(x) for x in (problem.t0, problem.t1, problem.sign))
        first, last, _ = problem.inputs
        self.clock = self.t if first is None else self._clocks(first)
        self.last = self.end if last is None else self._clocks(last)
        self.y, self.y1 = problem.y0, torch.full_like(problem.y0, torch.nan)
        self.accepted = problem.y0.detach()
        self.active = torch.ones_like(self.t, dtype=torch.bool)
        self.cut = torch.zeros_like(self.active)
        self.status = torch.zeros_like(self.t, dtype=torch.long)
        self.h = torch.zeros_like(self.t)
        self.counts = {
            name: torch.zeros_like(self.status) for name in ("nfev", "njev", "accepted", "rejected")
        }
        self.calls = (problem.field.count, problem.field.jacobians)
        self.report: dict[str, Any] = {}
        self.sample: int | None = None
        self.knots: list[Any] = []
        self.outputs = Ledger(torch.zeros_like(self.status))
        self.events_found = [Ledger(torch.zeros_like(self.status)) for _ in events]
        self.fired = self.t.new_full((len(events), len(self.t)), torch.nan)
        self.watch: Watch | None = None
        self.legs = 0
        if events:
            values = first_values(problem, events, self.t, problem.y0)
            self.watch = Watch(problem, events, values, torch.zeros_like(values, dtype=torch.long))

    def _clocks(self, times: Any) -> Tensor:
        """Times as (C,) float64; with a gradient where they have one."""
        found = torch.as_tensor(times, dtype=torch.float64, device=self.problem.y0.device).reshape(-1)
        return found if self.single else found.expand(len(self.problem.y0))

    def leg(self) -> Problem:
        """The problem from where every sample is to its next time of discontinuity, or to the end."""
        p = self.problem
        self.target, cut = self._target()
        self.stop = torch.where(self.active, self.target.detach(), self.t)
        field = p.field if self.stops is None else sided(p, (self.t, self.stop), (self.cut, cut), self.sign)
        self.cut = cut
        spent = (self.counts["accepted"] + self.counts["rejected"])[self.active]
        leg = replace(
            p,
            field=field,
            start=field,
            y0=self.y,
            t0=self.t.item() if self.single else self.t,
            t1=self.stop.item() if self.single else self.stop,
            times=times_from(p, self.t),
            grid=grid_between(p, self.t, self.stop),
            inputs=(_wanted(self.clock), _wanted(self.target), None),
            first_step=None if self.legs else p.first_step,
            max_steps=p.max_steps - int(spent.min()),
        )
        return leg if self.watch is None else replace(leg, watch=self.watch)

    def _target(self) -> tuple[Tensor, Tensor]:
        """(the end of every sample's leg, whether f is discontinuous there)."""
        if self.stops is None:
            return self.last, torch.zeros_like(self.active)
        stops = self.stops.detach()
        ahead = ((stops - self.t) * self.sign > 0) & torch.isfinite(stops)
        cut = ahead.any(0)
        nearest = self.stops.gather(0, ahead.int().argmax(0, keepdim=True))[0]
        return torch.where(cut, nearest, self.last), cut

    def add(self, leg: Problem, run: Run) -> None:
        """The leg that has been solved."""
        status = torch.as_tensor(run.status, device=self.t.device).reshape(-1)
        t, h = (
            torch.as_tensor(x, dtype=torch.float64, device=self.t.device).reshape(-1) for x in (run.t, run.h)
        )
        self._count(run, h)
        if self.legs:
            _cut_off(status == int(Status.FIRST_NONFINITE), leg.y0, leg.inputs[0])
        times = self._columns(run.times)
        kind = torch.full_like(times, -1, dtype=torch.long)
        if run.marks is not None:
            kind[run.marks.row.to(kind.device), run.marks.sample.to(kind.device)] = run.marks.event.to(
                kind.device
            )
        states = run.ys[:, None] if self.single else run.ys
        ahead = (times - self.t) * self.sign
        fresh = (ahead > 0) | ((ahead == 0) & (self.legs == 0))
        self.outputs.add((kind < 0) & fresh & ((t - times) * self.sign >= 0) & self.active, times, states)
        when, where = self._record_events(leg, kind, times, states)
        self.knots += [] if run.knots is None else [run.knots]
        self._move(run, status, t, when, where)
        self.legs += 1

    def _columns(self, times: Any) -> Tensor:
        found = torch.as_tensor(times, dtype=torch.float64, device=self.t.device)
        return found[:, None] if self.single else found

    def _count(self, run: Run, h: Tensor) -> None:
        field, (calls, jacobians) = self.problem.field, self.calls
        earlier = {"nfev": calls, "njev": jacobians if self.single else 0, "accepted": 0, "rejected": 0}
        for name, before in earlier.items():
            self.counts[name] += (torch.as_tensor(getattr(run, name), device=h.device) - before) * self.active
        for name, value in run.report.items():
            if isinstance(value, str):  # which engine, and why: the last leg's
                self.report[name] = value
            else:
                self.report[name] = self.report.get(name, 0) + (value if self.single else value * self.active)
        self.calls = (field.count, field.jacobians)
        self.h = torch.where(self.active, h.double(), self.h)

    def _record_events(
        self, leg: Problem, kind: Tensor, times: Tensor, states: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Put down the events of a leg; (time, state) of those that ended it."""
        when, where = torch.full_like(self.t, torch.nan), leg.y0.detach()
        if self.watch is None:
            return when, where
        samples = torch.arange(len(self.t), device=self.t.device)
        taken = torch.zeros_like(self.active)
        for index, event in enumerate(self.events):
            mine = (kind == index) & self.active
            number = mine.cumsum(0)
            count = mine.sum(0)
            for n in range(1, int(count.max()) + 1):
                row = (mine & (number == n)).int().argmax(0) if len(mine) else samples
                has = count >= n
                at = states[row, samples]
                t, y = sharpen(
                    leg, event, torch.where(has, times[row, samples], torch.nan), at[0] if self.single else at
                )
                self.events_found[index].add(has[None], t[None], y[None, None] if self.single else y[None])
                ends = self.watch.ended[index] & (count == n) & ~taken
                taken = taken | ends
                when, where = torch.where(ends, t, when), self._pick(ends, y, where)
        return when, where

    def _pick(self, mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
        """``new`` for the samples in ``mask``."""
        if self.single:
            return new if bool(mask) else old
        return merge(mask, new, old)

    def _move(self, run: Run, status: Tensor, t: Tensor, when: Tensor, where: Tensor) -> None:
        """Every sample to the end of its leg: it has ended there, or goes on from there."""
        by_event = self.active & (status == int(Status.EVENT))
        final = torch.zeros_like(self.active) if self.watch is None else self.watch.final
        ended = (status < 0) | (by_event & final) | (~by_event & (t == self.end))
        status = self._bounded(status, by_event & ~final, ended, when)
        y = self._pick(by_event, where, run.y1)
        done = self.active & (ended | (status < 0))
        self.y1 = self._pick(done & (status >= 0), y, self.y1)
        if self.single and status.item() < 0:
            self.sample = run.sample
        self.accepted = self._pick(self.active, run.last.detach(), self.accepted)
        self.status = torch.where(done, status, self.status)
        self.t = torch.where(self.active, t, self.t)
        self.active = self.active & ~done
        if not self.active.any():
            return
        y = self._pick(self.active, y, self.problem.y0.detach())
        self.clock = torch.where(by_event, when, torch.where(self.active, self.target, self.t))
        self.cut = self.cut & ~by_event
        self._restart(by_event & self.active, y)

    def _bounded(self, status: Tensor, applied: Tensor, ended: Tensor, when: Tensor) -> Tensor:
        """The status, with samples failed that repeat an event without end or have no steps left."""
        spent = self.counts["accepted"] + self.counts["rejected"]
        status = torch.where(~ended & (spent >= self.problem.max_steps), int(Status.MAX_STEPS), status)
        if self.watch is None:
            return status
        when = when.detach()
        unit = ULPS * torch.finfo(torch.float64).eps
        room = unit * torch.maximum(when.abs(), self._clocks(self.problem.t0).abs())
        mine = self.watch.ended & applied
        again = (mine & ((when - self.fired).abs() <= room)).any(0)
        self.fired = torch.where(mine, when, self.fired)
        return torch.where(again & ~ended, int(Status.ZENO), status)

    def _restart(self, by_event: Tensor, y: Tensor) -> None:
        """The state, changed by the events that ended the leg, and a watch for the next leg."""
        self.y = y
        if self.watch is None:
            return
        old, values = self.watch, self.watch.values
        if bool(by_event.any()):
            for index, event in enumerate(self.events):
                mine = old.ended[index] & by_event
                if event.apply is not None and bool(mine.any()):
                    self.y = self._pick(mine, changed(self.problem, event, self.clock, self.y), self.y)
            fresh = values_after(self.problem, old, self.clock.detach(), y.detach(), self.y.detach())
            values = torch.where(by_event, fresh, values)
        self.watch = Watch(self.problem, self.events, values, old.seen)

    def run(self) -> Run:
        """All legs as one."""
        p = self.problem
        rows = None if isinstance(p.times, str) else len(p.times)
        like = p.y0[None] if self.single else p.y0
        times, ys = self.outputs.table(like, rows)
        if rows is None:
            given = times[:, 0].tolist() if self.single else times
        else:
            given = p.times if self.single or rows else times
        counts: dict[str, Any] = {
            name: value.item() if self.single else value for name, value in self.counts.items()
        }
        return Run(
            ys=ys[:, 0] if self.single else ys,
            y1=self.y1,
            last=self.accepted,
            knots=joined(self.knots, not self.single),
            times=given,
            status=Status(int(self.status)) if self.single else self.status,
            t=self.t.item() if self.single else self.t,
            h=self.h.item() if self.single else self.h,
            sample=self.sample,
            report=self.report,
            tape=None,
            **counts,
        )

    def found(self) -> Found:
        """The events of all legs."""
        return found_in(self.events_found, self.problem.y0, self.single)


def _wanted(t: Tensor) -> Tensor | None:
    return t if t.requires_grad or transforming() else None


def _cut_off(failed: Tensor, *starts: Tensor | None) -> None:
    """Keep the NaN of an f that could not be evaluated at a leg's start out of the derivatives of earlier legs."""
    if transforming() or not bool(failed.any()):
        return
    for start in starts:
        if start is not None and start.requires_grad:
            start.register_hook(lambda grad: torch.where(_spread_like(failed, grad), 0.0, grad))


def _spread_like(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(-1, *(1,) * (like.dim() - 1)) if len(mask) > 1 else mask.all()
