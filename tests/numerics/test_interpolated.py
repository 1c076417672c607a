"""The adjoint on the forward pass's dense output: errors against exact sensitivities, costs, batches, refusals."""

import math
import warnings

import pytest
import torch

import neuralode
from neuralode import Interpolated
from problems.sensitivities import PREY, prey

F64 = torch.float64
# Reference sensitivities by forward variational equations, two orders agreeing: rows are outputs, columns inputs.
VAN_DER_POL = (
    (0.0576434682571155, 0.0212544376366011, 0.105818637017066),
    (2.54830540671067, 0.939617282039578, 4.06549481041067),
)
ROBERTSON = (-4.24755877170573, -2.28834508890567e-9, 1.37308079734462e-5)
ROBERTSON_LATE = (-0.236333732902317, -1.57504845353564e-10, 9.45027194043004e-7)
STIFF = [m.name for m in neuralode.methods() if m.adaptive and "backsolve" not in m.gradients and not m.split]


def van_der_pol(t, y, p):
    return torch.stack((y[1], p[0] * (1 - y[0] ** 2) * y[1] - y[0]))


def robertson(t, y, k):
    slow, fast, back = k[0] * y[0], k[1] * y[1] ** 2, k[2] * y[1] * y[2]
    return torch.stack((back - slow, slow - back - fast, fast))


CASES = {
    "prey": (prey, 10.0, (1.0, 1.0), (1.5, 1.0, 3.0, 1.0), PREY),
    "van der pol": (van_der_pol, 20.0, (2.0, 0.0), (1.0,), VAN_DER_POL),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("method", "tol"), [("dopri5", 1e-6), ("tsit5", 1e-6), ("vern7", 1e-6), ("vern7", 1e-9)]
)
def test_exact_sensitivities(case, method, tol):
    """Both problems amplify errors: the exact gradient of the steps taken is off by up to 60 tolerances itself."""
    f, end, y0, p, reference = CASES[case]
    y0, p = (torch.tensor(x, dtype=F64, requires_grad=True) for x in (y0, p))
    y1 = neuralode.solve(
        f, (0.0, end), y0, args=(p,), method=method, gradient="interpolated", rtol=tol, atol=tol
    ).y1
    for value, want in zip(y1, reference, strict=True):
        got = torch.cat(torch.autograd.grad(value, [y0, p], retain_graph=True))
        torch.testing.assert_close(got, torch.tensor(want, dtype=F64), rtol=100 * tol, atol=100 * tol)


@pytest.mark.parametrize(("end", "reference"), [(40.0, ROBERTSON), (4e5, ROBERTSON_LATE)])
@pytest.mark.parametrize("method", ["kvaerno5", "radau5", "rodas5p", "bdf", "auto"])
def test_stiff_sensitivities(method, end, reference):
    """Within ten tolerances of each (kvaerno5: 20), though their sizes differ by nine orders; the late adjoint
    has steps of 1e-12."""
    k = torch.tensor([0.04, 3e7, 1e4], dtype=F64, requires_grad=True)
    y0 = torch.tensor([1.0, 0.0, 0.0], dtype=F64)
    sol = neuralode.solve(
        robertson, (0.0, end), y0, args=(k,), method=method, gradient="interpolated", rtol=1e-6, atol=1e-10
    )
    (got,) = torch.autograd.grad(sol.y1[0], k)
    bound = 2e-5 if method == "kvaerno5" else 1e-5
    torch.testing.assert_close(got, torch.tensor(reference, dtype=F64), rtol=bound, atol=0)


def chain(t, y, rates):
    """A decay through several states, each faster than the last."""
    lost = rates * y
    return torch.cat((-lost[:1], lost[:-1] - lost[1:]))


@pytest.mark.parametrize("method", STIFF)
def test_a_stiff_chain_that_cannot_be_integrated_backward(method):
    rates = torch.tensor([1.0, 1e2, 1e4], dtype=F64, requires_grad=True)
    y0 = torch.tensor([1.0, 0.5, 0.2], dtype=F64, requires_grad=True)
    times = torch.tensor([0.1, 0.4], dtype=F64)
    # Second-order methods would take thousands of steps for more.
    tol = 1e-6 if next(m for m in neuralode.methods() if m.name == method).order > 3 else 1e-4
    sol = neuralode.solve(
        chain, (0.0, 1.0), y0, t_eval=times, args=(rates,), method=method, gradient="interpolated", rtol=tol, atol=tol
    )  # fmt: skip
    got = torch.autograd.grad(sol.y.square().sum() + sol.y1.sum(), [y0, rates])
    matrix = torch.diag(-rates) + torch.diag(rates[:-1], -1)
    ends = [torch.matrix_exp(matrix * t) @ y0 for t in (*times, 1.0)]
    want = torch.autograd.grad(sum(end.square().sum() for end in ends[:-1]) + ends[-1].sum(), [y0, rates])
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=10 * tol, atol=10 * tol)


