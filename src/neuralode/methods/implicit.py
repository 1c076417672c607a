"""What implicit steps share: the Jacobian kept from step to step, and roots as differentiable functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size
from ..solution import Status
from .linear import Dense, MatrixFree, linearize
from .method import Field

# A contraction of Newton's iteration from which a new Jacobian pays.
SLOW = 0.01
# Of the solves in Newton's iteration without matrices: they correct each other.
ROUGH = 1e-6
# Of a step's size: what worked with a Jacobian has to be seen again where steps have grown by more.
GROWN = 2.0


class Work(NamedTuple):
    """What an implicit method hands from trial to trial; masks are (1,), or (B,) per sample.

    Attributes:
        linear: the linearisation in use, None before the first step.
        stale: whose Jacobian should be made anew before the next trial.
        rate: contraction of Newton's iteration, for the next one.
        size: of the step for which a contraction with this Jacobian was last seen.
    """

    tolerance: Tolerance
    linear: Dense | MatrixFree | None = None
    stale: Any = None
    rate: Any = None
    size: Any = None


def begin(tolerance: Tolerance) -> Work:
    """Before the first step nothing is known."""
    return Work(tolerance)


def flags(h: Size, y: Tensor, value: bool) -> Tensor:
    """A mask of one entry, or of one entry a sample."""
    return torch.full((h.numel() if isinstance(h, Tensor) else 1,), value, device=y.device)


def refreshed(f: Field, t: Tensor, h: Size, y: Tensor, work: Work) -> tuple[Work, Tensor]:
    """(the work with a Jacobian at (t, y) where the last one is stale, whose Jacobian that is)."""
    if work.linear is None or work.stale is None:
        everyone = flags(h, y, True)
        return work._replace(
            linear=linearize(f, t, y, ROUGH),
            stale=~everyone,
            rate=torch.ones_like(everyone, dtype=torch.float64),
        ), everyone
    if not bool(work.stale.any()):
        return work, work.stale
    linear = work.linear.renewed(work.stale, linearize(f, t, y, ROUGH))
    return work._replace(linear=linear, stale=torch.zeros_like(work.stale)), work.stale


def doubted(h: Size, work: Work, renewed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(|h|, the size for which contraction was last seen, who has to see it again), (1,) or (B,).

    A Jacobian that was made next to a fast transient, used with far larger steps behind it, makes every update small,
    whatever the residual is.
    """
    now = h.abs() if isinstance(h, Tensor) else torch.full_like(work.rate, abs(h))
    size = now if work.size is None else torch.where(renewed, now, work.size)
    return now, size, now > GROWN * size


def trouble(root_converged: Tensor, singular: Tensor, h: Size) -> Any:
    """0, or the status of whose equations could not be solved: an int, or (B,)."""
    reason = torch.where(
        singular.any() if len(root_converged) == 1 else singular,
        int(Status.SINGULAR),
        int(Status.NEWTON_DIVERGED),
    )
    codes = torch.where(root_converged, 0, reason)
    return codes if isinstance(h, Tensor) else int(codes)


def plain(counts: Tensor, h: Size) -> Any:
    """Counts as the engines take them: an int, or (B,)."""
    return counts if isinstance(h, Tensor) else int(counts)


def corrected(
    residual: Callable[[Tensor], Tensor], solve: Callable[[Tensor], Tensor], root: Tensor
) -> Tensor:
    """A root as a function of all that its residual depends on, right to second derivatives.

    ``root`` is a constant and ``solve`` applies the inverse of the residual's derivative there, a constant too. One
    chord step x - M^-1 r(x) moves the root to first order (the implicit function theorem), a second one to second.
    """
    x = root.detach()
    for _ in range(2):
        x = x - solve(residual(x))
    return x
