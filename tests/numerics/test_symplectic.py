"""Splitting methods for pairs (q, p): order conditions, order, what they keep, and what they ask for."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

import neuralode
from neuralode.tableaus import SPLITTINGS

SYMPLECTIC = [method for method in neuralode.methods() if method.kind == "symplectic"]
SYMMETRIC = [splitting.name for splitting in SPLITTINGS if splitting.symmetric]
BATCHES = [None, "lockstep", "independent"]


def exponential(letter: str, size: float, order: int) -> dict[str, float]:
    return {letter * k: size**k / math.factorial(k) for k in range(order + 1)}


def product(x: dict[str, float], y: dict[str, float], order: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for (u, a), (v, b) in itertools.product(x.items(), y.items()):
        if len(u + v) <= order:
            found[u + v] = found.get(u + v, 0.0) + a * b
    return found


def defects(splitting, order: int) -> list[float]:
    """By word length, how far the product of exp(kick_i B) exp(drift_i A) is from exp(A + B) in the free algebra."""
    total = {"": 1.0}
    for kick, drift in itertools.zip_longest(splitting.kicks, splitting.drifts, fillvalue=0):
        for letter, size in (("B", kick), ("A", drift)):
            total = product(total, exponential(letter, float(size), order), order)
    words = ("".join(letters) for k in range(1, order + 1) for letters in itertools.product("AB", repeat=k))
    worst = [0.0] * order
    for word in words:
        miss = abs(total.get(word, 0.0) - 1 / math.factorial(len(word)))
        worst[len(word) - 1] = max(worst[len(word) - 1], miss)
    return worst


@pytest.mark.parametrize("splitting", SPLITTINGS, ids=lambda s: s.name)
def test_order_conditions(splitting):
    worst = defects(splitting, splitting.order + 1)
    assert max(worst[:-1]) < 1e-14
    assert worst[-1] > 1e-6


def test_symmetric_ones():
    assert SYMMETRIC == ["leapfrog", "yoshida4", "mclachlan4", "kahan_li6"]


def made(t):
    """A solution chosen beforehand: (cos t, sin(2 t) / 2)."""
    return torch.cos(t), torch.sin(2 * t) / 2


def forced(t, y):
    """A nonlinear separable f, each half with a clock of its own, that has the solution ``made``."""
    (q, p), (q_made, p_made) = y, made(t)
    return torch.sin(p) - torch.sin(t) - torch.sin(p_made), -(q**3) + torch.cos(2 * t) + q_made**3


def turning(t, y):
    """A pendulum whose dq/dt is not linear in p either."""
    return torch.sin(y[1]) + 0.3 * y[1], -torch.sin(y[0])


START = (torch.tensor([0.7, 1.1], dtype=torch.float64), torch.tensor([0.3, -0.4], dtype=torch.float64))
END = 4.0


@pytest.fixture(scope="module")
def turned():
    return neuralode.solve(turning, (0.0, END), START, rtol=1e-13, atol=1e-13).y1


def grid(steps: int, jitter: float) -> torch.Tensor:
    times = torch.linspace(0.0, END, steps + 1, dtype=torch.float64)
    shift = torch.sin(37.0 * torch.arange(steps + 1, dtype=torch.float64)) * jitter * END / steps
    shift[0] = shift[-1] = 0.0
    return times + shift


def slope(sizes, errors):
    return -float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


@pytest.mark.parametrize("jitter", [0.0, 0.3], ids=["uniform", "jittered"])
@pytest.mark.parametrize("autonomous", [True, False])
@pytest.mark.parametrize("method", SYMPLECTIC, ids=lambda m: m.name)
def test_order(method, autonomous, jitter, turned):
    # Order 6 is near rounding with more steps than these.
    sizes = [34, 48, 68] if method.order == 6 else [80, 112, 160, 224]
    zero = torch.zeros(2, dtype=torch.float64)
    f, y0, end = (turning, START, turned) if autonomous else (forced, made(zero), made(zero + END))
    errors = []
    for steps in sizes:
        y1 = neuralode.solve(f, (0.0, END), y0, method=method.name, step=grid(steps, jitter)).y1
        errors.append(max(float((a - b).abs().max()) for a, b in zip(y1, end, strict=True)))
    assert min(errors) > 1e-12
    assert slope(sizes, errors) == pytest.approx(method.order, abs=0.15)


@pytest.mark.parametrize("batch", [None, "independent"])
@pytest.mark.parametrize("method", SYMPLECTIC, ids=lambda m: m.name)
def test_order_of_dense_output(method, batch):
    """One step from the exact state: the error inside is O(h^(dense_order + 1))."""
    start = torch.full((1, 1), 0.5, dtype=torch.float64)
    sizes, errors = [16, 32, 64, 128], []
    for steps in sizes:
        h = 1.0 / steps
        sol = neuralode.solve(
            forced, (0.5, 0.5 + h), made(start), method=method.name, step=h, batch=batch, dense_output=True
        )
        t = 0.5 + h * torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
        errors.append(max(float((a[:, 0, 0] - b).abs().max()) for a, b in zip(sol(t), made(t), strict=True)))
    assert method.dense_order == min(method.order, 3)
    assert method.dense_order + 0.85 <= slope(sizes, errors) <= method.dense_order + 1.5


@pytest.mark.parametrize("method", SYMPLECTIC, ids=lambda m: m.name)
def test_dense_output_meets_the_steps(method):
    sol = neuralode.solve(
        turning, (0.0, END), START, method=method.name, step=0.1, t_eval="steps", dense_output=True
    )
    for got, want in zip(sol(sol.t), sol.y, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-14)


def pendulum(t, y):
    return y[1], -torch.sin(y[0])


def energy(y):
    return 0.5 * y[1] ** 2 - torch.cos(y[0])


SWINGS = (
    torch.linspace(0.2, 2.5, 16, dtype=torch.float64),
    torch.linspace(-0.5, 0.5, 16, dtype=torch.float64),
)


def energy_errors(method: str, steps: int) -> torch.Tensor:
    """(1001, 16) along pendulum swings of many sizes, at steps of 0.1."""
    span = 0.1 * steps
    with torch.no_grad():
        sol = neuralode.solve(
            pendulum, (0.0, span), SWINGS, method=method, step=0.1, t_eval=torch.linspace(0, span, 1001)
        )
    return energy(sol.y) - energy(SWINGS)


def trend(errors: torch.Tensor) -> float:
    """The largest rise of a fitted line over half the span, in units of what the errors scatter: 1.7 for a line."""
    time = torch.linspace(-1, 1, len(errors), dtype=torch.float64)[:, None]
    return float(((time * errors).sum(0).abs() / time.square().sum() / errors.std(0)).max())


@pytest.mark.parametrize(
    ("method", "steps", "bound"),
    [
        ("semi_implicit_euler", 10_000, 0.2),
        ("leapfrog", 10_000, 4e-3),
        ("mclachlan4", 5_000, 1e-7),
        pytest.param("semi_implicit_euler", 100_000, 0.2, marks=pytest.mark.slow),
        pytest.param("leapfrog", 100_000, 4e-3, marks=pytest.mark.slow),
        pytest.param("yoshida4", 100_000, 2e-5, marks=pytest.mark.slow),
        pytest.param("mclachlan4", 100_000, 1e-7, marks=pytest.mark.slow),
        pytest.param("kahan_li6", 100_000, 5e-9, marks=pytest.mark.slow),
    ],
)
def test_energy_error_is_bounded_without_trend(method, steps, bound):
    errors = energy_errors(method, steps)
    assert errors.abs().max() < bound  # a multiple of h^order
    # A fit to 1001 scattered errors rises by 0.055 of their scatter.
    assert trend(errors) < 0.25


def test_energy_of_a_method_that_keeps_nothing_has_a_trend():
    sol = neuralode.solve(
        pendulum, (0.0, 1000.0), SWINGS, method="rk4", step=0.1, t_eval=torch.linspace(0, 1000, 1001)
    )
    assert trend(energy(sol.y) - energy(SWINGS)) > 1.0


@pytest.mark.parametrize("method", SYMMETRIC)
def test_time_reversible_to_rounding(method):
    times = grid(200, 0.3)
    there = neuralode.solve(turning, (0.0, END), START, method=method, step=times).y1
    back = neuralode.solve(turning, (END, 0.0), there, method=method, step=times.flip(0)).y1
    for got, want in zip(back, START, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", SYMPLECTIC, ids=lambda m: m.name)
def test_the_map_of_a_step_is_symplectic(method):
    """J^T Omega J = Omega for a Hamiltonian that couples its coordinates and moves with time."""
    mix = torch.tensor([[1.0, 0.4], [0.4, 2.0]], dtype=torch.float64)

    def f(t, y):
        return torch.tanh(mix @ y[1]) @ mix, -(1 + t) * torch.sin(y[0].sum()) * torch.ones_like(y[0]) - y[0]

    def one(state):
        y1 = neuralode.solve(f, (0.2, 0.5), tuple(state.split(2)), method=method.name, step=0.3).y1
        return torch.cat(y1)

    state = torch.tensor([0.3, -0.8, 0.5, 1.2], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(one, state)
    omega = torch.kron(torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64), torch.eye(2).double())
    torch.testing.assert_close(jacobian.T @ omega @ jacobian, omega, rtol=0, atol=1e-12)


def velocity_verlet(f, y, h, steps):
    """The textbook's, under autograd."""
    q, p = y
    for n in range(steps):
        t = torch.tensor(n * h, dtype=torch.float64)
        half = p + 0.5 * h * f(t, (q, p))[1]
        q = q + h * f(t + 0.5 * h, (q, half))[0]
        p = half + 0.5 * h * f(t + h, (q, half))[1]
    return q, p


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("gradient", ["direct", "discrete"])
def test_leapfrog_and_its_gradients_are_the_textbooks(gradient, batch):
    q = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2).requires_grad_()
    p = torch.linspace(0.5, 1.5, 6, dtype=torch.float64).reshape(3, 2).requires_grad_()
    w = torch.tensor([[0.3, -1.2], [0.9, 0.1]], dtype=torch.float64, requires_grad=True)

    def f(t, y):
        return y[1] @ w, torch.tanh(y[0] @ w.T) * torch.cos(t)

    results = []
    for y1 in (
        neuralode.solve(
            f, (0.0, 2.0), (q, p), method="leapfrog", step=0.125, batch=batch, gradient=gradient
        ).y1,
        velocity_verlet(f, (q, p), 0.125, 16),
    ):
        loss = (y1[0] ** 2).sum() + y1[1].sum()
        results.append((*y1, *torch.autograd.grad(loss, [q, p, w])))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("method", SYMPLECTIC, ids=lambda m: m.name)
