"""Achieved error against tolerance, and solutions against SciPy."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import neuralode
from problems import BRUSSELATOR, FORCED, LOTKA_VOLTERRA, TURN, VAN_DER_POL

ADAPTIVE = [method.name for method in neuralode.methods() if method.adaptive]
PROBLEMS = [FORCED, TURN, BRUSSELATOR, VAN_DER_POL, LOTKA_VOLTERRA]


@pytest.mark.parametrize("batch", [None, "independent"])
@pytest.mark.parametrize("method", ADAPTIVE)
@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_error_is_proportional_to_tolerance(problem, method, batch):
    # From where the leading error term rules, down to where a method of low order still takes thousands of steps.
    tolerances = np.logspace(-4, -8, 5) if method in ("bosh3", "abm4") else np.logspace(-3, -10, 6)
    errors = []
    for tol in tolerances:
        y0 = problem.y0 if batch is None else problem.y0[None]
        with torch.no_grad():
            sol = neuralode.solve(
                problem.f, problem.t_span, y0, method=method, rtol=tol, atol=tol, batch=batch
            )
        errors.append(float(((sol.y1 - problem.end).abs() / (1 + problem.end.abs())).max()))
    fit = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert 0.8 <= fit <= 1.3
    if problem in (FORCED, BRUSSELATOR):  # errors do not grow along these
        assert max(e / tol for e, tol in zip(errors, tolerances, strict=True)) <= 30


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
def test_against_scipy(problem):
    times = np.linspace(*problem.t_span, 9)
    want = solve_ivp(
        lambda t, y: problem.f(torch.as_tensor(t), torch.as_tensor(y)).numpy(), problem.t_span, problem.y0.numpy(),
        method="DOP853", rtol=1e-12, atol=1e-13, t_eval=times,
    ).y.T  # fmt: skip
    with torch.no_grad():
        got = neuralode.solve(
            problem.f, problem.t_span, problem.y0, t_eval=torch.from_numpy(times), rtol=1e-12, atol=1e-13
        ).y
    # Both codes err by some hundred times their tolerance on the oscillators.
    np.testing.assert_allclose(got.numpy(), want, rtol=3e-9, atol=3e-9)


def test_work_is_close_to_scipys():
    """The same method and tolerance: evaluations within 1.2 of SciPy's, with its error not larger than 3 times."""
    for problem in (BRUSSELATOR, VAN_DER_POL, LOTKA_VOLTERRA):
        theirs = solve_ivp(
            lambda t, y, f=problem.f: f(torch.as_tensor(t), torch.as_tensor(y)).numpy(),
            problem.t_span, problem.y0.numpy(), method="RK45", rtol=1e-6, atol=1e-6,
        )  # fmt: skip
        with torch.no_grad():
            ours = neuralode.solve(problem.f, problem.t_span, problem.y0, rtol=1e-6, atol=1e-6)
        assert ours.nfev <= 1.2 * theirs.nfev
        error = float((ours.y1 - problem.end).abs().max())
        assert error <= 3 * float(np.abs(theirs.y[:, -1] - problem.end.numpy()).max())


def test_lockstep_holds_every_sample_to_the_tolerance():
    """One hard sample among easy ones: a norm over the whole batch would let it err by the root of the batch size."""
    easy = torch.zeros(255, 2, dtype=torch.float64)
    y0 = torch.cat((VAN_DER_POL.y0[None], easy))
    with torch.no_grad():
        alone = neuralode.solve(VAN_DER_POL.f, VAN_DER_POL.t_span, VAN_DER_POL.y0, rtol=1e-6, atol=1e-6)
        together = neuralode.solve(
            VAN_DER_POL.f, VAN_DER_POL.t_span, y0, rtol=1e-6, atol=1e-6, batch="lockstep"
        )
    assert together.accepted == alone.accepted
    torch.testing.assert_close(together.y1[0], alone.y1, rtol=0, atol=1e-12)


def test_long_spans_do_not_lose_steps():
    """10,000 steps of 0.05 in float32: t is kept in float64, so the last one lands on t1."""
    count = []

    def f(t, y):
        count.append(float(t))
        return torch.zeros_like(y)

    sol = neuralode.solve(f, (0.0, 500.0), torch.ones(1), method="euler", step=0.05)
    assert sol.accepted == 10_000 and sol.t[-1] == 500.0
    assert count[-1] == pytest.approx(500.0 - 0.05, abs=1e-4)
