"""What is peculiar to a fused batch in lockstep: who is to blame, given steps that go on, and the modules of nn."""

import pytest
import torch

from fused.fields import D, Spiral, blow_up, lotka_volterra, states
from neuralode import SolverError, nn, solve

EXACT = 1e-12  # relative, of the norm; the same steps differ by rounding alone


def dies(t, y, rate):
    return torch.where(t > 0.73, rate[:, None] * y / 0.0 * 0.0, y)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("f", "rates", "options"),
    [
        (blow_up, (0.2, 1.0, 0.1), {"t_eval": [0.5, 1.5]}),  # sample 1 has a pole at t = 1
        (blow_up, (0.2, 1.0, 0.1), {"max_steps": 5, "t_eval": [0.1, 1.5]}),
        (blow_up, (0.2, 1.0, 0.1), {"step": 0.25, "max_steps": 3}),
        (blow_up, (0.2, 9.0, 0.1), {"step": 0.01, "t_eval": [0.1, 1.5]}),
        (dies, (0.2, 1.0, 0.1), {"step": 0.1, "t_eval": [0.1, 1.5]}),
        (blow_up, (0.2, 0.3, 0.1), {"first_step": 0.5, "max_step": 0.05}),
        (blow_up, (0.2, 1.0, 0.1), {"min_step": 1e-3}),
    ],
)
def test_ends_as_eager_does(f, rates, options):
    rate, y0 = torch.tensor(rates, dtype=D), torch.ones(3, 1, dtype=D)
    with torch.no_grad():
        a, b = (
            solve(f, (0.0, 1.5), y0, args=(rate,), batch="lockstep", throw=False, backend=backend, **options)
            for backend in ("eager", "fused")
        )
    for name in ("status", "message", "accepted", "rejected", "nfev", "evaluations"):
        assert getattr(a, name) == getattr(b, name), name
    torch.testing.assert_close(b.y, a.y, rtol=1e-9, atol=1e-9, equal_nan=True)
    torch.testing.assert_close(b.y1, a.y1, rtol=1e-9, atol=1e-9, equal_nan=True)


@pytest.mark.slow
def test_the_sample_without_a_slope_is_named():
    rate = torch.tensor([1.0, 0.1, torch.nan, 0.2], dtype=D)
    with pytest.raises(SolverError, match="sample 2"):
        solve(blow_up, (0.0, 1.0), torch.ones(4, 1, dtype=D), args=(rate,), batch="lockstep", backend="fused")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_a_batch_of_any_size(dtype):
    for samples in (1, 7, 16, 33):
        y0 = states(samples, 2, dtype=dtype)
        a, b = (
            solve(lotka_volterra, (0.0, 2.0), y0, batch="lockstep", backend=backend)
            for backend in ("eager", "fused")
        )
        # In float32 the last digits of sums taken in another order decide on a step.
        assert abs(a.accepted - b.accepted) <= (dtype == torch.float32)
        torch.testing.assert_close(b.y1, a.y1, rtol=1e-3 if dtype == torch.float32 else 1e-9, atol=1e-6)
    doubled = solve(lotka_volterra, (0.0, 2.0), y0.repeat(2, 1), batch="lockstep", backend="fused")
    assert torch.equal(doubled.y1[:33], b.y1)
    assert torch.equal(doubled.y1[33:], b.y1)


def same_gradients(module, loss_of) -> None:
    """Of a module's parameters, by either backend."""
    found, weights = [], [p for p in module.parameters() if p.requires_grad]
    for backend in ("eager", "fused"):
        torch.manual_seed(1)
        with module.using(backend=backend):
            found.append(torch.autograd.grad(loss_of(module), weights, allow_unused=True))
    for a, b in zip(*found, strict=True):
        assert (a is None) == (b is None)
        assert a is None or (a - b).norm() <= EXACT * a.norm()


@pytest.mark.slow
def test_block():
    y0, block = states(9, 2), nn.ODEBlock(Spiral(6), rtol=1e-6)
    same_gradients(block, lambda block: block(y0, t_eval=[0.0, 0.4, 1.0]).square().sum())


@pytest.mark.slow
def test_flow():
    torch.manual_seed(0)
    flow = nn.CNF(nn.MLPField(2, hidden=8).to(D), 2)
    same_gradients(flow, lambda flow: flow.log_prob(states(9, 2)).mean())


@pytest.mark.slow
def test_latent_ode():
    torch.manual_seed(0)
    model = nn.LatentODE(2, latent=3, hidden=8).to(D)
    times = torch.arange(6, dtype=D).expand(4, 6) * 0.2  # one grid for all: a solve in lockstep
    mask = torch.ones(4, 6, dtype=torch.bool)
    same_gradients(model, lambda model: model.elbo(times, states(24, 2).reshape(4, 6, 2), mask))
