"""discrete: the exact gradient of the steps taken, every state of which is kept."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..engine import Run
from ..errors import unknown
from ..output import Everything, Keeping
from ..problem import Problem
from .direct import Direct
from .recorded import solve_recorded
from .sweep import Entry


@dataclass(frozen=True)
class Discrete:
    """The exact gradient of the computed solution; no backward tolerance exists.

    Args:
        keep: ``"states"``: the forward pass keeps (t, h, y) of accepted steps and, for FSAL methods, the slope there,
            2 d numbers a step for a state of d numbers, independent of f's depth; the backward pass evaluates f once
            more per stage of each accepted step. ``"tapes"``: the tapes of f as well, as ``Direct`` does; for steps
            that all samples share the backward pass then evaluates nothing anew.

    Second derivatives (``create_graph=True``) re-run all steps under autograd. Under torch.func transforms the same
    gradient comes from ``Direct``.
    """

    keep: str = "states"

    def __post_init__(self) -> None:
        if self.keep not in ("states", "tapes"):
            raise unknown("Discrete keep", self.keep, ("states", "tapes"))

    def solve(self, problem: Problem) -> Run:
        """Integrate; gradients come from the steps."""
        return Direct().solve(problem) if self.keep == "tapes" else solve_recorded(self, problem)

    def keeping(self, problem: Problem) -> Keeping:
        """All states."""
        return Everything()

    def entries(self, problem: Problem, run: Run) -> Iterator[Entry]:
        """The rows of the tape hold their states."""
        return (Entry(row, row.y, row.carry) for row in reversed(run.tape.rows))
