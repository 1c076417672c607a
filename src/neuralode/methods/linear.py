"""Linear systems (I - c J) x = r of the rows of a state, c = h gamma: by LU, or by GMRES with products alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .method import Field

# Unknowns of one row up to which J is made and factorised.
DENSE_LIMIT = 256


def linearize(f: Field, t: Tensor, y: Tensor) -> "Dense | MatrixFree":
    """df/dy at (t, y), constant from here on."""
    t, y = t.detach(), y.detach()
    if f.rows(y).shape[1] <= DENSE_LIMIT:
        with torch.no_grad():
            return Dense(f.jacobian(t, y).detach())
    return MatrixFree(f, t, y)


def per_row(c: Any, dims: int) -> Any:
    """A number, or one number per row (R,), in a shape that broadcasts against (R, ...) of so many dimensions."""
    return c.reshape(-1, *(1,) * (dims - 1)) if isinstance(c, Tensor) else c


@dataclass(frozen=True)
class Dense:
    """J of every row, (R, n, n)."""

    matrix: Tensor

    def factor(self, c: Any) -> "Factored":
        """LU of I - c J; c real or complex, a number or (R,)."""
        scaled = self.matrix * _like(per_row(c, 3), self.matrix)
        system = torch.eye(scaled.shape[-1], dtype=scaled.dtype, device=scaled.device) - scaled
        lu, pivots, info = torch.linalg.lu_factor_ex(system)
        return Factored(lu, pivots, info > 0)

    def radius(self) -> Tensor:
        """The spectral radius of every row's J, (R,)."""
        return spectral_radius(self.matrix)

    def renewed(self, where: Tensor, newer: "Dense | MatrixFree") -> "Dense | MatrixFree":
        """``newer`` for the rows in ``where`` (R,), or for all where it is (1,)."""
        assert isinstance(newer, Dense)
        return Dense(torch.where(where.reshape(-1, 1, 1), newer.matrix, self.matrix))


def spectral_radius(matrix: Tensor) -> Tensor:
    """The largest modulus of an eigenvalue, (R,), from above: |A^16|^(1/16) (Gelfand's formula), by squaring."""
    size, power = matrix.new_ones(len(matrix)), matrix
    for exponent in (1.0, 0.5, 0.25, 0.125):
        norm = torch.linalg.matrix_norm(power).clamp(min=torch.finfo(matrix.dtype).tiny)
        size = size * norm**exponent
        power = power / norm[:, None, None]
        power = power @ power
    return size * torch.linalg.matrix_norm(power) ** 0.0625


def _like(c: Any, matrix: Tensor) -> Any:
    """c as a factor that does not raise the precision of a matrix."""
    if not isinstance(c, Tensor):
        return c
    return c.to(matrix.dtype.to_complex() if c.is_complex() else matrix.dtype)


@dataclass(frozen=True)
class Factored:
    """The factorised systems of all rows; ``singular`` (R,)."""

    lu: Tensor
    pivots: Tensor
    singular: Tensor

    def solve(self, r: Tensor) -> Tensor:
        """x for a right-hand side (R, n), differentiable with respect to it."""
        return torch.linalg.lu_solve(self.lu, self.pivots, r.to(self.lu.dtype)[..., None])[..., 0]


@dataclass(frozen=True)
class MatrixFree:
    """J at (t, y), known by its products."""

    f: Field
    t: Tensor
    y: Tensor

    def factor(self, c: Any) -> "Krylov":
        """Nothing to factorise."""
        return Krylov(self, c)

    def radius(self) -> Tensor:
        """The spectral radius of every row's J, (R,), by ten power iterations."""
        start = torch.cos(torch.arange(1.0, self.y.numel() + 1, device=self.y.device))
        v = self.f.rows(start.to(self.y.dtype).reshape(self.y.shape))
        size = torch.linalg.vector_norm(v, dim=1)
        for _ in range(10):
            v = self.product(v / size.clamp(min=torch.finfo(v.dtype).tiny)[:, None])
            size = torch.linalg.vector_norm(v, dim=1)
        return size

    def renewed(self, where: Tensor, newer: "Dense | MatrixFree") -> "Dense | MatrixFree":
        """``newer`` for the rows in ``where``."""
        assert isinstance(newer, MatrixFree)
        mask = where.reshape(-1, *(1,) * (self.y.dim() - 1))
        t = torch.where(mask, newer.t, self.t) if self.t.dim() else newer.t
        return MatrixFree(self.f, t, torch.where(mask, newer.y, self.y))

    def product(self, v: Tensor) -> Tensor:
        """J v for rows v (R, n)."""
        with torch.no_grad():
            return self.f.rows(self.f.push(self.t, self.y, v.reshape(self.y.shape)))

    def transposed(self) -> Callable[[Tensor], Tensor]:
        """The function v -> J^T v on rows."""
        with torch.enable_grad():
            y = self.y.detach().requires_grad_()
            value = self.f(self.t, y)

        def pull(v: Tensor) -> Tensor:
            if not value.requires_grad:
                return torch.zeros_like(v)
            (g,) = torch.autograd.grad(
                value, y, v.reshape(value.shape).to(value.dtype), retain_graph=True, allow_unused=True
            )
            return torch.zeros_like(v) if g is None else self.f.rows(g)

        return pull


