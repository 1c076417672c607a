"""What solves backward in time share: they go stretch by stretch, from each output to the one before it."""

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import SolverError
from ..ops import Size, merge
from ..problem import Problem
from ..solution import HINTS, SENTENCES, Status


def stops_of(
    problem: Problem,
    times: Any,
    values: tuple[Tensor, Tensor, Tensor],
    grad_ys: Tensor | None,
    grad_y1: Tensor | None,
) -> tuple[list[Size], list[Tensor], list[Tensor | None]]:
    """Times t0, outputs, t1 with the stored state and the cotangent at each; what was not reached stands still."""
    y0, ys, y1 = values
    lead = 2 if problem.batch == "independent" else 1
    states = torch.cat([ys, y1[None]])
    reached = torch.isfinite(states).reshape(*states.shape[:lead], -1).all(-1)
    whole = reached.reshape(len(states), -1).all(1).tolist()
    bars = [*([None] * len(ys) if grad_ys is None else grad_ys), grad_y1]
    stops: list[Size] = [problem.t0]
    kept: list[Tensor] = [y0]
    kept_bars: list[Tensor | None] = [None]
    for j, time in enumerate([*times, problem.t1]):
        if whole[j]:
            stops, kept, kept_bars = [*stops, time], [*kept, states[j]], [*kept_bars, bars[j]]
        elif isinstance(time, Tensor):
            bar = bars[j]
            stops.append(torch.where(reached[j], time, stops[-1]))
            kept.append(merge(reached[j], states[j], kept[-1]))
            kept_bars.append(None if bar is None else merge(reached[j], bar, torch.zeros_like(bar)))
    return stops, kept, kept_bars


def same(here: Size, before: Size) -> bool:
    """Whether nothing lies between two stops."""
    return bool((here == before).all()) if isinstance(here, Tensor) else here == before


def scalar(own: float | None, forward: float | Tensor) -> float:
    """A backward tolerance: its own, or the forward one (the smallest entry of a tensor)."""
    if own is not None:
        return own
    return float(forward.min()) if isinstance(forward, Tensor) else forward


def failed(gradient: str, status: Status, t: float, sample: int | None, h: float) -> SolverError:
    """The error for a backward solve that did not reach its end."""
    reason = f"backward solve of gradient={gradient!r}: {SENTENCES[status]}"
    return SolverError(reason, t, sample, h, f"{HINTS[status]} gradient='discrete' needs no backward solve.")


def check_tolerances(owner: str, rtol: float | None, atol: float | None) -> None:
    """Whether the options of a gradient hold tolerances, or None.

    Raises:
        ValueError: they do not.
    """
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{owner} {name} must be positive and finite, got {value}")


def refuse_dense_output(gradient: str, problem: Problem) -> None:
    """Without recorded steps the polynomials between outputs have no gradient."""
    if problem.dense_output:
        raise ValueError(
            f"gradient={gradient!r} has no gradient for dense_output=True: use gradient='discrete'"
        )


def refuse_second_derivatives(gradient: str) -> None:
    """A solve backward in time is not itself differentiable."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"gradient={gradient!r} has no second derivatives: use gradient='discrete' or 'direct'"
        )
