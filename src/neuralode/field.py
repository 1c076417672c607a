"""The user's f as the rest of the library calls it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .jacobian import blocks_forward, blocks_reverse, push, push_twice_reversed
from .layout import Layout, RealPairs, take_rows

# What torch says where a function has no forward mode or cannot be mapped over tangents.
UNSUPPORTED = (RuntimeError, NotImplementedError, ValueError, AttributeError)
# A relative miss of J v that tells coupled rows from rounding.
COUPLED = 1e-3


@dataclass
class Tally:
    """Calls of f, rows of y in them, and Jacobians made; what a walk back along the path has missed, in tolerances."""

    count: int = 0
    rows: int = 0
    jacobians: int = 0
    drift: Tensor | None = None

    def missed(self, drift: Tensor) -> None:
        """Keep the largest."""
        self.drift = drift if self.drift is None else torch.fmax(self.drift, drift)


class Counted:
    """What a field's ``tally`` says, read from the field."""

    tally: Tally

    @property
    def count(self) -> int:
        """Calls of f."""
        return self.tally.count

    @property
    def rows_evaluated(self) -> int:
        """Rows of y in the calls of f."""
        return self.tally.rows

    @property
    def jacobians(self) -> int:
        """Jacobians made."""
        return self.tally.jacobians


