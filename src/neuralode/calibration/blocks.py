"""The blocks of a model that solve: found, set, and listened to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from torch import nn

from ..nn.solving import Solving
from ..registry import METHODS
from ..solution import Solution
from ..solve import Solver


@dataclass(frozen=True)
class Recorded(Solver):
    """A solver that notes its solutions, so that every solve of a model is counted, not the last one alone."""

    solutions: list[Solution] = field(default_factory=list)

    def solve(self, f: Callable[..., Any], t_span: Any, y0: Any, **inputs: Any) -> Solution:
        """As ``Solver.solve``."""
        solution = super().solve(f, t_span, y0, **inputs)
        self.solutions.append(solution)
        return solution


def blocks_of(model: nn.Module) -> list[Solving]:
    """The modules in ``model`` that solve."""
    found = [module for module in model.modules() if isinstance(module, Solving)]
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no block of neuralode.nn in it, which could be calibrated"
        )
    return found


def adjusted(solver: Solver, method: str, rtol: float) -> Solver:
    """With another method and rtol; atol in the same ratio."""
    if solver.step is not None:
        raise ValueError("a block has fixed steps (step=), on which no tolerance acts: set step=None")
    before = (solver.rtol, solver.atol)
    if not all(isinstance(x, (int, float)) for x in before) or not solver.rtol > 0:
        raise ValueError(f"calibrate needs rtol and atol as numbers, rtol > 0; a block has {before}")
    controller = None if METHODS[method].decide is not None else solver.controller
    return solver.using(
        method=method, rtol=rtol, atol=solver.atol / solver.rtol * rtol, controller=controller
    )


@contextmanager
def trial(blocks: Sequence[Solving], method: str, rtol: float) -> Iterator[list[Solution]]:
    """Inside, the blocks solve with a method and tolerance and note their solutions; then they are as they were."""
    solutions: list[Solution] = []
    kept = [dict(block.__dict__) for block in blocks]
    try:
        for block in blocks:
            solver = adjusted(block.solver, method, rtol)
            options = {option.name: getattr(solver, option.name) for option in fields(Solver)}
            block.solver = Recorded(**options, solutions=solutions)
        yield solutions
    finally:
        for block, before in zip(blocks, kept, strict=True):
            block.__dict__.clear()
            block.__dict__.update(before)
