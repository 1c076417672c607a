"""Dense output as a combination of stages: y(t + theta h) = y + h sum_i b_i(theta) k_i."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..ops import Size, combine, constant, spread

Dense = Callable[[Size, Size, Tensor, Sequence[Tensor]], Tensor]


def polynomial(rows: tuple[tuple[float, ...], ...]) -> Dense:
    """The dense output whose b_i are given by coefficients of theta^k (1 - theta)^(n - k), k = 1 ... n."""

    def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
        basis = bernstein(theta, len(rows[0]))
        if isinstance(h, float):
            weights = [
                (i, sum(number * value for number, value in zip(row, basis, strict=True)))
                for i, row in enumerate(rows)
            ]
            return combine(y, h, weights, stages)
        table = (constant(rows, h.device) @ torch.stack(basis)).to(y.dtype)
        first, *rest = table.reshape(len(rows), -1, *(1,) * (y.dim() - 1)).unbind()
        slope = first * stages[0]
        for weight, stage in zip(rest, stages[1:], strict=True):
            slope = torch.addcmul(slope, weight, stage)
        return torch.addcmul(y, slope, spread(h, y))

    return dense


def bernstein(theta: Any, n: int) -> list[Any]:
    """theta^k (1 - theta)^(n - k), k = 1 ... n."""
    up, down = [theta], [1.0 - theta]
    for _ in range(n - 1):
        up.append(up[-1] * theta)
        down.append(down[-1] * (1.0 - theta))
    return [up[k - 1] * down[n - k - 1] for k in range(1, n)] + [up[n - 1]]
