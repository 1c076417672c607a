"""Collocation methods: what defines them, orders, stability, geometry, gradients."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import neuralode
from neuralode.tableaus import COLLOCATION
from problems import FORCED, LINEAR, RIGID_BODY

GAUSS = ["gauss2", "gauss4", "gauss6"]
METHODS = [*GAUSS, "radau5"]
RECORDS = {method.name: method for method in neuralode.methods()}
TABLEAUS = {tableau.name: tableau for tableau in COLLOCATION}
OMEGA = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
# Nodes are given to 50 digits.
DIGITS = Fraction(1, 10**45)


def small(number):
    return abs(number) <= DIGITS


@pytest.mark.parametrize("tableau", COLLOCATION, ids=lambda t: t.name)
class TestTableau:
    """Butcher's simplifying assumptions (Hairer & Wanner II, section IV.5), from which the orders follow."""

    def test_b(self, tableau):
        """B(p), and not B(p + 1)."""

        def gap(k):
            return sum(b * c ** (k - 1) for b, c in zip(tableau.b, tableau.c, strict=True)) - Fraction(1, k)

        assert all(small(gap(k)) for k in range(1, tableau.order + 1))
        assert abs(gap(tableau.order + 1)) > 1e-4

    def test_c(self, tableau):
        """C(s)."""
        for row, node in zip(tableau.a, tableau.c, strict=True):
            for k in range(1, tableau.stages + 1):
                total = sum(a * c ** (k - 1) for a, c in zip(row, tableau.c, strict=True))
                assert small(total - node**k / k)

    def test_d(self, tableau):
        """D(p - s)."""
        for j in range(tableau.stages):
            for k in range(1, tableau.order - tableau.stages + 1):
                total = sum(
                    b * c ** (k - 1) * row[j]
                    for b, c, row in zip(tableau.b, tableau.c, tableau.a, strict=True)
                )
                assert small(total - tableau.b[j] * (1 - tableau.c[j] ** k) / k)

    def test_dense_output(self, tableau):
        """u(t + c_i h) = y + Z_i, the end is ``ends``, and u' at node i is sum_j (A^-1)_ij Z_j / h."""
        powers = np.arange(1, tableau.stages + 1)
        nodes = np.array(tableau.nodes)[:, None]
        dense = np.array(tableau.dense)
        np.testing.assert_allclose(nodes**powers @ dense.T, np.eye(tableau.stages), atol=1e-14)
        np.testing.assert_allclose(dense.sum(1), tableau.ends, atol=1e-14)
        slopes = powers * nodes ** (powers - 1) @ dense.T
        np.testing.assert_allclose(slopes @ np.array(tableau.matrix), np.eye(tableau.stages), atol=1e-14)

    def test_modes(self, tableau):
        total = np.zeros((tableau.stages, tableau.stages))
        for mode in tableau.modes:
            twice = 2 if isinstance(mode.value, complex) else 1
            total += twice * np.real(mode.value * np.outer(mode.right, mode.left))
        np.testing.assert_allclose(total, np.array(tableau.matrix), atol=1e-14)


def test_embedded_formula_of_radau5():
    """Hairer & Wanner II, eq. IV.8.18: order three, and the numbers printed there."""
    tableau = TABLEAUS["radau5"]
    weights = np.array([float(b) for b in tableau.b]) + np.array(tableau.error) @ np.array(tableau.matrix)
    for k in range(1, 4):
        total = weights @ np.array(tableau.nodes) ** (k - 1) + (tableau.first if k == 1 else 0.0)
        assert total == pytest.approx(1 / k, abs=1e-14)
    printed = np.array([-13 - 7 * 6**0.5, -13 + 7 * 6**0.5, -1]) * tableau.first / 3
    np.testing.assert_allclose(tableau.error, printed, rtol=1e-13)
    assert tableau.first == pytest.approx(tableau.modes[0].value, abs=1e-15)


def grid(steps, jitter):
    """A grid over FORCED's span whose steps are 1 + jitter and 1 - jitter times their mean by turns."""
    t0, t1 = FORCED.t_span
    times = torch.linspace(t0, t1, 2 * steps + 1, dtype=torch.float64)
    times[1:-1:2] += jitter * (t1 - t0) / (2 * steps)
    return times


