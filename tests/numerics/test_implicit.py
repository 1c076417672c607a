"""Jacobians of implicit steps: where they come from, how often they are made, and gradients through their systems."""

import numpy as np
import pytest
import torch

import neuralode
from neuralode.methods import linear
from neuralode.solution import Status
from problems import FORCED, HEAT, LINEAR, ROBERTSON_40

STIFF = ["trbdf2", "kvaerno3", "kvaerno5", "rodas4", "rodas5p"]
GRADIENTS = ["direct", "discrete"]
each = pytest.mark.parametrize("method", STIFF)
gradients = pytest.mark.parametrize("gradient", GRADIENTS)


def cubic(t, y):
    return torch.stack((-50 * (y[..., 0] - y[..., 1] ** 2), -y[..., 1] + torch.sin(2 * y[..., 0])), -1)


def cubic_jacobian(t, y):
    u, v = y.unbind(-1)
    fast = torch.stack((torch.full_like(u, -50.0), 100 * v), -1)
    return torch.stack((fast, torch.stack((2 * torch.cos(2 * u), -torch.ones_like(v)), -1)), -2)


Y0 = torch.tensor([[1.0, 0.5], [0.2, -1.0], [2.0, 1.5]], dtype=torch.float64)


def end(f, y0, method, **options):
    return neuralode.solve(f, (0.0, 1.0), y0, method=method, **{"rtol": 1e-5, "atol": 1e-7, **options})


def by_value(t, y):
    """No forward mode and no vmap: a number is read, and y is copied through a function without either."""
    if float(y.detach().abs().max()) > 1e3:
        raise ValueError("out of bounds")
    return ByValue.apply(y)


