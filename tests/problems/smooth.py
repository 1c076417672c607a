"""Small problems that are not stiff, most with errors that do not grow.

End values without a closed form: Radau IIA of orders 13 and 9 in 80-bit arithmetic, which agree to the digits given.
"""

import math
from typing import Any

import torch
from torch import Tensor

from .known import Field, Known, by_components, row_time, vector


def forced(t: Tensor) -> Tensor:
    return torch.stack((1 / (3 + torch.cos(t)), torch.exp(torch.sin(t))), -1)


def forced_field(t: Tensor, y: Tensor) -> Tensor:
    t = row_time(t, y)
    return torch.stack((y[..., 0] ** 2 * torch.sin(t), torch.cos(t) * y[..., 1]), -1)


def spiral(t: Tensor) -> Tensor:
    return torch.exp(-0.1 * t)[..., None] * torch.stack((torch.cos(2 * t), -torch.sin(2 * t)), -1)


def van_der_pol(mu: float) -> Field:
    """y'' = mu (1 - y^2) y' - y."""
    return lambda t, y: torch.stack((y[..., 1], mu * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]), -1)


def brusselator_field(t: Tensor, y: Tensor) -> Tensor:
    u, v = y.unbind(-1)
    return torch.stack((1 + u**2 * v - 4 * u, 3 * u - u**2 * v), -1)


def lotka_volterra(t: Any, prey: Any, hunters: Any) -> tuple[Any, ...]:
    return 1.5 * prey - prey * hunters, prey * hunters - 3 * hunters


def rigid_body_field(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    return torch.stack((b * c, -a * c, -0.51 * a * b), -1)


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
LINEAR = Known(
    "linear",
    lambda t, y: torch.stack((2 * y[..., 1] - 0.1 * y[..., 0], -2 * y[..., 0] - 0.1 * y[..., 1]), -1),
    (0.0, 10.0),
    vector(1.0, 0.0),
    spiral(torch.tensor(10.0, dtype=torch.float64)),
    spiral,
)
BRUSSELATOR = Known(
    "brusselator",
    brusselator_field,
    (0.0, 20.0),
    vector(1.5, 3.0),
    vector(4.98637071268348e-1, 4.59678034945201),
)
VAN_DER_POL = Known(
    "van der Pol",
    van_der_pol(1.0),
    (0.0, 20.0),
    vector(2.0, 0.0),
    vector(2.00814976217495, -4.25088752732021e-2),
)
VAN_DER_POL_5 = Known(
    "van der Pol 5",
    van_der_pol(5.0),
    (0.0, 20.0),
    vector(2.0, 0.0),
    vector(-1.60129687954285, 1.98326676338662e-1),
)
LOTKA_VOLTERRA = Known(
    "Lotka-Volterra",
    by_components(lotka_volterra),
    (0.0, 10.0),
    vector(1.0, 1.0),
    vector(1.02634476757509, 0.909691078136042),
)
# Krogh's example of Euler's equations: (sn, cn, dn)(t | m = 0.51), evaluated to 30 digits.
RIGID_BODY = Known(
    "rigid body",
    rigid_body_field,
    (0.0, 20.0),
    vector(0.0, 1.0, 1.0),
    vector(-0.9396570798729203961884, -0.3421177754000749065348, 0.7414126596199953007826),
)
