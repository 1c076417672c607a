"""Runge-Kutta-Chebyshev: its coefficients, the spectral radius, the work on a stiff diffusion, and gradients."""

import math

import numpy as np
import pytest
import torch

import neuralode
from neuralode import Status
from neuralode.field import VectorField
from neuralode.methods import rkc2
from neuralode.methods.spectral_radius import spectral_radius
from neuralode.tableaus import chebyshev, stages_for
from problems import FORCED

BATCHES = [None, "lockstep", "independent"]
POINTS = 100
PLACES = torch.arange(1, POINTS + 1, dtype=torch.float64) / (POINTS + 1)
STIFFNESS = 4 * (POINTS + 1) ** 2  # of the second difference, to 0.03 %
SPAN = (0.0, 0.2)


def heat(t, y):
    """u_xx by second differences, u = 0 at both ends."""
    wide = torch.nn.functional.pad(y, (1, 1))
    return (wide[..., 2:] - 2 * y + wide[..., :-2]) * (POINTS + 1) ** 2


def heat_end(start: torch.Tensor) -> torch.Tensor:
    """Every sine mode decays by itself."""
    k = torch.arange(1, POINTS + 1, dtype=torch.float64)
    modes = math.sqrt(2 / (POINTS + 1)) * torch.sin(math.pi * k[:, None] * PLACES)
    decay = torch.exp(-STIFFNESS * torch.sin(math.pi * k / (2 * (POINTS + 1))) ** 2 * SPAN[1])
    return (decay * (modes @ start)) @ modes


WARM = (PLACES < 1 / 3).double()  # holds every mode
BUMP = PLACES * (1 - PLACES)