class ByValue(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return cubic(0.0, y)

    @staticmethod
    def backward(ctx, bar):
        (y,) = ctx.saved_tensors
        return torch.einsum("...i,...ij->...j", bar, cubic_jacobian(0.0, y))


@each
@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
def test_a_given_jacobian_takes_the_same_steps(method, batch):
    y0 = Y0[0] if batch is None else Y0
    ours, given = (end(cubic, y0, method, batch=batch, jac=jac) for jac in (None, cubic_jacobian))
    torch.testing.assert_close(given.y1, ours.y1, rtol=1e-10, atol=1e-10)
    assert np.array_equal(given.njev, ours.njev)


@pytest.mark.parametrize("batch", [None, "independent"])
@each
def test_a_field_without_forward_mode_is_differentiated_in_reverse(method, batch):
    y0 = Y0[0] if batch is None else Y0
    want, got = (end(f, y0, method, batch=batch) for f in (cubic, by_value))
    torch.testing.assert_close(got.y1, want.y1, rtol=1e-10, atol=1e-10)


@each
def test_an_error_of_the_field_itself_is_not_taken_for_a_missing_forward_mode(method):
    calls = []

    def broken(t, y):
        calls.append(1)
        if len(calls) > 3:
            raise ValueError("the user's own")
        return -y

    with pytest.raises(ValueError, match="the user's own"):
        end(broken, Y0[0], method)


@each
def test_a_jacobian_of_another_shape_is_refused(method):
    with pytest.raises(ValueError, match=r"jac returned \(2,\), expected df/dy of shape \(2, 2\)"):
        end(cubic, Y0[0], method, jac=lambda t, y: y)


@pytest.mark.parametrize("batch", ["lockstep", "independent"])
@each
def test_samples_that_depend_on_each_other_are_refused(method, batch):
    with pytest.raises(ValueError, match="depends on other samples"):
        end(lambda t, y: -y + y.mean(0), Y0, method, batch=batch)


@each
def test_counts_of_a_sample_are_those_it_has_alone(method):
    together = end(cubic, Y0, method, batch="independent")
    for i, y0 in enumerate(Y0):
        alone = end(cubic, y0[None], method, batch="independent")
        for count in ("nfev", "njev", "accepted", "rejected"):
            assert getattr(together, count)[i] == getattr(alone, count)[0], count


@pytest.mark.parametrize("method", ["trbdf2", "kvaerno3", "kvaerno4", "kvaerno5"])
def test_jacobians_are_kept_over_steps(method):
    sol = neuralode.solve(HEAT.f, HEAT.t_span, HEAT.y0, method=method, rtol=1e-5, atol=1e-5)
    assert sol.njev <= 2 < sol.accepted


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("method", ["kvaerno5", "rodas4", "kencarp4"])
def test_singular_systems_end_with_their_status(method, batch):
    """h gamma J = 1 at every step that is tried: I - h gamma J is zero."""
    record = {m.name: m for m in neuralode.methods()}[method]
    gamma = {"kvaerno5": 0.26, "rodas4": 0.25, "kencarp4": 0.25}[method]
    y0 = torch.ones(2, 1, dtype=torch.float64) if batch else torch.ones(1, dtype=torch.float64)

    def f(t, y):
        return y / gamma

    parts = (lambda t, y: 0.0 * y, f) if record.split else f
    sol = neuralode.solve(parts, (0.0, 1.0), y0, method=method, batch=batch, step=1.0, throw=False)
    assert (np.asarray(sol.status) == int(Status.SINGULAR)).all()


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("method", ["kvaerno5", "trbdf2", "kencarp4"])
def test_equations_without_a_root_end_with_their_status(method, batch):
    """k = 1 + (h gamma k)^2 has no real root at h = 10."""
    record = {m.name: m for m in neuralode.methods()}[method]
    y0 = torch.zeros(2, 1, dtype=torch.float64) if batch else torch.zeros(1, dtype=torch.float64)

    def f(t, y):
        return 1 + y**2

    parts = (lambda t, y: 0.0 * y, f) if record.split else f
    sol = neuralode.solve(parts, (0.0, 10.0), y0, method=method, batch=batch, step=10.0, throw=False)
    assert (np.asarray(sol.status) == int(Status.NEWTON_DIVERGED)).all()


ADAPTIVE = ["trbdf2", "kvaerno5", "kencarp4", "radau5", "bdf"]


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize(
    ("method", "given", "status", "says"),
    # Without df/dy Newton's iteration multiplies its error by h 1e30; 1e60 in every entry swallows the identity.
    [(method, 0.0, Status.NEWTON_DIVERGED, "did not converge") for method in ADAPTIVE]
    + [(method, 1e60, Status.SINGULAR, "is singular") for method in [*ADAPTIVE, "rodas4", "rosenbrock23"]],
)
def test_equations_that_no_step_is_small_enough_for(method, given, status, says, batch):
    """A wrong ``jac`` fails Newton's iteration, or its matrix, at every step size that t resolves."""
    record = {m.name: m for m in neuralode.methods()}[method]
    y0 = torch.ones(2, dtype=torch.float64)
    y0 = y0.repeat(3, 1) if batch else y0

    def f(t, y):
        return -1e30 * y.flip(-1)

    sol = neuralode.solve(
        (lambda t, y: 0.0 * y, f) if record.split else f, (1.0, 2.0), y0, method=method, batch=batch,
        jac=lambda t, y: y.new_full((2, 2), given), first_step=1e-3, throw=False,
    )  # fmt: skip
    assert (np.asarray(sol.status) == int(status)).all() and says in sol.message
    assert int(np.asarray(sol.rejected).min()) > 10 and not np.asarray(sol.accepted).any()


@pytest.mark.parametrize("method", ["kvaerno5", "rodas5p"])
@gradients
def test_sensitivities_of_robertsons_kinetics(method, gradient):
    """Against the variational equations in 80-bit arithmetic, in units of k dy/dk."""
    k = torch.tensor([0.04, 3e7, 1e4], dtype=torch.float64, requires_grad=True)

    def f(t, y, k):
        a, b, c = y.unbind(-1)
        slow, fast, back = k[0] * a, k[1] * b**2, k[2] * b * c
        return torch.stack((back - slow, slow - back - fast, fast), -1)

    tol = 1e-5
    sol = neuralode.solve(f, ROBERTSON_40.t_span, ROBERTSON_40.y0, args=(k,), method=method, gradient=gradient,
                          rtol=tol, atol=1e-8 * tol)  # fmt: skip
    (got,) = torch.autograd.grad(sol.y1[0], k)
    want = torch.tensor([-4.24755877170573, -2.28835508890567e-9, 1.37308079734462e-5], dtype=torch.float64)
    scaled = (k.detach() * (got - want)).abs().max() / (k.detach() * want).abs().max()
    assert float(scaled) <= 10 * tol


@pytest.mark.parametrize("method", ["trapezoid", "trbdf2", "kvaerno5", "rodas4", "rodas5p", "kencarp4"])
@pytest.mark.parametrize("batch", [None, "independent"])
def test_both_gradients_are_the_same_and_those_of_a_module_too(method, batch):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)).double()
    record = {m.name: m for m in neuralode.methods()}[method]
    f = (lambda t, y: 0.3 * y, lambda t, y: net(y) - 5 * y) if record.split else lambda t, y: net(y) - 5 * y
    y0 = Y0.clone().requires_grad_()
    state = y0[0] if batch is None else y0
    found = []
    for gradient in GRADIENTS:
        sol = end(f, state, method, batch=batch, gradient=gradient, step=0.1)
        found.append(torch.autograd.grad(sol.y1.square().sum(), [y0, *net.parameters()], retain_graph=True))
    for direct, discrete in zip(*found, strict=True):
        torch.testing.assert_close(direct, discrete, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["trapezoid", "kvaerno3", "rodas4"])
