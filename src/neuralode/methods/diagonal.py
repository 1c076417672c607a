"""Diagonally implicit Runge-Kutta: stage after stage with one matrix I - h gamma J (Hairer II, section IV.6).

The unknowns are the slopes: k_i = f(t + c_i h, y + h sum_j<i a_ij k_j + h gamma k_i).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..ops import Size, combine, stage_times
from ..tableaus import DiagonalTableau
from .continuous import polynomial
from .implicit import SLOW, Work, begin, corrected, plain, refreshed, trouble
from .linear import Factored, Krylov, linearize
from .method import Carry, Field, Method, Stages, Step
from .newton import Root, newton


def diagonal(tableau: DiagonalTableau) -> Method:
    """The method of a tableau."""
    first = 1 if tableau.explicit_first else 0

    def init(f: Field, t: Size, y: Tensor) -> Carry:
        return (f(stage_times(t, t * 0.0, (0.0,), y)[0], y),) if first else ()

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        times = stage_times(t, h, tableau.nodes, y)
        work, renewed = refreshed(f, times[0], h, y, work)
        tried = _Stages(tableau, f, times, h, y, work)
        solved = tried.solve(carry)
        calls = tried.calls
        again = ~tried.converged & ~renewed
        if bool(again.any()):  # once more, with the Jacobian of here and now
            work, more = refreshed(f, times[0], h, y, work._replace(stale=again))
            renewed = renewed | more
            tried = _Stages(tableau, f, times, h, y, work)
            solved = tried.solve(carry)
            calls = calls + torch.where(again, tried.calls, 0)
        y1 = _end(tableau, h, y, solved)
        error = combine(None, h, tableau.error_terms, solved) if tableau.error_terms else None
        if error is not None and tableau.smooth:
            error = tried.factored.solve(f.rows(error)).reshape(y.shape)
        next_carry = (_slope(tableau, f, times[-1], y1, solved),) if first else ()
        return Step(
            y1,
            error,
            next_carry,
            tuple(solved),
            work._replace(stale=tried.slow, rate=tried.rate),
            plain(calls, h),
            plain(renewed.long(), h),
            trouble(tried.converged, tried.factored.singular, h),
        )

    def retake(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        times = stage_times(t, h, tableau.nodes, y)
        solved = list(carry)
        for i in range(first, tableau.stages):
            base = combine(y, h, tableau.stage_terms[i], solved) if i else y
            with torch.no_grad():
                at = _moved(base, h, tableau.gamma, stages[i])
                factored = linearize(f, times[i], at).factor(_scaled(h, tableau.gamma))
            residual = _residual(f, times[i], h, tableau.gamma, base)
            solved.append(corrected(residual, factored.solve, f.rows(stages[i])).reshape(y.shape))
        y1 = _end(tableau, h, y, solved)
        return Step(y1, None, (_slope(tableau, f, times[-1], y1, solved),) if first else (), tuple(solved))

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
        dense=polynomial(tableau.dense_floats),
        source=tableau.source,
        begin=begin,
        retake=retake,
        real=True,
        gradients=("direct", "discrete"),
    )


class _Stages:
    """The stages of one trial step, solved in order."""

    def __init__(
        self, tableau: DiagonalTableau, f: Field, times: tuple[Tensor, ...], h: Size, y: Tensor, work: Work
    ) -> None:
        assert work.linear is not None
        self.tableau, self.f, self.times, self.h, self.y = tableau, f, times, h, y
        self.tolerance = work.tolerance
        self.factored: Factored | Krylov = work.linear.factor(_scaled(h, tableau.gamma))
        self.rate: Tensor = work.rate
        self.converged = torch.ones_like(self.rate, dtype=torch.bool)
        self.slow = torch.zeros_like(self.converged)
        self.calls = torch.zeros_like(self.rate, dtype=torch.long)

    def solve(self, carry: Carry) -> list[Tensor]:
        """The slopes of all stages."""
        weights = self.tolerance.weights(self.y)
        scale = self.f.rows(_moved(torch.zeros_like(weights), self.h, self.tableau.gamma, 1 / weights))
        solved = list(carry)
        for i in range(len(solved), self.tableau.stages):
            guess = combine(None, 1.0, self.tableau.guesses[i], solved) if i else torch.zeros_like(self.y)
            base = combine(self.y, self.h, self.tableau.stage_terms[i], solved) if i else self.y
            residual = _residual(self.f, self.times[i], self.h, self.tableau.gamma, base)
            root = newton(
                residual,
                self.factored.solve,
                self.f.rows(guess),
                lambda delta: self.tolerance.sizes(delta * scale),
                self.tolerance,
                self.rate,
            )
            solved.append(root.x.reshape(self.y.shape))
            self._note(root)
            if not bool(self.converged.any()):
                return [*solved, *(self.y * torch.nan,) * (self.tableau.stages - len(solved))]
        return solved

    def _note(self, root: Root) -> None:
        self.rate = root.rate
        self.calls = self.calls + torch.where(self.converged, root.iterations, 0)
        self.slow = self.slow | (root.theta > SLOW) | ~root.converged
        self.converged = self.converged & root.converged


def _residual(f: Field, t: Tensor, h: Size, gamma: float, base: Tensor) -> Callable[[Tensor], Tensor]:
    """k - f(t, base + h gamma k) on rows."""
    return lambda k: k - f.rows(f(t, _moved(base, h, gamma, k.reshape(base.shape))))


def _moved(base: Tensor, h: Size, gamma: float, k: Tensor) -> Tensor:
    """base + h gamma k."""
    return combine(base, h, ((0, gamma),), (k,))


def _scaled(h: Size, gamma: float) -> Any:
    return h * gamma


def _end(tableau: DiagonalTableau, h: Size, y: Tensor, solved: list[Tensor]) -> Tensor:
    return combine(y, h, tableau.weight_terms, solved)


def _slope(tableau: DiagonalTableau, f: Field, t1: Tensor, y1: Tensor, solved: list[Tensor]) -> Tensor:
    """f(t1, y1), which a stiffly accurate method has solved for already."""
    return solved[-1] if tableau.stiffly_accurate else f(t1, y1)
