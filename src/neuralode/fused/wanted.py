"""Which gradients a solve is to have."""

from collections.abc import Sequence

import torch
from torch import Tensor


def wanted_gradients(y0: Tensor, tensors: Sequence[Tensor]) -> tuple[int, ...] | None:
    """Places of f's inputs that a gradient is wanted of besides y, given those besides t and y; None: no gradients."""
    if not torch.is_grad_enabled():
        return None
    places = tuple(2 + i for i, tensor in enumerate(tensors) if tensor.requires_grad)
    return places if places or y0.requires_grad else None
