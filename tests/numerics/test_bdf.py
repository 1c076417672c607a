"""What is peculiar to the formulas of variable order: their numbers, their orders, their steps and their gradients."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

import neuralode
from neuralode.control import NORMS, rounding_level
from neuralode.field import VectorField
from neuralode.methods.bdf import bdf, started
from neuralode.methods.differences import ALPHA, ERROR, KAPPA, interpolation, rescaling
from neuralode.registry import METHODS
from neuralode.solution import Status
from problems import FORCED, ROBERTSON_40, TURN, VAN_DER_POL

ORDERS = [1, 2, 3, 4, 5]
END = 2.0


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def differences(values: list) -> list:
    """nabla^1 ... nabla^m at the first of m + 1 values, the newest first."""
    found = []
    while len(values) > 1:
        values = [a - b for a, b in pairwise(values)]
        found.append(values[0])
    return found


@pytest.mark.parametrize("order", ORDERS)
def test_formulas(order):
    """sum_j nabla^j y / j = h y' on t^m, m <= k, in fractions, and off by ERROR nabla^(k + 1) y on t^(k + 1)."""
    for m in range(1, order + 2):
        diffs = differences([Fraction(3 - i) ** m for i in range(order + 2)])
        defect = sum(d / j for j, d in enumerate(diffs[:order], 1)) - m * Fraction(3) ** (m - 1)
        assert m == order + 1 or defect == 0
    gamma = ALPHA[order - 1] / (1 - KAPPA[order - 1])
    assert gamma == pytest.approx(sum(1 / j for j in range(1, order + 1)), rel=1e-15)
    bound = KAPPA[order - 1] * gamma - float(defect / diffs[order])
    assert bound == pytest.approx(ERROR[order - 1], rel=1e-14)


def scaled(order: int, h: float) -> torch.Tensor:
    """F of a polynomial of that degree at t = 1."""
    values = [sum((1 - i * h) ** m / m for m in range(1, order + 1)) for i in range(order + 1)]
    return tensor(*(d / h for d in differences(values)), *[7.0] * (5 - order))


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("order", ORDERS)
def test_another_step_size(order, ratio):
    """The differences of a polynomial of degree k at another step are those that its values there have."""
    V = rescaling(tensor(ratio), torch.tensor([order]), 5)[0]
    want = scaled(order, 0.4 * ratio)
    want[order:] = 0.0
    # Differences of values of size 1 over h^1: rounding times 2^5 / h.
    torch.testing.assert_close(scaled(order, 0.4) @ V, want, rtol=1e-12, atol=1e-12)


def test_a_step_of_zero_is_the_tangent():
    F = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    V = rescaling(tensor(0.0), torch.tensor([5]), 5)[0]
    want = torch.zeros(5, dtype=torch.float64)
    want[0] = sum(F[j] / (j + 1) for j in range(5))  # y' from backward differences
    torch.testing.assert_close(F @ V, want, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("order", ORDERS)
def test_interpolation_is_exact_for_polynomials(order):
    theta, h = tensor(0.0, 0.25, 0.7, 1.0), 0.4
    weights = interpolation(theta, torch.tensor([order]), 5)
    got = h * weights @ scaled(order, h)
    times = 1 + (theta - 1) * h
    want = sum((times**m - (1 - h) ** m) / m for m in range(1, order + 1))
    torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-14)


def march(order: int, count: int, jitter: float) -> tuple[float, float]:
    """Errors at the end and inside the steps of one order from exact starting values, on a grid of ``count`` steps."""
    method, field = bdf(max_order=order), VectorField(FORCED.f, (), None)
    h = END / count
    starts = FORCED.exact(-h * torch.arange(order + 1, dtype=torch.float64))
    carry, y, t = tuple(d / h for d in differences(list(starts))), starts[0], 0.0
    work = started(method.begin(rounding_level(y, NORMS["rms"], None)), tensor(h))
    work = work._replace(formula=work.formula._replace(order=torch.tensor([order]), size=tensor(h)))
    inside = 0.0
    with torch.no_grad():
        while t < END - 1e-9:
            size = h * (1 + jitter * math.sin(37.0 * t / h))
            step = method.step(field, t, size, y, carry, work)
            forced = step.work.formula._replace(order=torch.tensor([order]))
            middle = method.dense(0.4, size, y, step.stages)
            inside = max(inside, float((middle - FORCED.exact(tensor(t + 0.4 * size))[0]).abs().max()))
            t, y, carry, work = t + size, step.y1, step.carry, step.work._replace(formula=forced)
    return float((y - FORCED.exact(tensor(t))[0]).abs().max()), inside


