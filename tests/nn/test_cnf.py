"""CNF: against a flow that is known in closed form, against autograd, and against itself."""

import copy
import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from neuralode.nn import CNF, ConcatSquashMLP, GatedPlanar

TIGHT = {"rtol": 1e-9, "atol": 1e-10}
A = torch.tensor([[0.3, -0.8], [0.5, -0.6]], dtype=torch.float64)


def linear_field(t, z):
    """dz/dt = A z: x = exp(A) z0 is N(0, exp(A) exp(A)^T), and the trace is that of A."""
    return z @ A.T


def gaussian():
    root = torch.matrix_exp(A)
    return MultivariateNormal(torch.zeros(2, dtype=torch.float64), root @ root.T)


def points(n=6, seed=0):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def smooth(kind, **options):
    torch.manual_seed(3)
    field = GatedPlanar(2, width=6, hidden=8) if kind == "planar" else ConcatSquashMLP(2, hidden=(10, 10))
    return CNF(field, 2, **options).double()


@pytest.mark.parametrize("batch", ["lockstep", "independent"])
def test_linear_flow_is_a_gaussian(batch):
    flow = CNF(linear_field, 2, batch=batch, **TIGHT).double()
    assert torch.allclose(flow.log_prob(points()), gaussian().log_prob(points()), rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", ["planar", "squash"])
def test_density_integrates_to_one(kind):
    flow = smooth(kind, rtol=1e-5, atol=1e-6)
    axis = torch.linspace(-7, 7, 71, dtype=torch.float64)
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(axis, axis)).exp()
    # the rectangle rule is spectrally accurate for a smooth density that vanishes at the border
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("kind", ["planar", "squash"])
def test_log_prob_is_the_change_of_variables(kind):
    """log p(x) = log N(z) - log |det dx/dz|, with the Jacobian of the solver's own map."""
    flow = smooth(kind, **TIGHT)
    z = points(3)
    x = flow.path(z, [0.0, 1.0])[-1]
    jacobian = torch.autograd.functional.jacobian(lambda z: flow.path(z, [0.0, 1.0])[-1], z)
    own = torch.stack([jacobian[n, :, n] for n in range(3)])
    expected = flow.base.log_prob(z) - torch.linalg.slogdet(own).logabsdet
    assert torch.allclose(flow.log_prob(x), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", ["planar", "squash"])
def test_samples_and_their_density_agree_with_log_prob(kind):
    flow = smooth(kind, **TIGHT)
    x, log_q = flow.rsample_with_log_prob(5)
    assert torch.allclose(flow.log_prob(x), log_q, rtol=0, atol=1e-7)


def test_samples_have_the_moments_of_the_density():
    torch.manual_seed(0)
    x = CNF(linear_field, 2).double().sample(20_000)
    # the error of a covariance entry is about sqrt(2 / 20,000) = 1 % of it
    assert torch.allclose(x.T.cov(), gaussian().covariance_matrix, rtol=0.05, atol=0.05)


def test_sample_has_no_gradient_and_rsample_has():
    flow = smooth("planar")
    assert not flow.sample(3).requires_grad
    flow.rsample(3).sum().backward()
    assert all(p.grad.isfinite().all() for p in flow.parameters())


@pytest.mark.parametrize("kind", ["planar", "squash"])
def test_gradient_of_log_prob_is_that_of_plain_autograd(kind):
    grads = []
    for gradient in ("discrete", "direct"):
        flow = smooth(kind, gradient=gradient)
        x = points().requires_grad_()
        flow.log_prob(x).mean().backward()
        grads.append([x.grad, *(p.grad for p in flow.parameters())])
    for ours, theirs in zip(*grads, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


class Plain(torch.nn.Module):
    """A field that hides everything but its value."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, t, z):
        return self.network(t, z)


def test_field_without_a_formula_is_differentiated():
    """The same network, with and without its own trace: value and gradient."""
    results = []
    for plain in (False, True):
        flow = smooth("planar")
        if plain:
            flow.field = Plain(flow.field)
        log_prob = flow.log_prob(points())
        with torch.no_grad():
            assert torch.allclose(flow.log_prob(points()), log_prob, rtol=1e-12)
        grads = torch.autograd.grad(log_prob.mean(), list(flow.parameters()))
        results.append((log_prob, *grads))
    for formula, autograd in zip(*results, strict=True):
        assert torch.allclose(formula, autograd, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased(noise):
    torch.manual_seed(0)
    flow = CNF(linear_field, 2, trace="hutchinson", noise=noise).double()
    x = points(1).expand(10_000, 2)
    estimates = flow.log_prob(x)
    error = estimates.std() / math.sqrt(len(x))
    assert (estimates.mean() - gaussian().log_prob(x[:1])).abs() < 4 * error + 1e-4
    assert error > 0


def test_hutchinson_noise_is_fixed_in_a_solve_and_new_in_the_next():
    torch.manual_seed(0)
    seen = []

    class Recorder(ConcatSquashMLP):
        def pushforward(self, t, z, v):
            seen.append(v)
            return super().pushforward(t, z, v)

    flow = CNF(Recorder(2, hidden=4), 2, trace="hutchinson")
    x = torch.randn(8, 2)
    flow.log_prob(x).sum().backward()
    assert all(torch.equal(v, seen[0]) for v in seen)
    before = seen[0]
    flow.log_prob(x)
    assert not torch.equal(seen[-1], before)


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_penalties_of_a_field_that_turns(trace):
    """dz/dt = (-y, x): |f|^2 = r^2 all along the way, |J|_F^2 = 2, and J e has the length of e."""
    weights = {"kinetic": 0.5, "jacobian": 0.25}
    flow = CNF(
        lambda t, z: torch.stack((-z[:, 1], z[:, 0]), 1),
        2,
        t_span=(0.0, 3.0),
        trace=trace,
        regularize=weights,
    )
    x = points()
    flow.double().log_prob(x)
    kinetic = 3.0 * x.square().sum(1).mean().item()
    assert flow.penalty.item() == pytest.approx(0.5 * kinetic + 0.25 * 3.0 * 2.0, rel=1e-4)


def test_penalty_reaches_the_parameters_and_stays_positive_in_reverse_time():
    flow = smooth("squash", t_span=(1.0, 0.0), regularize={"kinetic": 1.0})
    flow.log_prob(points())
    assert flow.penalty > 0
    flow.penalty.backward()
    assert any(p.grad.abs().sum() > 0 for p in flow.parameters())


def test_no_penalty_without_weights():
    flow = smooth("planar")
    flow.log_prob(points())
    assert flow.penalty is None


def test_density_between_the_ends():
    flow = CNF(linear_field, 2, **TIGHT).double()
    half = torch.matrix_exp(0.5 * A)
    expected = MultivariateNormal(torch.zeros(2, dtype=torch.float64), half @ half.T).log_prob(points())
    assert torch.allclose(flow.log_prob_at(points(), 0.5), expected, rtol=0, atol=1e-7)
    assert torch.allclose(flow.log_prob_at(points(), 0.0), flow.base.log_prob(points()), rtol=0, atol=1e-12)
    assert flow.path(points(), [0.0, 0.5, 1.0]).shape == (3, 6, 2)


def test_base_may_be_any_distribution():
    base = Normal(torch.tensor([1.0, -1.0]).double(), torch.tensor([0.5, 2.0]).double())
    flow = CNF(lambda t, z: torch.zeros_like(z), 2, base=base)
    assert torch.allclose(flow.log_prob(points()), base.log_prob(points()).sum(-1))
    assert flow.sample(3).shape == (3, 2)


def test_counts_and_copies():
    flow = smooth("planar", regularize={"kinetic": 1.0})
    flow.log_prob(points()).sum().backward()
    assert flow.nfev > 0 and flow.nfev_backward > 0
    assert copy.deepcopy(flow).penalty is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"trace": "exakt"}, "trace: got 'exakt', takes one of"),
        ({"noise": "cauchy"}, "noise: got 'cauchy'"),
        ({"regularize": {"energy": 1.0}}, r"regularize: got \['energy'\], takes weights of"),
        ({"base": Normal(0.0, 1.0)}, "base: got batch .* takes a distribution over vectors of size 2"),
    ],
)
def test_bad_arguments_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        CNF(linear_field, 2, **options)


def test_points_must_have_the_dimension():
    with pytest.raises(ValueError, match=r"x: got shape \(4, 3\), takes \(B, 2\)"):
        CNF(linear_field, 2).log_prob(torch.zeros(4, 3))