@dataclass(eq=False)
class VectorField(Counted):
    """f with its arguments bound, on the raveled state; counts its calls and checks what comes back.

    Attributes:
        batched: whether dimension 0 of the state is a batch of systems that do not depend on each other.
        jac: the user's df/dy, or None.
        tally: what was evaluated so far.
    """

    f: Callable[..., Any]
    args: tuple[Any, ...]
    layout: Layout | RealPairs | None
    batched: bool = False
    jac: Callable[..., Tensor] | None = None
    tally: Tally = field(default_factory=Tally)
    forward_mode: bool = True
    rows_checked: bool = False

    def of_samples(self, keep: Tensor, samples: int) -> "VectorField":
        """f for some of the samples of a batch: every tensor in args with a row for each follows; counted here."""
        return replace(self, args=take_rows(self.args, keep, samples))

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        tally, layout, shape = self.tally, self.layout, y.shape
        tally.count += 1
        tally.rows += shape[0] if self.batched else 1
        version = None if y.is_inference() else y._version
        state = y if layout is None else layout.unravel(y)
        try:
            dy = self.f(t, state, *self.args)
        except Exception as error:
            error.add_note(f"raised by f at evaluation {self.count}, t = {t.detach().flatten().tolist()[:8]}")
            raise
        if layout is not None:
            dy = layout.ravel(dy)
        if version is not None and y._version != version:
            raise RuntimeError("f changed its argument y in place: compute dy/dt in a new tensor")
        if not isinstance(dy, Tensor):
            raise TypeError(f"f must return dy/dt as a tensor like y, got {type(dy).__name__}")
        if dy.shape != shape:
            raise ValueError(
                f"f returned shape {tuple(dy.shape)}, expected that of y, {tuple(shape)}; "
                "f is called as f(t, y, *args)"
            )
        if dy.dtype is not y.dtype or dy.device != y.device:
            return self._same_kind(dy, y)
        return dy

    def _same_kind(self, dy: Tensor, y: Tensor) -> Tensor:
        if dy.device != y.device:
            raise ValueError(
                f"f returned a tensor on {dy.device}, y is on {y.device}: move f's parameters there"
            )
        if torch.is_autocast_enabled(y.device.type):
            return dy.to(y.dtype)
        raise TypeError(f"f returned {dy.dtype}, y is {y.dtype}: make f's parameters and constants {y.dtype}")

    def rows(self, y: Tensor) -> Tensor:
        """y as (R, n): R systems that do not depend on each other, of n unknowns each."""
        return y.reshape(len(y) if self.batched else 1, -1)

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        """df/dy, (R, n, n).

        Raises:
            ValueError: ``jac`` returned another shape, or the samples of a batch depend on each other.
        """
        self.tally.jacobians += 1
        rows, n = self.rows(y).shape
        if self.jac is not None:
            return self._given(t, y, rows, n)
        found = self._blocks(lambda x: self._raw(t, x), y, rows)
        if rows > 1 and not self.rows_checked:
            self._check_rows(t, y, found)
        return found

    def _given(self, t: Tensor, y: Tensor, rows: int, n: int) -> Tensor:
        assert self.jac is not None
        found = self.jac(t, y if self.layout is None else self.layout.unravel(y), *self.args)
        want = (rows, n, n) if self.batched else (n, n)
        if not isinstance(found, Tensor) or found.shape not in (want, (n, n)):
            got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(f"jac returned {got}, expected df/dy of shape {want}")
        return found.to(y.dtype).reshape(-1, n, n).expand(rows, n, n)

    def _blocks(self, f: Callable[[Tensor], Tensor], y: Tensor, rows: int) -> Tensor:
        if self.forward_mode:
            try:
                return blocks_forward(f, y, rows)
            except UNSUPPORTED:
                self.forward_mode = False
        return blocks_reverse(f, y, rows)

    def _check_rows(self, t: Tensor, y: Tensor, found: Tensor) -> None:
        """Compare J v with the blocks' product for one v: it differs where a sample's f depends on another sample."""
        self.rows_checked = True
        v = torch.cos(torch.arange(1, y.numel() + 1, dtype=torch.float64)).to(y).reshape(y.shape)
        want = self.rows(self.push(t, y, v)).detach()
        got = torch.einsum("rij,rj->ri", found.detach(), self.rows(v))
        if float((got - want).norm()) > COUPLED * float(want.norm()):
            raise ValueError(
                "f(t, y) of one sample depends on other samples (batch normalisation in training mode?), but an "
                "implicit method solves each sample's equations by themselves: use batch=None, or an explicit method"
            )

    def push(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """(df/dy) v for v shaped like y."""
        return self._product(lambda x: self._raw(t, x), y, v)

    def rate(self, t: Tensor, y: Tensor) -> Tensor:
        """df/dt, shaped like y."""
        return self._product(lambda x: self._raw(x, y), t, torch.ones_like(t))

    def _product(self, f: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> Tensor:
        if self.forward_mode:
            try:
                return push(f, x, v)
            except UNSUPPORTED:
                self.forward_mode = False
        return push_twice_reversed(f, x, v)

    def _raw(self, t: Tensor, y: Tensor) -> Tensor:
        """f without counts and checks, for transforms."""
        state = y if self.layout is None else self.layout.unravel(y)
        dy = self.f(t, state, *self.args)
        dy = dy if self.layout is None else self.layout.ravel(dy)
        return dy if dy.dtype == y.dtype else dy.to(y.dtype)


@dataclass(eq=False)
class Split(Counted):
    """dy/dt = f_explicit + f_implicit: as one field their sum, whose Jacobian is that of the implicit part.

    Evaluations of either part count.
    """

    explicit: VectorField
    implicit: VectorField

    def __post_init__(self) -> None:
        self.tally = self.implicit.tally  # both parts share it

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        explicit, implicit = self.parts(t, y)
        return explicit + implicit

    def parts(self, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Both at one place."""
        return self.explicit(t, y), self.implicit(t, y)

    @property
    def f(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        return self.explicit.f, self.implicit.f

    @property
    def args(self) -> tuple[Any, ...]:
        return self.implicit.args

    @property
    def layout(self) -> Layout | RealPairs | None:
        return self.implicit.layout

    def rows(self, y: Tensor) -> Tensor:
        """As ``VectorField.rows``."""
        return self.implicit.rows(y)

    def of_samples(self, keep: Tensor, samples: int) -> "Split":
        """As ``VectorField.of_samples``."""
        return Split(self.explicit.of_samples(keep, samples), self.implicit.of_samples(keep, samples))