@pytest.mark.parametrize("jitter", [0.0, 0.2], ids=["uniform", "jittered"])
@pytest.mark.parametrize("order", ORDERS)
def test_order(order, jitter):
    sizes = [64, 91, 128, 181] if order > 2 else [128, 181, 256, 362]
    errors = np.log([march(order, count, jitter) for count in sizes])
    ends, inside = (-np.polyfit(np.log(sizes), errors[:, i], 1)[0] for i in (0, 1))
    # Past that is interpolated to each step makes the constant of the leading term vary a little with the grid.
    bound = 0.25 if jitter == 0.0 else 0.5
    # At order 5 the next term is felt down to rounding at the end of the span: it makes the slope look steeper.
    assert -bound <= ends - order <= (bound if order < 5 else 0.8)
    assert inside == pytest.approx(order, abs=bound)


def test_given_steps_raise_the_order():
    """With first steps small enough for order 1 the highest order is reached, and holds on steps that vary."""
    ramp = 2.0 ** -np.arange(20, 0, -0.5)
    steps = np.concatenate((ramp, np.full(110, 1.0) + 0.1 * np.sin(np.arange(110))))
    times = torch.from_numpy(np.concatenate(([0.0], steps.cumsum() / steps.sum() * 6.0)))
    sol = neuralode.solve(FORCED.f, FORCED.t_span, FORCED.y0, method="bdf", step=times)
    assert FORCED.error(sol.y1) < 2e-6  # at order 2 it is 3e-4


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
def test_outputs_cost_nothing_and_are_as_good_as_steps(batch):
    tol, times = 1e-6, torch.linspace(0.0, 1.0, 300, dtype=torch.float64) ** 2 * 6.0
    y0 = FORCED.y0 if batch is None else torch.stack((FORCED.y0, FORCED.y0))
    options = {"method": "bdf", "rtol": tol, "atol": tol, "batch": batch}
    few = neuralode.solve(FORCED.f, FORCED.t_span, y0, **options)
    many = neuralode.solve(FORCED.f, FORCED.t_span, y0, t_eval=times, **options)
    assert torch.equal(torch.as_tensor(few.nfev), torch.as_tensor(many.nfev))
    want = FORCED.exact(times)
    error = (many.y - (want if batch is None else want[:, None])).abs().max()
    assert float(error) <= 20 * tol * float(want.max())


def test_samples_step_as_they_would_alone():
    mu = tensor(0.5, 5.0, 50.0, 500.0)[:, None]

    def f(t, y, mu):
        return torch.cat((y[..., 1:], mu * (1 - y[..., :1] ** 2) * y[..., 1:] - y[..., :1]), -1)

    y0 = tensor(2.0, 0.0).repeat(4, 1)
    options = {"method": "bdf", "rtol": 1e-5, "atol": 1e-7, "batch": "independent"}
    together = neuralode.solve(f, (0.0, 20.0), y0, args=(mu,), **options)
    for i in range(4):
        alone = neuralode.solve(f, (0.0, 20.0), y0[i : i + 1], args=(mu[i : i + 1],), **options)
        for name in ("nfev", "njev", "accepted", "rejected"):
            assert getattr(together, name)[i] == getattr(alone, name)[0], (i, name)
        torch.testing.assert_close(together.y1[i], alone.y1[0], rtol=1e-12, atol=1e-12)


