"""Choices and limits on Python floats (one step for the whole state) and on tensors (B,) (one per sample) alike."""

from typing import Any

import torch
from torch import Tensor

from ..ops import scalar


def select(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    if not isinstance(condition, Tensor):
        return a if condition else b
    return torch.where(condition, _tensor(a, condition.device), _tensor(b, condition.device))


def _tensor(x: Any, device: torch.device) -> Tensor:
    return x.double() if isinstance(x, Tensor) else scalar(float(x), torch.float64, device)


def clip(x: Any, low: Any, high: Any) -> Any:
    """x limited to [low, high]."""
    if isinstance(x, Tensor):
        if isinstance(low, Tensor) == isinstance(high, Tensor):
            return torch.clamp(x, low, high)
        return torch.clamp(torch.clamp(x, min=low), max=high)
    return low if x < low else high if x > high else x
