"""Choices and limits on Python floats (one step for the whole state) and on tensors (B,) (one per sample) alike."""

from typing import Any

import torch
from torch import Tensor


def select(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    if not isinstance(condition, Tensor):
        return a if condition else b
    a, b = (torch.as_tensor(x, dtype=torch.float64, device=condition.device) for x in (a, b))
    return torch.where(condition, a, b)


def clip(x: Any, low: Any, high: Any) -> Any:
    """x limited to [low, high]."""
    if isinstance(x, Tensor):
        return torch.clamp(torch.clamp(x, min=low), max=high)
    return low if x < low else high if x > high else x