def test_both_loops_take_the_same_steps():
    options = {"method": "bdf", "rtol": 1e-6, "atol": 1e-6}
    host = neuralode.solve(VAN_DER_POL.f, VAN_DER_POL.t_span, VAN_DER_POL.y0, **options)
    device = neuralode.solve(
        VAN_DER_POL.f, VAN_DER_POL.t_span, VAN_DER_POL.y0[None], batch="independent", **options
    )
    assert (host.accepted, host.nfev, host.njev) == (device.accepted, device.nfev, device.njev)
    torch.testing.assert_close(host.y1, device.y1[0], rtol=1e-12, atol=1e-12)


def robertson(t, y, k1, k2, k3):
    a, b, c = y.unbind(-1)
    slow, fast, back = k1 * a, k2 * b**2, k3 * b * c
    return torch.stack((back - slow, slow - back - fast, fast), -1)


# Forward variational equations in 80-bit arithmetic, d y_1 / d (k1, k2, k3) at t = 40.
SENSITIVITIES = tensor(-4.24755877170573, -2.28835508890567e-9, 1.37308079734462e-5)


@pytest.mark.parametrize("batch", [None, "independent"])
@pytest.mark.parametrize("gradient", ["direct", "discrete"])
def test_sensitivities(gradient, batch):
    """Within ten times the tolerance."""
    tol = 1e-6
    rates = [x.clone().requires_grad_() for x in tensor(0.04, 3e7, 1e4)]
    y0 = ROBERTSON_40.y0 if batch is None else ROBERTSON_40.y0[None]
    sol = neuralode.solve(robertson, (0.0, 40.0), y0, args=tuple(rates), method="bdf", rtol=tol, atol=1e-8 * tol,
                          gradient=gradient, batch=batch)  # fmt: skip
    found = torch.stack(torch.autograd.grad(sol.y1[..., 0].sum(), rates))
    assert float((found / SENSITIVITIES - 1).abs().max()) <= 10 * tol


def swing(t, y, a):
    return torch.stack(
        (
            y[..., 1],
            -a * torch.sin(y[..., 0])
            - 0.3 * y[..., 1] ** 3 * (torch.cos(t)[..., 0] if t.dim() else torch.cos(t)),
        ),
        -1,
    )


