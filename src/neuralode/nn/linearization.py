"""A field, and what it does to directions, pushed through its layers together.

Every smooth field f here has `pushforward(t, z, v) -> (f(t, z), J v)` with J = df/dz: the chain rule written
out, so that a trace needs no backward pass inside the solver, and its gradient no second one by autograd.
"""

import torch
from torch import Tensor, nn


class Pushforward(nn.Module):
    """A field with `pushforward`; its trace follows."""

    def pushforward(self, t: Tensor, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, z) (B, d) and J v (B, K, d) of K directions v (B, K, d)."""
        raise NotImplementedError

    def with_trace(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, z) (B, d) and the exact trace of J (B,)."""
        slope, columns = self.pushforward(t, z, axes(z))
        return slope, columns.diagonal(dim1=1, dim2=2).sum(-1)

    def trace(self, t: Tensor, z: Tensor) -> Tensor:
        """The exact trace of J (B,)."""
        return self.with_trace(t, z)[1]


def axes(z: Tensor) -> Tensor:
    """The d unit vectors for each sample of z (B, d), as directions (B, d, d)."""
    d = z.shape[-1]
    return torch.eye(d, dtype=z.dtype, device=z.device).expand(len(z), d, d)


def along(scale: Tensor) -> Tensor:
    """A factor of the units, (H,) or (B, H), in the shape that broadcasts against directions (B, K, H)."""
    return scale if scale.dim() < 2 else scale.unsqueeze(1)
