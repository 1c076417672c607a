"""Implicit-explicit Runge-Kutta for dy/dt = f_explicit(t, y) + f_implicit(t, y): only the second part is solved for.

Additive methods of Kennedy & Carpenter, Appl. Numer. Math. 44 (2003) 139-181, eqs. 3 to 5.
"""

from dataclasses import dataclass

from torch import Tensor

from ..ops import Size, combine, stage_times
from ..tableaus import ImexTableau
from .continuous import polynomial
from .implicit import Work, begin
from .method import Carry, Method, SplitField, Stages, Step
from .stage import StageSolver, retaken, solve_stages

Slopes = tuple[list[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Additive:
    """The steps of a tableau. A step's first stage is explicit in both parts."""

    tableau: ImexTableau

    def step(self, f: SplitField, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        """One step, with its error."""
        tableau, implicit = self.tableau, self.tableau.implicit
        times = stage_times(t, h, implicit.nodes, y)
        start = f.parts(times[0], y)

        def stages(solve: StageSolver) -> Slopes:
            slopes = [start[0]], [start[1]]
            for i in range(1, tableau.stages):
                known = self._base(h, y, i, slopes)
                guess = combine(None, 1.0, implicit.guesses[i], slopes[1])
                self._add(f, times[i], h, known, slopes, solve(times[i], known, guess))
            return slopes

        found = solve_stages(f.implicit, times[0], h, y, implicit.gamma, work, stages)
        both = (*found.parts[0], *found.parts[1])
        y1 = combine(y, h, tableau.weight_terms, both)
        error = combine(None, h, tableau.error_terms, both)
        # Each part is evaluated once at the first stage; the explicit one once more at every other.
        calls = found.calls + tableau.stages + 1
        return Step(y1, error, (), both, found.work, calls, found.jacobians, found.trouble)

    def retake(self, f: SplitField, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        """A recorded step as a differentiable function."""
        s, implicit = self.tableau.stages, self.tableau.implicit
        times = stage_times(t, h, implicit.nodes, y)
        start = f.parts(times[0], y)
        slopes = [start[0]], [start[1]]
        for i in range(1, s):
            known = self._base(h, y, i, slopes)
            slope = retaken(f.implicit, times[i], h, implicit.gamma, known, stages[s + i])
            self._add(f, times[i], h, known, slopes, slope)
        both = (*slopes[0], *slopes[1])
        return Step(combine(y, h, self.tableau.weight_terms, both), None, (), both)

    def _base(self, h: Size, y: Tensor, i: int, slopes: Slopes) -> Tensor:
        """y with what the stages before the i-th add to it."""
        half = combine(y, h, self.tableau.explicit_terms[i], slopes[0])
        return combine(half, h, self.tableau.implicit.stage_terms[i], slopes[1])

    def _add(self, f: SplitField, t: Tensor, h: Size, known: Tensor, slopes: Slopes, slope: Tensor) -> None:
        """A stage whose implicit slope is known, with the explicit one there."""
        slopes[1].append(slope)
        slopes[0].append(f.explicit(t, combine(known, h, ((0, self.tableau.implicit.gamma),), (slope,))))


def imex(tableau: ImexTableau) -> Method:
    """The method of a tableau."""
    additive = Additive(tableau)
    return Method(
        name=tableau.name,
        order=tableau.order,
        stages=tableau.stages,
        kind="implicit-explicit Runge-Kutta",
        adaptive=True,
        error_order=tableau.error_order,
        dense_order=tableau.dense_order,
        evaluations=2 * tableau.stages,
        init=lambda f, t, y: (),
        step=additive.step,
        dense=polynomial(tableau.dense_bernstein),
        source=tableau.source,
        begin=begin,
        retake=additive.retake,
        real=True,
        gradients=("direct", "discrete", "checkpointed"),
        repeatable=True,
        split=True,
    )
