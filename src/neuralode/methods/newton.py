"""Simplified Newton iteration for the equations of an implicit step, every sample with its own end of it.

Convergence and divergence are judged as in Hairer & Wanner, Solving ODEs II, 2nd ed. (1996), section IV.8, eqs. 8.10
and 8.11, with an error of the iteration well below the tolerance of the step.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance, power
from ..ops import merge
from .linear import Factored, Krylov

MOST = 7  # with a tolerance of the user's
MOST_TO_ROUNDING = 40
# Of the tolerance; a tenth leaves errors that the step's estimate does not see, a hundredth costs a tenth more.
LEFT_IN_A_ROOT = 0.03
# Of what is left in a root: what GMRES may leave of each correction.
LEFT_IN_A_SOLVE = 0.05
# In units of 16 eps: where an iteration that no longer contracts has met rounding, not divergence.
ROUNDING_STALL = 1e3
# In the same units: an iteration's error, unlike rounding, has the same sign step by step, and adds up.
FAR_BELOW_ROUNDING = 2.0**-8


class Root(NamedTuple):
    """What an iteration ended with; masks and counts are (1,), or (B,) per sample.

    Attributes:
        x: the last iterate.
        converged: whose last iterate is a root.
        iterations: evaluations of the residual that each needed.
        rate: contraction theta / (1 - theta) of the last two, for the next call.
        theta: the last contraction seen; zero after one iteration.
    """

    x: Tensor
    converged: Tensor
    iterations: Tensor
    rate: Tensor
    theta: Tensor


def newton(
    residual: Callable[[Tensor], Tensor],
    solve: Callable[[Tensor], Tensor],
    x: Tensor,
    size: Callable[[Tensor], Tensor],
    tolerance: Tolerance,
    rate: Tensor,
    left: float = LEFT_IN_A_ROOT,
    unsure: Tensor | None = None,
) -> Root:
    """Iterate x <- x - solve(residual(x)), x of any shape with rows in front.

    ``size`` is the norm of an update in units of the tolerance, (1,) or (B,); ``rate`` what the last call ended with,
    one (or larger) when nothing is known; ``left`` the error that may be left, in units of the tolerance; ``unsure``
    whose contraction must be seen, since a matrix far too large for the problem makes all updates small.
    """
    kappa, most = accuracy(tolerance, x, left), MOST if tolerance.given else MOST_TO_ROUNDING
    rate = power(rate.clamp(min=torch.finfo(torch.float64).eps), 0.8)
    active = torch.ones_like(rate, dtype=torch.bool)
    converged, iterations = torch.zeros_like(active), torch.zeros_like(active, dtype=torch.long)
    theta, before = torch.zeros_like(rate), None
    for count in range(most):
        delta = solve(residual(x))
        length = size(delta)
        iterations = iterations + active
        good = torch.isfinite(length)
        if before is not None:
            ratio = length / before.clamp(min=torch.finfo(torch.float64).tiny)
            theta = torch.where(active, ratio, theta)
            rate = torch.where(active, theta / (1 - theta), rate)
            hopeless = power(theta, most - 1 - count) / (1 - theta) * length > kappa
            good = good & (theta < 1) & ~hopeless if tolerance.given else good & (theta < 2)
            if not tolerance.given:
                converged = converged | (active & (theta > 0.5) & (length <= ROUNDING_STALL))
        x = merge(active & good, x - delta, x)
        near = (rate * length <= kappa) & (rate > 0)
        if unsure is not None and before is None:
            near = near & ~unsure
        converged = converged | (active & good & (near | (length == 0)))
        active = active & good & ~converged
        before = length
        if not bool(active.any()):
            break
    return Root(x, converged, iterations, torch.where(converged, rate.clamp(min=0.0), 1.0), theta)


def accuracy(tolerance: Tolerance, x: Tensor, left: float) -> float:
    """The error left in a root, in units of the tolerance: ``left``, or what rounding leaves."""
    if not tolerance.given:
        return FAR_BELOW_ROUNDING
    rtol = smallest(tolerance)
    return max(left, 10 * torch.finfo(x.dtype).eps / rtol if rtol > 0 else 0.0)


def rough(system: Factored | Krylov, tolerance: Tolerance, scale: Tensor, left: float) -> Factored | Krylov:
    """The system for an iteration that may leave an error of ``left``; ``scale`` takes updates to tolerances."""
    return system.within(scale, LEFT_IN_A_SOLVE * left) if tolerance.given else system


def smallest(tolerance: Tolerance) -> float:
    """The smallest rtol of all unknowns."""
    return float(tolerance.rtol.min()) if isinstance(tolerance.rtol, Tensor) else tolerance.rtol
