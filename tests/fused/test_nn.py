"""The modules with a solve inside take ``backend="fused"``: the same loss, gradients and counts as eager."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fused.fields import D
from neuralode.fused import field, known
from neuralode.nn import CNF, ConcatSquashMLP, GatedPlanar, LatentODE, MLPField, ODEBlock, PoissonProcess

EXACT = 1e-12  # relative, of the norm of all gradients; the same steps differ by rounding alone
BATCHES = ("independent", "lockstep")


class Plain(nn.Module):
    """A field without a product with its Jacobian."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 2))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.net(z)


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(D)
    yield
    torch.set_default_dtype(torch.float32)


def assert_alike(model: nn.Module, loss, bound: float = EXACT) -> None:
    """Loss, gradients and counts of both backends."""
    found = []
    for backend in ("eager", "fused"):
        model.backend = backend
        model.zero_grad()
        torch.manual_seed(2)
        value = loss(model)
        value.backward()
        grad = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found.append((value.detach(), grad, model.nfev_backward))
    (value, grad, counted), (other, twin, again) = found
    torch.testing.assert_close(other, value, rtol=EXACT, atol=EXACT)
    assert (grad - twin).norm() <= bound * grad.norm()
    assert again == counted


def points(samples: int = 6) -> Tensor:
    return torch.randn(samples, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", BATCHES)
def test_block(batch):
    torch.manual_seed(0)
    block = ODEBlock(MLPField(2, 8, time=True), batch=batch, rtol=1e-6, atol=1e-6)
    assert_alike(block, lambda b: b(points()).square().sum() + b(points(), t_eval=[0.0, 0.3, 1.0]).sum())


@pytest.mark.slow
@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
@pytest.mark.parametrize("make", [lambda: GatedPlanar(2, width=6), lambda: ConcatSquashMLP(2, (6,)), Plain])
@pytest.mark.parametrize("batch", BATCHES)
def test_flow(make, trace, batch):
    torch.manual_seed(0)
    flow = CNF(make(), dim=2, trace=trace, batch=batch, rtol=1e-6, atol=1e-6)
    assert_alike(flow, lambda model: -model.log_prob(points()).mean())


@pytest.mark.slow
def test_flow_with_penalties_and_samples():
    torch.manual_seed(0)
    flow = CNF(
        GatedPlanar(2, width=6), dim=2, batch="independent", regularize={"kinetic": 0.1, "jacobian": 0.1}
    )
    # Step sizes follow the rounding of the estimate, which moves this gradient by 1.2e-12; given ones do not.
    assert_alike(flow, lambda model: model.log_prob(points()).mean() + model.penalty, 5e-12)
    with flow.using(step=0.1):
        assert_alike(flow, lambda model: model.log_prob(points()).mean() + model.penalty)
    assert_alike(flow, lambda model: model.rsample(5).square().mean())


@pytest.mark.slow
@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("batch", BATCHES)
def test_latent_ode(events, batch):
    torch.manual_seed(0)
    model = LatentODE(dim=2, batch=batch, events=PoissonProcess(4) if events else None)
    times, values = torch.rand(4, 7).sort().values, torch.randn(4, 7, 2)
    mask = torch.ones(4, 7, dtype=torch.bool)
    assert_alike(model, lambda m: -m.elbo(times, values, mask))


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_a_training_loop_of_a_flow_traces_once(trace, monkeypatch):
    known.PROGRAMS.clear()
    count = []
    real = field.trace
    monkeypatch.setattr(field, "trace", lambda *args: count.append(1) or real(*args))
    torch.manual_seed(0)
    flow = CNF(GatedPlanar(2, width=4), dim=2, trace=trace, batch="independent", backend="fused")
    optimizer = torch.optim.SGD(flow.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        loss = -flow.log_prob(points(20)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert len(count) == 1
    assert losses[-1] < losses[0]
    other = copy.deepcopy(flow)
    assert torch.isfinite(other.log_prob(points(20))).all()
