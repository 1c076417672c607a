"""Linear systems (I - c J) x = r of the rows of a state, c = h gamma: by LU, or by GMRES with products alone."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import SolverWarning
from .gmres import gmres
from .method import Field

# Unknowns of one row up to which J is made and factorised.
DENSE_LIMIT = 256


def linearize(f: Field, t: Tensor, y: Tensor, accuracy: float = 0.0) -> "Dense | MatrixFree":
    """df/dy at (t, y), constant from here on.

    ``accuracy`` is the relative residual that matrix-free solves may leave; 0: that of rounding.
    """
    t, y = t.detach(), y.detach()
    if f.rows(y).shape[1] <= DENSE_LIMIT:
        with torch.no_grad():
            return Dense(f.jacobian(t, y).detach())
    return MatrixFree(f, t, y, accuracy)


def per_row(c: Any, dims: int) -> Any:
    """A number, or one number per row (R,), in a shape that broadcasts against (R, ...) of so many dimensions."""
    return c.reshape(-1, *(1,) * (dims - 1)) if isinstance(c, Tensor) else c


@dataclass(frozen=True)
class Dense:
    """J of every row, (R, n, n)."""

    matrix: Tensor

    def factor(self, c: Any, identity: float = 1.0) -> "Factored":
        """LU of I - c J; c real or complex, a number or (R,). ``identity``: a factor of I."""
        scaled = self.matrix * _like(per_row(c, 3), self.matrix)
        system = identity * torch.eye(scaled.shape[-1], dtype=scaled.dtype, device=scaled.device) - scaled
        lu, pivots, info = torch.linalg.lu_factor_ex(system)
        return Factored(lu, pivots, info > 0)

    def only(self, where: Tensor) -> "Dense":
        """J of the rows in ``where`` (R,), of the others the identity."""
        one = torch.eye(self.matrix.shape[-1], dtype=self.matrix.dtype, device=self.matrix.device)
        return Dense(torch.where(where.reshape(-1, 1, 1), self.matrix, one))

    def singular(self) -> Tensor:
        """Whose J has no inverse that rounding leaves anything of, (R,); each row of it counts in its own units."""
        largest = self.matrix.abs().amax(2, keepdim=True)
        values = torch.linalg.svdvals((self.matrix / torch.where(largest > 0, largest, 1.0)).nan_to_num())
        least = self.matrix.shape[-1] * torch.finfo(self.matrix.dtype).eps
        return values[:, -1] <= least * values[:, 0]

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

    def within(self, scale: Tensor, enough: float) -> "Factored":
        """The same: what LU leaves is rounding."""
        return self


@dataclass(frozen=True)
class MatrixFree:
    """J at (t, y), known by its products."""

    f: Field
    t: Tensor
    y: Tensor
    accuracy: float = 0.0

    def factor(self, c: Any, identity: float = 1.0) -> "Krylov":
        """Nothing to factorise."""
        return Krylov(self, c, identity)

    def only(self, where: Tensor) -> "MatrixFree":
        """Products take rows one by one: none disturbs the others."""
        return self

    def singular(self) -> Tensor:
        """Not known from products."""
        return torch.zeros(len(self.f.rows(self.y)), dtype=torch.bool, device=self.y.device)

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
        return MatrixFree(self.f, t, torch.where(mask, newer.y, self.y), self.accuracy)

    def product(self, v: Tensor) -> Tensor:
        """J v for rows v (R, n)."""
        if v.is_complex():
            return torch.complex(self.product(v.real), self.product(v.imag))
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
    identity: float = 1.0
    scale: Tensor | None = None
    enough: float = 0.0

    def within(self, scale: Tensor, enough: float) -> "Krylov":
        """The same system, whose residual times ``scale`` (R, n) may be left with an rms of ``enough`` in every row.

        With scale = 1 / (atol + rtol |y|) that is a share of the tolerance (Brown & Hindmarsh, Appl. Math. Comput. 31,
        1989). Where J is normal and dissipative the error of x is no larger than the residual, and c J times it, which
        later stages see, no larger either.
        """
        usable = (scale != 0) & torch.isfinite(scale)
        return replace(self, scale=torch.where(usable, scale, 1.0), enough=enough)

    @property
    def singular(self) -> Tensor:
        """Not known without a factorisation."""
        return torch.zeros(1, dtype=torch.bool, device=self.linear.y.device)

    def solve(self, r: Tensor) -> Tensor:
        """x for a right-hand side (R, n), differentiable with respect to it (where c is real)."""
        if self.c_is_complex:
            return self._solved(r.to(r.dtype.to_complex()))
        return _Inverse.apply(self._solved, lambda v: resolved(self.system(self.linear.transposed()), v), r)

    def _solved(self, r: Tensor) -> Tensor:
        """x, by a basis that is orthonormal in the units of ``scale``."""
        system, accuracy = self.system(self.linear.product), self.linear.accuracy
        if self.scale is None:
            return gmres(system, r, accuracy)
        scale, enough = self.scale, self.enough * r.shape[1] ** 0.5
        return gmres(lambda v: scale * system(v / scale), scale * r, accuracy, enough) / scale

    @property
    def c_is_complex(self) -> bool:
        return self.c.is_complex() if isinstance(self.c, Tensor) else isinstance(self.c, complex)

    def system(self, product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """v -> v - c J v for one of the two products with J."""
        return lambda v: self.identity * v - _like(per_row(self.c, 2), v) * product(v)


class _Inverse(torch.autograd.Function):
    """M^-1 r for a constant matrix M, known by what solves with it and with its transpose."""

    @staticmethod
    def forward(
        solve: Callable[[Tensor], Tensor], transposed: Callable[[Tensor], Tensor], r: Tensor
    ) -> Tensor:
        return solve(r.detach())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.solve, ctx.transposed, _ = inputs

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[None, None, Tensor]:
        return None, None, _Inverse.apply(ctx.transposed, ctx.solve, bar)

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, tangent: Tensor) -> Tensor:
        return _Inverse.apply(ctx.solve, ctx.transposed, tangent)


def coupled(linears: Sequence[Dense | MatrixFree], weights: Tensor) -> Callable[[Tensor], Tensor]:
    """A function that solves x_i - sum_j weights_ij J_j x_j = r_i for rows (R, s, n), differentiable with respect to r.

    ``weights`` is (s, s), or (R, s, s).
    """
    if isinstance(linears[0], Dense):
        matrices = torch.stack([linear.matrix for linear in linears if isinstance(linear, Dense)], 1)
        rows, s, n = matrices.shape[:3]
        blocks = torch.einsum("rij,rjnm->rinjm", weights.expand(rows, s, s), matrices)
        system = torch.eye(s * n, dtype=blocks.dtype, device=blocks.device) - blocks.reshape(rows, s * n, -1)
        lu = torch.linalg.lu_factor_ex(system)
        return lambda r: torch.linalg.lu_solve(lu[0], lu[1], r.reshape(rows, -1, 1)).reshape(r.shape)
    free = [linear for linear in linears if isinstance(linear, MatrixFree)]

    def each(products: Sequence[Callable[[Tensor], Tensor]], v: Tensor) -> Tensor:
        return torch.stack([product(x) for product, x in zip(products, v.unbind(1), strict=True)], 1)

    def forward(r: Tensor) -> Tensor:
        products = [linear.product for linear in free]
        return _flat_gmres(lambda v: v - weights @ each(products, v), r)

    def backward(r: Tensor) -> Tensor:
        products = [linear.transposed() for linear in free]
        return _flat_gmres(lambda v: v - each(products, weights.mT @ v), r)

    return lambda r: _Inverse.apply(forward, backward, r)


def _flat_gmres(apply: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
    """GMRES for unknowns (R, s, n)."""
    return resolved(lambda v: apply(v.reshape(r.shape)).flatten(1), r.flatten(1)).reshape(r.shape)


def resolved(apply: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
    """x with apply(x) = r to rounding, for derivatives; warns where that is not reached."""
    x = gmres(apply, r)
    rest = torch.linalg.vector_norm(r - apply(x), dim=1)
    if bool((rest > torch.finfo(r.dtype).eps ** 0.5 * torch.linalg.vector_norm(r, dim=1)).any()):
        warnings.warn(
            "GMRES did not solve the equations behind a gradient to rounding: it is inexact; take smaller steps",
            SolverWarning,
            stacklevel=2,
        )
    return x
