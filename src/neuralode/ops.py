"""Tensor operations that a step is made of: linear combinations of stages, and the times of the stages.

The step size h is a Python float (one step for the whole state) or a float64 tensor (B,) (one per sample).
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

Size = float | Tensor
Terms = Sequence[tuple[int, float]]


def transforming() -> bool:
    """Whether a torch.func transform (grad, vmap, jvp, ...) is being traced right now."""
    return torch._C._are_functorch_transforms_active()


def stage_times(t: Size, h: Size, nodes: tuple[float, ...], y: Tensor) -> tuple[Tensor, ...]:
    """t + c h for every node c, each rounded once to y's real dtype; shape () or (B, 1, ..., 1)."""
    dtype = real_dtype(y)
    if isinstance(t, float) and isinstance(h, float):
        return torch.tensor([t + c * h for c in nodes], dtype=dtype, device=y.device).unbind()
    assert isinstance(t, Tensor) and isinstance(h, Tensor)
    times = torch.addcmul(t, _column(nodes, y.device), h).to(dtype)
    return times.reshape(len(nodes), -1, *(1,) * (y.dim() - 1)).unbind()


def combine(y: Tensor, h: Size, weights: Terms, stages: Sequence[Tensor]) -> Tensor:
    """y + h sum_i w_i k_i, as a chain of additions on a temporary of our own."""
    if not isinstance(h, float):
        return torch.addcmul(y, _weighted(1.0, weights, stages), spread(h, y))
    index, weight = weights[0]
    total = torch.add(y, stages[index], alpha=h * weight)
    return _accumulate(total, h, weights[1:], stages)


def increment(h: Size, weights: Terms, stages: Sequence[Tensor]) -> Tensor:
    """h sum_i w_i k_i."""
    if not isinstance(h, float):
        total = _weighted(1.0, weights, stages)
        return total * spread(h, total)
    return _weighted(h, weights, stages)


def _weighted(h: float, weights: Terms, stages: Sequence[Tensor]) -> Tensor:
    index, weight = weights[0]
    return _accumulate(stages[index] * (h * weight), h, weights[1:], stages)


def _accumulate(total: Tensor, h: float, weights: Terms, stages: Sequence[Tensor]) -> Tensor:
    if transforming():  # an in-place sum into an unbatched temporary is an error under vmap
        for index, weight in weights:
            total = torch.add(total, stages[index], alpha=h * weight)
        return total
    for index, weight in weights:
        total.add_(stages[index], alpha=h * weight)
    return total


def spread(values: Tensor, like: Tensor) -> Tensor:
    """One value per sample, (B,), in the shape (B, 1, ..., 1) and dtype that broadcast against ``like``."""
    return values.to(like.dtype).reshape(-1, *(1,) * (like.dim() - 1))


def merge(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """``new`` for the samples in ``mask`` (B,), ``old`` for the others."""
    return torch.where(mask.reshape(-1, *(1,) * (new.dim() - 1)), new, old)


def real_dtype(y: Tensor) -> torch.dtype:
    """The dtype of |y|."""
    return y.real.dtype if y.is_complex() else y.dtype


@lru_cache(maxsize=256)
def _column(nodes: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(nodes, dtype=torch.float64, device=device)[:, None]
