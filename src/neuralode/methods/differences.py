"""Backward differences of a state: numbers of the formulas, other step sizes, the polynomial through them.

The j-th backward difference at step size h is kept as F_j = nabla^j y / h, so that F_1 is a slope, and nothing is
divided by a step of zero. The past of order k is the polynomial of degree k through y_n and F_1 ... F_k. Tensors named
``order`` and ``ratio`` hold one number, (1,), or one for each row, (R,); columns of matrices count from order 1.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..ops import Size

MAX_ORDER = 5
# Shampine & Reichelt, SIAM J. Sci. Comput. 18 (1997), table 1; none for order 5.
KAPPA = (-0.1850, -1 / 9, -0.0823, -0.0415, 0.0)
GAMMA = tuple(sum(1 / j for j in range(1, k + 1)) for k in range(1, MAX_ORDER + 1))
ALPHA = tuple((1 - kappa) * gamma for kappa, gamma in zip(KAPPA, GAMMA, strict=True))
# Of nabla^(k + 1) y in the local error of order k.
ERROR = tuple(kappa * gamma + 1 / (k + 2) for k, (kappa, gamma) in enumerate(zip(KAPPA, GAMMA, strict=True)))


@lru_cache(maxsize=64)
def _constants(most: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(1 ... most, differences at step 1 from values, sums of later differences with the weights gamma)."""
    numbers = torch.arange(1.0, most + 1, dtype=torch.float64, device=device)
    values = [[(-1.0) ** i * math.comb(j, i) for j in range(1, most + 1)] for i in range(1, most + 1)]
    suffix = torch.ones(most, most, dtype=torch.float64).tril()
    gamma = torch.tensor(GAMMA[:most], dtype=torch.float64)[:, None]
    change = torch.tensor(values, dtype=torch.float64, device=device)
    return numbers, change, torch.cat((suffix, gamma), 1).to(device)


def columns(most: int, order: Tensor) -> Tensor:
    """1 ... most, on the device of ``order``."""
    return _constants(most, order.device)[0]


def of_order(values: tuple[float, ...], order: Tensor) -> Tensor:
    """The entry of a table that belongs to every order, float64; the table's first entry is order 1's."""
    return torch.tensor(values, dtype=torch.float64, device=order.device)[order - 1]


def rescaling(ratio: Tensor, order: Tensor, most: int) -> Tensor:
    """V with F'_j = sum_i V_ij F_i, the differences of the same polynomial at ``ratio`` times the step size.

    V = R(ratio) R(1) / ratio, R_ij(x) = prod_(l = 1)^i (l - 1 - x j) / l (Shampine & Reichelt 1997, section 2.1); zero
    outside the first ``order`` rows and columns. A polynomial in ratio, right at zero too.
    """
    j, change, _ = _constants(most, order.device)
    factors = (j[:, None] - 1 - ratio[:, None, None] * j) / j[:, None]
    factors = torch.cat((-j.expand_as(factors[:, :1]), factors[:, 1:]), 1)
    inside = j <= order[:, None]
    return (factors.cumprod(1) @ change) * (inside[:, :, None] & inside[:, None, :])


def past(ratio: Tensor, order: Tensor, most: int) -> Tensor:
    """(rows, most + 2, most), applied to F of a last step: what a step of another size needs of its past.

    Rows 1 ... most: sums of F'_i over i >= j, the new differences if the next state is the predicted one. Then
    sum_j gamma_j F'_j, the predicted polynomial's slope at the new time, and the last F_(order + 1) to leading order.
    """
    j, _, sums = _constants(most, order.device)
    made = rescaling(ratio, order, most) @ sums
    last = (j == order[:, None] + 1) * ratio[:, None] ** order[:, None]
    return torch.cat((made, last[:, :, None]), 2).mT


def interpolation(theta: Size, order: Tensor, most: int) -> Tensor:
    """(rows, most): w with y(t + theta h) = y + h sum_j w_j F_j, F_j at t + h, by Newton's interpolation formula."""
    j = columns(most, order)
    s = torch.as_tensor(theta, dtype=torch.float64, device=order.device).reshape(-1, 1) - 1
    products = ((s + j - 1) / j).cumprod(1)
    weights = torch.cat((products[:, :1] + 1, products[:, 1:]), 1)
    return weights * (j <= order.reshape(-1, 1))
