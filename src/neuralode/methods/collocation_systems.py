"""Linear systems with I - h A x J, split by the eigenvalues of A (Hairer & Wanner, Solving ODEs II, section IV.8)."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ops import Size
from ..tableaus.collocation import Collocation
from .linear import Dense, Factored, Krylov, MatrixFree


class Solver(NamedTuple):
    """The factorised systems of one Jacobian and one step size."""

    linear: Dense | MatrixFree
    h: Size
    systems: tuple[Factored | Krylov, ...]


@lru_cache(maxsize=64)
def numbers(values: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Coefficients as a tensor."""
    return torch.tensor(values, dtype=dtype, device=device)


def factorised(tableau: Collocation, linear: Dense | MatrixFree, h: Size, last: Solver | None) -> Solver:
    """I - h lambda J of every mode; the last ones where nothing has changed."""
    if last is not None and last.linear is linear and _same(h, last.h):
        return last
    return Solver(linear, h, tuple(linear.factor(h * mode.value) for mode in tableau.modes))


def _same(a: Size, b: Size) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else bool(a == b)


def inverse(tableau: Collocation, solver: Solver) -> Callable[[Tensor], Tensor]:
    """The function r -> (I - h A x J)^-1 r, (R, s, n)."""

    def solve(r: Tensor) -> Tensor:
        total = torch.zeros_like(r)
        for mode, system in zip(tableau.modes, solver.systems, strict=True):
            pair = isinstance(mode.value, complex)
            dtype = r.dtype.to_complex() if pair else r.dtype
            left, right = (numbers(v, dtype, r.device) for v in (mode.left, mode.right))
            x = system.solve(torch.einsum("i,rin->rn", left, r.to(dtype)))
            part = torch.einsum("i,rn->rin", right, x)
            total = total + (2 * part.real if pair else part)
        return total

    return solve
