"""The state of rest: where it is, its derivatives to second order, batches, and what is refused."""

import math

import pytest
import torch

import neuralode
from neuralode import Status, Steady

F64 = torch.float64
BATCHES = [None, "lockstep", "independent"]
FOREVER = (0.0, math.inf)


def network(t, y, w, b):
    """Contracting: the weights below have norm less than one."""
    return torch.tanh(y @ w.T + b) - y


def case():
    generator = torch.Generator().manual_seed(0)
    w = 0.4 * torch.randn(3, 3, dtype=F64, generator=generator)
    b = torch.randn(4, 3, dtype=F64, generator=generator)
    return torch.zeros(4, 3, dtype=F64), w.requires_grad_(), b.requires_grad_()


def iterated(w, b):
    """The fixed point by 200 iterations under autograd, each at least twice as near."""
    y = torch.zeros_like(b)
    for _ in range(200):
        y = torch.tanh(y @ w.T + b)
    return y


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(
    "method", ["dopri5", "vern7", "kvaerno5", "rodas5p", "radau5", "bdf", "auto", "rkc2", "adams"]
)
def test_equilibrium_of_a_network(method, batch):
    y0, w, b = case()
    sol = neuralode.solve(network, FOREVER, y0, args=(w, b), method=method, batch=batch, gradient="steady")
    assert sol.success and sol.message == "a steady state was reached"
    assert (torch.as_tensor(sol.status) == Status.STEADY).all() and sol.t.isfinite().all()
    want = iterated(w, b)
    torch.testing.assert_close(sol.y1, want, rtol=1e-13, atol=1e-13)
    for g, x in zip(
        torch.autograd.grad(sol.y1.pow(3).sum(), [w, b]),
        torch.autograd.grad(want.pow(3).sum(), [w, b]),
        strict=True,
    ):
        torch.testing.assert_close(g, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("batch", BATCHES)
def test_derivatives_against_differences(batch):
    y0, w, b = case()

    def end(w, b):
        return neuralode.solve(network, FOREVER, y0[:2], args=(w, b), batch=batch, gradient="steady").y1

    assert torch.autograd.gradcheck(end, (w, b[:2]))
    assert torch.autograd.gradgradcheck(end, (w, b[:2]))


def test_many_unknowns_without_matrices():
    """Above 256 unknowns by GMRES; the same numbers as a dense solve, second derivatives too."""
    generator = torch.Generator().manual_seed(0)
    n = 300
    matrix = torch.randn(n, n, dtype=F64, generator=generator) / n**0.5 - 3.0 * torch.eye(n, dtype=F64)
    p = torch.randn(n, dtype=F64, generator=generator).requires_grad_()
    sol = neuralode.solve(
        lambda t, y, p: matrix @ y + p + 0.1 * torch.sin(y), FOREVER, torch.zeros(n, dtype=F64), args=(p,),
        gradient="steady",
    )  # fmt: skip
    (got,) = torch.autograd.grad(sol.y1.square().sum(), p, create_graph=True)
    y = sol.y1.detach()
    inverse = -torch.linalg.inv(matrix + 0.1 * torch.diag(torch.cos(y)))
    torch.testing.assert_close(got, inverse.T @ (2 * y), rtol=1e-11, atol=1e-11)
    v = torch.ones(n, dtype=F64)
    (twice,) = torch.autograd.grad(got @ v, p)
    bar, moved = inverse.T @ (2 * y), inverse @ v
    torch.testing.assert_close(
        twice, inverse.T @ (2 * moved - 0.1 * torch.sin(y) * moved * bar), rtol=1e-10, atol=1e-10
    )
    assert sol.njev == 0


def test_samples_rest_each_when_they_do():
    """y' = a - y^2 relaxes at the rate 2 sqrt(a); with compact=True who rests is not evaluated."""
    a = torch.tensor([[0.5], [1e-3], [0.7], [2.0]], dtype=F64, requires_grad=True)
    y0 = torch.full_like(a, 0.2).detach()
    found = {}
    for compact in (False, True):
        sol = neuralode.solve(
            lambda t, y, a: a - y * y,
            FOREVER,
            y0,
            args=(a,),
            batch="independent",
            gradient="steady",
            compact=compact,
        )
        found[compact] = (sol.t[:, 1], sol.evaluations)
        torch.testing.assert_close(sol.y1, a.sqrt(), rtol=1e-12, atol=0)
        (got,) = torch.autograd.grad(sol.y1.sum(), a)
        torch.testing.assert_close(got, 0.5 / a.sqrt(), rtol=1e-12, atol=0)
    ends, evaluations = found[True]
    assert torch.equal(ends, found[False][0]) and evaluations < found[False][1]
    assert ends.argsort().tolist() == [3, 2, 0, 1]
    alone = neuralode.solve(
        lambda t, y, a: a - y * y, FOREVER, y0[:1], args=(a[:1],), batch="independent", gradient="steady"
    )
    torch.testing.assert_close(alone.t[1], ends[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("span", [(0.0, 60.0), (0.0, -60.0), (0.0, math.inf), (0.0, -math.inf)])
@pytest.mark.parametrize("batch", [None, "independent"])
def test_ends_and_starts_have_no_influence(span, batch):
    ends = [torch.tensor(t, dtype=F64, requires_grad=True) for t in span]
    y0 = torch.ones(2, 1, dtype=F64, requires_grad=True)
    k = torch.tensor(2.0, dtype=F64, requires_grad=True)
    sign = math.copysign(1.0, span[1])
    sol = neuralode.solve(lambda t, y: sign * (k - y), ends, y0, batch=batch, gradient="steady")
    assert [g.abs().max() for g in torch.autograd.grad(sol.y1.sum(), [*ends, y0], retain_graph=True)] == [
        0,
        0,
        0,
    ]
    assert torch.autograd.grad(sol.y1.sum(), k)[0].item() == pytest.approx(2.0, rel=1e-14)


def test_given_steps_and_structures():
    k = torch.tensor(2.0, dtype=F64, requires_grad=True)
    start = {"a": torch.ones(1, dtype=F64), "b": torch.zeros(1, dtype=F64)}
    sol = neuralode.solve(
        lambda t, y: {"a": k - y["a"], "b": y["a"] ** 2 - y["b"]}, (0.0, 40.0), start, gradient="steady", method="rk4",
        step=0.25,
    )  # fmt: skip
    assert sol.t[1] < 40.0 and sol.y1["b"].item() == pytest.approx(4.0, rel=1e-14)
    assert torch.autograd.grad(sol.y1["b"].sum(), k)[0].item() == pytest.approx(4.0, rel=1e-13)


def test_complex_states():
    rate = torch.tensor(-1 + 2j, dtype=torch.complex128, requires_grad=True)
    y0 = torch.zeros(2, dtype=torch.complex128)
    y1 = neuralode.solve(lambda t, y: rate * y + 1, FOREVER, y0, gradient="steady").y1
    torch.testing.assert_close(y1, (-1 / rate).expand(2))
    torch.testing.assert_close(
        torch.autograd.grad(y1.real.sum(), rate), torch.autograd.grad(-2 * (1 / rate).real, rate)
    )


def test_torch_func_and_no_grad():
    y0 = torch.ones(1, dtype=F64)

    def end(k):
        return neuralode.solve(lambda t, y: k**3 - y, FOREVER, y0, gradient="steady").y1.sum()

    k = torch.tensor(2.0, dtype=F64)
    assert torch.func.grad(end)(k).item() == pytest.approx(12.0, rel=1e-13)
    assert torch.func.jvp(end, (k,), (k,))[1].item() == pytest.approx(24.0, rel=1e-13)
    assert torch.func.hessian(end)(k).item() == pytest.approx(12.0, rel=1e-12)
    with torch.no_grad():
        assert end(k).item() == pytest.approx(8.0, rel=1e-14)


def test_stiff_systems_come_to_rest():
    """Rates from 1 to 1e6: the implicit method takes some tens of steps, and the gradient needs none of them."""
    k = torch.tensor([1.0, 1e3, 1e6], dtype=F64, requires_grad=True)
    feed = torch.tensor([1.0, 0.0, 0.0], dtype=F64)

    def chain(t, y):
        lost = k * y
        return feed + torch.cat((-lost[:1], lost[:-1] - lost[1:]))

    sol = neuralode.solve(
        chain, FOREVER, torch.zeros(3, dtype=F64), gradient="steady", method="kvaerno5", atol=1e-10
    )
    torch.testing.assert_close(sol.y1, 1 / k, rtol=1e-12, atol=0)
    weights = torch.tensor([1.0, 1e3, 1e6], dtype=F64)
    (got,) = torch.autograd.grad((weights * sol.y1).sum(), k)
    torch.testing.assert_close(got, -weights / k.detach() ** 2, rtol=1e-12, atol=0)
    assert sol.accepted < 200


K = torch.tensor(2.0, dtype=F64, requires_grad=True)
FAILURES = {
    "too soon": (lambda t, y: K - y, (0.0, 1.0), {}, Status.UNSTEADY),
    # small for the clock, not for the state: the zero is far
    "slow clock": (lambda t, y: 1e-6 * (K - y), FOREVER, {}, Status.UNSTEADY),
    "conserved": (
        lambda t, y: torch.stack((y[1] - K * y[0], K * y[0] - y[1])),
        FOREVER,
        {},
        Status.DEGENERATE,
    ),
    "cycle": (lambda t, y: torch.stack((y[1], -y[0])), FOREVER, {"max_steps": 300}, Status.MAX_STEPS),
    "blow-up": (lambda t, y: K + y * y, FOREVER, {}, Status.STEP_TOO_SMALL),
    "not finite": (lambda t, y: K * y / 0.0, FOREVER, {}, Status.FIRST_NONFINITE),
}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("batch", [None, "independent"])
def test_what_has_no_state_of_rest_says_so(name, batch):
    f, span, options, status = FAILURES[name]
    y0 = torch.ones(2, dtype=F64)
    field, start = (f, y0) if batch is None else ((lambda t, y: f(t, y.T).T), y0[None])
    with pytest.raises(neuralode.SolverError):
        neuralode.solve(field, span, start, gradient="steady", batch=batch, **options)
    sol = neuralode.solve(field, span, start, gradient="steady", batch=batch, throw=False, **options)
    assert sol.status == status and not sol.success and sol.y1.isnan().all()


def test_a_failed_sample_does_not_disturb_the_others():
    y0 = torch.tensor([[0.1], [2.0], [0.3]], dtype=F64)
    a = torch.tensor([[0.5], [0.5], [0.7]], dtype=F64, requires_grad=True)
    sol = neuralode.solve(
        lambda t, y, a: (y - a) * (y - 1),
        FOREVER,
        y0,
        args=(a,),
        batch="independent",
        gradient="steady",
        throw=False,
    )
    assert sol.status.tolist() == [Status.STEADY, Status.STEP_TOO_SMALL, Status.STEADY]
    (got,) = torch.autograd.grad(sol.y1[[0, 2]].sum(), a)
    torch.testing.assert_close(got, torch.tensor([[1.0], [0.0], [1.0]], dtype=F64), rtol=1e-13, atol=1e-13)


def test_tolerances_of_its_own():
    k = torch.tensor(2.0, dtype=F64)
    y0 = torch.ones(1, dtype=F64)
    ends = [
        neuralode.solve(lambda t, y: k - y, FOREVER, y0, gradient=Steady(rtol=tol, atol=tol)).t[1]
        for tol in (1e-2, 1e-4, 1e-6)
    ]
    assert ends[0] < ends[1] < ends[2]
    slow = neuralode.solve(lambda t, y: 1e-6 * (k - y), FOREVER, y0, gradient=Steady(rtol=1e-10, atol=1e-12))
    assert slow.y1.item() == pytest.approx(2.0, rel=1e-14)


@pytest.mark.parametrize(
    "options",
    [
        {"t_eval": [1.0]},
        {"t_eval": "steps"},
        {"events": lambda t, y: y[0]},
        {"t_stops": [1.0]},
        {"dense_output": True},
    ],
    ids=lambda options: next(iter(options)),
)
def test_only_the_end_has_this_gradient(options):
    with pytest.raises(ValueError, match=f"it does not go with {next(iter(options))}="):
        neuralode.solve(lambda t, y: -y, FOREVER, torch.ones(1), gradient="steady", **options)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("gradient", ["discrete", "interpolated"])
def test_other_gradients_need_an_end(gradient, batch):
    with pytest.raises(ValueError, match="must be finite, got"):
        neuralode.solve(lambda t, y: -y, FOREVER, torch.ones(1, 1), gradient=gradient, batch=batch)


@pytest.mark.parametrize("span", [(0.0, math.nan), (math.inf, 0.0), (-math.inf, math.inf)])
@pytest.mark.parametrize("batch", BATCHES)
def test_the_start_is_finite(span, batch):
    with pytest.raises(ValueError, match="must be finite, got"):
        neuralode.solve(lambda t, y: -y, span, torch.ones(1, 1), gradient="steady", batch=batch)


def test_given_steps_need_an_end():
    with pytest.raises(ValueError, match="step= needs a finite end"):
        neuralode.solve(lambda t, y: -y, FOREVER, torch.ones(1), gradient="steady", method="rk4", step=0.1)


@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf])
def test_options_are_checked(name, value):
    with pytest.raises(ValueError, match=f"Steady {name} must be positive and finite"):
        Steady(**{name: value})
