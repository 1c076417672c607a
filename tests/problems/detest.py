"""DETEST: the non-stiff problems of Hull, Enright, Fellen and Sedgwick (SIAM J. Numer. Anal. 9, 1972), to t = 20.

All but C5 (five planets) and F (discontinuous right-hand sides). End values without a closed form: extrapolated
midpoint rule of order up to 24 in 80-bit arithmetic, at two tolerances that agree to the digits given.
"""

import math

import torch
from torch import Tensor

from .known import Field, Known, row_time, vector
from .orbits import kepler
from .smooth import RIGID_BODY, VAN_DER_POL

SPAN = (0.0, 20.0)


def linear(name: str, matrix: Tensor, y0: Tensor) -> Known:
    return Known(name, lambda t, y: y @ matrix.to(y).T, SPAN, y0, torch.linalg.matrix_exp(20 * matrix) @ y0)


def chain(rates: list[float]) -> Tensor:
    """Radioactive decay: each species turns into the next, the last one stays."""
    lost = vector(*rates, 0.0)
    return torch.diag(lost[:-1], -1) - torch.diag(lost)


def heat_chain(n: int) -> Tensor:
    side = torch.ones(n - 1, dtype=torch.float64)
    return torch.diag(side, -1) + torch.diag(side, 1) - 2 * torch.eye(n, dtype=torch.float64)


def first(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)[0]


def predators(t: Tensor, y: Tensor) -> Tensor:
    a, b = y.unbind(-1)
    return torch.stack((2 * (a - a * b), a * b - b), -1)


def reaction(t: Tensor, y: Tensor) -> Tensor:
    a, b, _ = y.unbind(-1)
    return torch.stack((-a, a - b**2, b**2), -1)


def torus(t: Tensor, y: Tensor) -> Tensor:
    a, b, c = y.unbind(-1)
    r = torch.sqrt(a**2 + b**2)
    return torch.stack((-b - a * c / r, a - b * c / r, a / r), -1)


def second_order(acceleration: Field) -> Field:
    """The first-order system of y'' = acceleration(t, (y, y'))."""
    return lambda t, y: torch.stack((y[..., 1], acceleration(row_time(t, y), y)), -1)


def bessel_half(x: float) -> Tensor:
    """J_1/2(x) = sqrt(2 / (pi x)) sin x and its derivative."""
    size = math.sqrt(2 / (math.pi * x))
    return vector(size * math.sin(x), size * (math.cos(x) - math.sin(x) / (2 * x)))


BESSEL = second_order(lambda t, y: -y[..., 1] / (t + 1) - (1 - 0.25 / (t + 1) ** 2) * y[..., 0])
DUFFING = second_order(lambda t, y: y[..., 0] ** 3 / 6 - y[..., 0] + 2 * torch.sin(2.78535 * t))
FALL = second_order(lambda t, y: 0.032 - 0.4 * y[..., 1] ** 2)
PURSUIT = second_order(lambda t, y: torch.sqrt(1 + y[..., 1] ** 2) / (25 - t))

SCALAR = (
    Known("A1", lambda t, y: -y, SPAN, vector(1.0), vector(math.exp(-20.0))),
    Known("A2", lambda t, y: -(y**3) / 2, SPAN, vector(1.0), vector(21**-0.5)),
    Known("A3", lambda t, y: y * torch.cos(t), SPAN, vector(1.0), vector(math.exp(math.sin(20.0)))),
    Known("A4", lambda t, y: y / 4 * (1 - y / 20), SPAN, vector(1.0), vector(20 / (1 + 19 * math.exp(-5.0)))),
    Known("A5", lambda t, y: (y - t) / (y + t), SPAN, vector(4.0), vector(-7.887826688964012e-1)),
)
SMALL = (
    Known("B1", predators, SPAN, vector(1.0, 3.0), vector(6.761876008576608e-1, 1.860816099640030e-1)),
    linear("B2", vector(-1, 1, 0, 1, -2, 1, 0, 1, -1).reshape(3, 3), vector(2.0, 0.0, 1.0)),
    Known(
        "B3",
        reaction,
        SPAN,
        vector(1.0, 0.0, 0.0),
        vector(math.exp(-20.0), 5.257228022048512e-2, 9.474277177183612e-1),
    ),
    Known(
        "B4",
        torus,
        SPAN,
        vector(3.0, 0.0, 0.0),
        vector(9.826950928006536e-1, 2.198447081694931, 9.129452507276276e-1),
    ),
    RIGID_BODY,
)
MODERATE = (
    linear("C1", chain([1.0] * 9), first(10)),
    linear("C2", chain([float(k) for k in range(1, 10)]), first(10)),
    linear("C3", heat_chain(10), first(10)),
    linear("C4", heat_chain(51), first(51)),
)
ORBITS = tuple(kepler(eccentricity) for eccentricity in (0.1, 0.3, 0.5, 0.7, 0.9))
HIGHER_ORDER = (
    Known("E1", BESSEL, SPAN, bessel_half(1.0), bessel_half(21.0)),
    VAN_DER_POL,
    Known("E3", DUFFING, SPAN, vector(0.0, 0.0), vector(-1.004178858647242e-1, 2.411400132095956e-1)),
    Known("E4", FALL, SPAN, vector(30.0, 0.0), vector(3.395091444646556e1, 2.767822659672868e-1)),
    Known("E5", PURSUIT, SPAN, vector(0.0, 0.0), vector(1.411797390542625e1, 2.4)),
)
DETEST = (*SCALAR, *SMALL, *MODERATE, *ORBITS, *HIGHER_ORDER)
