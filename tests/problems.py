"""Problems with known solutions, float64. Reference end values: Radau IIA of order 13 in 80-bit arithmetic."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Known:
    """dy/dt = f(t, y) with the solution at t_span's end, and everywhere if ``exact`` is given."""

    name: str
    f: Callable[[Tensor, Tensor], Tensor]
    t_span: tuple[float, float]
    y0: Tensor
    end: Tensor
    exact: Callable[[Tensor], Tensor] | None = None

    def __repr__(self) -> str:
        return self.name


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def forced(t: Tensor) -> Tensor:
    return torch.stack((1 / (3 + torch.cos(t)), torch.exp(torch.sin(t))), -1)


def forced_field(t: Tensor, y: Tensor) -> Tensor:
    t = t.reshape(y.shape[:-1]) if t.dim() else t  # (B, 1) when every sample has its own
    return torch.stack((y[..., 0] ** 2 * torch.sin(t), torch.cos(t) * y[..., 1]), -1)


# Non-autonomous and nonlinear, so that a wrong node shows.
FORCED = Known(
    "forced",
    forced_field,
    (0.0, 6.0),
    vector(0.25, 1.0),
    forced(torch.tensor(6.0, dtype=torch.float64)),
    forced,
)
TURN = Known(
    "rotation",
    lambda t, y: torch.stack((y[..., 1], -y[..., 0]), -1),
    (0.0, 10.0),
    vector(0.0, 1.0),
    vector(math.sin(10.0), math.cos(10.0)),
    lambda t: torch.stack((torch.sin(t), torch.cos(t)), -1),
)
BRUSSELATOR = Known(
    "brusselator",
    lambda t, y: torch.stack(
        (1 + y[..., 0] ** 2 * y[..., 1] - 4 * y[..., 0], 3 * y[..., 0] - y[..., 0] ** 2 * y[..., 1]), -1
    ),
    (0.0, 20.0),
    vector(1.5, 3.0),
    vector(4.98637071268348e-1, 4.59678034945201),
)
VAN_DER_POL = Known(
    "van der Pol",
    lambda t, y: torch.stack((y[..., 1], (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]), -1),
    (0.0, 20.0),
    vector(2.0, 0.0),
    vector(2.00814976217495, -4.25088752732021e-2),
)
LOTKA_VOLTERRA = Known(
    "Lotka-Volterra",
    lambda t, y: torch.stack(
        (1.5 * y[..., 0] - y[..., 0] * y[..., 1], -3 * y[..., 1] + y[..., 0] * y[..., 1]), -1
    ),
    (0.0, 10.0),
    vector(1.0, 1.0),
    vector(1.02634476757509, 0.909691078136042),
)
