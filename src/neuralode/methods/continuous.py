"""Dense output as a combination of stages: y(t + theta h) = y + h sum_i b_i(theta) k_i."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..ops import Size, combine, spread

Dense = Callable[[Size, Size, Tensor, Sequence[Tensor]], Tensor]


def polynomial(rows: tuple[tuple[float, ...], ...]) -> Dense:
    """The dense output whose b_i(theta) = sum_j rows_ij theta^(j + 1)."""

    def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
        powers = [theta]
        for _ in rows[0][1:]:
            powers.append(powers[-1] * theta)
        weights: list[tuple[int, Any]] = [
            (i, sum((number * power for number, power in zip(row, powers, strict=True)), start=0.0 * theta))
            for i, row in enumerate(rows)
            if any(row)
        ]
        if not (isinstance(theta, Tensor) and isinstance(h, Tensor)):
            return combine(y, h, weights, stages)
        slope = torch.stack([spread(weight, y) * stages[i] for i, weight in weights]).sum(0)
        return torch.addcmul(y, slope, spread(h, y))

    return dense
