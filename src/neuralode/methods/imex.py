"""Implicit-explicit Runge-Kutta for dy/dt = f_explicit(t, y) + f_implicit(t, y): only the second part is solved for.

Additive methods of Kennedy & Carpenter, Appl. Numer. Math. 44 (2003) 139-181, eqs. 3 to 5.
"""

from torch import Tensor

from ..ops import Size, combine, stage_times
from ..tableaus import ImexTableau
from .continuous import polynomial
from .implicit import Work, begin
from .method import Carry, Method, SplitField, Stages, Step
from .stage import StageSolver, retaken, solve_stages

Slopes = tuple[list[Tensor], list[Tensor]]


def imex(tableau: ImexTableau) -> Method:
    """The method of a tableau. A step's first stage is explicit in both parts."""
    s, gamma = tableau.stages, tableau.implicit.gamma

    def base(h: Size, y: Tensor, i: int, slopes: Slopes) -> Tensor:
        half = combine(y, h, tableau.explicit_terms[i], slopes[0])
        return combine(half, h, tableau.implicit.stage_terms[i], slopes[1])

    def step(f: SplitField, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        times = stage_times(t, h, tableau.implicit.nodes, y)
        start = f.parts(times[0], y)

        def stages(solve: StageSolver) -> Slopes:
            slopes = [start[0]], [start[1]]
            for i in range(1, s):
                known = base(h, y, i, slopes)
                slopes[1].append(
                    solve(times[i], known, combine(None, 1.0, tableau.implicit.guesses[i], slopes[1]))
                )
                slopes[0].append(f.explicit(times[i], combine(known, h, ((0, gamma),), slopes[1][-1:])))
            return slopes

        found = solve_stages(f.implicit, times[0], h, y, gamma, work, stages)
        both = (*found.parts[0], *found.parts[1])
        y1 = combine(y, h, tableau.weight_terms, both)
        error = combine(None, h, tableau.error_terms, both)
        # Each part is evaluated once at the first stage; the explicit one once more at every other.
        return Step(y1, error, (), both, found.work, found.calls + s + 1, found.jacobians, found.trouble)

    def retake(f: SplitField, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        times = stage_times(t, h, tableau.implicit.nodes, y)
        start = f.parts(times[0], y)
        slopes = [start[0]], [start[1]]
        for i in range(1, s):
            known = base(h, y, i, slopes)
            slopes[1].append(retaken(f.implicit, times[i], h, gamma, known, stages[s + i]))
            slopes[0].append(f.explicit(times[i], combine(known, h, ((0, gamma),), slopes[1][-1:])))
        both = (*slopes[0], *slopes[1])
        return Step(combine(y, h, tableau.weight_terms, both), None, (), both)

    return Method(
        name=tableau.name,
        order=tableau.order,
        stages=s,
        kind="implicit-explicit Runge-Kutta",
        adaptive=True,
        error_order=tableau.error_order,
        dense_order=tableau.dense_order,
        evaluations=2 * s,
        init=lambda f, t, y: (),
        step=step,
        dense=polynomial(tableau.dense_bernstein),
        source=tableau.source,
        begin=begin,
        retake=retake,
        real=True,
        gradients=("direct", "discrete", "checkpointed"),
        repeatable=True,
        split=True,
    )
