"""RKC: Runge-Kutta-Chebyshev chains of second order for any number of stages.

Sommeijer, Shampine & Verwer, RKC: an explicit solver for parabolic PDEs, J. Comp. Appl. Math. 88 (1998) 315-326,
section 2.
"""

from functools import lru_cache

from .chain import Chain, Stabilised

DAMPING = 2 / 13


@lru_cache(maxsize=1024)
def chebyshev(stages: int) -> Chain:
    """The chain of s >= 2 stages, stable on the negative real axis to 0.653 (s^2 - 1)."""
    x = 1 + DAMPING / stages**2
    t, dt, ddt = [1.0, x], [0.0, 1.0], [0.0, 0.0]  # T_j, T_j' and T_j'' at x
    for j in range(2, stages + 1):
        t.append(2 * x * t[-1] - t[-2])
        dt.append(2 * x * dt[-1] - dt[-2] + 2 * t[j - 1])
        ddt.append(2 * x * ddt[-1] - ddt[-2] + 4 * dt[j - 1])
    scale = dt[stages] / ddt[stages]
    b = [0.0, 0.0, *(ddt[j] / dt[j] ** 2 for j in range(2, stages + 1))]
    b[0] = b[1] = b[2]
    rows = [(0.0, 0.0, b[1] * scale, 0.0)]
    for j in range(2, stages + 1):
        slope = 2 * b[j] * scale / b[j - 1]
        start = -(1 - b[j - 1] * t[j - 1]) * slope
        rows.append((2 * b[j] * x / b[j - 1], -b[j] / b[j - 2], slope, start))
    nodes = [scale * ddt[j] / dt[j] for j in range(2, stages)]
    second = nodes[0] if nodes else 1.0
    return Chain(tuple(rows), (second / dt[2], *nodes), (1.0,))


def _stages_for(reach: float) -> int:
    return 1 + int((1 + 1.54 * reach) ** 0.5)


RKC2 = Stabilised(
    name="rkc2",
    order=2,
    error_order=2,
    chain=chebyshev,
    stages_for=_stages_for,
    fewest=2,
    most=20_000,
    source="Sommeijer, Shampine & Verwer, J. Comp. Appl. Math. 88 (1998) 315-326; 2 stages or more",
)
