"""The size of an error: relative to the tolerance, entry by entry, and as one number for a system or a sample."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..ops import scalar

Norm = Callable[[Tensor], Tensor]


def rms(x: Tensor) -> Tensor:
    """Root mean square over the last dimension."""
    length = torch.linalg.vector_norm(x, dim=-1)
    return length * scalar(x.shape[-1] ** -0.5, length.dtype, length.device)


def largest(x: Tensor) -> Tensor:
    """Largest magnitude over the last dimension."""
    return torch.linalg.vector_norm(x, ord=math.inf, dim=-1)


NORMS: dict[str, Norm] = {"rms": rms, "max": largest}


def whole(norm: Norm, scaled: Tensor) -> Tensor:
    """The norm of one system."""
    return norm(scaled.reshape(-1))


def worst(norm: Norm, scaled: Tensor) -> Tensor:
    """The largest of the samples' norms: every sample within tolerance."""
    return norm(scaled.reshape(scaled.shape[0], -1)).amax()


def each(norm: Norm, scaled: Tensor) -> Tensor:
    """The norm of every sample, (B,)."""
    return norm(scaled.reshape(scaled.shape[0], -1))


MEASURES: dict[str | None, Callable[[Norm, Tensor], Tensor]] = {
    None: whole,
    "lockstep": worst,
    "independent": each,
}


def error_ratio(error: Tensor, y: Tensor, y1: Tensor, rtol: Any, atol: Any) -> Tensor:
    """error / (atol + rtol max(|y|, |y1|)), entry by entry (Hairer I, eq. II.4.10)."""
    size = torch.maximum(y.abs(), y1.abs())
    if isinstance(rtol, Tensor) or isinstance(atol, Tensor):
        return error / size.mul_(rtol).add_(atol)
    return error / torch.add(scalar(atol, size.dtype, size.device), size, alpha=rtol)
