"""Jacobians of user functions."""

import pytest
import torch

from neuralode.field import VectorField


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_numbers_times_components_keep_the_precision(dtype):
    """0.5 * b has a float64 tangent in torch where b is a 0-d float32 tensor."""

    def f(t, y):
        a, b = y.unbind(-1)
        return torch.stack((0.5 * b, -2.0 * a * b))

    field = VectorField(f, (), None)
    y, t = torch.tensor([1.0, 3.0], dtype=dtype), torch.zeros((), dtype=dtype)
    want = torch.tensor([[0.0, 0.5], [-6.0, -2.0]], dtype=dtype)
    torch.testing.assert_close(field.jacobian(t, y)[0], want)
    torch.testing.assert_close(field.push(t, y, torch.ones_like(y)), want.sum(1))
