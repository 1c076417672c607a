"""Roots inside a bracket: the ITP method of Oliveira & Takahashi, ACM TOMS 47 (2020), algorithm 1."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from .choice import clip, select

WIDTH = 2.0**-50
EXTRA = 1


def root(g: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """theta in [0, 1] with g(theta) = 0, where g(0) = low and g(1) = high differ in sign.

    ``low`` and ``high`` are floats, or tensors (B,) for B roots at once. Never more than bisection's evaluations
    plus one.
    """
    rising = select(high > 0, 1.0, -1.0) if isinstance(high, Tensor) else math.copysign(1.0, high - low)
    a, b = 0.0 * low, 0.0 * low + 1.0
    ga, gb = rising * low, rising * high
    most = math.ceil(math.log2(1.0 / (2 * WIDTH))) + EXTRA
    for step in range(most + 1):
        width = b - a
        if float(width.max()) <= 2 * WIDTH if isinstance(width, Tensor) else width <= 2 * WIDTH:
            break
        half = (a + b) / 2
        reach = clip(WIDTH * 2.0 ** (most - step) - width / 2, 0.0, 1.0)
        gap = gb - ga
        secant = select(gap > 0, (gb * a - ga * b) / select(gap > 0, gap, 1.0), half)
        toward = select(half >= secant, 1.0, -1.0)
        push = 0.2 * width**2
        trial = select(push <= abs(half - secant), secant + toward * push, half)
        x = select(abs(trial - half) <= reach, trial, half - toward * reach)
        gx = rising * g(x)
        above, below = gx >= 0, gx <= 0
        b, gb = select(above, x, b), select(above, gx, gb)
        a, ga = select(below, x, a), select(below, gx, ga)
    return (a + b) / 2
