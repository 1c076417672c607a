"""reversible: the exact gradient of the steps taken, walked back by steps of -h, with no state stored.

For methods whose step of -h undoes one of h: exactly, to rounding (symmetric splittings), or up to a high power of h
(Shmelev, Ebrahimi-Fard, Tapia, Salvi, arXiv 2507.21006, 2025).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..engine import Run
from ..errors import SolverError
from ..output import Keeping, Nothing
from ..problem import Problem
from .drift import drifted
from .recorded import solve_recorded
from .sweep import Entry

DRIFTED = "the path walked back by gradient='reversible' misses y0 by {:.3g} times the tolerance"
HINT = (
    "The dynamics contract (or mix) too much to be walked back: use gradient='checkpointed', or 'discrete'; smaller "
    "steps help where little is missing."
)


@dataclass(frozen=True)
class Reversible:
    """The gradient of ``Discrete`` in memory that does not grow with the state times the number of steps.

    Args:
        drift: what the path walked back may miss y0 by, in tolerances (|y - y0| <= drift (atol + rtol |y0|)).

    A step keeps its t and h, two numbers. f is evaluated three times a stage: forward, walking back, and under
    autograd. The steps taken are differentiated at the states walked back to, so that the gradient is as good as
    these: 1e-12 and better where nothing contracts. Errors of the walk grow as the path forward contracts; where they
    have grown beyond ``drift`` the backward pass raises instead of returning noise, and ``sol.drift`` has the number.

    Raises:
        SolverError: in the backward pass, when the path has drifted.
    """

    drift: float = 0.1

    def __post_init__(self) -> None:
        if not (self.drift > 0 and math.isfinite(self.drift)):
            raise ValueError(f"Reversible drift must be positive and finite, got {self.drift}")

    def solve(self, problem: Problem) -> Run:
        """Integrate without a tape of f or of states."""
        if problem.dense_output:
            raise ValueError("dense_output=True keeps every state: gradient='discrete' uses them")
        return solve_recorded(self, problem)

    def keeping(self, problem: Problem) -> Keeping:
        """None."""
        return Nothing()

    def entries(self, problem: Problem, run: Run) -> Iterator[Entry]:
        """Step by step back from the last state.

        Raises:
            SolverError: the walk does not end at y0.
        """
        y = run.last
        with torch.no_grad():
            carry = problem.method.init(problem.field, run.t, y)
        for row in reversed(run.tape.rows):
            y, carry = undone(problem, row, y, carry)
            yield Entry(row, y, carry)
        self._check(problem, y)

    def _check(self, problem: Problem, y: Tensor) -> None:
        missed = drifted(problem, y, problem.y0)
        worst = float(missed.nan_to_num(nan=math.inf).max()) if y.numel() else 0.0
        if worst > self.drift:
            sample = int(missed.nan_to_num(nan=math.inf).argmax()) if len(missed) > 1 else None
            t0 = problem.t0 if sample is None else problem.t0[sample]
            raise SolverError(DRIFTED.format(worst), float(t0), sample, 0.0, HINT)


def undone(
    problem: Problem, row: Any, y1: Tensor, carry1: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """State and carry at the start of a step, from those at its end."""
    with torch.no_grad():
        step = problem.method.step(problem.field, row.t + row.h, -row.h, y1, carry1, None)
        carry = tuple(row.merge(new, old) for new, old in zip(step.carry, carry1, strict=True))
        return row.merge(step.y1, y1), carry
