"""One problem by every contender: error, times in interleaved rounds, and times at equal error."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from operations import OfTorch
from timing import LEAST, interleaved, once
from torch import Tensor

import neuralode

from .problem import Contender, Problem, RefusedError

# Of the tolerance: what a contender is run at too, to say what it takes for an error that is not its own.
LADDER = (10**-0.5, 10.0, 0.1, 100.0, 10**-1.5)
TIGHT = {"forward": 1e-11, "gradient": 1e-9}
MODES = ("forward", "gradient")
FAILURES = (RefusedError, RuntimeError, AssertionError, ArithmeticError, ValueError)


@dataclass(frozen=True)
class Effort:
    """Rounds through all contenders, seconds that each may use of them, the longest call that has a ladder, and the
    longest forward solve of which a gradient is tried."""

    rounds: int = 5
    budget: float = 4.0
    longest: float = 3.0
    forward: float = 6.0


@dataclass(frozen=True)
class Point:
    """One tolerance: its error and seconds of processor time."""

    tolerance: float
    error: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One contender on one problem; without figures where ``note`` says why.

    Attributes:
        error: the largest of all outputs, absolute; of a gradient |g - reference| / |reference|.
        seconds, least, most: median, smallest and largest processor time, all threads (CUDA: time on the wall).
        wall: median of the time on the wall.
        ladder: other tolerances, and this one.
    """

    problem: str
    mode: str
    contender: str
    per_sample: bool
    error: float | None = None
    seconds: float | None = None
    least: float | None = None
    most: float | None = None
    wall: float | None = None
    repeats: int = 0
    ladder: list[Point] = field(default_factory=list)
    note: str = ""


def synchronised(problem: Problem, work: Callable[[float], Any]) -> Callable[[float], Any]:
    """The work, done when it returns."""
    if problem.y0.device.type != "cuda":
        return work

    def waited(tol: float) -> Any:
        result = work(tol)
        torch.cuda.synchronize()
        return result

    return waited


def reference(problem: Problem, mode: str) -> Tensor:
    """In float64 on the CPU, by another method of ours to a far tighter tolerance, eager."""
    exact = problem.to(torch.float64)
    # A ReLU's kinks keep a reference from converging as fast as elsewhere.
    tight = 1e-2 * problem.tol if exact.y0.dim() > 2 else TIGHT[mode]

    def solve(y0: Tensor) -> Tensor:
        found: Tensor = neuralode.solve(
            exact.field, exact.t_span, y0, t_eval=exact.times, args=exact.args, max_steps=10_000_000,
            method="radau5" if exact.stiff else "dop853", **exact.tolerances(tight),
            batch=("independent" if exact.stiff else "lockstep") if exact.batched else None,
        ).y  # fmt: skip
        return found

    if mode == "forward":
        with torch.no_grad():
            return solve(exact.y0).reshape(-1)
    loss = exact.total_loss(OfTorch, solve(exact.leaves[0]))
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, exact.leaves)])


