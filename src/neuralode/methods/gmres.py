"""GMRES on rows, each with a basis of its own."""

from collections.abc import Callable

import torch
from torch import Tensor

# Dimensions of the first basis, how they grow from start to start, and numbers that a basis may hold.
SMALL_BASIS = 32
GROWTH = 4
RESTARTS = 8
MEMORY = 2**25
# Of |r|: the most that may be left, so that the size of an update still tells how an iteration contracts.
MOST_LEFT = 0.1


def gmres(apply: Callable[[Tensor], Tensor], r: Tensor, accuracy: float = 0.0, enough: float = 0.0) -> Tensor:
    """x with apply(x) = r, all rows (R, n) at once (Saad & Schultz, SIAM J. Sci. Stat. Comput. 7, 1986).

    The residual is at most ``accuracy`` |r|, or rounding, or ``enough`` (but then not above ``MOST_LEFT`` |r|),
    whichever is the most. Started anew with a larger basis until that has all dimensions, or as many as ``MEMORY``
    holds. Rows that are solved stay solved: their updates are zero.
    """
    x, rest = torch.zeros_like(r), r
    size = torch.linalg.vector_norm(rest, dim=1)
    goal = max(accuracy, 100 * torch.finfo(r.dtype).eps) * size
    goal = torch.maximum(goal, (MOST_LEFT * size).clamp(max=enough))
    basis, most = SMALL_BASIS, max(SMALL_BASIS, MEMORY // max(r.numel(), 1))
    for _ in range(RESTARTS):
        if not bool((size > goal).any()):
            break
        whole = min(basis, most) >= r.shape[1]
        x = x + _cycle(apply, rest, size, goal, min(basis, most, r.shape[1]))
        rest = r - apply(x)
        before, size = size, torch.linalg.vector_norm(rest, dim=1)
        if whole and not bool((size < before / 2).any()):
            break  # what is left is rounding
        basis *= GROWTH
    return x


def _cycle(apply: Callable[[Tensor], Tensor], r: Tensor, size: Tensor, goal: Tensor, basis: int) -> Tensor:
    """The best correction from a Krylov space of at most ``basis`` dimensions.

    The Hessenberg matrix is made triangular, H = Q T, column by column as the vectors are made.
    """
    eps, tiny = torch.finfo(r.dtype).eps, torch.finfo(r.dtype).tiny
    vectors, q, triangle = (r.new_zeros(len(r), basis + 1, n) for n in (r.shape[1], basis + 1, basis))
    left = torch.zeros_like(q[:, 0])
    left[:, 0] = size
    vectors[:, 0] = r / size.clamp(min=tiny)[:, None]
    for j in range(basis):
        entries, w = _orthogonalised(vectors[:, : j + 1], apply(vectors[:, j]))
        length = torch.linalg.vector_norm(w, dim=1)
        goes_on = length > eps * torch.linalg.vector_norm(entries, dim=1)
        vectors[:, j + 1] = torch.where(goes_on[:, None], w / length.clamp(min=tiny)[:, None], 0)
        column = torch.zeros_like(left)
        column[:, : j + 1], column[:, j + 1] = entries, length
        triangle[:, :j, j], column = _orthogonalised(q[:, :j], column)
        length = torch.linalg.vector_norm(column, dim=1)
        triangle[:, j, j] = torch.where(length > 0, length, 1)
        q[:, j] = column / length.clamp(min=tiny)[:, None]
        left = left - (q[:, j].conj() * left).sum(1, keepdim=True) * q[:, j]
        if not bool((torch.linalg.vector_norm(left, dim=1) > goal).any()):
            break
    target = q[:, : j + 1, :1].conj() * size[:, None, None]
    small = torch.linalg.solve_triangular(triangle[:, : j + 1, : j + 1], target, upper=True)
    return (small.mT @ vectors[:, : j + 1])[:, 0]


def _orthogonalised(basis: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """(coefficients in an orthonormal basis (R, k, n), v without its part in it), by Gram-Schmidt, twice."""
    first = basis.conj() @ v[:, :, None]
    v = v[:, :, None] - basis.mT @ first
    second = basis.conj() @ v
    return (first + second)[..., 0], (v - basis.mT @ second)[..., 0]
