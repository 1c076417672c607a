"""GMRES on rows of different kinds, and on a system that needs all dimensions."""

import pytest
import torch

from neuralode.methods.gmres import gmres


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128], ids=str)
def test_rows_have_bases_of_their_own(dtype):
    """A full matrix, a multiple of the identity (over after one vector), and a right-hand side of zero."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(3, 60, 60, dtype=dtype, generator=generator) / 16 + torch.eye(60, dtype=dtype)
    matrix[1] = 3 * torch.eye(60, dtype=dtype)
    r = torch.randn(3, 60, dtype=dtype, generator=generator)
    r[2] = 0
    x = gmres(lambda v: (matrix @ v[..., None])[..., 0], r)
    torch.testing.assert_close((matrix @ x[..., None])[..., 0], r, rtol=0, atol=1e3 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(("enough", "left"), [(1e-3, 1e-3), (1e9, 0.1)], ids=["enough", "a tenth"])
def test_no_more_than_enough(enough, left):
    """An absolute residual, but never more than a tenth of what there was: one column of a full matrix does less."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(60, 60, dtype=torch.float64, generator=generator) / 16 + torch.eye(
        60, dtype=torch.float64
    )
    r, calls = torch.randn(1, 60, dtype=torch.float64, generator=generator), []

    def apply(v):
        calls.append(v)
        return v @ matrix.mT

    r = r / r.norm()
    rest = float((apply(gmres(apply, r, enough=enough)) - r).norm())
    rough = len(calls)
    gmres(apply, r)
    assert left / 100 <= rest <= left
    assert rough < (len(calls) - rough) / 1.5


@pytest.mark.parametrize("accuracy", [0.0, 1e-6])
def test_stiff_diffusion(accuracy):
    """One large step of the heat equation on 200 points: restarted bases of 40 never get there."""
    n, calls = 200, []

    def apply(v):
        calls.append(v)
        wide = torch.nn.functional.pad(v, (1, 1))
        return v - (wide[..., 2:] - 2 * v + wide[..., :-2]) * (n + 1) ** 2

    r = torch.cos(torch.arange(n, dtype=torch.float64) ** 2)[None]
    rest = float((apply(gmres(apply, r, accuracy)) - r).norm() / r.norm())
    assert rest <= max(accuracy, 1e-12)
    assert len(calls) <= 2.5 * n
