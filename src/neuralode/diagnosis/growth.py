"""When a growing solution becomes infinite, from its state and slopes at one time."""

import torch
from torch import Tensor

from ..field import VectorField

# A time of blow-up counts when it lies this near, relative to the time that has passed, and the state has grown so.
NEAR_END = 0.25
GROWN = 10.0


def blow_up(field: VectorField, t: Tensor, y: Tensor, sign: float | Tensor = 1.0) -> Tensor:
    """How far behind t every row's solution becomes infinite, (R,) float64; infinite where it does not.

    Of |y| ~ (T - t)^-a, the growth time |y| / |y|' = (T - t) / a falls linearly to zero at T. With u = |y|^2 and
    w = y . y' it is u / w, whose derivative is 2 - u w' / w^2 with w' = |y'|^2 + y . y''; Newton's step leads to T.

    Args:
        sign: the direction of time, 1 or -1, a number or (R,).

    Raises:
        RuntimeError, NotImplementedError, ValueError, AttributeError: f has no forward derivatives.
    """
    with torch.no_grad():
        first = field(t, y)
        speed = torch.linalg.vector_norm(field.rows(first), dim=1, keepdim=True)
        unit = torch.where(speed > 0, field.rows(first) / speed, 0.0)
        # A unit direction, so that the product is finite in single precision where y'' is not.
        pushed, rate = field.push(t, y, unit.reshape(y.shape)), field.rate(t, y)
    y0, y1, pushed, rate = (field.rows(x).to("cpu", torch.float64) for x in (y, first, pushed, rate))
    y2 = pushed * speed.to("cpu", torch.float64) + rate
    # All but the quotient of squares is free of overflow when everything is measured in units of |y|.
    size = torch.linalg.vector_norm(y0, dim=1, keepdim=True).clamp(min=1e-300)
    y0, y1, y2 = y0 / size, y1 / size, y2 / size
    w = (y0 * y1).sum(1)
    falling = 2.0 - (y1.square().sum(1) + (y0 * y2).sum(1)) / w.square()
    left = -1.0 / (w * falling * sign)
    return torch.where((falling < -1e-6) & (left > 0.0) & torch.isfinite(left), left, torch.inf)
