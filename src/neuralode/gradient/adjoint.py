"""The adjoint of a solution as a field: what every method can step, explicit or implicit."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..jacobian import push_twice_reversed
from ..ops import Size, spread
from ..output import DenseOutput
from .capture import node_of, verify


class Adjoint:
    """a -> -(df/dy)^T a at (t, y(t)), y(t) the solution: linear in a (Chen et al. 2018, eq. 4).

    Attributes:
        field: f, whose tally counts what is evaluated here.
        path: y(t), as the forward pass has left it; known: the nodes of what f closes over.
    """

    def __init__(self, field: Any, path: DenseOutput, known: set[Any]) -> None:
        self.field, self.path, self.known = field, path, known

    @property
    def count(self) -> int:
        """Calls of f, each with one product."""
        return self.field.count

    @property
    def jacobians(self) -> int:
        """Jacobians made."""
        return self.field.jacobians

    def of_samples(self, keep: Tensor, samples: int) -> "Adjoint":
        """The same for some of the samples."""
        parts = (part.of_samples(keep, samples) for part in (self.field, self.path))
        return Adjoint(*parts, self.known)

    def rows(self, a: Tensor) -> Tensor:
        """As f sees y."""
        return self.field.rows(a)

    def __call__(self, t: Tensor, a: Tensor) -> Tensor:
        y = self._state(t).requires_grad_()
        (found,) = self.pulled(t, y, -a, [y])
        return torch.zeros_like(a) if found is None else found

    def pulled(self, t: Tensor, y: Tensor, a: Tensor, inputs: list[Tensor]) -> tuple[Tensor | None, ...]:
        """The product of a with the derivative of f(t, y) with respect to each of ``inputs``."""
        with torch.enable_grad():
            slope = self.field(t, y)
        if not slope.requires_grad:
            return (None,) * len(inputs)
        verify([slope], self.known | {node for node in [node_of(y)] if node is not None})
        # What lies behind a captured tensor is shared by all evaluations: it must outlive this one.
        return torch.autograd.grad(slope, inputs, a, allow_unused=True, retain_graph=True)

    def jacobian(self, t: Tensor, a: Tensor) -> Tensor:
        """-J^T, (R, n, n)."""
        return -self.field.jacobian(t, self._state(t)).mT

    def push(self, t: Tensor, a: Tensor, v: Tensor) -> Tensor:
        """-J^T v."""
        return self(t, v)

    def rate(self, t: Tensor, a: Tensor) -> Tensor:
        """Its derivative with respect to t, along y(t) too."""

        def value(time: Tensor) -> Tensor:
            y = self._state(time)
            slope = self.field(time, y)
            found = None
            if slope.requires_grad:
                (found,) = torch.autograd.grad(slope, y, -a, create_graph=True, allow_unused=True)
            return torch.zeros_like(a) if found is None else found

        return push_twice_reversed(value, t, torch.ones_like(t))

    def _state(self, t: Tensor) -> Tensor:
        """y(t) for a time as f gets it: 0-d, or (B, 1, ..., 1)."""
        return self.path.at(t.double().reshape(1, -1) if self.path.batched else t.double().reshape(1))[0]


def clock(t: Size, like: Tensor) -> Tensor:
    """A time, 0-d or (B,), as f gets it."""
    assert isinstance(t, Tensor)
    return t.to(like.real.dtype) if t.dim() == 0 else spread(t, like.real)
