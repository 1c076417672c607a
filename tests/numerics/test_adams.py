"""Adams: its coefficients, its orders at given steps, its work against LSODA, and its gradients."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import neuralode
from neuralode.methods import adams
from neuralode.methods.adams_weights import betas, integrals, moulton, places
from neuralode.registry import METHODS
from problems import (
    BRUSSELATOR,
    FORCED,
    LINEAR,
    LOTKA_VOLTERRA,
    RIGID_BODY,
    TURN,
    VAN_DER_POL,
    van_der_pol,
    vector,
)

BATCHES = [None, "lockstep", "independent"]


@pytest.fixture
def of_order(monkeypatch):
    """Names of Adams methods whose predictors go up to an order."""

    def name(k: int) -> str:
        monkeypatch.setitem(METHODS, f"adams_{k}", adams(f"adams_{k}", k))
        return f"adams_{k}"

    return name


def grid(span: tuple[float, float], steps: int, jitter: float) -> torch.Tensor:
    """Equal steps, or steps between 1 - jitter and 1 + jitter of that."""
    times = torch.linspace(*span, steps + 1, dtype=torch.float64)
    shift = torch.sin(37.0 * torch.arange(steps + 1, dtype=torch.float64)) * jitter / 2
    shift[0] = shift[-1] = 0.0
    return times + shift * (span[1] - span[0]) / steps


def slope(sizes, errors) -> float:
    return -float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


class TestCoefficients:
    def test_error_constants(self):
        """Table III.1.2 of Hairer, Norsett, Wanner I."""
        assert moulton(7) == (1, 1 / 2, 1 / 12, 1 / 24, 19 / 720, 3 / 160, 863 / 60480)

    def test_equal_steps_give_adams_bashforth(self):
        p = places(torch.ones(1, 5, dtype=torch.float64), 6)
        want = vector(1, 1 / 2, 5 / 12, 3 / 8, 251 / 720, 95 / 288, 19087 / 60480)
        torch.testing.assert_close(
            integrals(torch.ones(1, 1, dtype=torch.float64), p)[0], want, rtol=1e-14, atol=0
        )
        assert torch.equal(betas(p)[0], torch.ones(5, dtype=torch.float64))

    @pytest.mark.parametrize("theta", [1.0, 0.37, -0.8])
    def test_integrals_on_any_grid(self, theta):
        """Against Gauss quadrature of the products that they are integrals of, exact to degree 19."""
        torch.manual_seed(0)
        p = places(0.3 + 2 * torch.rand(3, 12, dtype=torch.float64), 13)
        found = integrals(torch.full((3, 1), theta, dtype=torch.float64), p[:, :12])
        nodes, quadrature = np.polynomial.legendre.leggauss(10)
        s = torch.from_numpy(theta * (nodes + 1) / 2)
        for row, at in zip(found, p, strict=True):
            c, want = torch.ones_like(s), []
            for i in range(13):
                want.append(float((torch.from_numpy(quadrature) * c).sum()) * theta / 2)
                c = c * (s + at[i]) / (1 + at[i])
            torch.testing.assert_close(row, vector(*want), rtol=1e-12, atol=1e-14)


class TestGivenSteps:
    @pytest.mark.parametrize("jitter", [0.0, 0.5], ids=["uniform", "jittered"])
    @pytest.mark.parametrize("problem", [FORCED, LINEAR], ids=repr)
    @pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
    def test_order(self, k, problem, jitter, of_order):
        """Steps and dense output are of order k + 1: the largest error of either, where their sign cannot hide it."""
        first = {1: 160, 2: 160, 3: 120, 4: 120, 5: 120, 6: 100}[k]
        sizes = [first, round(1.4 * first), 2 * first, round(2.8 * first)]
        at_steps, between = [], []
        for steps in sizes:
            sol = neuralode.solve(problem.f, problem.t_span, problem.y0, method=of_order(k), t_eval="steps",
                                  step=grid(problem.t_span, steps, jitter), dense_output=True)  # fmt: skip
            at_steps.append(float((sol.y - problem.exact(sol.t)).abs().max()))
            t = torch.linspace(*problem.t_span, 777, dtype=torch.float64)
            between.append(float((sol(t) - problem.exact(t)).abs().max()))
        assert min(at_steps) > 1e-12
        # The order that the tests choose is not always the highest, which blurs slopes by some tenths.
        assert slope(sizes, at_steps) == pytest.approx(k + 1, abs=0.4)
        assert slope(sizes, between) == pytest.approx(k + 1, abs=0.4)

    @pytest.mark.parametrize("batch", BATCHES)
    def test_every_loop_takes_the_same_steps(self, batch):
        y0 = VAN_DER_POL.y0[None]
        options = {"method": "adams", "step": grid((0.0, 5.0), 100, 0.5)}
        with torch.no_grad():
            sol = neuralode.solve(VAN_DER_POL.f, (0.0, 5.0), y0, batch=batch, **options)
            want = neuralode.solve(VAN_DER_POL.f, (0.0, 5.0), y0[0], **options)
        torch.testing.assert_close(sol.y1[0], want.y1, rtol=1e-12, atol=1e-12)
        # Two for each step, of which the first is taken in twelve pieces, and one before.
        assert int(sol.nfev) == want.nfev == 1 + 2 * (99 + 12)

    def test_one_step(self):
        """The start within the first step is itself accurate."""
        sol = neuralode.solve(
            lambda t, y: -y, (0.0, 0.5), vector(1.0), method="adams", step=0.5, dense_output=True
        )
        assert sol.y1.item() == pytest.approx(math.exp(-0.5), abs=1e-6)
        assert sol(0.1).item() == pytest.approx(math.exp(-0.1), abs=1e-5)
        assert sol(0.0).item() == 1.0


class TestTolerance:
    @pytest.mark.parametrize(
        "problem", [BRUSSELATOR, LOTKA_VOLTERRA, TURN, VAN_DER_POL, RIGID_BODY, FORCED, LINEAR], ids=repr
    )
    def test_error_is_proportional(self, problem):
        tolerances = np.logspace(-3, -12, 7)
        errors = []
        for tol in tolerances:
            with torch.no_grad():
                sol = neuralode.solve(
                    problem.f, problem.t_span, problem.y0, method="adams", rtol=tol, atol=tol
                )
            errors.append(problem.error(sol.y1))
        assert 0.8 <= -slope(tolerances, errors) <= 1.3
        assert max(e / tol for e, tol in zip(errors, tolerances, strict=True)) <= 30

    @pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-8, 1e-10, 1e-12])
    @pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 2.0, 5.0])
    def test_fewer_evaluations_than_lsoda(self, mu, tol):
        """At equal tolerances no more evaluations, and an error below LSODA's or below twenty times the tolerance."""

        def field(t, y):
            return [y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]]

        options = {"rtol": tol, "atol": tol}
        theirs = solve_ivp(field, (0, 10), [2.0, 0.0], method="LSODA", **options)
        end = solve_ivp(field, (0, 10), [2.0, 0.0], method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
        with torch.no_grad():
            ours = neuralode.solve(van_der_pol(mu), (0.0, 10.0), vector(2.0, 0.0), method="adams", **options)
        error, allowed = (
            float(np.max(np.abs(y - end) / (1 + np.abs(end)))) for y in (ours.y1.numpy(), theirs.y[:, -1])
        )
        assert ours.nfev <= theirs.nfev
        assert error <= max(allowed, 20 * tol)

    def test_outputs_cost_nothing(self):
        torch.manual_seed(0)
        times = 6 * torch.rand(200, dtype=torch.float64).sort().values
        options = {"method": "adams", "rtol": 1e-9, "atol": 1e-9}
        with torch.no_grad():
            plain = neuralode.solve(FORCED.f, FORCED.t_span, FORCED.y0, **options)
            sol = neuralode.solve(FORCED.f, FORCED.t_span, FORCED.y0, t_eval=times, **options)
        assert sol.nfev == plain.nfev and torch.equal(sol.y1, plain.y1)
        # As accurate as the steps are allowed to be: 30 times the tolerance.
        assert float((sol.y - FORCED.exact(times)).abs().max()) <= 30e-9

    def test_a_rejected_step_costs_one_evaluation(self):
        with torch.no_grad():
            sol = neuralode.solve(
                VAN_DER_POL.f, VAN_DER_POL.t_span, VAN_DER_POL.y0, method="adams", rtol=1e-6, atol=1e-6
            )
        # Two more at the start: the slope there, and one for the first step's size.
        assert sol.rejected > 0 and sol.nfev == 2 + 2 * sol.accepted + sol.rejected

    @pytest.mark.parametrize("step", [None, 0.1])
    @pytest.mark.parametrize("batch", [None, "independent"])
    def test_dense_output_is_continuous(self, batch, step):
        y0 = LOTKA_VOLTERRA.y0 if batch is None else LOTKA_VOLTERRA.y0[None]
        sol = neuralode.solve(LOTKA_VOLTERRA.f, (0.0, 3.0), y0, method="adams", step=step, t_eval="steps",
                              batch=batch, dense_output=True, rtol=1e-6, atol=1e-6)  # fmt: skip
        torch.testing.assert_close(sol(sol.t), sol.y, rtol=1e-13, atol=1e-13)
        # |y'| < 10; a step taken in pieces (the first given one) ends where its own polynomial does only to its order.
        start = 1 if step is None else 2
        before = sol(sol.t[start:] - 1e-10)
        torch.testing.assert_close(before, sol.y[start:], rtol=0, atol=2e-9)


MU = torch.linspace(0.1, 5.0, 5, dtype=torch.float64)
START = torch.stack((torch.linspace(1.5, 2.5, 5), torch.linspace(-0.3, 0.3, 5)), 1).double()


def oscillators(t, y, mu):
    return torch.stack((y[..., 1], mu * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]), -1)