@pytest.mark.parametrize("jitter", [0.0, 0.3], ids=["uniform", "jittered"])
@pytest.mark.parametrize("problem", [FORCED, LINEAR], ids=repr)
@pytest.mark.parametrize("method", METHODS)
def test_order(method, problem, jitter):
    """Least-squares slope; FORCED is not autonomous, so that wrong nodes show."""
    order = RECORDS[method].order
    sizes = {2: [80, 113, 160], 4: [24, 34, 48], 5: [24, 34, 48], 6: [12, 17, 24]}[order]
    scale = (problem.t_span[1] - problem.t_span[0]) / (FORCED.t_span[1] - FORCED.t_span[0])
    errors = []
    for steps in sizes:
        times = problem.t_span[0] + scale * (grid(steps, jitter) - FORCED.t_span[0])
        times[-1] = problem.t_span[1]
        with torch.no_grad():
            found = neuralode.solve(problem.f, problem.t_span, problem.y0, method=method, step=times)
        errors.append(float((found.y1 - problem.end).abs().max()))
    assert min(errors) > 1e-13, "errors at rounding level measure nothing"
    assert -np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("method", METHODS)
def test_order_of_dense_output(method):
    """One step from the exact state: the error inside is O(h^(s + 1)), and at the end that of y1."""
    record, sizes, errors = RECORDS[method], [8, 16, 32, 64], []
    for steps in sizes:
        h = 1.0 / steps
        y0 = FORCED.exact(torch.tensor(0.5, dtype=torch.float64))
        found = neuralode.solve(FORCED.f, (0.5, 0.5 + h), y0, method=method, step=h, dense_output=True)
        t = 0.5 + h * torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
        errors.append(float((found(t) - FORCED.exact(t)).abs().max()))
    slope = -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slope == pytest.approx(record.dense_order + 1, abs=0.2)


def stability(method, z):
    """R(z) of y' = z y over one step of 1, for z complex, as a pair of reals."""
    matrix = torch.tensor([[z.real, -z.imag], [z.imag, z.real]], dtype=torch.float64)
    y0 = torch.tensor([1.0, 0.0], dtype=torch.float64)
    with torch.no_grad():
        y1 = neuralode.solve(lambda t, y: y @ matrix.T, (0.0, 1.0), y0, method=method, step=1.0).y1
    return complex(*y1.tolist())


@pytest.mark.parametrize("method", METHODS)
def test_a_stability(method):
    """|R| <= 1 in the left half-plane; on its edge R turns for Gauss; radau5 forgets at infinity."""
    for size in (0.1, 3.0, 1e2, 1e5):
        for angle in (90, 100, 135, 180):
            z = complex(size * math.cos(math.radians(angle)), size * math.sin(math.radians(angle)))
            # From a Newton's iteration that is solved to rounding, which stiffness multiplies.
            assert abs(stability(method, z)) <= 1 + 1e-10
        if method in GAUSS:
            assert abs(stability(method, complex(0.0, size))) == pytest.approx(1.0, abs=1e-10)
    if method == "radau5":
        assert abs(stability(method, complex(-1e8, 0.0))) < 1e-6


def pendulum(t, y):
    return torch.stack((y[..., 1], -torch.sin(y[..., 0])), -1)


@pytest.mark.parametrize("method", GAUSS)
def test_symplectic(method):
    """M^T Omega M = Omega for the derivative M of 20 large steps, to rounding."""
    y0 = torch.tensor([1.2, 0.4], dtype=torch.float64)
    flow = torch.autograd.functional.jacobian(
        lambda y: neuralode.solve(pendulum, (0.0, 10.0), y, method=method, step=0.5, gradient="direct").y1, y0
    )
    assert float((flow.T @ OMEGA @ flow - OMEGA).abs().max()) < 1e-12


