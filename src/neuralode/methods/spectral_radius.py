"""The spectral radius of df/dy of every row, by a power iteration on differences of f.

As in RKC (Sommeijer, Shampine & Verwer, J. Comp. Appl. Math. 88 (1998) 315-326, section 3.2), but begun with a vector
that holds every mode: from a smooth f(t, y) the iteration would settle on a slow one.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..ops import Size, stage_times
from .method import Field

FEWEST, MOST = 3, 50
# The estimates rise to the radius, and are taken for it where one differs from the last by one percent.
CLOSE, SAFETY = 0.01, 1.2


class Radius(NamedTuple):
    """What an iteration found, by row; (1,), or (B,) where dimension 0 is a batch.

    Attributes:
        rho: an upper estimate of the radius; not finite where f was not.
        mode: the last iterate, (R, n), of length one.
    """

    rho: Tensor
    mode: Tensor


def spectral_radius(
    f: Field, t: Size, y: Tensor, f0: Tensor, wanted: Tensor, known: Radius | None
) -> tuple[Radius, Tensor]:
    """The radii at (t, y), where f is f0, for the rows in ``wanted``; evaluations of f that each row needed, (R,).

    The others keep what is ``known`` of them; its modes are where the iteration begins.
    """
    time = stage_times(t, t * 0.0, (0.0,), y)[0]
    state, slope = f.rows(y), f.rows(f0)
    rho, mode = known or Radius(_length(state), _every_mode(state))
    size = _length(state)
    # As little as differences resolve; a state at rest has no size of its own.
    width = torch.finfo(state.dtype).eps ** 0.5 * torch.where(size > 0, size, 1.0)
    before = highest = torch.zeros_like(width)
    active, evaluations = wanted, torch.zeros_like(wanted, dtype=torch.long)
    for count in range(1, MOST + 1):
        change = f.rows(f(time, (state + width[:, None] * mode).reshape(y.shape))) - slope
        length = _length(change)
        found = length / width
        good = torch.isfinite(found) & (found > 0)
        mode = torch.where((active & good)[:, None], change / length[:, None], mode)
        # Pairs of complex eigenvalues make the estimates swing: the larger of two.
        rho = torch.where(active, SAFETY * torch.maximum(found, before), rho)
        highest = torch.maximum(highest, found)
        evaluations = evaluations + active
        active = active & good & ~((count >= FEWEST) & ((found - before).abs() <= CLOSE * found))
        before = found
        if not bool(active.any()):
            break
    return Radius(torch.where(active, SAFETY * highest, rho), mode), evaluations


def _length(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1)


def _every_mode(rows: Tensor) -> Tensor:
    """Entries that follow no pattern, the same for all rows."""
    place = torch.arange(1, rows.shape[1] + 1, dtype=torch.float64, device=rows.device)
    start = torch.cos(place**2).to(rows.dtype).expand_as(rows)
    return start / _length(start)[:, None]
