"""Eigenvalues and norms of df/dy at one place of a path."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..field import UNSUPPORTED, VectorField
from ..ops import stage_times

POWERS = 20
LAST = 4  # of the power iterations, which are averaged
WHOLE = 64  # unknowns of a row up to which its Jacobian is made and decomposed


@dataclass(frozen=True)
class Slopes:
    """What df/dy does at one place, (R,) float64 each; NaN where it is not known.

    Attributes:
        norm: |df/dy|_2, the local Lipschitz constant.
        log_norm: the largest eigenvalue of (J + J^T) / 2: how fast neighbours can part.
        abscissa: the largest real part of an eigenvalue.
        decay: minus the smallest real part.
        radius: the largest modulus of an eigenvalue.
    """

    norm: Tensor
    log_norm: Tensor
    abscissa: Tensor
    decay: Tensor
    radius: Tensor


def start_vector(y: Tensor) -> Tensor:
    """A fixed direction with no zeros and no symmetry, shaped like y."""
    return torch.cos(torch.arange(1, y.numel() + 1, dtype=torch.float64)).to(y).reshape(y.shape)


def slopes(field: VectorField, t: Tensor, y: Tensor) -> Slopes:
    """From the Jacobian of a small row, by power iteration for a large one; NaN where f has no derivatives."""
    rows, n = field.rows(y).shape
    unknown = torch.full((rows,), torch.nan, dtype=torch.float64)
    with torch.no_grad():
        try:
            if n > WHOLE:
                radius, quotient = _powers(field, t, y)
                norm = largest_singular_value(field, t, y)
                return Slopes(norm, unknown, unknown, torch.where(quotient < 0, radius, 0.0), radius)
            jacobian = field.jacobian(t, y).detach().to("cpu", torch.float64)
        except UNSUPPORTED:
            return Slopes(*(unknown,) * 5)
    finite = torch.isfinite(jacobian).all(-1).all(-1)
    jacobian = torch.where(finite[:, None, None], jacobian, 0.0)
    values = torch.linalg.eigvals(jacobian)
    half = torch.linalg.eigvalsh(0.5 * (jacobian + jacobian.mT))
    norm = torch.linalg.matrix_norm(jacobian, ord=2)
    found = (norm, half.amax(1), values.real.amax(1), -values.real.amin(1), values.abs().amax(1))
    return Slopes(*(torch.where(finite, number, torch.nan) for number in found))


def _unit(rows: Tensor) -> Tensor:
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=1e-300)


def largest_singular_value(field: VectorField, t: Tensor, y: Tensor) -> Tensor:
    """|df/dy|_2 of every row, (R,), by power iteration with J^T J; from below."""
    v = start_vector(y)
    norm = torch.zeros(len(field.rows(y)), dtype=torch.float64)
    for _ in range(POWERS):
        rows = _unit(field.rows(v))
        pushed = field.push(t, y, rows.reshape(y.shape))
        norm = torch.linalg.vector_norm(field.rows(pushed), dim=1).to("cpu", torch.float64)
        v = _pull(field, t, y, pushed)
    return norm


def _pull(field: VectorField, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """(df/dy)^T v."""
    with torch.enable_grad():
        at = y.detach().clone().requires_grad_()
        value = field(t, at.clone())
        if not value.requires_grad:
            return torch.zeros_like(v)
        (out,) = torch.autograd.grad(value, at, v.detach(), allow_unused=True)
    return torch.zeros_like(v) if out is None else out


def spectrum(field: VectorField, sample: int | None, t: Any, y: Tensor) -> tuple[float, float]:
    """(spectral radius of df/dy, Rayleigh quotient of its vector) of one sample, by power iteration."""
    with torch.no_grad():
        y = y.detach()
        found = _powers(field, stage_times(t, t * 0.0, (0.0,), y)[0], y)
    return float(found[0][sample or 0]), float(found[1][sample or 0])


def _powers(field: VectorField, t: Tensor, y: Tensor) -> Tensor:
    """(spectral radius, Rayleigh quotient) of every row, (2, R)."""
    v = start_vector(y)
    found = []
    for _ in range(POWERS):
        rows = _unit(field.rows(v))
        v = field.push(t, y, rows.reshape(y.shape))
        moved = field.rows(v)
        quotient = (rows.conj() * moved).real.sum(1)
        found.append(torch.stack((torch.linalg.vector_norm(moved, dim=1), quotient)).to("cpu", torch.float64))
    return torch.stack(found[-LAST:]).mean(0)
