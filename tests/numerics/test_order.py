"""Order of every explicit, diagonally or linearly implicit and split method and of its dense output, measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import ellipj

import neuralode
from problems import FORCED, RIGID_BODY

KINDS = (
    "explicit Runge-Kutta",
    "diagonally implicit Runge-Kutta",
    "Rosenbrock",
    "implicit-explicit Runge-Kutta",
)
METHODS = [method for method in neuralode.methods() if method.kind in KINDS]
SPAN = (0.0, 6.0)


def elliptic(t):
    return torch.from_numpy(np.stack(ellipj(t.numpy(), 0.51)[:3], -1))


# One that depends on time and one that does not, both nonlinear in several unknowns.
PROBLEMS = [FORCED, replace(RIGID_BODY, exact=elliptic)]


def field(problem, method):
    """f, or for a split method two nonlinear parts of it that depend on time."""
    if not method.split:
        return problem.f

    def share(t):
        return 0.4 + 0.3 * torch.sin(t)

    return lambda t, y: share(t) * problem.f(t, y), lambda t, y: (1 - share(t)) * problem.f(t, y)


def grid(parts: int, jitter: float) -> torch.Tensor:
    """Eight intervals whose inner ends are moved by up to ``jitter`` of their length, each cut in equal parts."""
    ends = np.linspace(*SPAN, 9)
    ends[1:-1] += np.sin(37.0 * np.arange(1, 8)) * jitter * (ends[1] - ends[0])
    return torch.from_numpy(np.interp(np.arange(8 * parts + 1) / parts, np.arange(9), ends))


def slope(sizes: list[float], errors: list[float]) -> float:
    """Least-squares slope of log error against log number of steps."""
    assert max(errors) > 1e-11, "errors at rounding level measure nothing"
    return -float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


# Parts of each interval: fine enough for the leading term to rule, coarse enough to stay above rounding.
PARTS = {
    1: (20, 28, 40, 56),
    2: (16, 23, 32, 45),
    3: (12, 17, 24, 34),
    4: (14, 20, 28, 40),
    5: (16, 20, 24, 32),
    6: (3, 4, 5, 6),
    7: (4, 5, 6, 7),
    8: (1, 2, 3),
    9: (1, 2, 3),
}


@pytest.mark.parametrize("jitter", [0.0, 0.3], ids=["uniform", "jittered"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_order(method, problem, jitter):
    errors = []
    for parts in PARTS[method.order]:
        sol = neuralode.solve(
            field(problem, method),
            SPAN,
            problem.y0,
            method=method.name,
            step=grid(parts, jitter),
            t_eval="steps",
        )
        errors.append(float((sol.y - problem.exact(sol.t)).abs().max()))
    measured = slope(PARTS[method.order], errors)
    if method.order <= 5:
        # Tsitouras' leading term is so small that the next one is still felt.
        assert measured == pytest.approx(method.order, abs=0.35 if method.name == "tsit5" else 0.15)
    else:
        # Verner's leading terms are smaller still, and the next one is felt down to rounding: it makes the slope look
        # steeper, never flatter. That the order is not a higher one is seen in the order conditions.
        assert method.order - (0.15 if method.order == 6 else 0.3) <= measured <= method.order + 1.9


# 1 / h of single steps, by order of the dense output.
STEPS = {
    1: (32, 64, 128, 256),
    2: (32, 64, 128, 256),
    3: (8, 16, 32, 64),
    4: (8, 16, 32, 64),
    6: (3, 4, 6, 8),
    7: (4, 6, 8, 11),
    8: (2.8, 4, 5.6),
    9: (1.4, 2, 2.8, 4),
}


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_order_of_dense_output(method, problem):
    """One step from the exact state: the error inside is O(h^(dense_order + 1)), unless y1's is larger."""
    sizes, errors = STEPS[method.dense_order], []
    for size in sizes:
        h = 1.0 / size
        start = problem.exact(torch.tensor(0.5, dtype=torch.float64))
        sol = neuralode.solve(
            field(problem, method), (0.5, 0.5 + h), start, method=method.name, step=h, dense_output=True
        )
        t = 0.5 + h * torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
        errors.append(float((sol(t) - problem.exact(t)).abs().max()))
    # Of the implicit ones of order five two go by cubics.
    assert method.dense_order >= method.order - (2 if method.name in ("kvaerno5", "kencarp5") else 1)
    # As above; from order 7 on, steps that stay above rounding are not yet where the leading term rules.
    below, above = (
        (0.2, 0.5) if method.dense_order < 6 else (0.2, 1.5) if method.dense_order == 6 else (0.4, 1.5)
    )
    assert -below <= slope(sizes, errors) - (method.dense_order + 1) <= above


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_dense_output_meets_the_steps(method):
    sol = neuralode.solve(
        field(FORCED, method), FORCED.t_span, FORCED.y0, method=method.name, step=0.1, t_eval="steps",
        dense_output=True,
    )  # fmt: skip
    torch.testing.assert_close(sol(sol.t), sol.y, rtol=1e-14, atol=1e-14)