@dataclass(frozen=True)
class Krylov:
    """Solves (I - c J) x = r by GMRES, rows at a time but each with a basis of its own."""

    linear: MatrixFree
    c: Any

    @property
    def singular(self) -> Tensor:
        """Not known without a factorisation."""
        return torch.zeros(1, dtype=torch.bool, device=self.linear.y.device)

    def solve(self, r: Tensor) -> Tensor:
        """x for a right-hand side (R, n), differentiable with respect to it."""
        return _Solve.apply(self, r)

    def system(self, product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """v -> v - c J v for one of the two products with J."""
        return lambda v: v - _like(per_row(self.c, 2), v) * product(v)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, krylov: Krylov, r: Tensor) -> Tensor:
        ctx.krylov = krylov
        return gmres(krylov.system(krylov.linear.product), r.detach())

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[None, Tensor]:
        if torch.is_grad_enabled() and bar.requires_grad:
            raise RuntimeError(
                "second derivatives through an implicit method's matrix-free solves are not known: give jac=, or use "
                "an explicit method"
            )
        return None, gmres(ctx.krylov.system(ctx.krylov.linear.transposed()), bar)


def gmres(apply: Callable[[Tensor], Tensor], r: Tensor, basis: int = 40, restarts: int = 10) -> Tensor:
    """x with apply(x) = r to rounding, all rows (R, n) at once (Saad & Schultz, SIAM J. Sci. Stat. Comput. 7, 1986).

    Rows that are solved stay solved: their residual is zero, and so are their updates.
    """
    x = torch.zeros_like(r)
    goal = 100 * torch.finfo(r.dtype).eps * torch.linalg.vector_norm(r, dim=1)
    rest = r
    for _ in range(restarts):
        size = torch.linalg.vector_norm(rest, dim=1)
        if not bool((size > goal).any()):
            break
        x = x + _cycle(apply, rest, size, goal, min(basis, r.shape[1]))
        rest = r - apply(x)
    return x


def _cycle(apply: Callable[[Tensor], Tensor], r: Tensor, size: Tensor, goal: Tensor, basis: int) -> Tensor:
    """The best correction from a Krylov space of at most ``basis`` dimensions, by modified Gram-Schmidt."""
    tiny = torch.finfo(r.dtype).tiny
    vectors = [r / size.clamp(min=tiny)[:, None]]
    columns: list[Tensor] = []
    for j in range(basis):
        w = apply(vectors[j])
        entries = []
        for v in vectors:
            entries.append((v * w).sum(1))
            w = w - entries[-1][:, None] * v
        length = torch.linalg.vector_norm(w, dim=1)
        vectors.append(w / length.clamp(min=tiny)[:, None])
        columns.append(torch.stack([*entries, length], 1))
        small, left = _least_squares(columns, size)
        if not bool((left > goal).any()):
            break
    return torch.einsum("rj,jrn->rn", small, torch.stack(vectors[:-1]))


def _least_squares(columns: list[Tensor], size: Tensor) -> tuple[Tensor, Tensor]:
    """(argmin |size e_1 - H z|, that minimum) for the Hessenberg matrices H of all rows."""
    m = len(columns)
    H = torch.stack([torch.nn.functional.pad(c, (0, m + 1 - c.shape[1])) for c in columns], 2)
    target = torch.zeros_like(H[:, :, :1])
    target[:, 0, 0] = size
    z = torch.linalg.pinv(H) @ target
    return z[..., 0], torch.linalg.vector_norm((H @ z - target)[..., 0], dim=1)
