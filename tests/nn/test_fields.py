"""The vector fields: closed-form traces and products against autograd, in float64."""

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.nn.functional import conv2d, pad

from neuralode.nn import ConcatSquashMLP, ConvField, GatedPlanar, MLPField
from neuralode.nn.conv_field import TimeConv

FIELDS = {
    "planar": lambda: GatedPlanar(3, width=7, hidden=5),
    "squash": lambda: ConcatSquashMLP(3, hidden=(6, 5)),
    "squash-one": lambda: ConcatSquashMLP(3, hidden=8),
    "mlp": lambda: MLPField(3, hidden=(6, 5)),
    "mlp-time": lambda: MLPField(3, hidden=6, time=True),
}
TIMES = {"lockstep": lambda: torch.tensor(0.3), "independent": lambda: torch.rand(4, 1)}


@pytest.fixture(params=FIELDS)
def field(request):
    torch.manual_seed(0)
    return FIELDS[request.param]().double()


@pytest.fixture(params=TIMES)
def t(request):
    torch.manual_seed(1)
    return TIMES[request.param]().double()


def jacobians(field, t, z):
    """J (B, d, d) of each sample, and a check that no sample looks at another."""
    full = jacobian(lambda z: field(t, z), z)
    rows = torch.arange(len(z))
    own = full[rows, :, rows]
    assert torch.count_nonzero(full) == torch.count_nonzero(own)
    return own


def test_trace_is_that_of_autograd(field, t):
    z = torch.randn(4, 3, dtype=torch.float64)
    slope, trace = field.with_trace(t, z)
    expected = jacobians(field, t, z).diagonal(dim1=1, dim2=2).sum(-1)
    # entries of order 1, sums of under 100 products: rounding is below 100 eps
    assert torch.allclose(trace, expected, rtol=0, atol=2e-14)
    assert torch.allclose(field.trace(t, z), expected, rtol=0, atol=2e-14)
    assert torch.allclose(slope, field(t, z), rtol=0, atol=2e-14)


def test_pushforward_is_the_jacobian_product(field, t):
    z, v = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 2, 3, dtype=torch.float64)
    slope, products = field.pushforward(t, z, v)
    assert torch.allclose(products, v @ jacobians(field, t, z).mT, rtol=0, atol=2e-14)
    assert torch.allclose(slope, field(t, z), rtol=0, atol=2e-14)


def test_gradient_of_the_trace(field, t):
    z = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: field.with_trace(t, z), z)


def test_planar_field_is_equation_ten():
    torch.manual_seed(0)
    field = GatedPlanar(2, width=5).double()
    t, z = torch.tensor(0.7, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    w, u, b, gate = field.planes(t)
    expected = sum(gate[n] * u[n] * torch.tanh(z @ w[n] + b[n])[:, None] for n in range(5))
    assert torch.allclose(field(t, z), expected, rtol=1e-13)
    assert ((gate > 0) & (gate < 1)).all()


def test_time_channel_is_a_channel():
    conv = TimeConv(4).double()
    t, x = torch.tensor(0.6, dtype=torch.float64), torch.randn(2, 4, 5, 6, dtype=torch.float64)
    joint = torch.cat((t.expand(2, 1, 5, 6), x), dim=1)
    expected = conv2d(pad(joint, (1, 1, 1, 1)), torch.cat((conv.time, conv.weight), dim=1), conv.bias)
    assert torch.allclose(conv(t, x), expected, rtol=0, atol=1e-13)


def test_conv_field_treats_samples_apart():
    torch.manual_seed(0)
    field = ConvField(8, groups=4).double()
    x, t = torch.randn(3, 8, 5, 5, dtype=torch.float64), torch.rand(3, 1, 1, 1, dtype=torch.float64)
    together = field(t, x)
    assert together.shape == x.shape
    for n in range(3):
        assert torch.allclose(field(t[n, 0, 0, 0], x[n : n + 1]), together[n : n + 1], rtol=0, atol=1e-12)


def test_conv_field_has_the_parameters_of_the_papers_example():
    # odenet_mnist.py of torchdiffeq: two 3x3 convolutions from 65 to 64 channels, three norms of 64 channels
    assert sum(p.numel() for p in ConvField(64, groups=32).parameters()) == 2 * (65 * 64 * 9 + 64) + 3 * 128


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ConvField(10, groups=4), "groups: got 4, takes a divisor of channels = 10"),
        (lambda: GatedPlanar(2, width=0), "width: got 0, takes a positive int"),
        (lambda: MLPField(2, hidden=(4, -1)), "hidden: got .*, takes a positive int or a sequence"),
    ],
)
def test_bad_sizes_are_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()
