"""Explicit Runge-Kutta: one step function over any tableau (Hairer, Norsett, Wanner I, eq. II.1.8)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..ops import Size, combine, spread, stage_times
from ..tableaus import Tableau
from .method import Carry, Field, Method, Step


def runge_kutta(tableau: Tableau) -> Method:
    """The method of a tableau."""

    def init(f: Field, t: Size, y: Tensor) -> Carry:
        return (f(stage_times(t, t * 0.0, (0.0,), y)[0], y),) if tableau.fsal else ()

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Any) -> Step:
        times = stage_times(t, h, tableau.nodes, y)
        stages = list(carry)
        y1 = y
        for i in range(len(stages), len(tableau.b)):
            y1 = combine(y, h, tableau.stage_terms[i], stages) if i else y
            stages.append(f(times[i], y1))
        if not tableau.fsal:
            y1 = combine(y, h, tableau.weight_terms, stages)
        error = combine(None, h, tableau.error_terms, stages) if tableau.error_terms else None
        return Step(y1, error, (stages[-1],) if tableau.fsal else (), tuple(stages), work)

    def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
        powers = [theta]
        for _ in tableau.dense_floats[0][1:]:
            powers.append(powers[-1] * theta)
        weights: list[tuple[int, Any]] = [
            (i, sum((number * power for number, power in zip(row, powers, strict=True)), start=0.0 * theta))
            for i, row in enumerate(tableau.dense_floats)
            if any(row)
        ]
        if not (isinstance(theta, Tensor) and isinstance(h, Tensor)):
            return combine(y, h, weights, stages)
        slope = torch.stack([spread(weight, y) * stages[i] for i, weight in weights]).sum(0)
        return torch.addcmul(y, slope, spread(h, y))

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
        dense=dense,
        source=tableau.source,
        tableau=tableau,
    )
