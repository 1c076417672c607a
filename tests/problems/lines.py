"""Partial differential equations on a grid (the method of lines).

The Brusselator's end: extrapolated midpoint rule of order up to 24 in 80-bit arithmetic, at two tolerances that agree
to the digits given; SciPy's DOP853 and Radau at 1e-13 and 1e-11 agree to 1e-12.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from .known import Known, vector

POINTS = 50
GRID = torch.arange(1.0, POINTS + 1, dtype=torch.float64) / (POINTS + 1)


def second_difference(u: Tensor, edge: float) -> Tensor:
    """u_xx on GRID, with u = ``edge`` at x = 0 and x = 1."""
    wide = pad(u, (1, 1), value=edge)
    return (wide[..., 2:] - 2 * u + wide[..., :-2]) * (POINTS + 1) ** 2


def heat_exact(t: Tensor) -> Tensor:
    """The semi-discrete solution: the k-th sine mode decays at -4 (n + 1)^2 sin^2(k pi / (2 n + 2))."""
    k = torch.arange(1.0, POINTS + 1, dtype=torch.float64)
    modes = math.sqrt(2 / (POINTS + 1)) * torch.sin(math.pi * k[:, None] * GRID)
    decay = -4 * (POINTS + 1) ** 2 * torch.sin(math.pi * k / (2 * (POINTS + 1))) ** 2
    return (torch.exp(decay * t[..., None]) * (modes @ heat_start())) @ modes


def heat_start() -> Tensor:
    """A bar warm on its left third, so that every mode is there."""
    return (GRID < 1 / 3).double()


def brusselator_line_field(t: Tensor, y: Tensor) -> Tensor:
    """The Brusselator with diffusion 1/50 (Hairer and Wanner, Solving ODEs II, IV.1); u, then v."""
    u, v = y.split(POINTS, -1)
    made = u**2 * v
    du = 1 + made - 4 * u + 0.02 * second_difference(u, 1.0)
    dv = 3 * u - made + 0.02 * second_difference(v, 3.0)
    return torch.cat((du, dv), -1)


END = vector(
    0.949241133428762, 0.899281407456191, 0.850835952749283, 0.804508820936412, 0.760776972117868, 0.719985225289917,
    0.682350821312718, 0.647975407108375, 0.616861895765670, 0.588933736713398, 0.564054513828734, 0.542046326977215,
    0.522705974102699, 0.505818447695337, 0.491167645900052, 0.478544464298153, 0.467752591559856, 0.458612403603326,
    0.450963361818400, 0.444665293861923, 0.439598888183884, 0.435665678265268, 0.432787737431835, 0.430907254381864,
    0.429986115015937, 0.430005577883729, 0.430966097626219, 0.432887321655383, 0.435808258134814, 0.439787586141243,
    0.444904049753653, 0.451256844944502, 0.458965870096271, 0.468171666942177, 0.479034829037903, 0.491734601563753,
    0.506466343979287, 0.523437484026356, 0.542861570526351, 0.564950051065002, 0.589901481159899, 0.617888037989429,
    0.649039485062075, 0.683425123265511, 0.721034754215478, 0.761760224387016, 0.805379621752927, 0.851546531605720,
    0.899786780823152, 0.949504692715286, 3.064032036332625, 3.127030330351840, 3.188057137507890, 3.246308082130925,
    3.301136249949175, 3.352062816672823, 3.398775526390212, 3.441117377428415, 3.479068375656897, 3.512723224706072,
    3.542267472757650, 3.567954086956787, 3.590081821970482, 3.608976190610189, 3.624973388244966, 3.638407187814203,
    3.649598602230410, 3.658847986193893, 3.666429196029022, 3.672585421538370, 3.677526329534431, 3.681426200903869,
    3.684422792455288, 3.686616705646065, 3.688071093476383, 3.688811583112566, 3.688826335079606, 3.688066200789740,
    3.686444979792455, 3.683839817651420, 3.680091825971214, 3.675007048807538, 3.668357945062561, 3.659885604290656,
    3.649302962180790, 3.636299328522609, 3.620546578703927, 3.601707380165110, 3.579445813877241, 3.553440689419640,
    3.523401718644905, 3.489088484666968, 3.450331802629839, 3.407056613357610, 3.359305003456449, 3.307257366101491,
    3.251249209532308, 3.191780826348513, 3.129517109226816, 3.065275357911791,
)  # fmt: skip
HEAT = Known(
    "heat",
    lambda t, y: second_difference(y, 0.0),
    (0.0, 0.2),
    heat_start(),
    heat_exact(torch.tensor(0.2, dtype=torch.float64)),
    heat_exact,
)
BRUSSELATOR_LINE = Known(
    "Brusselator with diffusion",
    brusselator_line_field,
    (0.0, 10.0),
    torch.cat((1 + torch.sin(2 * math.pi * GRID), torch.full((POINTS,), 3.0, dtype=torch.float64))),
    END,
)