def test_backsolve_fails_on_that_chain():
    rates = torch.tensor([1.0, 1e2, 1e4], dtype=F64, requires_grad=True)
    y0 = torch.tensor([1.0, 0.5, 0.2], dtype=F64)
    sol = neuralode.solve(chain, (0.0, 1.0), y0, args=(rates,), gradient="backsolve")
    with pytest.raises(neuralode.SolverError, match="backward solve of gradient='backsolve'"):
        sol.y1.sum().backward()


@pytest.mark.parametrize("tol", [1e-3, 1e-6])
def test_contraction_onto_a_path(tol):
    """The problem on which a backsolve with this tolerance is wrong sixteen-fold (k = 20, T = 2)."""
    k = torch.tensor(20.0, dtype=F64, requires_grad=True)

    def f(t, y):
        return -k * (y - torch.cos(t))

    y0 = torch.ones(1, dtype=F64)
    sol = neuralode.solve(f, (0.0, 2.0), y0, gradient="interpolated", rtol=tol, atol=tol)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (got,) = torch.autograd.grad(sol.y1.sum(), k)
    exact = (k**2 * math.cos(2) + k * math.sin(2)) / (k**2 + 1)  # and e^-40
    (want,) = torch.autograd.grad(exact, k)
    torch.testing.assert_close(got, want, rtol=10 * tol, atol=0)


def oscillators(t, y, w):
    """Of their own frequency, so that samples take different numbers of steps."""
    return torch.stack((y[..., 1], -(w**2) * torch.sin(y[..., 0]) + 0.1 * torch.cos(3 * t.reshape(-1))), -1)