def test_discrete_is_the_gradient_of_the_steps_taken(method, batch):
    w = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    q = torch.linspace(-1, 1, 3, dtype=torch.float64)[:, None].requires_grad_()
    results = []
    for gradient in ("direct", "discrete"):
        sol = neuralode.solve(
            lambda t, y: (torch.sin(w * y[1]) + t, -torch.sin(w * y[0]) * t), (0.0, 2.0), (q, q + 1),
            t_eval=[0.13, 1.0, 1.9], method=method.name, step=0.25, batch=batch, gradient=gradient,
        )  # fmt: skip
        results.append(torch.autograd.grad((sol.y[0] ** 2 + sol.y[1]).sum() + sol.y1[0].sum(), [q, w]))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("batch", BATCHES)
def test_second_derivatives_and_transforms(batch):
    q0 = torch.linspace(-1, 1, 3, dtype=torch.float64)[:, None]

    def loss(w):
        sol = neuralode.solve(
            lambda t, y: (w * y[1], -torch.sin(y[0])), (0.0, 1.0), (q0, q0), method="yoshida4", step=0.25,
            batch=batch,
        )  # fmt: skip
        return (sol.y1[0] ** 2).sum()

    w = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(loss(w), w, create_graph=True)
    (second,) = torch.autograd.grad(first, w)
    plain = w.detach()
    for transform in (torch.func.grad, torch.func.jacfwd, torch.func.jacrev):
        torch.testing.assert_close(transform(loss)(plain), first.detach(), rtol=1e-12, atol=1e-12)
    if batch is None:
        torch.testing.assert_close(torch.func.hessian(loss)(plain), second, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("method", SYMPLECTIC, ids=lambda m: m.name)
def test_evaluations_are_those_made(method, batch):
    calls = []

    def f(t, y):
        calls.append(t)
        return y[1], -y[0]

    with torch.no_grad():
        sol = neuralode.solve(
            f, (0.0, 1.0), (torch.ones(2, 1), torch.zeros(2, 1)), method=method.name, step=0.1, batch=batch,
            dense_output=True,
        )  # fmt: skip
    looks = 3  # whether f is separable
    first = method.stages - method.evaluations
    assert len(calls) == looks + first + 10 * (method.evaluations + method.extra) + 1 - (batch is None or 1)
    assert torch.as_tensor(sol.nfev).eq(len(calls)).all()


def test_events_inside_a_step():
    """A pendulum of small swings from q = 0.01 passes q = 0 at a quarter of its period."""
    sol = neuralode.solve(
        pendulum, (0.0, 10.0), (torch.tensor([0.01], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)),
        method="kahan_li6", step=0.1, events=neuralode.Event(lambda t, y: y[0].squeeze(), terminal=True),
    )  # fmt: skip
    # Period 2 pi (1 + q^2 / 16); the cubic inside a step of 0.1 errs by q h^4 / 384.
    assert sol.t_events[0].item() == pytest.approx(math.pi / 2 * (1 + 0.01**2 / 16), abs=1e-6)


@dataclasses.dataclass
class Three:
    a: torch.Tensor
    b: torch.Tensor
    c: torch.Tensor


ONE = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("y0", "got"),
    [
        (ONE, r"one tensor of shape \(2, 3\)"),
        ((ONE,), r"leaves of shapes \(2, 3\)"),
        ((ONE, ONE[:, :2]), r"leaves of shapes \(2, 3\), \(2, 2\)"),
        ({"q": (ONE, ONE), "p": ONE}, r"leaves of shapes \(2, 3\), \(2, 3\), \(2, 3\)"),
        (Three(ONE, ONE, ONE), "leaves of shapes"),
    ],
)
def test_states_that_are_no_pair(y0, got):
    with pytest.raises(ValueError, match=rf"'leapfrog' .* y0 must be a pair \(q, p\) .*{got}"):
        neuralode.solve(lambda t, y: y, (0.0, 1.0), y0, method="leapfrog", step=0.1)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("f", "named"),
    [
        (lambda t, y: (y[1] + 0.01 * y[0], -y[0]), "dq/dt depends on q"),
        (lambda t, y: (y[1], -y[0] - 0.01 * y[1]), "dp/dt depends on p"),
        (lambda t, y: (y[1] + torch.log(1.2 - y[0]), -y[0]), "dq/dt depends on q"),  # NaN where q is moved
        (lambda t, y: (y[1] * y[0], -y[0] * y[1]), "dq/dt depends on q"),
    ],
)
def test_f_that_is_not_separable(f, named, dtype, batch):
    y0 = (torch.ones(2, 1, dtype=dtype), torch.zeros(2, 1, dtype=dtype))
    with pytest.raises(ValueError, match=rf"{named}: use a method for any f, such as 'dopri5'"):
        neuralode.solve(f, (0.0, 1.0), y0, method="leapfrog", step=0.1, batch=batch)


@pytest.mark.parametrize("batch", BATCHES)
def test_f_that_is_not_finite_is_told_as_that(batch):
    y0 = (torch.ones(2, 1), torch.zeros(2, 1))
    with pytest.raises(neuralode.SolverError, match="infinite or NaN"):
        neuralode.solve(
            lambda t, y: (y[1] * math.nan, -y[0]), (0.0, 1.0), y0, method="leapfrog", step=0.1, batch=batch
        )


def test_backsolve_is_refused():
    with pytest.raises(ValueError, match="'leapfrog' has no gradient='backsolve'"):
        neuralode.solve(pendulum, (0.0, 1.0), START, method="leapfrog", step=0.1, gradient="backsolve")


def test_a_batch_of_none():
    empty = torch.zeros(0, 2)
    sol = neuralode.solve(pendulum, (0.0, 1.0), (empty, empty), method="leapfrog", step=0.1, batch="lockstep")
    assert sol.y1[0].shape == (0, 2)