class TestSamples:
    @pytest.mark.parametrize("tol", [1e-4, 1e-8])
    def test_a_sample_alone_is_the_sample_in_a_batch(self, tol):
        options = {"method": "adams", "rtol": tol, "atol": tol, "t_eval": [0.3, 5.0, 10.0]}
        with torch.no_grad():
            together = neuralode.solve(
                oscillators, (0.0, 10.0), START, args=(MU,), batch="independent", **options
            )
            for b in range(len(MU)):
                alone = neuralode.solve(oscillators, (0.0, 10.0), START[b], args=(MU[b],), **options)
                counts = [int(getattr(together, name)[b]) for name in ("nfev", "accepted", "rejected")]
                assert counts == [alone.nfev, alone.accepted, alone.rejected]
                # Rounding, which the oscillators amplify.
                torch.testing.assert_close(together.y[:, b], alone.y, rtol=1e-9, atol=1e-9)
        assert len(set(together.accepted.tolist())) == len(MU)

    @pytest.mark.parametrize("step", [None, 0.05])
    def test_spans_of_their_own(self, step):
        t0 = torch.tensor([0.0, 1.0, -2.0, 0.5], dtype=torch.float64)
        t1 = torch.tensor([1.0, -1.0, -2.0, 0.6], dtype=torch.float64)
        y0 = torch.ones(4, 2, dtype=torch.float64, requires_grad=True)
        sol = neuralode.solve(
            lambda t, y: torch.cos(t) * y, (t0, t1), y0, batch="independent", method="adams", step=step,
            rtol=1e-9, atol=1e-9,
        )  # fmt: skip
        growth = torch.exp(torch.sin(t1) - torch.sin(t0))[:, None].expand(4, 2)
        torch.testing.assert_close(sol.y1, growth, rtol=1e-7, atol=0)
        assert sol.accepted[2] == 0
        (got,) = torch.autograd.grad(sol.y1.sum(), y0)
        torch.testing.assert_close(got, growth, rtol=1e-7, atol=0)

    def test_float32(self):
        with torch.no_grad():
            sol = neuralode.solve(
                oscillators, (0.0, 10.0), START.float(), args=(MU.float(),), batch="independent", method="adams",
                rtol=1e-5, atol=1e-5,
            )  # fmt: skip
            want = neuralode.solve(oscillators, (0.0, 10.0), START, args=(MU,), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(sol.y1.double(), want.y1, rtol=0, atol=1e-3)

    @pytest.mark.parametrize("batch", BATCHES)
    def test_nan_from_some_time_on(self, batch):
        def f(t, y):
            return torch.where(t > 1.0, torch.nan, -1.0) * y

        with pytest.raises(neuralode.SolverError) as caught:
            neuralode.solve(f, (0.0, 3.0), torch.ones(2, 1), batch=batch, method="adams")
        assert caught.value.t == pytest.approx(1.0, abs=1e-6)

    @pytest.mark.parametrize("batch", BATCHES)
    def test_a_nan_in_a_trial_step_only_shrinks_it(self, batch):
        """y' = -5 sqrt(y): a trial step that goes below zero is rejected, not the end."""
        y0 = torch.ones(1, 1, dtype=torch.float64)
        sol = neuralode.solve(
            lambda t, y: -5 * torch.sqrt(y), (0.0, 0.39), y0, batch=batch, rtol=1e-6, first_step=0.39, method="adams"
        )  # fmt: skip
        assert sol.y1.item() == pytest.approx((1 - 2.5 * 0.39) ** 2, abs=1e-5)


@pytest.mark.parametrize("batch", BATCHES)
class TestGradients:
    @pytest.mark.parametrize("step", [None, 0.05])
    def test_discrete_is_direct(self, batch, step):
        found = []
        for gradient in ("direct", "discrete"):
            y0, mu = START.clone().requires_grad_(), MU.clone().requires_grad_()
            sol = neuralode.solve(
                oscillators, (0.0, 2.0), y0, args=(mu,), t_eval=[0.02, 0.7, 1.9], batch=batch, gradient=gradient,
                method="adams", step=step, rtol=1e-3, atol=1e-3,
            )  # fmt: skip
            found.append(torch.autograd.grad((sol.y**2).sum() + sol.y1.sum(), [y0, mu]))
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)

    def test_against_tight_steps(self, batch):
        """The gradient of the steps at a tight tolerance is the flow's, as another method finds it."""
        found = []
        for method in ("adams", "dopri5"):
            y0, mu = START.clone().requires_grad_(), MU.clone().requires_grad_()
            sol = neuralode.solve(oscillators, (0.0, 2.0), y0, args=(mu,), t_eval=[0.7, 2.0], batch=batch,
                                  method=method, rtol=1e-10, atol=1e-10)  # fmt: skip
            found.append(torch.autograd.grad((sol.y**2).sum(), [y0, mu]))
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)

    def test_second_derivatives(self, batch):
        def outputs(y, mu):
            return neuralode.solve(
                oscillators,
                (0.0, 1.0),
                y,
                t_eval=[0.3, 1.0],
                args=(mu,),
                batch=batch,
                method="adams",
                step=0.5,
            ).y.sum(0)

        inputs = (START[:2].clone().requires_grad_(), MU[:2].clone().requires_grad_())
        assert torch.autograd.gradcheck(outputs, inputs)
        assert torch.autograd.gradgradcheck(outputs, inputs)

    def test_dense_output(self, batch):
        def value(y, t):
            sol = neuralode.solve(oscillators, (0.0, 1.0), y, args=(MU[:2],), batch=batch, method="adams", step=0.25,
                                  dense_output=True)  # fmt: skip
            return sol(t)

        inputs = (START[:2].clone().requires_grad_(), vector(0.1, 0.4, 0.93).requires_grad_())
        assert torch.autograd.gradcheck(value, inputs)


def test_transforms():
    """torch.func through the steps, what it closes over included."""

    def loss(mu):
        sol = neuralode.solve(
            lambda t, y: oscillators(t, y, mu), (0.0, 0.5), START, method="adams", rtol=1e-3
        )
        return (sol.y1**2).sum()

    mu = MU.clone().requires_grad_()
    (want,) = torch.autograd.grad(loss(mu), mu)
    for got in (torch.func.grad(loss)(MU), torch.func.jacrev(loss)(MU), torch.func.jacfwd(loss)(MU)):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.func.hessian(loss)(MU), torch.autograd.functional.hessian(loss, MU), rtol=1e-9, atol=1e-9
    )
    (again,) = torch.autograd.grad(loss(mu), mu)  # nothing of a transform was kept
    assert torch.equal(again, want)
