"""PlanarFlow: log determinant, inverse, normalisation."""

import pytest
import torch

from neuralode.nn import PlanarFlow
from neuralode.nn.planar import Planar


def flow(layers=6, spread=1.5):
    """A flow whose layers bend strongly, some of them against the constraint on u."""
    torch.manual_seed(2)
    made = PlanarFlow(2, layers).double()
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(spread * torch.randn_like(p))
    return made


def test_log_det_is_that_of_autograd():
    made, x = flow(), torch.randn(5, 2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: made(x)[0], x)
    own = torch.stack([jacobian[n, :, n] for n in range(5)])
    sign, expected = torch.linalg.slogdet(own)
    assert (sign > 0).all()
    assert torch.allclose(made(x)[1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("product", [-30.0, -3.0, 0.0, 3.0])
def test_every_layer_can_be_inverted(product):
    layer = Planar(2).double()
    with torch.no_grad():
        layer.w.copy_(torch.tensor([1.0, 0.0]))
        layer.u.copy_(torch.tensor([product, 0.5]))
    assert layer.direction()[1] > -1.0
    x = 3.0 * torch.randn(50, 2, dtype=torch.float64)
    # near w . u = -1 the layer is flat at one place, and a rounding of y is a cube root of it in x
    tolerance = 1e-4 if product < -10 else 1e-9
    assert torch.allclose(layer.inverse(layer(x)[0]), x, rtol=0, atol=tolerance)


def test_samples_are_the_inverse_of_the_flow():
    made = flow()
    torch.manual_seed(5)
    x = made.sample(100)
    torch.manual_seed(5)
    z = made.base.rsample((100,))
    assert torch.allclose(made(x)[0], z, rtol=0, atol=1e-8)


def test_density_integrates_to_one():
    made = flow(layers=3, spread=0.8)
    axis = torch.linspace(-12, 12, 481, dtype=torch.float64)
    density = made.log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1.0, abs=1e-3)


def test_density_of_pushed_samples():
    made = flow()
    y, log_q = made.rsample_with_log_prob(4)
    assert y.shape == (4, 2) and log_q.shape == (4,)
    torch.autograd.grad(log_q.sum(), list(made.parameters()))


def test_float32_samples_invert_too():
    torch.manual_seed(0)
    made = PlanarFlow(2, 8)
    assert made.sample(16).dtype == torch.float32


def test_many_new_layers_start_near_the_identity():
    torch.manual_seed(0)
    x = torch.randn(100, 2)
    y, log_det = PlanarFlow(2, 64)(x)
    # 64 independent kicks of 0.07 in random directions add up to about 0.6
    assert (y - x).norm(dim=1).mean() < 1.2
    assert log_det.mean().abs() < 1.0


def test_shape_is_checked():
    with pytest.raises(ValueError, match=r"x: got shape \(3,\), takes \(B, 2\)"):
        PlanarFlow(2, 1).log_prob(torch.zeros(3))
