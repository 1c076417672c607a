"""Rosenbrock methods: linear systems with I - h gamma J in place of equations (Hairer II, section IV.7, eq. 7.25).

J is that of the step's own start, or the order is lost: one Jacobian a step, kept for a step that is tried again. The
slope at a step's end begins the next one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size, combine, merge, stage_times
from ..solution import Status
from ..tableaus import RosenbrockTableau
from .continuous import polynomial
from .implicit import corrected, flags, plain
from .linear import Dense, MatrixFree, linearize
from .method import Carry, Field, Method, Stages, Step

# Of the tolerance: what GMRES may leave of a stage. No iteration corrects it, and a step adds up several stages.
LEFT_IN_A_STAGE = 1e-3


class Work(NamedTuple):
    """What is kept for a second trial from the same place.

    Attributes:
        at: the time that ``linear`` and ``rate``, df/dt, belong to; a float, or (B,).
    """

    tolerance: Tolerance
    at: Any = None
    linear: Dense | MatrixFree | None = None
    rate: Tensor | None = None


@dataclass(frozen=True)
class Rosenbrock:
    """The steps of a tableau."""

    tableau: RosenbrockTableau

    @property
    def gamma(self) -> float:
        """The diagonal of every stage."""
        return float(self.tableau.gamma)

    def init(self, f: Field, t: Size, y: Tensor) -> Carry:
        """f(t0, y0)."""
        return (f(stage_times(t, t * 0.0, (0.0,), y)[0], y),)

    def step(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        """One linear solve a stage, all with one matrix."""
        start = stage_times(t, h, (0.0,), y)[0]
        work, renewed = _linearized(f, start, t, h, y, work)
        assert work.linear is not None and work.rate is not None
        system = work.linear.factor(h * self.gamma)
        if work.tolerance.given:
            system = system.within(f.rows(1 / work.tolerance.weights(y)), LEFT_IN_A_STAGE)

        def solve(i: int, right: Tensor) -> Tensor:
            return system.solve(f.rows(right)).reshape(y.shape)

        found = self._staged(f, t, h, y, carry, work.rate, solve)
        return found._replace(
            error=combine(None, 1.0, self.tableau.error_terms, found.stages),
            work=work,
            calls=self.tableau.stages,
            jacobians=plain(renewed.long(), h),
            trouble=_trouble(system.singular, h),
        )

    def retake(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        """The step with its stages as differentiable functions."""
        start = stage_times(t, h, (0.0,), y)[0]
        system = linearize(f, start, y).factor(h * self.gamma)

        def solve(i: int, right: Tensor) -> Tensor:
            residual = _residual(f, start, h, self.gamma, y, right)
            return corrected(residual, system.solve, f.rows(stages[i])).reshape(y.shape)

        return self._staged(f, t, h, y, carry, f.rate(start, y), solve)

    def _staged(
        self,
        f: Field,
        t: Size,
        h: Size,
        y: Tensor,
        carry: Carry,
        rate: Tensor,
        solve: Callable[[int, Tensor], Tensor],
    ) -> Step:
        """The step whose stage i is ``solve(i, right-hand side)``."""
        times = stage_times(t, h, self.tableau.nodes, y)
        solved: list[Tensor] = []
        for i in range(self.tableau.stages):
            slope = carry[0] if i == 0 else f(times[i], _sum(y, self.tableau.a_terms[i], solved))
            solved.append(solve(i, _right(self.tableau, i, h, slope, solved, rate)))
        y1 = _sum(y, self.tableau.m_terms, solved)
        return Step(y1, None, (f(stage_times(t, h, (1.0,), y)[0], y1),), tuple(solved))


def rosenbrock(tableau: RosenbrockTableau) -> Method:
    """The method of a tableau."""
    steps, inside = Rosenbrock(tableau), polynomial(tableau.dense_bernstein)

    def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
        return inside(theta, torch.ones_like(h) if isinstance(h, Tensor) else 1.0, y, stages)

    return Method(
        name=tableau.name,
        order=tableau.order,
        stages=tableau.stages,
        kind="Rosenbrock",
        adaptive=True,
        error_order=tableau.error_order,
        dense_order=tableau.dense_order,
        evaluations=tableau.stages,
        init=steps.init,
        step=steps.step,
        dense=dense,
        source=tableau.source,
        begin=Work,
        retake=steps.retake,
        real=True,
        gradients=("direct", "discrete", "checkpointed", "interpolated", "steady"),
        repeatable=True,
        controller="predictive",
    )


def _linearized(f: Field, time: Tensor, t: Size, h: Size, y: Tensor, work: Work) -> tuple[Work, Tensor]:
    """(the work with J and df/dt at (t, y), for whom they had to be made)."""
    if work.linear is None or work.rate is None:
        return work._replace(at=t, linear=linearize(f, time, y), rate=f.rate(time, y)), flags(h, y, True)
    moved = flags(h, y, True) & torch.as_tensor(work.at != t, device=y.device)
    if not bool(moved.any()):
        return work, moved
    linear = work.linear.renewed(moved, linearize(f, time, y))
    rate = merge(moved, f.rate(time, y), work.rate) if isinstance(t, Tensor) else f.rate(time, y)
    return work._replace(at=t, linear=linear, rate=rate), moved


def _trouble(singular: Tensor, h: Size) -> Any:
    """0, or the status of whose matrix is singular: linear systems have no other trouble."""
    whose = singular.expand(h.shape) if isinstance(h, Tensor) else singular.any()
    return plain(int(Status.SINGULAR) * whose, h)


def _right(
    tableau: RosenbrockTableau, i: int, h: Size, slope: Tensor, solved: list[Tensor], rate: Tensor
) -> Tensor:
    """h gamma f(stage i) + gamma sum_j C_ij u_j + h^2 gamma d_i df/dt."""
    right = combine(None, h, ((0, float(tableau.gamma)),), (slope,))
    if tableau.rates[i]:
        right = right + combine(None, h * h, ((0, tableau.rates[i]),), (rate,))
    return _sum(right, tableau.c_terms[i], solved)


def _sum(y: Tensor, weights: Sequence[tuple[int, float]], parts: Sequence[Tensor]) -> Tensor:
    return combine(y, 1.0, weights, parts) if weights else y


def _residual(
    f: Field, t: Tensor, h: Size, gamma: float, y: Tensor, right: Tensor
) -> Callable[[Tensor], Tensor]:
    """(I - h gamma J(t, y)) u - right on rows, differentiable in y too."""

    def residual(u: Tensor) -> Tensor:
        whole = u.reshape(y.shape)
        return f.rows(combine(whole - right, h, ((0, -gamma),), (f.push(t, y, whole),)))

    return residual