def butcher(s: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, b, c) of s stages: the recurrence run on the coefficients of h F_0 ... h F_(s - 1)."""
    scheme, unit = chebyshev(s), np.eye(s)
    before, now = np.zeros(s), scheme.first * unit[0]
    rows = [np.zeros(s), now]
    for j, (own, earlier, slope, start) in enumerate(scheme.rows, 1):
        before, now = now, own * now + earlier * before + slope * unit[j] + start * unit[0]
        rows.append(now)
    return np.array(rows[:-1]), rows[-1], np.array([0.0, *scheme.nodes[:-1]])


@pytest.mark.parametrize("s", [2, 3, 4, 7, 20, 100])
def test_order_conditions(s):
    a, b, c = butcher(s)
    # Rounding grows with the square of the number of stages.
    bound = 2e-16 * max(10, s**2)
    np.testing.assert_allclose(a.sum(1), c, rtol=0, atol=bound)
    assert abs(b.sum() - 1) < bound and abs(b @ c - 1 / 2) < bound
    np.testing.assert_allclose((a @ c)[2:], c[2:] ** 2 / 2, rtol=0, atol=bound)
    assert abs(b @ c**2 - 1 / 3) > 1e-3


@pytest.mark.parametrize("s", [2, 3, 4, 7, 20, 100])
def test_stability_interval(s):
    z = -np.linspace(0, 0.653 * (s**2 - 1), 5001)
    scheme = chebyshev(s)
    before, now = 0 * z, scheme.first * z
    for own, earlier, slope, start in scheme.rows:
        before, now = now, own * now + earlier * before + slope * z * (1 + now) + start * z
    assert np.abs(1 + now).max() <= 1 + 1e-12
    assert s == 2 or np.abs(1 + now)[z < -2].max() < 0.96  # the damping
    assert stages_for(0.649 * (s**2 - 1)) == s


@pytest.mark.parametrize("batch", [None, "independent"])
def test_a_step_is_the_runge_kutta_step_of_its_coefficients(batch):
    method, y = rkc2(), torch.stack((FORCED.y0, 2 * FORCED.y0, FORCED.y0 / 3))
    counts = [2, 9, 5] if batch else [9]
    field = VectorField(FORCED.f, (), None, batch is not None)
    t, h = (torch.full((3,), x, dtype=torch.float64) for x in (0.3, 0.2)) if batch else (0.3, 0.2)
    at = torch.full((3, 1), 0.3, dtype=torch.float64) if batch else torch.tensor(0.3, dtype=torch.float64)
    numbers = torch.tensor(counts if batch else counts[0])
    step = method.again(field, t, h, y, (FORCED.f(at, y),), (numbers,))
    for row, count in enumerate(counts if batch else counts * 3):
        a, b, c = (torch.from_numpy(x) for x in butcher(count))
        slopes: list[torch.Tensor] = []
        for i in range(count):
            place = y[row] + 0.2 * sum((a[i, j] * slopes[j] for j in range(i)), torch.zeros(2).double())
            slopes.append(FORCED.f(0.3 + 0.2 * c[i], place))
        want = y[row] + 0.2 * sum(b[j] * slopes[j] for j in range(count))
        torch.testing.assert_close(step.y1[row], want, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("stages", [2, 5, 30])
def test_order_whatever_the_stages(stages):
    method, field = rkc2(), VectorField(FORCED.f, (), None)
    start = torch.tensor(0.5, dtype=torch.float64)
    y, sizes, errors, estimates = FORCED.exact(start), [8, 16, 32, 64], [], []
    for steps in sizes:
        step = method.again(field, 0.5, 1 / steps, y, (FORCED.f(start, y),), (torch.tensor(stages),))
        errors.append(float((step.y1 - FORCED.exact(start + 1 / steps)).abs().max()))
        estimates.append(float(step.error.abs().max()))
    for values in (errors, estimates):
        assert -np.polyfit(np.log(sizes), np.log(values), 1)[0] == pytest.approx(3, abs=0.2)
    # The estimate is that of many stages, h^3 y''' / 15.
    assert 0.3 < estimates[-1] / errors[-1] < 3


def radius_of(f, y):
    field = VectorField(f, (), None, True)
    time = torch.zeros(len(y), dtype=torch.float64)
    wanted = torch.ones(len(y), dtype=torch.bool)
    return spectral_radius(field, time, y, f(time, y), wanted, None)


def test_spectral_radius_of_rows():
    """Of a diffusion from smooth and from rough states, of a rotation, of nothing, from rest."""
    turn = 3.0 * torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    found, looks = radius_of(heat, torch.stack((torch.sin(math.pi * PLACES), WARM, 0 * WARM)))
    assert ((found.rho >= STIFFNESS) & (found.rho < 1.25 * STIFFNESS)).all()
    assert (looks <= 15).all()
    found, _ = radius_of(lambda t, y: y @ turn, torch.ones(1, 2, dtype=torch.float64))
    assert float(found.rho) == pytest.approx(1.2 * 3.0, rel=1e-6)
    found, looks = radius_of(lambda t, y: torch.ones_like(y), torch.ones(2, 3, dtype=torch.float64))
    assert (found.rho == 0).all() and (looks == 1).all()


@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_spectral_radius_of_complex_pairs(ratio):
    """-1 +- 2 i seen from a skew basis, where the estimates swing and may not settle."""
    a = torch.tensor([[-1.0, 2.0 * ratio], [-2.0 / ratio, -1.0]], dtype=torch.float64)
    found, _ = radius_of(lambda t, y: y @ a, torch.ones(1, 2, dtype=torch.float64))
    assert math.sqrt(5) <= float(found.rho) <= 1.2001 * ratio * math.sqrt(5)


@pytest.mark.parametrize("rtol", [1e-4, 1e-5, 1e-6])
def test_a_diffusion_costs_a_fraction_of_dopri5s_evaluations(rtol):
    with torch.no_grad():
        ours, theirs = (
            neuralode.solve(heat, SPAN, WARM, method=method, rtol=rtol, atol=rtol)
            for method in ("rkc2", "dopri5")
        )
    assert float((ours.y1 - heat_end(WARM)).abs().max()) <= 10 * rtol
    assert ours.nfev < theirs.nfev / 5


@pytest.mark.parametrize("problem", [FORCED, "heat"], ids=repr)
def test_error_follows_the_tolerance(problem):
    """Local errors O(h^3) are held to the tolerance, so that global ones, O(h^2), follow its power 2/3."""
    if problem == "heat":
        f, span, y0, end = heat, SPAN, WARM, heat_end(WARM)
    else:
        f, span, y0, end = problem.f, problem.t_span, problem.y0, problem.end
    tolerances, errors = np.logspace(-3, -7, 5), []
    for tol in tolerances:
        with torch.no_grad():
            y1 = neuralode.solve(f, span, y0, method="rkc2", rtol=tol, atol=tol).y1
        errors.append(float((y1 - end).abs().max()))
    assert 0.5 < np.polyfit(np.log(tolerances), np.log(errors), 1)[0] < 1.0
    assert max(e / tol for e, tol in zip(errors, tolerances, strict=True)) <= 30


def test_samples_step_and_count_as_if_alone():
    y0 = torch.stack((WARM, BUMP, 0 * WARM))
    ends = torch.tensor([0.2, 0.1, 0.05], dtype=torch.float64)
    with torch.no_grad():
        together = neuralode.solve(heat, (0.0, ends), y0, method="rkc2", batch="independent")
        for i in range(3):
            alone = neuralode.solve(heat, (0.0, float(ends[i])), y0[i], method="rkc2")
            assert int(together.nfev[i]) == alone.nfev
            assert (int(together.accepted[i]), int(together.rejected[i])) == (alone.accepted, alone.rejected)
            torch.testing.assert_close(together.y1[i], alone.y1, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batch", BATCHES)
def test_evaluations_are_those_made(batch):
    count = 0

    def f(t, y):
        nonlocal count
        count += 1
        return heat(t, y)

    with torch.no_grad():
        sol = neuralode.solve(f, SPAN, WARM[None], method="rkc2", batch=batch)
    assert int(torch.as_tensor(sol.nfev)) == count


def test_single_precision_takes_as_many_stages_as_rounding_allows():
    """At 1e-4 that is 12 of them where double precision has up to 30: smaller steps, and the accuracy asked for."""
    with torch.no_grad():
        sol = neuralode.solve(heat, SPAN, WARM.float(), method="rkc2", rtol=1e-4, atol=1e-4)
    assert float((sol.y1 - heat_end(WARM)).abs().max()) <= 1e-3
    assert sol.nfev < 5_000


def reaction(t, y, rate):
    """A diffusion of 20 points with a source that is not linear and moves with time."""
    wide = torch.nn.functional.pad(y, (1, 1))
    return rate * 400 * (wide[..., 2:] - 2 * y + wide[..., :-2]) + torch.sin(3 * y) * torch.cos(t)


@pytest.fixture
def start():
    return torch.stack((torch.linspace(0, 1, 20), torch.linspace(1, -1, 20) ** 2, torch.ones(20))).double()


@pytest.mark.parametrize("batch", BATCHES)
def test_gradients(batch, start):
    """Discrete and direct are the same to rounding, and near those of a tight solve."""
    y0 = start.requires_grad_()
    rate = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    times = [0.013, 0.05, 0.08]
    results = []
    for method, gradient, tol in (
        ("rkc2", "direct", 1e-6),
        ("rkc2", "discrete", 1e-6),
        ("dopri5", "discrete", 1e-10),
    ):
        sol = neuralode.solve(
            reaction, (0.0, 0.1), y0, t_eval=times, args=(rate,), method=method, batch=batch, gradient=gradient,
            rtol=tol, atol=tol, dense_output=True,
        )  # fmt: skip
        loss = (sol.y**2).sum() + sol.y1.sum() + (sol(0.033) ** 3).sum()
        results.append(torch.autograd.grad(loss, [y0, rate]))
    for direct, discrete, tight in zip(*results, strict=True):
        torch.testing.assert_close(discrete, direct, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(discrete, tight, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("batch", BATCHES)
def test_second_derivatives_and_transforms(batch, start):
    def loss(rate):
        return (
            neuralode.solve(reaction, (0.0, 0.02), start, args=(rate,), method="rkc2", batch=batch).y1 ** 2
        ).sum()

    rate = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(loss(rate), rate, create_graph=True)
    (second,) = torch.autograd.grad(first, rate)
    plain = rate.detach()
    for transform in (torch.func.grad, torch.func.jacfwd, torch.func.jacrev):
        torch.testing.assert_close(transform(loss)(plain), first.detach(), rtol=1e-11, atol=1e-11)
    if batch is None:
        torch.testing.assert_close(torch.func.hessian(loss)(plain), second, rtol=1e-10, atol=1e-10)


def test_gradients_of_samples_that_end_early_and_fail(start):
    """The first ends before the others, the second meets a NaN on its way: no gradient is touched by either."""
    y0 = start.requires_grad_()
    ends = torch.tensor([0.02, 0.1, 0.1], dtype=torch.float64)
    broken = torch.tensor([False, True, False])

    def f(t, y):
        wrong = broken[:, None] & (t > 0.05)
        return reaction(t, y, 1.0) + torch.where(wrong, torch.nan, 0 * y)

    sol = neuralode.solve(f, (0.0, ends), y0, method="rkc2", batch="independent", throw=False)
    assert sol.status[0] == sol.status[2] == 0 and sol.status[1] < 0
    (got,) = torch.autograd.grad(sol.y1[[0, 2]].sum(), y0)
    for i in (0, 2):
        one = start[i].detach().requires_grad_()
        sol = neuralode.solve(reaction, (0.0, float(ends[i])), one, args=(1.0,), method="rkc2")
        torch.testing.assert_close(got[i], torch.autograd.grad(sol.y1.sum(), one)[0], rtol=1e-9, atol=1e-9)
    assert (got[1] == 0).all()


def fragile(t, y):
    """A NaN beside the solution y = 1, but not on it."""
    return torch.where(y == 1, 0 * y, torch.nan)


@pytest.mark.parametrize("step", [None, 0.1])
@pytest.mark.parametrize("batch", BATCHES)
def test_a_radius_that_is_not_finite_ends_the_solve(batch, step):
    y0 = torch.ones(2, 3, dtype=torch.float64)
    with pytest.raises(neuralode.SolverError, match="spectral radius of df/dy is not finite") as caught:
        neuralode.solve(fragile, (0.0, 1.0), y0, method="rkc2", batch=batch, step=step)
    assert "implicit method" in caught.value.hint


def test_of_samples_too():
    y0 = torch.tensor([[1.0], [0.5]], dtype=torch.float64)

    def f(t, y):
        return torch.where(y < 0.8, -y, torch.where(y == 1, 0 * y, torch.nan))

    sol = neuralode.solve(f, (0.0, 1.0), y0, method="rkc2", batch="independent", throw=False)
    assert sol.status.tolist() == [Status.TOO_STIFF, Status.SUCCESS]
    assert sol.y1[1].item() == pytest.approx(0.5 * math.exp(-1), abs=1e-4)


def test_steps_that_are_given_may_ask_for_too_many_stages():
    with pytest.raises(neuralode.SolverError, match="more stages than rounding allows"):
        neuralode.solve(lambda t, y: -1e12 * y, (0.0, 1.0), torch.ones(2).double(), method="rkc2", step=0.5)


def test_backsolve_is_refused():
    with pytest.raises(ValueError, match="'rkc2' has no gradient='backsolve'"):
        neuralode.solve(heat, SPAN, WARM, method="rkc2", gradient="backsolve")
