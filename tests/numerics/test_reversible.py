"""The reversible gradient: as exact as discrete where a path can be walked back, an error where it cannot."""

import pytest
import torch

import neuralode
from neuralode import Reversible, SolverError

METHODS = ["ees25", "ees27"]
PAIRS = [m.name for m in neuralode.methods() if m.state == "pair" and "reversible" in m.gradients]


def network(t, y, w):
    return torch.tanh(y @ w.T) * torch.cos(t)


def pendulum(t, state, k):
    q, p = state
    return p, -k * torch.sin(q)


def start():
    generator = torch.Generator().manual_seed(2)
    y0 = torch.rand(4, 3, dtype=torch.float64, generator=generator).requires_grad_()
    return y0, torch.randn(3, 3, dtype=torch.float64, generator=generator).requires_grad_()


def of_network(gradient, **options):
    y0, w = start()
    sol = neuralode.solve(network, (0.0, 3.0), y0, args=(w,), gradient=gradient, **options)
    return sol, torch.autograd.grad((sol.y**2).sum(), [y0, w])


def compare(got, want, tol):
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=tol, atol=tol)


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("t_eval", [None, torch.linspace(0.1, 2.9, 5).double()], ids=["ends", "t_eval"])
@pytest.mark.parametrize(("method", "tol"), [("ees25", 1e-6), ("ees27", 1e-9)])
def test_near_reversible_schemes(method, tol, t_eval, batch):
    """The smaller the tolerance the better: a step back misses by h^6 and h^8."""
    options = {"method": method, "rtol": 1e-6, "atol": 1e-6, "batch": batch, "t_eval": t_eval}
    _, want = of_network("discrete", **options)
    sol, got = of_network("reversible", **options)
    compare(got, want, tol)
    assert float(torch.as_tensor(sol.drift).max()) <= 0.1


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("method", PAIRS)
def test_symmetric_splittings_are_exact(method, batch):
    def gradients(gradient):
        q = torch.tensor([[0.3], [1.0], [2.0]], dtype=torch.float64, requires_grad=True)
        p = torch.tensor([[0.1], [-1.0], [0.4]], dtype=torch.float64, requires_grad=True)
        k = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
        sol = neuralode.solve(
            pendulum, (0.0, 20.0), (q, p), args=(k,), method=method, step=0.05, batch=batch, gradient=gradient
        )
        return torch.autograd.grad(sol.y1[0].sum() + (sol.y1[1] ** 2).sum(), [q, p, k])

    compare(gradients("reversible"), gradients("discrete"), 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_back_undoes_a_step(method):
    """To one order above what an arbitrary method of order two misses by, h^3, and more: 6 and 8, by slope."""
    y0, w = start()
    record = next(m for m in neuralode.methods() if m.name == method)

    def field(t, y):
        return network(t, y, w.detach())

    misses = []
    for h in (0.4, 0.2):
        there = record.step(field, 0.0, h, y0.detach(), (), None).y1
        back = record.step(field, h, -h, there, (), None).y1
        misses.append(float((back - y0.detach()).abs().max()))
    slope = torch.log2(torch.tensor(misses[0] / misses[1])).item()
    assert slope >= {"ees25": 5.7, "ees27": 7.7}[method]


def test_memory_and_evaluations():
    """No state is kept, however many steps; f is evaluated three times a stage."""
    y0, w = start()
    sol = neuralode.solve(
        network, (0.0, 3.0), y0, args=(w,), method="ees27", gradient="reversible", step=0.01, batch="lockstep"
    )
    sol.y1.sum().backward()
    assert sol.nfev + sol.backward_count() <= 3.05 * sol.nfev


def test_a_contracting_path_raises():
    """y' = -20 y forgets its start by e^-40: nothing can find it again."""
    y0 = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    k = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    sol = neuralode.solve(
        lambda t, y: -k * y + torch.sin(9 * t),
        (0.0, 2.0),
        y0,
        method="ees25",
        gradient="reversible",
        batch="independent",
    )
    with pytest.raises(
        SolverError, match=r"walked back by gradient='reversible' misses y0 .* use gradient='checkpointed'"
    ):
        sol.y1.sum().backward()
    assert sol.drift.shape == (2,) and (sol.drift > 1).all()


def test_what_cannot_be_walked_back_is_refused():
    with pytest.raises(ValueError, match="method 'dopri5' has no gradient='reversible'"):
        neuralode.solve(lambda t, y: -y, (0.0, 1.0), torch.ones(1), gradient="reversible")
    with pytest.raises(ValueError, match="Reversible drift must be positive"):
        Reversible(drift=0.0)
    y0 = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="dense_output=True keeps every state"):
        neuralode.solve(
            lambda t, y: -y, (0.0, 1.0), y0, method="ees25", gradient="reversible", dense_output=True
        )


@pytest.mark.parametrize("gradient", ["discrete", "checkpointed"])
def test_what_walks_nothing_back_has_no_drift(gradient):
    sol, _ = of_network(gradient, method="dopri5")
    assert sol.drift is None


def test_backsolve_reports_its_drift():
    sol, _ = of_network("backsolve", method="dopri5", batch="independent", rtol=1e-8, atol=1e-8)
    assert sol.drift.shape == (4,) and (sol.drift > 0).all() and (sol.drift < 100).all()
