"""Runge-Kutta-Chebyshev coefficients of second order for any number of stages.

Sommeijer, Shampine & Verwer, RKC: an explicit solver for parabolic PDEs, J. Comp. Appl. Math. 88 (1998) 315-326,
section 2: eqs. 2.3 to 2.7.
"""

from functools import lru_cache
from typing import NamedTuple

DAMPING = 2 / 13


class Chebyshev(NamedTuple):
    """With D_j = Y_j - y, D_0 = 0, D_1 = first h F_0, and for j = 2 ... s, y1 = y + D_s:

        D_j = own_j D_(j-1) + before_j D_(j-2) + slope_j h F_(j-1) + start_j h F_0,    F_j = f(t + node_j h, Y_j)

    Attributes:
        first: weight of the first stage.
        rows: (own, before, slope, start) for j = 2 ... s.
        nodes: node_1 ... node_s.
    """

    first: float
    rows: tuple[tuple[float, float, float, float], ...]
    nodes: tuple[float, ...]


@lru_cache(maxsize=1024)
def chebyshev(stages: int) -> Chebyshev:
    """The coefficients for s >= 2 stages, stable on the negative real axis to 0.653 (s^2 - 1)."""
    x = 1 + DAMPING / stages**2
    t, dt, ddt = [1.0, x], [0.0, 1.0], [0.0, 0.0]  # T_j, T_j' and T_j'' at x
    for j in range(2, stages + 1):
        t.append(2 * x * t[-1] - t[-2])
        dt.append(2 * x * dt[-1] - dt[-2] + 2 * t[j - 1])
        ddt.append(2 * x * ddt[-1] - ddt[-2] + 4 * dt[j - 1])
    scale = dt[stages] / ddt[stages]
    b = [0.0, 0.0, *(ddt[j] / dt[j] ** 2 for j in range(2, stages + 1))]
    b[0] = b[1] = b[2]
    rows = []
    for j in range(2, stages + 1):
        slope = 2 * b[j] * scale / b[j - 1]
        start = -(1 - b[j - 1] * t[j - 1]) * slope
        rows.append((2 * b[j] * x / b[j - 1], -b[j] / b[j - 2], slope, start))
    nodes = [scale * ddt[j] / dt[j] for j in range(2, stages)]
    second = nodes[0] if nodes else 1.0
    return Chebyshev(b[1] * scale, tuple(rows), (second / dt[2], *nodes, 1.0))


def stages_for(reach: float) -> int:
    """The least number of stages whose stability interval holds h rho = ``reach``."""
    return max(2, 1 + int((1 + 1.54 * reach) ** 0.5))
