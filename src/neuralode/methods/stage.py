"""Stages k = f(t, base + h gamma k) of diagonally implicit steps: solved one after another, and retaken.

A trial is made with the Jacobian at hand; whose equations it cannot solve gets a new one and a second trial.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ops import Size, combine
from .implicit import SLOW, Work, corrected, doubted, plain, refreshed, trouble
from .linear import Factored, Krylov, linearize
from .method import Field
from .newton import LEFT_IN_A_ROOT, newton, rough


class Outcome(NamedTuple):
    """What the trial of a step's stages has come to.

    Attributes:
        parts: what ``stages`` returned.
        factored: the matrix I - h gamma J that was used.
        calls, jacobians, trouble: as in ``Step``.
    """

    parts: Any
    work: Work
    factored: Factored | Krylov
    calls: Any
    jacobians: Any
    trouble: Any


class StageSolver:
    """Solves the stages of one trial; masks and counts are (1,), or (B,) per sample."""

    def __init__(self, f: Field, h: Size, y: Tensor, gamma: float, work: Work, renewed: Tensor) -> None:
        assert work.linear is not None
        self.f, self.h, self.y, self.gamma = f, h, y, gamma
        self.tolerance = work.tolerance
        self.factored = work.linear.factor(h * gamma)
        weights = self.tolerance.weights(y)
        self.scale = f.rows(moved(torch.zeros_like(weights), h, gamma, 1 / weights))
        self.system = rough(self.factored, self.tolerance, self.scale, LEFT_IN_A_ROOT)
        self.rate: Tensor = work.rate
        self.now, self.size, self.unsure = doubted(h, work, renewed)
        self.converged = torch.ones_like(self.rate, dtype=torch.bool)
        self.slow = torch.zeros_like(self.converged)
        self.calls = torch.zeros_like(self.rate, dtype=torch.long)

    def __call__(self, t: Tensor, base: Tensor, guess: Tensor) -> Tensor:
        """The slope of a stage; what no sample can use any more is not solved."""
        if not bool(self.converged.any()):
            return torch.full_like(self.y, torch.nan)
        root = newton(
            residual(self.f, t, self.h, self.gamma, base),
            self.system.solve,
            self.f.rows(guess),
            lambda delta: self.tolerance.sizes(delta * self.scale),
            self.tolerance,
            self.rate,
            unsure=self.unsure,
        )
        seen = root.iterations > 1
        self.size, self.unsure = torch.where(seen, self.now, self.size), self.unsure & ~seen
        self.rate = root.rate
        self.calls = self.calls + torch.where(self.converged, root.iterations, 0)
        self.slow = self.slow | (root.theta > SLOW) | ~root.converged
        self.converged = self.converged & root.converged
        return root.x.reshape(self.y.shape)


def solve_stages(
    f: Field, t: Tensor, h: Size, y: Tensor, gamma: float, work: Work, stages: Callable[[StageSolver], Any]
) -> Outcome:
    """What ``stages`` makes with a solver for the equations of its stages; t is where the Jacobian is taken."""
    work, renewed = refreshed(f, t, h, y, work)
    solver = StageSolver(f, h, y, gamma, work, renewed)
    parts, calls = stages(solver), solver.calls
    again = ~solver.converged & ~renewed
    if bool(again.any()):
        work, more = refreshed(f, t, h, y, work._replace(stale=again))
        renewed = renewed | more
        solver = StageSolver(f, h, y, gamma, work._replace(size=solver.size), more)
        parts = stages(solver)
        calls = calls + torch.where(again, solver.calls, 0)
    return Outcome(
        parts,
        work._replace(stale=solver.slow, rate=solver.rate, size=solver.size),
        solver.factored,
        plain(calls, h),
        plain(renewed.long(), h),
        trouble(solver.converged, solver.factored.singular, h),
    )


def retaken(f: Field, t: Tensor, h: Size, gamma: float, base: Tensor, known: Tensor) -> Tensor:
    """A stage whose slope is known, as a differentiable function of ``base`` and of all that f depends on."""
    with torch.no_grad():
        factored = linearize(f, t, moved(base, h, gamma, known)).factor(h * gamma)
    return corrected(residual(f, t, h, gamma, base), factored.solve, f.rows(known)).reshape(base.shape)


def residual(f: Field, t: Tensor, h: Size, gamma: float, base: Tensor) -> Callable[[Tensor], Tensor]:
    """k - f(t, base + h gamma k) on rows."""
    return lambda k: k - f.rows(f(t, moved(base, h, gamma, k.reshape(base.shape))))


def moved(base: Tensor, h: Size, gamma: float, k: Tensor) -> Tensor:
    """base + h gamma k."""
    return combine(base, h, ((0, gamma),), (k,))
