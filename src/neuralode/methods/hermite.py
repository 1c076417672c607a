"""Dense output from both ends: the cubic through states and slopes (Hairer, Norsett, Wanner I, eq. II.6.7)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..ops import Size, spread, stage_times
from .method import Field, Stages


def cubic(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
    """y(t + theta h) from stages (y1, f(t, y), f(t + h, y1)); of (y1,) alone, the straight line."""
    y1, *slopes = stages
    x, size = _beside(theta, y), _beside(h, y)
    rise = y1 - y
    if not slopes:
        return y + x * rise
    bend = (1 - 2 * x) * rise + ((x - 1) * size) * slopes[0] + (x * size) * slopes[1]
    return y + x * rise + (x * (x - 1)) * bend


def with_slopes(f: Field, t: Size, h: Size, y: Tensor, stages: Stages) -> Stages:
    """Stages (y1,) with the slopes at both ends: two evaluations of f."""
    if len(stages) > 1:
        return stages
    start, end = stage_times(t, h, (0.0, 1.0), y)
    return (*stages, f(start, y), f(end, stages[0]))


def _beside(number: Size, y: Tensor) -> Any:
    return spread(number, y) if isinstance(number, Tensor) else number
