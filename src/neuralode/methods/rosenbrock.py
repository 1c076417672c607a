"""Rosenbrock methods: linear systems with I - h gamma J in place of equations (Hairer II, section IV.7, eq. 7.25).

J is that of the step's own start, or the order is lost: one Jacobian a step, kept for a step that is tried again. The
slope at a step's end begins the next one.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size, combine, merge, stage_times
from ..tableaus import RosenbrockTableau
from .continuous import polynomial
from .implicit import corrected, flags, plain, trouble
from .linear import Dense, MatrixFree, linearize
from .method import Carry, Field, Method, Stages, Step


class Work(NamedTuple):
    """What is kept for a second trial from the same place.

    Attributes:
        at: the time that ``linear`` and ``rate``, df/dt, belong to; a float, or (B,).
    """

    tolerance: Tolerance
    at: Any = None
    linear: Dense | MatrixFree | None = None
    rate: Tensor | None = None


def rosenbrock(tableau: RosenbrockTableau) -> Method:
    """The method of a tableau."""
    gamma = float(tableau.gamma)

    def init(f: Field, t: Size, y: Tensor) -> Carry:
        return (f(stage_times(t, t * 0.0, (0.0,), y)[0], y),)

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        times = stage_times(t, h, tableau.nodes, y)
        work, renewed = _linearized(f, times[0], t, h, y, work)
        assert work.linear is not None and work.rate is not None
        system = work.linear.factor(h * gamma)
        solved: list[Tensor] = []
        for i in range(tableau.stages):
            slope = carry[0] if i == 0 else f(times[i], _sum(y, tableau.a_terms[i], solved))
            right = _right(tableau, i, h, slope, solved, work.rate)
            solved.append(system.solve(f.rows(right)).reshape(y.shape))
        fine = flags(h, y, True)
        y1 = _sum(y, tableau.m_terms, solved)
        return Step(
            y1,
            combine(None, 1.0, tableau.error_terms, solved),
            (f(stage_times(t, h, (1.0,), y)[0], y1),),
            tuple(solved),
            work,
            tableau.stages,
            plain(renewed.long(), h),
            trouble(fine & ~_of_all(system.singular, fine), system.singular, h),
        )

    def retake(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        times = stage_times(t, h, tableau.nodes, y)
        system = linearize(f, times[0], y).factor(h * gamma)
        rate = f.rate(times[0], y)
        solved: list[Tensor] = []
        for i, known in enumerate(stages):
            slope = carry[0] if i == 0 else f(times[i], _sum(y, tableau.a_terms[i], solved))
            right = _right(tableau, i, h, slope, solved, rate)
            residual = _residual(f, times[0], h, gamma, y, right)
            solved.append(corrected(residual, system.solve, f.rows(known)).reshape(y.shape))
        y1 = _sum(y, tableau.m_terms, solved)
        return Step(y1, None, (f(stage_times(t, h, (1.0,), y)[0], y1),), tuple(solved))

    inside = polynomial(tableau.dense_bernstein)

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
        init=init,
        step=step,
        dense=dense,
        source=tableau.source,
        begin=Work,
        retake=retake,
        real=True,
        gradients=("direct", "discrete", "interpolated", "steady"),
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


def _of_all(singular: Tensor, like: Tensor) -> Tensor:
    """Whose system is singular; in lockstep, whether any is."""
    return singular if len(singular) == len(like) else singular.any().reshape(1)


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
