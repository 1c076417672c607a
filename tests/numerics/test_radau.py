"""radau5: step control, Newton's iteration, batches, failures, sensitivities, large states."""

import math

import numpy as np
import pytest
import torch

import neuralode
from neuralode import SolverError, Status
from problems import BRUSSELATOR, FORCED, HIRES, ROBERTSON_4E5, ROBERTSON_40, VAN_DER_POL_1E3, van_der_pol
from work import our_work, scipy_work, work_of

BATCHES = [None, "lockstep", "independent"]


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize("problem", [FORCED, BRUSSELATOR], ids=repr)
def test_error_is_proportional_to_tolerance(problem):
    """Errors in units of the tolerance neither grow nor shrink by more than their scatter and steps' fifth power do.

    Steps go as tol^(1/4), by an estimate of order three, and errors go as tol^(5/4),
    a little faster where steps are still large.
    """
    tolerances = np.logspace(-3, -7, 9)
    errors = [work_of(problem, "radau5", tol, controller="predictive").error for tol in tolerances]
    assert 0.7 <= np.polyfit(np.log(tolerances), np.log(errors), 1)[0] <= 1.5
    assert max(errors / tolerances) <= 10


@pytest.mark.parametrize("controller", ["i", "pi", "pid", "predictive"])
def test_controllers(controller):
    """At one tolerance, with SciPy's work as the measure: the PI controller, made for explicit methods, takes more."""
    ours, theirs = (
        work_of(HIRES, "radau5", 1e-5, controller=controller),
        scipy_work(HIRES, "Radau", 1e-5),
    )
    assert ours.error <= 20e-5
    assert ours.nfev <= (1.2 if controller == "predictive" else 1.6) * theirs.nfev


def test_jacobians_and_factorisations_are_not_more_than_scipys():
    ours, theirs = our_work(VAN_DER_POL_1E3, "radau5", 1e-4), scipy_work(VAN_DER_POL_1E3, "Radau", 1e-4)
    assert ours.njev <= 1.2 * theirs.njev


def test_each_sample_counts_as_if_it_were_alone():
    mus = vector(0.1, 5.0, 100.0, 1000.0)

    def f(t, y, mu):
        x, v = y.unbind(-1)
        return torch.stack((v, mu * (1 - x * x) * v - x), -1)

    y0 = vector(2.0, 0.0).expand(4, 2)
    with torch.no_grad():
        options = {"method": "radau5", "rtol": 1e-5, "atol": 1e-6}
        together = neuralode.solve(f, (0.0, 20.0), y0, args=(mus,), batch="independent", **options)
        for i, mu in enumerate(mus):
            alone = neuralode.solve(f, (0.0, 20.0), y0[i], args=(mu,), **options)
            for name in ("nfev", "njev", "accepted", "rejected"):
                assert int(getattr(together, name)[i]) == int(getattr(alone, name)), name
            # A solver of a batch of matrices rounds otherwise than one of a single matrix.
            torch.testing.assert_close(together.y1[i], alone.y1, rtol=1e-9, atol=1e-9)


def test_evaluations_are_those_that_were_made():
    """Alone, what is counted is what is called: s per iteration, one for the estimate, and the first step's size."""
    calls = []

    def f(t, y):
        calls.append(t)
        return VAN_DER_POL_1E3.f(t, y)

    with torch.no_grad():
        found = neuralode.solve(
            f, (0.0, 1000.0), vector(2.0, 0.0), method="radau5", jac=jacobian(1e3), rtol=1e-4, atol=1e-7
        )
    assert found.nfev == len(calls) and found.njev > 1 and found.rejected > 0


def jacobian(mu):
    def jac(t, y):
        x, v = y.unbind(-1)
        rows = (torch.zeros_like(x), torch.ones_like(x), -2 * mu * x * v - 1, mu * (1 - x * x))
        return torch.stack(rows, -1).reshape(*y.shape, 2)

    return jac


