"""auto: which of its methods steps, what that costs, and that nothing else of a solve changes by it."""

import pytest
import torch

import neuralode
from problems import ROBERTSON_40, VAN_DER_POL, VAN_DER_POL_1E3

TOL = {"rtol": 1e-6, "atol": 1e-8}


def oscillator(t, y, mu):
    return torch.stack((y[..., 1], mu * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]), -1)


MU = torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)
START = torch.tensor([[2.0, 0.0]], dtype=torch.float64).repeat(4, 1)


def work(problem, method, **options):
    with torch.no_grad():
        return neuralode.solve(
            problem.f,
            problem.t_span,
            problem.y0,
            method=method,
            rtol=1e-6,
            atol=1e-6 * problem.atol_ratio,
            **options,
        )


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
def test_stays_explicit_where_nothing_is_stiff(batch):
    y0 = VAN_DER_POL.y0 if batch is None else VAN_DER_POL.y0[None]
    found, explicit = (
        neuralode.solve(VAN_DER_POL.f, VAN_DER_POL.t_span, y0, method=name, batch=batch, **TOL)
        for name in ("auto", "tsit5")
    )
    assert found.report == {"switches": 0, "stiff_steps": 0}
    assert found.nfev == explicit.nfev and found.njev == 0
    torch.testing.assert_close(found.y1, explicit.y1, rtol=0, atol=0)


@pytest.mark.parametrize("problem", [ROBERTSON_40, VAN_DER_POL_1E3], ids=repr)
def test_switches_where_it_is_and_costs_no_more_than_the_stiff_method(problem):
    found, stiff = work(problem, "auto"), work(problem, "rodas5p", controller="pi")
    assert found.report["switches"] >= 1
    assert 0 < found.report["stiff_steps"] < found.accepted
    assert found.nfev <= 1.1 * stiff.nfev and found.njev < stiff.njev
    assert problem.error(found.y1) <= 20e-6


def test_goes_back_to_the_explicit_method():
    """van der Pol's equation at mu = 1000 is stiff on its slow branches and not in its jumps."""
    assert work(VAN_DER_POL_1E3, "auto").report["switches"] >= 3


@pytest.mark.parametrize("compact", [False, True])
def test_every_sample_decides_for_itself(compact):
    spans = (torch.zeros(4), torch.tensor([20.0, 15.0, 10.0, 5.0]))
    options = {"method": "auto", "batch": "independent", "compact": compact, **TOL}
    found = neuralode.solve(oscillator, spans, START, args=(MU,), **options)
    assert found.report["switches"].tolist() == [0, 0, 1, 1]
    for b in range(4):
        alone = neuralode.solve(
            oscillator, (0.0, spans[1][b].item()), START[b : b + 1], args=(MU[b : b + 1],), **options
        )
        for name in ("nfev", "njev", "accepted", "rejected"):
            assert getattr(found, name)[b] == getattr(alone, name)[0]
        for name, value in alone.report.items():
            assert found.report[name][b] == value[0]
        # The matrices of a batch are factorised together, and rounded otherwise.
        torch.testing.assert_close(found.y1[b], alone.y1[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
def test_gradients_through_both_methods(batch):
    mu = torch.tensor([50.0, 1.0], dtype=torch.float64, requires_grad=True)
    start = START[:2].clone().requires_grad_()
    grads = []
    for gradient in ("direct", "discrete"):
        y0, rate = (start[0], mu[0]) if batch is None else (start, mu)
        found = neuralode.solve(
            oscillator, (0.0, 3.0), y0, args=(rate,), method="auto", batch=batch, gradient=gradient,
            t_eval=[0.5, 2.7], dense_output=True, rtol=1e-9, atol=1e-9,
        )  # fmt: skip
        switches = torch.as_tensor(found.report["switches"]).reshape(-1)
        assert switches[0] >= 1
        loss = found.y.square().sum() + found.y1.sum() + found(1.3).sum()
        grads.append(torch.autograd.grad(loss, [start, mu]))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)

    def loss_of(value):
        rate = value if batch is None else torch.stack((value, mu.detach()[1]))
        y0 = START[0] if batch is None else START[:2]
        found = neuralode.solve(oscillator, (0.0, 3.0), y0, args=(rate,), method="radau5", batch=batch,
                                t_eval=[0.5, 2.7], dense_output=True, rtol=1e-11, atol=1e-11)  # fmt: skip
        return found.y.square().sum() + found.y1.sum() + found(1.3).sum()

    eps = 1e-3
    with torch.no_grad():
        slope = (loss_of(mu.detach()[0] + eps) - loss_of(mu.detach()[0] - eps)) / (2 * eps)
    # radau5's dense output of order three is good to about 1e-7, divided by eps
    torch.testing.assert_close(grads[0][1][0], slope, rtol=1e-3, atol=1e-4)
