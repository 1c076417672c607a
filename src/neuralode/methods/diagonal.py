"""Diagonally implicit Runge-Kutta: stage after stage with one matrix I - h gamma J (Hairer II, section IV.6).

The unknowns are the slopes: k_i = f(t + c_i h, y + h sum_j<i a_ij k_j + h gamma k_i).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops import Size, combine, stage_times
from ..tableaus import DiagonalTableau
from .continuous import polynomial
from .implicit import Work, begin
from .method import Carry, Field, Method, Stages, Step
from .stage import StageSolver, retaken, solve_stages


@dataclass(frozen=True)
class Staged:
    """The steps of a tableau."""

    tableau: DiagonalTableau

    @property
    def first(self) -> int:
        """The first stage that is solved for."""
        return 1 if self.tableau.explicit_first else 0

    def init(self, f: Field, t: Size, y: Tensor) -> Carry:
        """f(t0, y0), where a step begins with it."""
        return (f(stage_times(t, t * 0.0, (0.0,), y)[0], y),) if self.first else ()

    def step(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        """One step, with its error where the tableau estimates it."""
        tableau = self.tableau
        times = stage_times(t, h, tableau.nodes, y)

        def stages(solve: StageSolver) -> list[Tensor]:
            slopes = list(carry)
            for i in range(self.first, tableau.stages):
                guess = combine(None, 1.0, tableau.guesses[i], slopes) if i else torch.zeros_like(y)
                slopes.append(solve(times[i], self._base(h, y, i, slopes), guess))
            return slopes

        found = solve_stages(f, times[0], h, y, tableau.gamma, work, stages)
        y1 = combine(y, h, tableau.weight_terms, found.parts)
        error = combine(None, h, tableau.error_terms, found.parts) if tableau.error_terms else None
        if error is not None and tableau.smooth:
            error = found.factored.solve(f.rows(error)).reshape(y.shape)
        carry = self._following(f, times[-1], y1, found.parts)
        ending = (found.work, found.calls, found.jacobians, found.trouble)
        return Step(y1, error, carry, tuple(found.parts), *ending)

    def retake(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        """A recorded step as a differentiable function."""
        times, slopes = stage_times(t, h, self.tableau.nodes, y), list(carry)
        for i in range(self.first, self.tableau.stages):
            base = self._base(h, y, i, slopes)
            slopes.append(retaken(f, times[i], h, self.tableau.gamma, base, stages[i]))
        y1 = combine(y, h, self.tableau.weight_terms, slopes)
        return Step(y1, None, self._following(f, times[-1], y1, slopes), tuple(slopes))

    def _base(self, h: Size, y: Tensor, i: int, slopes: list[Tensor]) -> Tensor:
        """y + h sum_j<i a_ij k_j."""
        return combine(y, h, self.tableau.stage_terms[i], slopes) if i else y

    def _following(self, f: Field, t1: Tensor, y1: Tensor, slopes: list[Tensor]) -> Carry:
        """f(t1, y1) where a step begins with it; a stiffly accurate method has solved for it already."""
        if not self.first:
            return ()
        return (slopes[-1] if self.tableau.stiffly_accurate else f(t1, y1),)


def diagonal(tableau: DiagonalTableau) -> Method:
    """The method of a tableau."""
    staged = Staged(tableau)
    return Method(
        name=tableau.name,
        order=tableau.order,
        stages=tableau.stages,
        kind="diagonally implicit Runge-Kutta",
        adaptive=tableau.error is not None,
        error_order=tableau.error_order,
        dense_order=tableau.dense_order,
        evaluations=tableau.stages - staged.first,
        init=staged.init,
        step=staged.step,
        dense=polynomial(tableau.dense_bernstein),
        source=tableau.source,
        begin=begin,
        retake=staged.retake,
        real=True,
        controller="predictive_pi",
        gradients=("direct", "discrete", "checkpointed", "interpolated", "steady"),
        repeatable=True,
    )
