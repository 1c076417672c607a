"""A problem as every code takes it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from gradient_cases import Formula, Loss
from operations import OfTorch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Problem:
    """``formula(ops, t, y, (*args, *params))`` is dy/dt of one sample (n,) or of a batch (B, n).

    Attributes:
        args: what each sample has its own of, (B,).
        params: what all share, and gradients are wanted of.
        outputs: times at which y is wanted, evenly spaced, t0 among them.
        loss: ``loss(ops, ys)`` of the outputs ys (T, B, n) or (T, n), for gradients.
        atol_ratio: atol over rtol.
        small: what a quick look takes instead.
    """

    name: str
    title: str
    formula: Formula
    t_span: tuple[float, float]
    y0: Tensor
    tol: float
    args: tuple[Tensor, ...] = ()
    params: tuple[Tensor, ...] = ()
    outputs: int = 2
    loss: Loss | None = None
    atol_ratio: float = 1.0
    stiff: bool = False
    max_steps: int = 4096

    @property
    def batched(self) -> bool:
        return self.y0.dim() > 1

    @property
    def samples(self) -> int:
        return len(self.y0) if self.batched else 1

    @cached_property
    def times(self) -> Tensor:
        return torch.linspace(*self.t_span, self.outputs, dtype=torch.float64)

    @cached_property
    def field(self) -> Callable[..., Tensor]:
        """f(t, y, *args) in PyTorch."""
        return lambda t, y, *args: self.formula(OfTorch, t, y, (*args, *self.params))

    @cached_property
    def leaves(self) -> tuple[Tensor, ...]:
        """y0 and params, as what gradients are wanted of."""
        return (self.y0.detach().clone().requires_grad_(), *self.params)

    def to(self, dtype: torch.dtype, device: str = "cpu") -> "Problem":
        """The same numbers as leaves of another precision or place."""

        def moved(parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
            return tuple(part.detach().to(device=device, dtype=dtype) for part in parts)

        params = tuple(part.requires_grad_() for part in moved(self.params))
        return replace(self, y0=moved([self.y0])[0], args=moved(self.args), params=params)

    def tolerances(self, tol: Any) -> dict[str, Any]:
        return {"rtol": tol, "atol": tol * self.atol_ratio}

    def total_loss(self, ops: Any, ys: Any) -> Any:
        if self.loss is None:
            raise ValueError(f"{self.name} has no loss")
        return self.loss(ops, ys)


class RefusedError(Exception):
    """Why a code has no figure for a problem."""


@dataclass(frozen=True, eq=False)
class Contender:
    """A way to solve problems.

    Attributes:
        name: as in the tables.
        forward, gradient: problem -> (tolerance -> result), the result not yet read back; each raises
            ``RefusedError`` where it does not apply, without a word where nobody would ask.
        numbers: result of either -> one flat float64 tensor: the outputs in the order (T, B, n), or the gradients.
        per_sample: whether each sample has its own step size.
    """

    name: str
    forward: Callable[[Problem], Callable[[float], Any]]
    gradient: Callable[[Problem], Callable[[float], Any]]
    numbers: Callable[[Any], Tensor]
    per_sample: bool


def no_gradient(problem: Problem) -> Callable[[float], Any]:
    raise RefusedError("no gradient")


def flat(parts: Any) -> Tensor:
    """Tensors side by side."""
    return torch.cat([part.detach().double().reshape(-1).cpu() for part in parts])
