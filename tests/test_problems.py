"""The problem library itself: reference ends against SciPy, and what every field promises."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import problems

SMOOTH = {p.name: p for p in (*problems.STEADY, *problems.AMPLIFYING, *problems.DETEST)}.values()
EVERY = (*SMOOTH, *problems.STIFF)
STIFF_SLOW = (problems.VAN_DER_POL_1E6, problems.E5, problems.ROBERTSON, problems.OREGO)


def scipy_error(problem: problems.Known, method: str, tol: float) -> float:
    def f(t: float, y: np.ndarray) -> np.ndarray:
        return problem.f(torch.tensor(t, dtype=torch.float64), torch.from_numpy(y)).numpy()

    found = solve_ivp(f, problem.t_span, problem.y0.numpy(), method, rtol=tol, atol=tol * problem.atol_ratio)
    assert found.success, found.message
    return problem.error(torch.from_numpy(found.y[:, -1]))


@pytest.mark.parametrize("problem", [*SMOOTH, problems.TURN, problems.VAN_DER_POL_5], ids=repr)
def test_end_of_smooth_problems(problem):
    # The orbits amplify an error by up to 1e4; measured: 6e-12 on Pleiades at 1e-13.
    assert scipy_error(problem, "DOP853", 1e-12) < (1e-9 if problem in problems.AMPLIFYING else 1e-10)


@pytest.mark.parametrize("problem", [problems.ARENSTORF_ORBIT, problems.LORENZ_20], ids=repr)
def test_end_after_amplification(problem):
    # Both amplify by about 1e7, so that 1e-13 leaves six digits.
    assert scipy_error(problem, "DOP853", 1e-13) < 1e-8


@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(problem, marks=pytest.mark.slow if problem in STIFF_SLOW else ())
        for problem in (*problems.STIFF, problems.ROBERTSON_40, problems.ROBERTSON_4E5)
    ],
    ids=repr,
)
def test_end_of_stiff_problems(problem):
    # Radau IIA of order 5 stays within its tolerance on all of them.
    assert scipy_error(problem, "Radau", 1e-8) < 1e-8


@pytest.mark.parametrize("problem", [p for p in (*EVERY, problems.TURN) if p.exact], ids=repr)
def test_closed_forms_solve_the_equation(problem):
    t0, t1 = problem.t_span
    torch.testing.assert_close(problem.exact(torch.tensor(t0, dtype=torch.float64)), problem.y0)
    t = torch.linspace(t0 + 0.3 * (t1 - t0), t1, 5, dtype=torch.float64)
    _, slopes = torch.func.jvp(problem.exact, (t,), (torch.ones_like(t),))
    for time, state, slope in zip(t, problem.exact(t), slopes, strict=True):
        # HEAT multiplies the rounding of its state by 1e4, PROTHERO_ROBINSON by 1e6
        torch.testing.assert_close(problem.f(time, state), slope, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("problem", EVERY, ids=repr)
def test_fields_are_row_wise_and_pure(problem):
    torch.manual_seed(0)
    rows = problem.y0 * (1 + 0.1 * torch.rand(3, problem.y0.shape[0], dtype=torch.float64))
    kept = rows.clone()
    t = torch.tensor([[0.1], [0.2], [0.4]], dtype=torch.float64)
    together = problem.f(t, rows)
    assert together.shape == rows.shape and together.dtype == torch.float64
    for time, row, slope in zip(t[:, 0], rows, together, strict=True):
        torch.testing.assert_close(problem.f(time, row), slope, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(problem.f(t[0, 0], rows)[0], together[0], rtol=1e-12, atol=1e-12)
    assert torch.equal(rows, kept)


@pytest.mark.parametrize("problem", EVERY, ids=repr)
def test_fields_are_differentiable(problem):
    y = problem.y0 + 0.1
    t = torch.tensor(0.3, dtype=torch.float64)
    forward = torch.func.jacfwd(problem.f, 1)(t, y)
    torch.testing.assert_close(torch.func.jacrev(problem.f, 1)(t, y), forward)
    shifts = 1e-5 * torch.eye(len(y), dtype=torch.float64)
    difference = torch.stack([(problem.f(t, y + s) - problem.f(t, y - s)) / 2e-5 for s in shifts], -1)
    # 1e-10 from the third derivative, 1e-11 from rounding, both relative to the largest entry
    assert float((difference - forward).abs().max() / forward.abs().max()) < 1e-8
