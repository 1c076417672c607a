"""The density that flows start from."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent


class StandardNormal(nn.Module):
    """N(0, I) on R^dim; follows the module it is in to its device and dtype.

    Args:
        dim: dimensions.
    """

    origin: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(dim), persistent=False)

    def log_prob(self, z: Tensor) -> Tensor:
        """(B,) in nats, for z (B, dim)."""
        return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2.0 * math.pi))

    def rsample(self, shape: tuple[int, ...]) -> Tensor:
        """(*shape, dim)."""
        return torch.randn(*shape, len(self.origin), dtype=self.origin.dtype, device=self.origin.device)


def as_density(base: Any, dim: int) -> Any:
    """`base` with one event dimension: N(0, I) for None; a distribution of single numbers is made joint.

    Raises:
        ValueError: a distribution that is not over vectors of size `dim`.
    """
    if base is None:
        return StandardNormal(dim)
    if not isinstance(base, Distribution):
        return base
    if base.event_shape == () and base.batch_shape == (dim,):
        return Independent(base, 1)
    if base.event_shape != (dim,) or base.batch_shape != ():
        raise ValueError(
            f"base: got batch {tuple(base.batch_shape)} and event {tuple(base.event_shape)}, takes a distribution "
            f"over vectors of size {dim}"
        )
    return base


def check_points(x: Tensor, dim: int) -> None:
    """Raise unless x is (B, dim)."""
    if x.dim() != 2 or x.shape[1] != dim:
        raise ValueError(f"x: got shape {tuple(x.shape)}, takes (B, {dim})")
