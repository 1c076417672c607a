"""Stabilised explicit methods: coefficients, the spectral radius, the work on a stiff diffusion, and gradients."""

import math

import numpy as np
import pytest
import torch

import neuralode
from neuralode import Status
from neuralode.field import VectorField
from neuralode.methods.spectral_radius import spectral_radius
from neuralode.tableaus import RKC2, ROCK4
from neuralode.tableaus.rock4_numbers import DEGREES
from problems import FORCED

METHODS = {m.name: m for m in neuralode.methods() if m.kind == "stabilised explicit"}
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


def butcher(family, s: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, c, e) of s stages and the slope at the end, whose row of A holds the weights of y1; e those of the error."""
    chain, unit = family.chain(s), np.eye(s + 1)
    before, now, rows = np.zeros(s + 1), np.zeros(s + 1), []
    for j, (own, earlier, slope, start) in enumerate(chain.rows):
        rows.append(now)
        before, now = now, own * now + earlier * before + slope * unit[j] + start * unit[0]
    rows.append(now)
    error = 0.4 * (unit[0] + unit[s]) - 0.8 * now
    if chain.finish:
        a, b, e = chain.finish[:6], chain.finish[6:10], chain.finish[10:]
        last = unit[s - 4 :]  # of the slopes after the chain
        rows += [now + a[0] * last[0], now + a[1] * last[0] + a[2] * last[1]]
        rows += [now + a[3] * last[0] + a[4] * last[1] + a[5] * last[2], now + np.array(b) @ last[:4]]
        error = np.array(e) @ last
    return np.array(rows), np.array([0.0, *chain.nodes, *chain.after]), error


def defects(a, b, c, order: int) -> float:
    """The worst of Butcher's conditions up to that order, for weights b."""
    found = [b.sum() - 1, b @ c - 1 / 2, b @ c**2 - 1 / 3, b @ a @ c - 1 / 6]
    found += [b @ c**3 - 1 / 4, (b * c) @ a @ c - 1 / 8, b @ a @ c**2 - 1 / 12, b @ a @ a @ c - 1 / 24]
    return max(map(abs, found[: {2: 2, 3: 4, 4: 8}[order]]))


SIZES = [
    *((RKC2, s) for s in (2, 3, 4, 7, 20, 100)),
    *((ROCK4, degree + 4) for degree in DEGREES),
]


@pytest.mark.parametrize(("family", "s"), SIZES, ids=lambda x: getattr(x, "name", x))
def test_order_conditions(family, s):
    a, c, e = butcher(family, s)
    # Rounding grows with the square of the number of stages; the digits of rock4 are chosen so that they hold.
    bound = 2e-16 * max(10, s**2) if family is RKC2 else 6e-15
    np.testing.assert_allclose(a.sum(1), c, rtol=0, atol=bound)
    assert defects(a, a[-1], c, family.order) < bound
    if family is RKC2:
        np.testing.assert_allclose((a @ c)[2:], c[2:] ** 2 / 2, rtol=0, atol=bound)
        assert defects(a, a[-1], c, 3) > 1e-3
    else:
        assert defects(a, a[-1] - e, c, 3) < bound  # the embedded solution
        assert defects(a, a[-1] - e, c, 4) > 1e-5