def case():
    w = torch.tensor([1.0, 3.0, 9.0], dtype=F64, requires_grad=True)
    y0 = torch.tensor([[1.0, 0.0], [0.5, 0.3], [0.9, -0.5]], dtype=F64, requires_grad=True)
    return y0, w


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("method", ["dopri5", "kvaerno3"])
def test_samples_are_as_if_alone(method, compact):
    """Spans of their own, one of them backward and one of length zero, and outputs of their own."""
    y0, w = case()
    span = (torch.tensor([0.0, 0.5, 1.0], dtype=F64), torch.tensor([2.0, -1.0, 1.0], dtype=F64))
    times = torch.tensor([[0.1, 0.5, 1.9], [0.4, -0.1, -1.0], [1.0, 1.0, 1.0]], dtype=F64)
    options = {
        "gradient": "interpolated",
        "method": method,
        "rtol": 1e-5,
        "atol": 1e-5,
        "batch": "independent",
    }
    sol = neuralode.solve(oscillators, span, y0, args=(w,), t_eval=times, compact=compact, **options)
    got = torch.autograd.grad(sol.y.pow(3).sum() + sol.y1.sum(), [y0, w])
    for b in range(3):
        one = slice(b, b + 1)
        y0, w = case()
        alone = neuralode.solve(
            oscillators, (span[0][one], span[1][one]), y0[one], args=(w[one],), t_eval=times[one], **options
        )
        want = torch.autograd.grad(alone.y.pow(3).sum() + alone.y1.sum(), [y0, w])
        for g, x in zip(got, want, strict=True):
            # the same steps; sums in another order
            torch.testing.assert_close(g[one], x[one], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("method", ["rk4", "gauss4"])
def test_given_steps_are_walked_backward(batch, method):
    """Of fourth order: the error falls sixteenfold with half the step; 8 leaves room for the next term."""
    errors = []
    y0, w = case()
    fine = neuralode.solve(oscillators, (0.0, 1.0), y0, t_eval=[0.3, 0.95], args=(w,), rtol=1e-11, atol=1e-11)
    want = torch.autograd.grad(fine.y.square().sum(), [y0, w])
    for step in (0.025, 0.0125):
        sol = neuralode.solve(
            oscillators, (0.0, 1.0), y0, t_eval=[0.3, 0.95], args=(w,), method=method, step=step, batch=batch,
            gradient="interpolated",
        )  # fmt: skip
        got = torch.autograd.grad(sol.y.square().sum(), [y0, w])
        errors.append(max(float((g - x).abs().max()) for g, x in zip(got, want, strict=True)))
    # two-stage collocation is of second order between steps
    assert errors[1] < errors[0] / (8 if method == "rk4" else 3.5) and errors[1] < 1e-2


@pytest.mark.parametrize("batch", ["lockstep", "independent"])
@pytest.mark.parametrize("scale", [2.0**-80, 2.0**60])
def test_a_loss_may_have_any_scale(batch, scale):
    def gradients(factor):
        y0, w = case()
        sol = neuralode.solve(
            oscillators, (0.0, 1.0), y0, args=(w,), t_eval=[0.3, 1.0], batch=batch, gradient="interpolated"
        )
        return torch.autograd.grad(factor * sol.y.square().sum(), [y0, w])

    for g, w in zip(gradients(scale), gradients(1.0), strict=True):
        torch.testing.assert_close(g / scale, w, rtol=1e-13, atol=0)


def test_evaluations():
    """One a stage and one a node of each backward step; none for outputs that no loss uses, nor new step searches."""
    y0, w = case()
    times = torch.linspace(0.1, 1.9, 19, dtype=F64)
    sol = neuralode.solve(
        oscillators,
        (0.0, 2.0),
        y0,
        args=(w,),
        t_eval=times,
        gradient=Interpolated(nodes=2),
        step=0.1,
        method="rk4",
    )
    sol.y[9].sum().backward(retain_graph=True)
    assert sol.nfev_backward == 10 * (4 + 2)
    sol.y1.sum().backward()
    assert sol.nfev_backward == (10 + 20) * (4 + 2)
    y0, w = case()
    sol = neuralode.solve(
        oscillators, (0.0, 2.0), y0, args=(w,), gradient="interpolated", rtol=1e-6, atol=1e-6
    )
    torch.autograd.grad(sol.y1.sum(), y0)
    assert sol.nfev_backward < 2 * sol.nfev


@pytest.mark.parametrize("nodes", [1, 3, 8])
def test_nodes(nodes):
    """Three nodes are exact to the order of a fifth-order method; one is not."""
    y0, w = case()
    found = {}
    for n in (nodes, 12):
        sol = neuralode.solve(
            oscillators, (0.0, 2.0), y0, args=(w,), gradient=Interpolated(nodes=n), rtol=1e-6, atol=1e-6
        )
        (found[n],) = torch.autograd.grad(sol.y1.sum(), w)
    miss = float((found[nodes] - found[12]).abs().max())
    assert miss > 1e-4 if nodes == 1 else miss < 1e-6


def test_tolerances_of_its_own():
    def miss(gradient):
        y0, w = case()
        sol = neuralode.solve(
            oscillators, (0.0, 2.0), y0, args=(w,), gradient=gradient, method="vern7", rtol=1e-8, atol=1e-8
        )
        fine = neuralode.solve(oscillators, (0.0, 2.0), y0, args=(w,), rtol=1e-11, atol=1e-11)
        pairs = zip(*(torch.autograd.grad(s.y1.sum(), [y0, w]) for s in (sol, fine)), strict=True)
        return max(float((a - b).abs().max()) for a, b in pairs)

    assert 100 * miss("interpolated") < miss(Interpolated(rtol=1e-3, atol=1e-3)) < 0.1


def test_single_precision_late_in_time():
    """Times near 1000 resolve 6e-5 in float32; the adjoint's clock does not lose by it."""
    rate = torch.tensor(-0.7, requires_grad=True)
    y0 = torch.ones(3, requires_grad=True)
    sol = neuralode.solve(
        lambda t, y: rate * y, (1000.0, 1001.0), y0, gradient="interpolated", rtol=1e-5, atol=1e-5
    )
    got = torch.autograd.grad(sol.y1.sum(), [y0, rate])
    end = math.exp(-0.7)
    torch.testing.assert_close(got[0], torch.full((3,), end), rtol=1e-4, atol=0)
    torch.testing.assert_close(got[1], torch.tensor(3 * end), rtol=1e-4, atol=0)


def test_what_it_has_no_gradient_for():
    y0, w = case()
    sol = neuralode.solve(oscillators, (0.0, 1.0), y0, args=(w,), gradient="interpolated")
    with pytest.raises(RuntimeError, match="'interpolated' has no second derivatives"):
        torch.autograd.grad(sol.y1.sum(), y0, create_graph=True)
    with pytest.raises(ValueError, match="'interpolated' has no gradient for dense_output=True"):
        neuralode.solve(oscillators, (0.0, 1.0), y0, args=(w,), gradient="interpolated", dense_output=True)
    with pytest.raises(ValueError, match="'leapfrog' has no gradient='interpolated'"):
        neuralode.Solver(method="leapfrog", step=0.1, gradient=Interpolated())


def test_a_capture_that_only_later_times_use_is_an_error_not_a_loss():
    weight = torch.eye(2, dtype=F64, requires_grad=True)
    y0 = torch.ones(2, dtype=F64, requires_grad=True)

    def f(t, y):
        return -y if t < 0.5 else -(y @ weight)

    sol = neuralode.solve(f, (0.0, 1.0), y0, gradient="interpolated")
    with pytest.raises(RuntimeError, match="later time"):
        sol.y1.sum().backward()


@pytest.mark.parametrize("options", [{"rtol": 0.0}, {"atol": math.inf}, {"nodes": 0}, {"nodes": True}])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match=f"Interpolated {next(iter(options))} must be"):
        Interpolated(**options)