GRID = torch.from_numpy(np.cumsum(np.concatenate(([0.0], 0.02 * (1 + 0.2 * np.sin(np.arange(40)))))))


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("gradient", ["direct", "discrete"])
def test_gradient_is_that_of_the_steps_taken(gradient, batch):
    """Against differences of the same sequence of steps and orders: given steps, with Newton to rounding."""

    def loss(y0, a):
        y0 = y0 if batch is None else torch.stack((y0, 0.5 * y0))
        span = (0.0, float(GRID[-1]))
        sol = neuralode.solve(swing, span, y0, args=(a[0],), method="bdf", step=GRID, t_eval=[0.31, span[1]],
                              gradient=gradient, batch=batch)  # fmt: skip
        return sol.y.sin().sum()

    inputs = [tensor(1.0, 0.3).requires_grad_(), tensor(1.7).requires_grad_()]
    got = torch.cat(torch.autograd.grad(loss(*inputs), inputs))
    flat, eps = torch.cat(inputs).detach(), 1e-4
    want = [
        sum(w * float(loss((flat + eps * s * e)[:2], (flat + eps * s * e)[2:])) for s, w in
            ((1, 8.0), (-1, -8.0), (2, -1.0), (-2, 1.0))) / (12 * eps)
        for e in torch.eye(3, dtype=torch.float64)
    ]  # fmt: skip
    # Fourth-order differences: eps^4, and rounding over eps.
    torch.testing.assert_close(got, tensor(*want), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("batch", [None, "independent"])
def test_both_gradients_agree(batch):
    """To 1e-10 where Newton leaves no more: the steps, the orders and the Jacobians are those of one solve."""
    y0 = TURN.y0.clone().requires_grad_()
    found = []
    for gradient in ("direct", "discrete"):
        sol = neuralode.solve(swing, (0.0, 1.0), y0 if batch is None else torch.stack((y0, 2 * y0)), args=(1.3,),
                              method="bdf", rtol=1e-9, atol=1e-9, t_eval=[0.2, 0.7, 1.0], gradient=gradient,
                              batch=batch, dense_output=True)  # fmt: skip
        (first,) = torch.autograd.grad(sol.y.cos().sum() + sol(0.55).sum(), y0, create_graph=True)
        found.append((first, torch.autograd.grad(first.square().sum(), y0)[0]))
    # Replaying the steps ends nearer to the equations' roots than Newton's iteration did: 0.03 of the tolerance.
    torch.testing.assert_close(*(f[0] for f in found), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(*(f[1] for f in found), rtol=1e-9, atol=1e-9)


def test_equations_without_a_root_say_so():
    """One step of 10 for y' = y^2 + 1 has no real solution; and f is NaN from t = 1 on."""
    sol = neuralode.solve(
        lambda t, y: y**2 + 1, (0.0, 10.0), tensor(1.0), method="bdf", step=10.0, throw=False
    )
    assert sol.status == Status.NEWTON_DIVERGED
    with pytest.raises(neuralode.SolverError, match=r"Newton's iteration .* did not converge"):
        neuralode.solve(
            lambda t, y: torch.where(t > 1, torch.nan, -y), (0.0, 2.0), torch.ones(1), method="bdf"
        )
    sol = neuralode.solve(
        lambda t, y: torch.where((t > 1) & (y > 1), torch.nan, -0.1 * y), (0.0, 2.0), tensor(1.0, 2.0)[:, None],
        method="bdf", batch="independent", throw=False,
    )  # fmt: skip
    assert sol.status.tolist() == [Status.SUCCESS, Status.NEWTON_DIVERGED]


def test_without_matrices():
    """400 unknowns: Newton by Krylov subspaces. Heat on a rod, against the decay of its lowest sine mode."""
    n = 400
    x = torch.arange(1.0, n + 1, dtype=torch.float64) / (n + 1)

    def heat(t, u):
        wide = torch.nn.functional.pad(u, (1, 1))
        return 0.01 * (wide[2:] - 2 * u + wide[:-2]) * (n + 1) ** 2

    y0 = torch.sin(math.pi * x)
    rate = -0.04 * (n + 1) ** 2 * math.sin(math.pi / (2 * (n + 1))) ** 2
    sol = neuralode.solve(heat, (0.0, 1.0), y0, method="bdf", rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(sol.y1, y0 * math.exp(rate), rtol=0, atol=20e-3)


def test_a_given_jacobian_is_used():
    made = []

    def jac(t, y):
        made.append(1)
        return torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)

    options = {"method": "bdf", "rtol": 1e-5, "atol": 1e-5}
    given = neuralode.solve(TURN.f, TURN.t_span, TURN.y0, jac=jac, **options)
    found = neuralode.solve(TURN.f, TURN.t_span, TURN.y0, **options)
    assert len(made) == given.njev == found.njev
    torch.testing.assert_close(given.y1, found.y1, rtol=1e-12, atol=1e-12)


def test_orders_above_one_are_used_and_limited(monkeypatch):
    counts = []
    for order in (1, 2, 5):
        monkeypatch.setitem(METHODS, "limited", bdf(max_order=order))
        with torch.no_grad():
            counts.append(
                neuralode.solve(
                    FORCED.f, FORCED.t_span, FORCED.y0, method="limited", rtol=1e-5, atol=1e-5
                ).accepted
            )
    assert counts[0] > 4 * counts[1] > 6 * counts[2]


def test_jacobian_has_the_dtype_of_the_state():
    """Of components that were unbound, 0-d numbers, times Python numbers."""
    field = VectorField(
        lambda t, y: torch.stack((y.unbind()[0] * 2.0, y.unbind()[1] * 3.0 * y.unbind()[0])), (), None
    )
    t, y = torch.tensor(0.0), torch.tensor([1.0, 2.0])
    assert field.jacobian(t, y).dtype == field.push(t, y, y).dtype == torch.float32
