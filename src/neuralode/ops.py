"""Tensor operations that a step is made of: linear combinations of stages, and the times of the stages.

The step size h is a Python float (one step for the whole state) or a float64 tensor (B,) (one per sample), which
``combine`` also takes as ``spread`` leaves it.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

Size = float | Tensor
Terms = Sequence[tuple[int, float]]

REAL = {torch.complex64: torch.float32, torch.complex128: torch.float64}

# Whether a torch.func transform (grad, vmap, jvp, ...) is being traced right now.
transforming = torch._C._are_functorch_transforms_active

# Numbers in a state up to which the calls of operations cost more than their arithmetic.
FEW = 4096


def small(y: Tensor) -> bool:
    """Whether a state is small, in plain memory of the CPU, and no derivative is being taken."""
    return (
        not torch.is_grad_enabled()
        and type(y) is Tensor
        and 0 < y.numel() <= FEW
        and y.is_cpu
        and (y.dtype is torch.float32 or y.dtype is torch.float64)
        and y.is_contiguous()
        and not transforming()
    )


def mapped(tensor: Tensor) -> bool:
    """Whether torch.func.vmap hides the values of a tensor."""
    functorch = torch._C._functorch
    while transforming() and functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def stage_times(t: Size, h: Size, nodes: tuple[float, ...], y: Tensor) -> tuple[Tensor, ...]:
    """t + c h for every node c, each rounded once to y's real dtype; shape () or (B, 1, ..., 1)."""
    dtype = REAL.get(y.dtype, y.dtype)
    if isinstance(t, float) and isinstance(h, float):
        return torch.tensor([t + c * h for c in nodes], dtype=dtype, device=y.device).unbind()
    assert isinstance(t, Tensor) and isinstance(h, Tensor)
    times = torch.addcmul(t, constant(nodes, y.device)[:, None], h).to(dtype)
    return times.reshape(len(nodes), -1, *(1,) * (y.dim() - 1)).unbind()


def combine(y: Tensor | None, h: Size, weights: Terms, stages: Sequence[Tensor]) -> Tensor:
    """y + h sum_i w_i k_i (y None counts as zero), as a chain of additions into a temporary of our own."""
    shared = isinstance(h, float)
    scale = h if isinstance(h, float) else 1.0
    index, weight = weights[0]
    if not shared:
        first = stages[index]
        total = first * scalar(weight, first.dtype, first.device)
    elif y is None:
        total = stages[index] * (scale * weight)
    else:
        total = torch.add(y, stages[index], alpha=scale * weight)
    # An in-place sum into an unbatched temporary is an error under vmap.
    add = torch.add if transforming() else Tensor.add_
    for index, weight in weights[1:]:
        total = add(total, stages[index], alpha=scale * weight)
    if not isinstance(h, Tensor):
        return total
    size = h if h.dtype is total.dtype and h.dim() == total.dim() else spread(h, total)
    return total * size if y is None else torch.addcmul(y, total, size)


def spread(values: Tensor, like: Tensor) -> Tensor:
    """One value per sample, (B,), in the shape (B, 1, ..., 1) and dtype that broadcast against ``like``."""
    return values.to(like.dtype).reshape(-1, *(1,) * (like.dim() - 1))


def merge(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """``new`` for the samples in ``mask`` (B,), ``old`` for the others."""
    return torch.where(mask.reshape(-1, *(1,) * (new.dim() - 1)), new, old)


@lru_cache(maxsize=256)
def constant(numbers: tuple[Any, ...], device: torch.device) -> Tensor:
    """Numbers of a method as a float64 tensor; made once, and fit to take part in a gradient."""
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=torch.float64, device=device)


@lru_cache(maxsize=4096)
def scalar(number: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One number as a 0-d tensor, made once: an operation that is given a Python number makes one at every call."""
    with torch.inference_mode(False):
        return torch.tensor(number, dtype=dtype, device=device)
