"""checkpointed: the exact gradient of the steps taken, with the states of a few of them.

The schedule: Griewank & Walther, Algorithm 799: revolve, ACM TOMS 26 (2000) 19-45.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import torch
from torch import Tensor

from ..control import rounding_level
from ..engine import Run
from ..methods import Step
from ..output import Everything, Keeping, Thinning
from ..problem import Problem
from .recorded import solve_recorded
from .sweep import Entry


@dataclass(frozen=True)
class Checkpointed:
    """The gradient of ``Discrete``, the same to rounding, with fewer states: others are computed again.

    Args:
        slots: states kept at any time, at least 2; None: at most 2 sqrt(N) of N steps while these are made, and at
            most 2 sqrt(N) more in the backward pass.

    A state of d numbers takes 2 d in a slot (d without FSAL); a step besides keeps t and h. Implicit Runge-Kutta and
    Rosenbrock methods solve the equations of a step anew, to rounding: where those of the forward pass were solved to
    its tolerance, the gradient is that of steps which differ by what was left there. f is evaluated three times a stage
    with ``slots=None``: in the forward pass, to get a state back, and under autograd (and once more where equations are
    solved anew); with a fixed number of slots up to r + 2 times for N <= binomial(slots + r, r) steps.
    ``dense_output=True`` keeps every state in any case. Second derivatives re-run all steps under autograd, with the
    memory of ``Direct``.
    """

    slots: int | None = None

    def __post_init__(self) -> None:
        if self.slots is not None and (isinstance(self.slots, bool) or not self.slots >= 2):
            raise ValueError(f"Checkpointed slots must be an integer of at least 2, got {self.slots!r}")

    def solve(self, problem: Problem) -> Run:
        """Integrate without a tape of f; gradients come from the recorded steps."""
        return solve_recorded(self, problem)

    def keeping(self, problem: Problem) -> Keeping:
        """Half of the slots: the others are for the states between."""
        if problem.dense_output:
            return Everything()
        again = problem.method.repeatable
        return Thinning(None if self.slots is None else max(1, self.slots // 2), stages=not again)

    def entries(self, problem: Problem, run: Run) -> Iterator[Entry]:
        """Segment by segment from the last, each from the state it starts with."""
        segments = run.tape.segments(problem.y0)
        while segments:
            rows = segments.pop()
            if all(row.y is not None for row in rows):
                yield from (Entry(row, row.y, row.carry) for row in reversed(rows))
                continue
            free = len(rows) if self.slots is None else self.slots - len(segments) - 1
            for entry in backward(problem, rows, (rows[0].y, rows[0].carry), free):
                yield solved(problem, entry) if problem.method.repeatable else entry


def backward(
    problem: Problem, rows: list[Any], start: tuple[Tensor, tuple[Tensor, ...]], free: int
) -> Iterator[Entry]:
    """The entries of ``rows`` from the last to the first, from the state that the first starts with.

    ``free``: how many further states may be kept at any time.
    """
    waiting = [(rows, start, free)]
    while waiting:
        rows, start, free = waiting.pop()
        if len(rows) == 1:
            yield Entry(rows[0], *start)
            continue
        at = split(len(rows), free)
        waiting.append((rows[:at], start, free))
        waiting.append((rows[at:], advanced(problem, rows[:at], start), max(free - 1, 0)))


def advanced(
    problem: Problem, rows: list[Any], start: tuple[Tensor, tuple[Tensor, ...]]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """State and carry behind some recorded steps."""
    y, carry = start
    take = step_again if problem.method.repeatable else retaken
    with torch.no_grad():
        for row in rows:
            step = take(problem, Entry(row, y, carry))
            y = row.merge(step.y1, y)
            carry = tuple(row.merge(new, old) for new, old in zip(step.carry, carry, strict=True))
    return y, carry


def retaken(problem: Problem, entry: Entry) -> Step:
    """A recorded step, with the stages that are kept of it."""
    row, y, carry = entry
    return problem.method.again(problem.field, row.t, row.h, y, carry, row.stages)


def step_again(problem: Problem, entry: Entry) -> Step:
    """A recorded step whose equations are solved anew, to rounding."""
    method, (row, y, carry) = problem.method, entry
    work = method.begin(rounding_level(problem.y0, problem.norm, problem.batch))
    return method.step(problem.field, row.t, row.h, y, carry, work)


def solved(problem: Problem, entry: Entry) -> Entry:
    """The entry with the stages that its step is retaken with."""
    with torch.no_grad():
        return entry._replace(row=replace(entry.row, stages=step_again(problem, entry).stages))


def split(steps: int, free: int) -> int:
    """How far to go before a state is kept, so that reversing ``steps`` steps with that many costs least."""
    if not free:
        return steps - 1
    slots, r = free + 1, 1
    while comb(slots + r, r) < steps:
        r += 1
    return max(1, min(comb(slots + r - 1, r - 1), steps - comb(slots + r - 2, r - 1)))