@pytest.mark.parametrize("batch", BATCHES)
def test_a_jacobian_of_the_users(batch):
    y0 = vector(2.0, 0.0) if batch is None else vector(2.0, 0.0)[None]
    with torch.no_grad():
        found = [
            neuralode.solve(
                van_der_pol(100.0), (0.0, 100.0), y0, method="radau5", batch=batch, jac=jac, rtol=1e-5
            )
            for jac in (None, jacobian(100.0))
        ]
    torch.testing.assert_close(found[0].y1, found[1].y1, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch", BATCHES)
def test_newton_that_diverges_at_given_steps_says_so(batch):
    """At z = 4, on the way of exp's slope, the iteration runs off: y' = exp(y) has no solution to t = 1."""
    y0 = torch.ones(2, 1, dtype=torch.float64)
    with pytest.raises(SolverError, match="Newton's iteration") as caught:
        neuralode.solve(lambda t, y: torch.exp(y), (0.0, 2.0), y0, method="radau5", step=1.0, batch=batch)
    assert "smaller steps" in caught.value.hint


@pytest.mark.parametrize("batch", BATCHES)
def test_newton_that_diverges_at_every_size_says_so(batch):
    """A jump against the direction of the flow, so high that no step is short enough to stay beside it."""
    found = neuralode.solve(
        lambda t, y: torch.where(y > 0.5, -1e20, 1e20) + 0 * y, (1.0, 2.0), vector(0.5)[None], method="radau5",
        batch=batch, first_step=0.1, throw=False,
    )  # fmt: skip
    assert (
        int(found.status) == Status.NEWTON_DIVERGED and int(found.rejected) > 10 and "Newton" in found.message
    )


@pytest.mark.parametrize("batch", BATCHES)
def test_singular_matrix_at_a_given_step_says_so(batch):
    """gauss2 solves (1 - h lambda / 2) x = r."""
    with pytest.raises(SolverError, match="singular"):
        neuralode.solve(
            lambda t, y: 4 * y, (0.0, 1.0), torch.ones(1, 1).double(), method="gauss2", step=0.5, batch=batch
        )


def test_singular_matrix_at_every_size_says_so():
    """Entries that swallow the identity at any h."""
    found = neuralode.solve(
        lambda t, y: -y.flip(-1) ** 3 - 1, (1.0, 2.0), vector(1.0, 2.0), method="radau5", throw=False,
        jac=lambda t, y: torch.full((2, 2), 1e60, dtype=torch.float64),
    )  # fmt: skip
    assert found.status == Status.SINGULAR


def test_one_sample_that_fails_leaves_the_others_alone():
    y0 = vector(0.1, 1.0, 0.2)[:, None]
    options = {"method": "radau5", "rtol": 1e-6, "atol": 1e-8, "batch": "independent"}
    with torch.no_grad():
        found = neuralode.solve(lambda t, y: y * y, (0.0, 2.0), y0, throw=False, **options)
    assert found.status[1] < 0 and found.status[0] == found.status[2] == Status.SUCCESS
    torch.testing.assert_close(found.y1[[0, 2], 0], vector(0.125, 1 / 3), rtol=1e-5, atol=0)


RATES = vector(0.04, 3e7, 1e4)


def robertson(t, y, k):
    a, b, c = y.unbind(-1)
    slow, fast, back = k[0] * a, k[1] * b**2, k[2] * b * c
    return torch.stack((back - slow, slow - back - fast, fast), -1)


# Forward variational equations in 80 bits, two orders that agree: dy1 / d(k1, k2, k3).
SENSITIVITIES = [
    (ROBERTSON_40, (-4.24755877170573, -2.28835508890567e-9, 1.37308079734462e-5)),
    pytest.param(
        ROBERTSON_4E5,
        (-0.236333732902317, -1.57504845353564e-10, 9.45027194043004e-7),
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("gradient", ["direct", "discrete"])
@pytest.mark.parametrize(("problem", "want"), SENSITIVITIES, ids=repr)
def test_sensitivities(problem, want, gradient):
    """Within ten times the tolerance, in units of k dy / dk; and their law sum k dy/dk = t f(y)."""
    tol, t1 = 1e-6, problem.t_span[1]
    k = RATES.clone().requires_grad_()
    found = neuralode.solve(
        robertson, problem.t_span, problem.y0, args=(k,), method="radau5", gradient=gradient,
        controller="predictive", rtol=tol, atol=tol * 1e-8,
    )  # fmt: skip
    (got,) = torch.autograd.grad(found.y1[0], k)
    scaled, exact = got * RATES, vector(*want) * RATES
    assert float((scaled - exact).abs().max()) <= 10 * tol
    slope = robertson(torch.tensor(t1), problem.end, RATES)[0]
    assert float(scaled.sum()) == pytest.approx(float(t1 * slope), abs=10 * tol)


def test_direct_and_discrete_agree_where_steps_are_chosen():
    """Up to what Newton's iteration leaves, 0.03 sqrt(tol) of it: here 1e-10."""
    y0 = vector(2.0, 0.0)
    found = []
    for gradient in ("direct", "discrete"):
        mu = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
        y1 = neuralode.solve(
            lambda t, y, mu: van_der_pol(mu)(t, y), (0.0, 2.0), y0, args=(mu,), method="radau5", gradient=gradient,
            rtol=1e-8, atol=1e-8,
        ).y1  # fmt: skip
        found.append(torch.autograd.grad(y1[0], mu)[0])
    assert float(found[0]) == pytest.approx(float(found[1]), abs=1e-10)


POINTS = 400


def diffusion(t, y, rate):
    """Diffusion of 400 points, not stiff enough to make GMRES slow."""
    wide = torch.nn.functional.pad(y, (1, 1))
    return rate * (wide[..., 2:] - 2 * y + wide[..., :-2])


@pytest.mark.parametrize("batch", [None, "independent"])
def test_large_states_without_matrices(batch):
    """Sine modes decay at 4 rate sin^2(k pi / 802); products with J alone, and with its transpose."""
    x = math.pi * torch.arange(1.0, POINTS + 1, dtype=torch.float64) / (POINTS + 1)
    modes = torch.sin(torch.tensor([3.0, 200.0])[:, None] * x)
    k = vector(3.0, 200.0)
    y0 = modes.sum(0) if batch is None else torch.stack((modes.sum(0), modes[0] - modes[1]))
    signs = vector(1.0, 1.0)[None] if batch is None else vector(1.0, 1.0, 1.0, -1.0).reshape(2, 2)
    y0, rate = y0.requires_grad_(), torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    found = neuralode.solve(
        diffusion,
        (0.0, 1.0),
        y0,
        args=(rate,),
        method="radau5",
        batch=batch,
        rtol=1e-5,
        atol=1e-7,
        first_step=0.1,
    )
    decay = -4 * torch.sin(k * math.pi / (2 * (POINTS + 1))) ** 2
    want = (signs * torch.exp(decay * rate)) @ modes
    torch.testing.assert_close(found.y1.reshape(want.shape), want, rtol=1e-4, atol=1e-5)
    loss = (found.y1**2).sum()
    first = torch.autograd.grad(loss, [rate, y0], create_graph=True)
    exact = torch.autograd.grad((want**2).sum(), rate, create_graph=True)[0]
    assert float(first[0].detach()) == pytest.approx(float(exact.detach()), rel=1e-4)
    (second,) = torch.autograd.grad(first[0], rate)
    assert float(second) == pytest.approx(float(torch.autograd.grad(exact, rate)[0]), rel=1e-4)


@pytest.mark.parametrize("batch", BATCHES)
def test_backward_in_time_and_single_precision(batch):
    y0 = torch.full((2, 1), math.exp(-1.0))
    found = neuralode.solve(
        lambda t, y: -2 * t * y,
        (1.0, 0.0),
        y0,
        t_eval=[0.5],
        method="radau5",
        batch=batch,
        rtol=1e-4,
        atol=1e-4,
    )
    assert found.y1.dtype == torch.float32
    torch.testing.assert_close(found.y1, torch.ones(2, 1), rtol=1e-3, atol=0)
    torch.testing.assert_close(found.y[0], torch.full((2, 1), math.exp(-0.25)), rtol=1e-3, atol=0)
