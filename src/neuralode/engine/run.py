"""What a loop hands back."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..methods import Carry, Step
from ..ops import Size, merge
from ..output import Knots, Marks


class Span(NamedTuple):
    """A step as it is shown to ``Problem.watch``: from (t, y) by h to t1.

    Attributes:
        carry: the method's, at the start.
        finish: gives the step with all the stages that dense output needs; None: it has them.
        accepted: the samples that took it, (B,); None: it is one state's, and was taken.
    """

    t: Size
    h: Size
    t1: Size
    y: Tensor
    carry: Carry
    finish: Callable[[], Step] | None
    accepted: Tensor | None = None


def where_reached(reached: Any, bar: Tensor) -> Tensor:
    """The cotangent of y1, zero where the end was not reached, and y1 is a NaN that nothing made.

    ``reached`` is a bool, or (B,).
    """
    nothing = torch.zeros_like(bar)
    if isinstance(reached, Tensor):
        return merge(reached, bar, nothing)
    return bar if reached else nothing


@dataclass(frozen=True)
class Run:
    """One integration.

    Attributes:
        ys: outputs (T, *y0.shape), y1: state at t1 (NaN where it was not reached), knots: every step when dense_output
            is wanted.
        last: the last state that was accepted, also where the end was not reached.
        times: output times, list of T or (T, B).
        status, t, h: codes and the place reached; ints and floats, or (B,).
        sample: the sample that stopped a lockstep integration, else None.
        nfev, njev, accepted, rejected: counts, ints or (B,).
        report: what the method says of itself.
        tape: accepted steps for the gradients, None if not wanted.
        marks: which outputs are events, None without.
        size: magnitude of the step that would be tried next, float or (B,).
        again: how a fused solve is repeated, None for others.
    """

    ys: Tensor
    y1: Tensor
    last: Tensor
    knots: Knots | None
    times: Any
    status: Any
    t: Any
    h: Any
    sample: int | None
    nfev: Any
    njev: Any
    accepted: Any
    rejected: Any
    report: dict[str, Any]
    tape: Any
    marks: Marks | None = None
    size: Any = 0.0
    again: Any = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What a derivative can be taken of: ys, y1 and the knots' states and stages."""
        return (self.ys, self.y1, *(() if self.knots is None else (self.knots.y, *self.knots.stages)))

    def with_tensors(self, tensors: tuple[Tensor, ...]) -> "Run":
        """The same run with ``tensors`` (in the order of the property) in place of its own."""
        ys, y1, *rest = tensors
        knots = None if self.knots is None else replace(self.knots, y=rest[0], stages=tuple(rest[1:]))
        return replace(self, ys=ys, y1=y1, knots=knots)