@pytest.mark.parametrize(("family", "s"), SIZES, ids=lambda x: getattr(x, "name", x))
def test_stability_interval(family, s):
    """Through all that ``stages_for`` gives s stages to, by a chain of numbers instead of a matrix."""
    reach = 0.649 * (s**2 - 1) if family is RKC2 else 0.352 * s**2 - 3.01
    z, chain = -np.linspace(0, reach, 5001), family.chain(s)
    before, now = 0 * z, 0 * z
    for j, (own, earlier, slope, start) in enumerate(chain.rows):
        before, now = now, own * now + earlier * before + slope * z * (1 + now if j else 1) + start * z
    if chain.finish:
        a, b = chain.finish[:6], chain.finish[6:10]
        k = [z * (1 + now)]
        for i in (1, 2, 3):
            numbers = a[i * (i - 1) // 2 : i * (i + 1) // 2]
            k.append(z * (1 + now + sum(x * y for x, y in zip(numbers, k, strict=True))))
        now = now + sum(x * y for x, y in zip(b, k, strict=True))
    assert np.abs(1 + now).max() <= 1 + 1e-12
    # The damping; the last digits of rock4's numbers cost some of it where there are many stages.
    assert s == 2 or np.abs(1 + now)[z < -3].max(initial=0) < (0.96 if family is RKC2 else 0.992)
    assert family.stages_for(reach) == s


@pytest.mark.parametrize("batch", [None, "independent"])
@pytest.mark.parametrize("family", [RKC2, ROCK4], ids=lambda f: f.name)
def test_a_step_is_the_runge_kutta_step_of_its_coefficients(family, batch):
    method, y = METHODS[family.name], torch.stack((FORCED.y0, 2 * FORCED.y0, FORCED.y0 / 3))
    counts = [5, 9, 7] if batch else [9]
    field = VectorField(FORCED.f, (), None, batch is not None)
    t, h = (torch.full((3,), x, dtype=torch.float64) for x in (0.3, 0.2)) if batch else (0.3, 0.2)
    at = torch.full((3, 1), 0.3, dtype=torch.float64) if batch else torch.tensor(0.3, dtype=torch.float64)
    step = method.again(field, t, h, y, (FORCED.f(at, y),), (torch.tensor(counts),))
    for row, count in enumerate(counts if batch else counts * 3):
        a, c, e = (torch.from_numpy(x) for x in butcher(family, count))
        slopes: list[torch.Tensor] = []
        for i in range(count + 1):
            place = y[row] + 0.2 * sum((a[i, j] * slopes[j] for j in range(i)), torch.zeros(2).double())
            slopes.append(FORCED.f(0.3 + 0.2 * c[i], place))
        torch.testing.assert_close(step.y1[row], place, rtol=1e-13, atol=1e-13)
        error = 0.2 * sum(e[j] * slopes[j] for j in range(count + 1))
        torch.testing.assert_close(step.error[row], error, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("stages", [5, 30])
@pytest.mark.parametrize("method", METHODS.values(), ids=lambda m: m.name)
def test_order_whatever_the_stages(method, stages):
    field = VectorField(FORCED.f, (), None)
    start = torch.tensor(0.5, dtype=torch.float64)
    y, sizes, errors, estimates = FORCED.exact(start), [8, 16, 32, 64], [], []
    for steps in sizes:
        step = method.again(field, 0.5, 1 / steps, y, (FORCED.f(start, y),), (torch.tensor([stages]),))
        errors.append(float((step.y1 - FORCED.exact(start + 1 / steps)).abs().max()))
        estimates.append(float(step.error.abs().max()))
    slopes = [-np.polyfit(np.log(sizes), np.log(values), 1)[0] for values in (errors, estimates)]
    assert slopes == pytest.approx([method.order + 1, method.error_order + 1], abs=0.3)


@pytest.mark.parametrize("jitter", [0.0, 0.3], ids=["uniform", "jittered"])
@pytest.mark.parametrize("method", METHODS.values(), ids=lambda m: m.name)
def test_order(method, jitter):
    sizes, errors = [112, 160, 224, 320] if method.order == 4 else [160, 224, 320, 448], []
    for steps in sizes:
        times = torch.linspace(*FORCED.t_span, steps + 1, dtype=torch.float64)
        moves = torch.sin(37.0 * torch.arange(steps + 1, dtype=torch.float64)) * jitter * times[1]
        moves[0] = moves[-1] = 0.0
        y1 = neuralode.solve(FORCED.f, FORCED.t_span, FORCED.y0, method=method.name, step=times + moves).y1
        errors.append(float((y1 - FORCED.end).abs().max()))
    # The slope of rock4 comes down to 4 from 4.7, through 4.13 at the finest.
    assert -np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(method.order, abs=0.25)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda m: m.name)
def test_order_of_dense_output(method):
    sizes, errors = [8, 16, 32, 64], []
    start = torch.tensor(0.5, dtype=torch.float64)
    for steps in sizes:
        h = 1 / steps
        sol = neuralode.solve(FORCED.f, (0.5, 0.5 + h), FORCED.exact(start), method=method.name, step=h,
                              dense_output=True)  # fmt: skip
        t = 0.5 + h * torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
        errors.append(float((sol(t) - FORCED.exact(t)).abs().max()))
    assert method.dense_order == min(method.order, 3)
    assert (
        method.dense_order + 0.85
        <= -np.polyfit(np.log(sizes), np.log(errors), 1)[0]
        <= method.dense_order + 1.5
    )


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
@pytest.mark.parametrize("method", METHODS)
def test_a_diffusion_costs_a_fraction_of_dopri5s_evaluations(method, rtol):
    with torch.no_grad():
        ours, theirs = (
            neuralode.solve(heat, SPAN, WARM, method=name, rtol=rtol, atol=rtol)
            for name in (method, "dopri5")
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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("compact", [False, True])
def test_samples_step_and_count_as_if_alone(method, compact):
    y0 = torch.stack((WARM, BUMP, 0 * WARM))
    ends = torch.tensor([0.2, 0.1, 0.05], dtype=torch.float64)
    with torch.no_grad():
        together = neuralode.solve(heat, (0.0, ends), y0, method=method, batch="independent", compact=compact)
        for i in range(3):
            alone = neuralode.solve(heat, (0.0, float(ends[i])), y0[i], method=method)
            assert int(together.nfev[i]) == alone.nfev
            assert (int(together.accepted[i]), int(together.rejected[i])) == (alone.accepted, alone.rejected)
            torch.testing.assert_close(together.y1[i], alone.y1, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("method", METHODS)
def test_evaluations_are_those_made(method, batch):
    count = 0

    def f(t, y):
        nonlocal count
        count += 1
        return heat(t, y)

    with torch.no_grad():
        sol = neuralode.solve(f, SPAN, WARM[None], method=method, batch=batch)
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
@pytest.mark.parametrize("name", METHODS)
def test_gradients(name, batch, start):
    """Discrete and direct are the same to rounding, and near those of a tight solve."""
    y0 = start.requires_grad_()
    rate = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    times = [0.013, 0.05, 0.08]
    results = []
    for method, gradient, tol in (
        (name, "direct", 1e-6),
        (name, "discrete", 1e-6),
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

    sol = neuralode.solve(f, (0.0, 1.0), y0, method="rkc2", batch="independent", throw=False, rtol=1e-6)
    assert sol.status.tolist() == [Status.TOO_STIFF, Status.SUCCESS]
    assert sol.y1[1].item() == pytest.approx(0.5 * math.exp(-1), abs=1e-4)


def test_steps_that_are_given_may_ask_for_too_many_stages():
    with pytest.raises(neuralode.SolverError, match="more stages than rounding allows"):
        neuralode.solve(lambda t, y: -1e12 * y, (0.0, 1.0), torch.ones(2).double(), method="rkc2", step=0.5)


def test_backsolve_is_refused():
    with pytest.raises(ValueError, match="'rkc2' has no gradient='backsolve'"):
        neuralode.solve(heat, SPAN, WARM, method="rkc2", gradient="backsolve")
