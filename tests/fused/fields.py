"""Vector fields for the tests of the fused backend, float64, and what its solutions share with eager ones."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from neuralode import Solution

D = torch.float64
# Rounding differs between the backends (fused multiply-adds), and grows along a solution that spreads errors.
ROUNDING = 1e-9


def lotka_volterra(t: Tensor, y: Tensor) -> Tensor:
    x, z = y[..., 0], y[..., 1]
    return torch.stack((1.5 * x - x * z, x * z - 3.0 * z), -1)


def van_der_pol(t: Tensor, y: Tensor, mu: Tensor) -> Tensor:
    return torch.stack((y[:, 1], mu * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]), 1)


def lorenz(t: Tensor, y: Tensor, rho: Tensor) -> Tensor:
    x, v, z = y.unbind(-1)
    return torch.stack((10 * (v - x), x * (rho - z) - v, x * v - 8 / 3 * z), -1)


def blow_up(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
    """A pole at 1 / (rate y0), each sample its own."""
    return rate[:, None] * y * y


class Spiral(nn.Module):
    """A small network on y**3 that turns with time."""

    def __init__(self, width: int = 20, dtype: torch.dtype = D) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = (nn.Linear(2, width), nn.Tanh(), nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, 2))
        self.net = nn.Sequential(*layers).to(dtype)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y**3) * torch.cos(t) - 0.1 * y


class Deep(nn.Module):
    """Two hidden layers: so much work that a solve holds what its reverse sweep needs."""

    def __init__(self, width: int = 64, dtype: torch.dtype = D) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = (2, width, width, 2)
        layers = [nn.Linear(m, n, dtype=dtype) for m, n in pairwise(sizes)]
        self.layers = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        found: Tensor = self.layers(y) * 3 - y**3
        return found


def states(samples: int, size: int, seed: int = 0, dtype: torch.dtype = D) -> Tensor:
    """Random initial values in [0.5, 1.5]."""
    return torch.rand(samples, size, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 0.5


def assert_same_steps(a: Solution, b: Solution, bound: float = ROUNDING) -> None:
    """What b, fused, is to have in common with a, eager; ``bound``: of y, relative and absolute."""
    for name in ("accepted", "rejected", "nfev", "status"):
        assert torch.equal(torch.as_tensor(getattr(a, name)), torch.as_tensor(getattr(b, name))), name
    torch.testing.assert_close(b.y, a.y, rtol=bound, atol=bound, equal_nan=True)
    torch.testing.assert_close(b.y1, a.y1, rtol=bound, atol=bound, equal_nan=True)
