"""The first step size, from the solution's own scale (Hairer, Norsett, Wanner I, section II.4, "Starting step").

Time is measured in units of |y0| / |f0| there where the book takes the user's own, so that the same problem in other
units of time takes the same steps.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..ops import Size, combine, stage_times
from .choice import clip, select
from .power import power


def initial_step(
    f: Callable[[Tensor, Tensor], Tensor],
    t0: Size,
    y0: Tensor,
    f0: Tensor,
    *,
    sign: Any,
    span: Any,
    order: int,
    scale: Tensor,
    measure: Callable[[Tensor], Any],
) -> Any:
    """Magnitude of the first step; makes one evaluation of f, inside the span.

    ``scale`` is atol + rtol |y0|, ``measure`` the norm of a scaled state (a float, or (B,)), ``span`` |t1 - t0|,
    ``order`` the k with an error of O(h^k), ``sign`` the direction of time.
    """
    d0, d1 = measure(y0 / scale), measure(f0 / scale)
    small = (d0 < 1e-5) | (d1 * span < 1e-5)
    unit = select(small, span, d0 / select(d1 > 0, d1, 1.0))
    h0 = clip(select(small, 1e-6 * span, 0.01 * unit), 0.0 * span, span)
    y1 = combine(y0, sign * h0, ((0, 1.0),), (f0,))
    f1 = f(stage_times(t0, sign * h0, (1.0,), y0)[0], y1)
    d2 = measure((f1 - f0) / scale) / h0
    growth = select(d2 * unit**2 < 1e30, d2 * unit**2, 1e30)  # NaN fails every comparison
    steepest = clip(growth, d1 * unit, 1e300)
    h1 = unit * power(0.01 / clip(steepest, 1e-15, 1e300), 1.0 / order)
    h1 = select(steepest <= 1e-15, clip(h0 * 1e-3, 1e-6 * span, span), h1)
    return clip(clip(h1, 0.0 * span, 100.0 * h0), 0.0 * span, span)