@pytest.mark.parametrize("steps", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", GAUSS)
def test_quadratic_invariants(method, steps):
    """The rigid body's y1^2 + y2^2, kept to rounding: what is left walks, and does not drift."""
    y0, h = RIGID_BODY.y0, 0.1
    with torch.no_grad():
        found = neuralode.solve(
            RIGID_BODY.f, (0.0, h * steps), y0, method=method, step=h, max_steps=steps, t_eval="steps"
        )
    size = found.y[:, :2].square().sum(1)
    assert float((size / size[0] - 1).abs().max()) < 1e-15 * steps**0.5
    assert float((found.y - y0).abs().max()) > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_time_reversible(method):
    """Gauss methods are symmetric: there and back is the identity. Radau IIA is not."""
    y0 = torch.tensor([1.2, 0.4], dtype=torch.float64)
    there = neuralode.solve(pendulum, (0.0, 3.0), y0, method=method, step=0.3).y1
    back = neuralode.solve(pendulum, (3.0, 0.0), there, method=method, step=0.3).y1
    gap = float((back - y0).abs().max())
    assert gap < 1e-12 if method in GAUSS else gap > 1e-8


def net(t, y, w):
    return torch.tanh(y @ w.T) * torch.cos(t)


def loss_of(method, batch, gradient, y0, w):
    times = [0.33, 0.7]
    found = neuralode.solve(
        net, (0.0, 1.0), y0, args=(w,), method=method, batch=batch, gradient=gradient, step=0.1, t_eval=times
    )
    return (found.y1**2).sum() + (found.y**3).sum()


@pytest.fixture
def y0():
    return torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2).requires_grad_()


@pytest.fixture
def w():
    return torch.tensor([[0.3, -1.2], [0.9, 0.1]], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("method", METHODS)
def test_gradients_agree_to_second_order(method, batch, y0, w):
    """direct and discrete, first and second derivatives; and central differences of the first.

    Second derivatives amplify the rounding that Newton's iteration leaves in the recorded stages: 1e-9.
    """
    found = []
    for gradient in ("direct", "discrete"):
        first = torch.autograd.grad(loss_of(method, batch, gradient, y0, w), [y0, w], create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), [y0, w])
        found.append((first, second))
    for a, b in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    direction, eps = torch.cos(torch.arange(4.0, dtype=torch.float64)).reshape(2, 2), 1e-5

    def slope(shift):
        at = (w + shift * direction).detach().requires_grad_()
        loss = loss_of(method, batch, "direct", y0.detach(), at)
        return loss.detach(), (torch.autograd.grad(loss, at)[0] * direction).sum()

    (high, up), (low, down) = slope(eps), slope(-eps)
    first = (found[0][0][1] * direction).sum().detach()
    assert float(first) == pytest.approx(float((high - low) / (2 * eps)), abs=1e-8)
    curvature = torch.autograd.grad(
        torch.autograd.grad(loss_of(method, batch, "direct", y0, w), w, create_graph=True)[0].mul(direction).sum(), w
    )[0]  # fmt: skip
    assert float((curvature * direction).sum()) == pytest.approx(float((up - down) / (2 * eps)), abs=1e-7)


@pytest.mark.parametrize("method", ["gauss4", "radau5"])
def test_function_transforms(method, y0, w):
    def loss(y, w):
        return loss_of(method, None, "direct", y, w)

    want = torch.autograd.grad(loss(y0, w), [y0, w])
    got = torch.func.grad(loss, argnums=(0, 1))(y0.detach(), w.detach())
    for g, x in zip(got, want, strict=True):
        torch.testing.assert_close(g, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_no_length_stays_finite(method, y0, w):
    """Samples that have ended are retaken with h = 0: values and derivatives must not be NaN."""
    spans = (torch.tensor([0.0, 0.0, 0.5]), torch.tensor([1.0, 0.1, 0.5]))
    steps = {} if RECORDS[method].adaptive else {"step": 0.05}
    for gradient in ("direct", "discrete"):
        found = neuralode.solve(
            net, spans, y0, args=(w,), method=method, batch="independent", gradient=gradient, **steps
        )
        for g in torch.autograd.grad(found.y1.sum(), [y0, w], create_graph=True):
            assert g.isfinite().all()
        torch.testing.assert_close(found.y1[2], y0[2])
