"""Normalizing flow of planar layers (Rezende & Mohamed 2015): the baseline of the paper's section 4.1."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from .mlp_field import widths
from .standard_normal import StandardNormal, check_points

BISECTIONS = {torch.float32: 40, torch.float64: 80}
SHIFT = math.log(math.e - 1.0)  # softplus(SHIFT) = 1


class Planar(nn.Module):
    """y = x + u tanh(w . x + b), with u bent so that w . u > -1: then the layer has an inverse.

    Args:
        dim: d, size of x.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        scale = 1.0 / math.sqrt(dim)
        self.w = nn.Parameter(3.0 * scale * torch.randn(dim))  # bends within the data, rather than around it
        self.u = nn.Parameter(0.1 * scale * torch.randn(dim))
        self.b = nn.Parameter(torch.zeros(()))

    def direction(self) -> tuple[Tensor, Tensor]:
        """u with w . u = softplus(w . u0 + s) - 1 > -1 (Rezende & Mohamed 2015, appendix A.1), and that product.

        The shift s makes u = u0 where w . u0 = 0: without it every new layer would contract by 0.3 along w, and
        many of them would start far from the identity.
        """
        product = self.w @ self.u
        bent = softplus(product + SHIFT) - 1.0
        return self.u + (bent - product) * self.w / (self.w @ self.w).clamp_min(1e-12), bent

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y (B, d) and log |det dy/dx| (B,) = log(1 + (w . u) (1 - tanh^2))."""
        u, product = self.direction()
        h = torch.tanh(x @ self.w + self.b)
        return x + h[:, None] * u, torch.log1p(product * (1.0 - h * h))

    @torch.no_grad()
    def inverse(self, y: Tensor) -> Tensor:
        """x (B, d) with forward(x) = y.

        a = w . x + b solves a + (w . u) tanh(a) = w . y + b, whose left side increases: one root, within |w . u|
        of the right side, found by bisection to the last bit.
        """
        u, product = self.direction()
        goal = y @ self.w + self.b
        low, high = goal - product.abs(), goal + product.abs()
        for _ in range(BISECTIONS[y.dtype]):
            middle = 0.5 * (low + high)
            above = middle + product * torch.tanh(middle) > goal
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return y - torch.tanh(0.5 * (low + high))[:, None] * u


class PlanarFlow(nn.Module):
    """The density of x where the planar layers, one after the other, take x to z ~ N(0, I).

    Args:
        dim: dimensions of x.
        layers: K, number of layers of one unit each.

    Example:
        >>> flow = PlanarFlow(2, layers=4)
        >>> flow.log_prob(torch.zeros(5, 2)).shape, flow.sample(7).shape
        (torch.Size([5]), torch.Size([7, 2]))
    """

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        (self.dim,), (count,) = widths("dim", dim), widths("layers", layers)
        self.layers = nn.ModuleList(Planar(dim) for _ in range(count))
        self.base = StandardNormal(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All layers: y (B, dim) and log |det dy/dx| (B,).

        From data to N(0, I) this gives `log_prob`. Applied to z ~ N(0, I) instead, y has the log density
        log N(z) - log |det|: what matching KL(q || p) needs, see `rsample_with_log_prob`.
        """
        check_points(x, self.dim)
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, change = layer(x)
            total = total + change
        return x, total

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,), for x (B, dim)."""
        z, change = self(x)
        return self.base.log_prob(z) + change

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """n samples of x (n, dim): every layer inverted exactly, by a one-dimensional root; no gradient."""
        x = self.base.rsample((n,))
        for layer in reversed(self.layers):
            assert isinstance(layer, Planar)
            x = layer.inverse(x)
        return x

    def rsample_with_log_prob(self, n: int) -> tuple[Tensor, Tensor]:
        """n samples y (n, dim) and log q(y) (n,) of the other density these layers define: z ~ N(0, I) to y.

        This is the direction in which Rezende & Mohamed fit energies; it is not the density of `log_prob`.
        """
        z = self.base.rsample((n,))
        y, change = self(z)
        return y, self.base.log_prob(z) - change
