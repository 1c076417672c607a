"""What a method that steps q and p in turn asks of the state and of f, looked at before the first step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .layout import Layout
from .ops import Size, mapped, stage_times

# Of the largest entry: a half that does not depend on the other changes by rounding at most.
ROUNDING = 100.0


def check_pair(method: str, y0: Any, layout: Layout | None) -> None:
    """Whether y0 is a pair of tensors of one shape.

    Raises:
        ValueError: it is not; says what to pass.
    """
    shapes = [tuple(y0.shape)] if layout is None else [tuple(shape) for shape in layout.shapes]
    if len(shapes) == 2 and shapes[0] == shapes[1]:
        return
    got = (
        f"one tensor of shape {shapes[0]}"
        if layout is None
        else f"leaves of shapes {', '.join(map(str, shapes))}"
    )
    raise ValueError(
        f"method {method!r} steps q and p in turn: y0 must be a pair (q, p) of tensors of one shape, and f return "
        f"(dq/dt, dp/dt); got {got}. For other states use a method such as 'dopri5'"
    )


def check_separable(method: str, field: Callable[[Tensor, Tensor], Tensor], t0: Size, y0: Tensor) -> None:
    """Whether dq/dt stays as it is where q alone changes, and dp/dt where p does: three evaluations of f, near y0.

    Not at y0, whose zeros (a start at rest) would hide what depends on both.

    Raises:
        ValueError: it does not; says which methods to use instead.
    """
    if not y0.numel():
        return
    with torch.no_grad(), forward_ad._set_fwd_grad_enabled(False):
        time = stage_times(t0, t0 * 0.0, (0.0,), y0)[0]
        q, p = y0.chunk(2, -1)
        both = (_moved(q), _moved(p))
        only_p, moved, only_q = (
            field(time, torch.cat(halves, -1)).chunk(2, -1) for halves in ((q, both[1]), both, (both[0], p))
        )
    for name, on, before, after in (
        ("dq/dt", "q", only_p[0], moved[0]),
        ("dp/dt", "p", only_q[1], moved[1]),
    ):
        if mapped(after):
            return  # nothing can be looked at
        bound = ROUNDING * torch.finfo(y0.dtype).eps * before.abs().max()
        # A NaN that only the move made is a dependence; one that was there before tells nothing.
        if torch.isfinite(bound) and not ((after - before).abs() <= bound).all():
            raise ValueError(
                f"method {method!r} needs a separable f, dq/dt of (t, p) and dp/dt of (t, q), but {name} depends on "
                f"{on}: use a method for any f, such as 'dopri5' or, for long times, 'gauss4'"
            )


def _moved(x: Tensor) -> Tensor:
    """Every entry moved, by amounts of its own, up to some tenths of its size."""
    wave = torch.cos(torch.arange(1, x.numel() + 1, dtype=torch.float64)).to(x).reshape(x.shape)
    return x + 0.3 * wave * (1 + x.abs())
