"""A field with discontinuities at known times, seen from one side of each."""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..field import VectorField
from ..ops import REAL, spread
from ..problem import Problem

INF = torch.inf
CLAMPED: WeakKeyDictionary[VectorField, Callable[..., Any]] = WeakKeyDictionary()


class Sided:
    """f on a leg between two times of discontinuity: never called at them, but next to them inside the leg.

    A field that says ``t < s`` and one that says ``t <= s`` are then the same to a step that starts or ends at s.
    Derivatives with respect to t are those of f.
    """

    def __init__(self, field: Any, low: Tensor, high: Tensor) -> None:
        self.field, self.low, self.high = field, low, high

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.field, name)
        return Sided(found, self.low, self.high) if isinstance(found, VectorField) else found

    def of_samples(self, keep: Tensor, samples: int) -> "Sided":
        return Sided(self.field.of_samples(keep, samples), self.low[keep], self.high[keep])

    def plain(self) -> Any:
        """The same as a VectorField whose f has the ends for arguments, so that f is one function on all legs."""
        inner = self.field
        if not isinstance(inner, VectorField):
            return self
        f = CLAMPED.setdefault(inner, _clamped(inner.f))
        return VectorField(
            f, (self.low, self.high, *inner.args), inner.layout, inner.batched, tally=inner.tally
        )

    def _side(self, t: Tensor) -> Tensor:
        return _between(t, self.low, self.high)

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field(self._side(t), y)

    def parts(self, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.field.parts(self._side(t), y)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field.jacobian(self._side(t), y)

    def push(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        return self.field.push(self._side(t), y, v)

    def rate(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field.rate(self._side(t), y)


def _between(t: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return t + (torch.clamp(t, low, high) - t).detach()


def _clamped(f: Callable[..., Any]) -> Callable[..., Any]:
    def clamped(t: Tensor, y: Any, low: Tensor, high: Tensor, *args: Any) -> Any:
        return f(_between(t, low, high), y, *args)

    return clamped


def sided(problem: Problem, ends: tuple[Tensor, Tensor], cut: tuple[Tensor, Tensor], sign: Tensor) -> Any:
    """The field of a leg; ``cut`` says at which of its ``ends``, (C,) each, f is discontinuous."""
    y = problem.y0
    start, stop = (end.detach().to(REAL.get(y.dtype, y.dtype)) for end in ends)
    forward = (sign * INF).to(start)
    first = torch.where(cut[0], torch.nextafter(start, forward), -forward)
    last = torch.where(cut[1], torch.nextafter(stop, -forward), forward)
    low, high = torch.minimum(first, last), torch.maximum(first, last)
    batched = problem.batch == "independent"
    low, high = (spread(x, y.real) if batched else x.reshape(()) for x in (low, high))
    return Sided(problem.field, low, high)
