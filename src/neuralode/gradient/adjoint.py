"""The adjoint of a solution as a field: what every method can step, explicit or implicit."""

from typing import Any

import torch
from torch import Tensor

from ..jacobian import push_twice_reversed
from ..output import DenseOutput
from .capture import verify


class Adjoint:
    """a -> -(df/dy)^T a at (t, y(t)), y(t) the solution: linear in a (Chen et al. 2018, eq. 4).

    Its clock s = t - origin starts at zero: the adjoint of a stiff field may begin with steps that a late t does not
    resolve.

    Attributes:
        field: f, whose tally counts what is evaluated here.
        path: y(t), as the forward pass has left it; known: the nodes of what f closes over.
        origin: 0-d or (B,) float64.
    """

    def __init__(self, field: Any, path: DenseOutput, known: set[Any], origin: Tensor) -> None:
        self.field, self.path, self.known, self.origin = field, path, known, origin

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
        field, path = (part.of_samples(keep, samples) for part in (self.field, self.path))
        return Adjoint(field, path, self.known, self.origin[keep])

    def rows(self, a: Tensor) -> Tensor:
        """As f sees y."""
        return self.field.rows(a)

    def __call__(self, s: Tensor, a: Tensor) -> Tensor:
        (found,) = self.pulled(*self.place(s), -a)
        return torch.zeros_like(a) if found is None else found

    def place(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """(t as f gets it, y(t)) for a time of the clock: 0-d, or any shape of B entries."""
        t, y = self.places(s.double().reshape(1, *self.origin.shape))
        return t[0], y[0]

    def places(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """The same for several times (N,), or (N, B), one a row."""
        times = self.origin + s
        y = self.path.at(times)
        t = times.to(y.real.dtype)
        return t.reshape(*t.shape, *(1,) * (y.dim() - t.dim())) if self.path.batched else t, y

    def pulled(
        self, t: Tensor, y: Tensor, a: Tensor, tensors: list[Tensor] | None = None
    ) -> tuple[Tensor | None, ...]:
        """The product of a with the derivative of f(t, y) with respect to each of ``tensors``; None: to y."""
        y = y.detach().requires_grad_()
        inputs = [y] if tensors is None else tensors
        with torch.enable_grad():
            slope = self.field(t, y)
        if not slope.requires_grad:
            return (None,) * len(inputs)
        verify([slope], self.known, [y])
        # What lies behind a captured tensor is shared by all evaluations: it must outlive this one.
        return torch.autograd.grad(slope, inputs, a, allow_unused=True, retain_graph=True)

    def jacobian(self, s: Tensor, a: Tensor) -> Tensor:
        """-J^T, (R, n, n)."""
        return -self.field.jacobian(*self.place(s)).mT

    def push(self, s: Tensor, a: Tensor, v: Tensor) -> Tensor:
        """-J^T v."""
        return self(s, v)

    def rate(self, s: Tensor, a: Tensor) -> Tensor:
        """The derivative with respect to the clock, along y(t) too."""

        def value(clock: Tensor) -> Tensor:
            t, y = self.place(clock)
            slope, found = self.field(t, y), None
            if slope.requires_grad:
                (found,) = torch.autograd.grad(slope, y, -a, create_graph=True, allow_unused=True)
            return torch.zeros_like(a) if found is None else found

        return push_twice_reversed(value, s, torch.ones_like(s))
