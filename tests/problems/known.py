"""What a problem with a known solution is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Known:
    """dy/dt = f(t, y) with the solution at t_span's end, and everywhere if ``exact`` is given.

    ``f`` is row-wise: y is (..., n), t is 0-d or (B, 1). ``atol_ratio`` is the atol that suits the sizes of the
    components, as a multiple of rtol.
    """

    name: str
    f: Field
    t_span: tuple[float, float]
    y0: Tensor
    end: Tensor
    exact: Callable[[Tensor], Tensor] | None = None
    atol_ratio: float = 1.0

    def __repr__(self) -> str:
        return self.name

    def error(self, y1: Tensor) -> float:
        """Largest error at the end in units of rtol: 1e-6 is what rtol = 1e-6 with its atol asks for."""
        return float(((y1 - self.end).abs() / (self.atol_ratio + self.end.abs())).max())


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def by_components(formula: Callable[..., tuple[Any, ...]]) -> Field:
    """The field of ``formula(t, *components of y)``, which serves NumPy and JAX as well."""
    return lambda t, y: torch.stack(formula(row_time(t, y), *y.unbind(-1)), -1)


def row_time(t: Tensor, y: Tensor) -> Tensor:
    """t as it broadcasts against one component of y: 0-d, or (B,) from (B, 1)."""
    return t.reshape(y.shape[:-1]) if t.dim() else t