@dataclass(frozen=True)
class Race:
    """All contenders at one problem.

    Attributes:
        want: the reference.
        clock: "processor", or "wall" where the processor is not what works.
    """

    problem: Problem
    mode: str
    want: Tensor
    clock: str

    def miss(self, found: Tensor) -> float:
        if self.mode == "forward":
            return float((found - self.want).abs().max())
        return float((found - self.want).norm() / self.want.norm())

    def enter(
        self, contender: Contender, forward: float, longest: float
    ) -> tuple[Row | None, Callable[[float], Any] | None]:
        """Its row with the error alone and its work, compiled by a first call; no row where it is foreign here."""
        empty = Row(self.problem.name, self.mode, contender.name, contender.per_sample)
        if forward > longest:
            return replace(empty, note=f"left out: a forward solve takes {forward:.0f} s"), None
        try:
            work = synchronised(self.problem, getattr(contender, self.mode)(self.problem))
            error = self.miss(contender.numbers(work(self.problem.tol)))
        except RefusedError as reason:
            return (replace(empty, note=str(reason)) if str(reason) else None), None
        return replace(empty, error=error), work

    def ladder(
        self, row: Row, contender: Contender, work: Callable[[float], Any], budget: float
    ) -> list[Point]:
        """The row's own point and those of other tolerances that the code can reach, while the budget lasts."""
        points = [Point(self.problem.tol, row.error, row.seconds)]
        inside = max(1, round(LEAST / row.seconds))
        until = time.process_time() + budget
        for factor in LADDER:
            tol = factor * self.problem.tol
            if time.process_time() > until:
                break
            try:
                error = self.miss(contender.numbers(work(tol)))
                both = [once(partial(work, tol), inside) for _ in range(3 if row.seconds < 0.1 else 1)]
            except FAILURES:  # float32 has no such digits, and every code says so in its own way
                continue
            if math.isfinite(error):
                seconds = statistics.median(times[self.clock == "wall"] for times in both)
                points.append(Point(tol, error, seconds))
        return sorted(points, key=lambda point: point.tolerance)


def rows_of(
    problem: Problem,
    mode: str,
    contenders: Iterable[Contender],
    effort: Effort,
    say: Callable[[str], Any],
    known: Mapping[str, float],
) -> list[Row]:
    """Every contender's row, in their order; those to which the problem is foreign have none.

    ``known``: seconds of forward solves, by contender, from which a gradient's are foreseen.
    """
    clock = "wall" if problem.y0.device.type == "cuda" else "processor"
    say(f"{problem.name} {mode} reference")
    race = Race(problem, mode, reference(problem, mode), clock)
    rows: dict[Contender, Row] = {}
    works: dict[Contender, Callable[[float], Any]] = {}
    for contender in contenders:
        row, work = race.enter(contender, known.get(contender.name.partition(",")[0], 0.0), effort.forward)
        if row is not None:
            say(f"{problem.name} {mode} {contender.name}")
            rows[contender] = row
        if work is not None:
            works[contender] = work
    ready = {contender: partial(work, problem.tol) for contender, work in works.items()}
    for contender, times in interleaved(ready, effort.rounds, effort.budget).items():
        seconds = getattr(times, clock)
        rows[contender] = replace(
            rows[contender], seconds=statistics.median(seconds), least=min(seconds), most=max(seconds),
            wall=statistics.median(times.wall), repeats=len(seconds),
        )  # fmt: skip
    for contender, work in works.items():
        row = rows[contender]
        if row.seconds < effort.longest:
            say(f"{problem.name} {mode} {contender.name}, other tolerances")
            rows[contender] = replace(row, ladder=race.ladder(row, contender, work, effort.budget))
    return list(rows.values())


def seconds_at(error: float, ladder: Sequence[Point]) -> float:
    """What an error costs, by a straight line of log time over log error through a ladder."""
    errors, seconds = np.log([p.error for p in ladder]), np.log([p.seconds for p in ladder])
    if np.ptp(errors) == 0.0:
        return float(np.exp(seconds.mean()))
    slope, start = np.polyfit(errors, seconds, 1)
    return float(np.exp(start + slope * math.log(error)))


def ratio(theirs: Row, ours: Row) -> float | None:
    """Their time over ours at the same tolerance."""
    return None if theirs.seconds is None or ours.seconds is None else theirs.seconds / ours.seconds


def ratio_at_equal_error(theirs: Row, ours: Row) -> float | None:
    """Their time over ours for the error that ours has, or what both ladders reach that is nearest to it."""
    if min(len(theirs.ladder), len(ours.ladder)) < 3 or ours.error is None:
        return None
    errors = [[point.error for point in row.ladder] for row in (theirs, ours)]
    low, high = max(map(min, errors)), min(map(max, errors))
    if not 0.0 < low <= high:
        return None
    error = min(max(ours.error, low), high)
    return seconds_at(error, theirs.ladder) / seconds_at(error, ours.ladder)