@gradients
def test_second_derivatives(method, gradient):
    y0 = Y0[0].clone().requires_grad_()
    rate = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)

    def solve(y0, rate):
        return neuralode.solve(lambda t, y, r: r * cubic(t, y) / 20, (0.0, 0.25), y0, args=(rate,), method=method,
                               gradient=gradient, step=0.25).y1  # fmt: skip

    assert torch.autograd.gradcheck(solve, (y0, rate), rtol=1e-6, atol=1e-8)
    assert torch.autograd.gradgradcheck(solve, (y0, rate), rtol=1e-4, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("method", ["kvaerno3", "rodas4"])
def test_systems_without_a_matrix_give_the_dense_answer(method, monkeypatch):
    """40 unknowns of the heat equation, as if they were too many for a matrix: values and gradients."""
    found = []
    for limit in (256, 8):
        monkeypatch.setattr(linear, "DENSE_LIMIT", limit)
        y0 = torch.linspace(0, 1, 40, dtype=torch.float64).requires_grad_()
        k = torch.tensor(30.0, dtype=torch.float64, requires_grad=True)

        def f(t, y, k):
            return k * (torch.nn.functional.pad(y, (1, 1)).unfold(-1, 3, 1) @ y.new_tensor([1.0, -2.0, 1.0]))

        sol = neuralode.solve(f, (0.0, 0.1), y0, args=(k,), method=method, step=0.05)
        found.append((sol.y1.detach(), *torch.autograd.grad(sol.y1.square().sum(), [y0, k])))
    for dense, free in zip(*found, strict=True):
        torch.testing.assert_close(free, dense, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ["bdf", "radau5", "kvaerno5", "rodas5p"])
def test_systems_without_a_matrix_are_solved_to_a_share_of_the_tolerance(method, monkeypatch):
    """What GMRES leaves is a small part of the tolerance, in units of it: unknowns here differ by up to 1e6."""
    size, tol, found, products = torch.logspace(-3, 3, 40, dtype=torch.float64), 1e-5, [], []
    product = linear.MatrixFree.product
    monkeypatch.setattr(linear.MatrixFree, "product", lambda self, v: products.append(v) or product(self, v))

    def f(t, y):
        wide = torch.nn.functional.pad(y / size, (1, 1))
        return 1681 * size * (wide[..., 2:] - 2 * wide[..., 1:-1] + wide[..., :-2]) - size * torch.sin(
            y / size
        )

    y0 = size * torch.linspace(0, 1, 40, dtype=torch.float64)
    for limit in (256, 8):
        monkeypatch.setattr(linear, "DENSE_LIMIT", limit)
        with torch.no_grad():
            found.append(neuralode.solve(f, (0.0, 0.1), y0, method=method, rtol=tol, atol=tol * size))
    dense, free = found
    # Measured: 0.014 of the tolerance. The errors of the steps themselves are the same in both.
    assert float(((free.y1 - dense.y1) / (tol * (size + dense.y1.abs()))).abs().max()) <= 0.05
    assert free.nfev <= 1.1 * dense.nfev
    # Measured: 3 to 9; to rounding each of these systems takes all 40 dimensions.
    assert 0 < len(products) <= 15 * free.nfev


@each
def test_single_precision_and_complex_states(method):
    with torch.no_grad():
        single = neuralode.solve(
            FORCED.f, FORCED.t_span, FORCED.y0.float(), method=method, rtol=1e-4, atol=1e-4
        )
        turned = end(
            lambda t, y: (-3 + 2j) * y, torch.ones(2, dtype=torch.complex128), method, rtol=1e-7, atol=1e-9
        )
    assert single.y1.dtype == torch.float32
    assert FORCED.error(single.y1.double()) <= 30e-4
    want = torch.exp(torch.tensor(-3 + 2j, dtype=torch.complex128)).expand(2)
    # trbdf2 estimates the error of the solution that it goes on with: errors grow as tol^(2/3).
    torch.testing.assert_close(turned.y1, want, rtol=3e-5, atol=1e-7)


@pytest.mark.parametrize("method", [m.name for m in neuralode.methods() if m.kind == "Rosenbrock"])
def test_linear_systems_are_held_to_the_tolerance(method):
    """An estimate may vanish where f is linear: that of ROS3P does, whose first two slopes are then the same."""
    with torch.no_grad():
        errors = [
            LINEAR.error(
                neuralode.solve(LINEAR.f, LINEAR.t_span, LINEAR.y0, method=method, rtol=tol, atol=tol).y1
            )
            for tol in (1e-4, 1e-6)
        ]
    # rosenbrock23 goes on with the solution whose error it estimates: errors grow as tol^(2/3).
    order = 2 / 3 if method == "rosenbrock23" else 1.0
    assert all(error <= 30 * tol**order for error, tol in zip(errors, (1e-4, 1e-6), strict=True))
