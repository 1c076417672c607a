"""Diagonally implicit Runge-Kutta: stage after stage with one matrix I - h gamma J (Hairer II, section IV.6).

The unknowns are the slopes: k_i = f(t + c_i h, y + h sum_j<i a_ij k_j + h gamma k_i).
"""

import torch
from torch import Tensor

from ..ops import Size, combine, stage_times
from ..tableaus import DiagonalTableau
from .continuous import polynomial
from .implicit import Work, begin
from .method import Carry, Field, Method, Stages, Step
from .stage import StageSolver, retaken, solve_stages


def diagonal(tableau: DiagonalTableau) -> Method:
    """The method of a tableau."""
    first = 1 if tableau.explicit_first else 0

    def init(f: Field, t: Size, y: Tensor) -> Carry:
        return (f(stage_times(t, t * 0.0, (0.0,), y)[0], y),) if first else ()

    def base(h: Size, y: Tensor, i: int, slopes: list[Tensor]) -> Tensor:
        return combine(y, h, tableau.stage_terms[i], slopes) if i else y

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        times = stage_times(t, h, tableau.nodes, y)

        def stages(solve: StageSolver) -> list[Tensor]:
            slopes = list(carry)
            for i in range(first, tableau.stages):
                guess = combine(None, 1.0, tableau.guesses[i], slopes) if i else torch.zeros_like(y)
                slopes.append(solve(times[i], base(h, y, i, slopes), guess))
            return slopes

        found = solve_stages(f, times[0], h, y, tableau.gamma, work, stages)
        y1 = combine(y, h, tableau.weight_terms, found.parts)
        error = combine(None, h, tableau.error_terms, found.parts) if tableau.error_terms else None
        if error is not None and tableau.smooth:
            error = found.factored.solve(f.rows(error)).reshape(y.shape)
        carry = following(f, times[-1], y1, found.parts)
        ending = (found.work, found.calls, found.jacobians, found.trouble)
        return Step(y1, error, carry, tuple(found.parts), *ending)

    def retake(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        times, slopes = stage_times(t, h, tableau.nodes, y), list(carry)
        for i in range(first, tableau.stages):
            slopes.append(retaken(f, times[i], h, tableau.gamma, base(h, y, i, slopes), stages[i]))
        y1 = combine(y, h, tableau.weight_terms, slopes)
        return Step(y1, None, following(f, times[-1], y1, slopes), tuple(slopes))

    def following(f: Field, t1: Tensor, y1: Tensor, slopes: list[Tensor]) -> Carry:
        """f(t1, y1) where a step begins with it; a stiffly accurate method has solved for it already."""
        if not first:
            return ()
        return (slopes[-1] if tableau.stiffly_accurate else f(t1, y1),)

    return Method(
        name=tableau.name,
        order=tableau.order,
        stages=tableau.stages,
        kind="diagonally implicit Runge-Kutta",
        adaptive=tableau.error is not None,
        error_order=tableau.error_order,
        dense_order=tableau.dense_order,
        evaluations=tableau.stages - first,
        init=init,
        step=step,
        dense=polynomial(tableau.dense_bernstein),
        source=tableau.source,
        begin=begin,
        retake=retake,
        real=True,
        gradients=("direct", "discrete", "checkpointed", "interpolated", "steady"),
        repeatable=True,
    )
