"""Explicit Runge-Kutta: one step function over any tableau (Hairer, Norsett, Wanner I, eq. II.1.8)."""

from functools import partial

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size, combine, spread, stage_times
from ..tableaus import Tableau
from .combinations import Chain, Scratch
from .continuous import polynomial
from .method import ALL_GRADIENTS, Carry, Field, Method, Stages, Step


def runge_kutta(tableau: Tableau) -> Method:
    """The method of a tableau."""

    def init(f: Field, t: Size, y: Tensor) -> Carry:
        return (f(stage_times(t, t * 0.0, (0.0,), y)[0], y),) if tableau.fsal else ()

    known = int(tableau.fsal)  # stages that the step before has made
    nodes, kept = tableau.nodes[known:], tableau.kept

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Scratch | None) -> Step:
        sums = Chain(tableau, y, h) if work is None else work.sums(y, h)
        stages = list(carry)
        y1 = y
        for i, time in enumerate(stage_times(t, h, nodes, y), known):
            y1 = sums.stage(i, stages) if i else y
            stages.append(f(time, y1))
        if not known:
            y1 = sums.end(stages)
        error = None
        if tableau.error_terms and work is not None and work.tolerance.given:  # else nothing reads it
            error = sums.error(stages)
            if tableau.damping_terms:
                error = damped(error, sums.damping(stages), y, y1, work.tolerance)
        return Step(y1, error, (stages[-1],) if known else (), tuple([stages[i] for i in kept]), work)

    return Method(
        name=tableau.name,
        order=tableau.order,
        stages=tableau.stages,
        kind="explicit Runge-Kutta",
        adaptive=tableau.error is not None,
        error_order=tableau.error_order,
        dense_order=tableau.dense_order,
        evaluations=tableau.stages - tableau.fsal,
        init=init,
        step=step,
        dense=polynomial(tableau.dense_bernstein),
        source=tableau.source,
        tableau=tableau,
        begin=partial(Scratch, tableau),
        extend=partial(extended, tableau) if tableau.extra else None,
        extra=tableau.extra,
        gradients=(*ALL_GRADIENTS, "reversible") if tableau.symmetric else ALL_GRADIENTS,
    )


def extended(tableau: Tableau, f: Field, t: Size, h: Size, y: Tensor, stages: Stages) -> Stages:
    """The stages of a step with those that dense output alone needs, where they are not there yet."""
    if len(stages) > len(tableau.kept):
        return stages
    found = list(stages)
    times = stage_times(t, h, tableau.extra_nodes, y)
    for time, numbers in zip(times, tableau.extra_terms, strict=True):
        found.append(f(time, combine(y, h, numbers, found)))
    return tuple(found)


def damped(error: Tensor, other: Tensor, y: Tensor, y1: Tensor, tolerance: Tolerance) -> Tensor:
    """error |error| / sqrt(|error|^2 + 0.01 |other|^2), norms of each system (Hairer I, eq. II.10.17).

    No norm is read from the device, and the factor has no gradient history.
    """
    shape = (-1,) if tolerance.batch is None else (len(y), -1)
    first, second = (
        tolerance.norm(tolerance.scaled(estimate, y, y1).reshape(shape)) for estimate in (error, other)
    )
    size = torch.hypot(first, 0.1 * second)
    factor = torch.where(size == 0, 0.0, first / size)
    return error * (factor if tolerance.batch is None else spread(factor, y))
