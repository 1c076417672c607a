"""Gradients of every kind, to everything they flow to, against independent references."""

import functools

import pytest
import torch
from torch import nn

import neuralode
from neuralode import Backsolve
from problems.sensitivities import PREY, prey

GRADIENTS = ["direct", "discrete", "checkpointed", "interpolated", "backsolve"]
BATCHES = [None, "lockstep", "independent"]
TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def close(got, want, tol=1e-8):
    torch.testing.assert_close(got, want, rtol=tol, atol=tol)


def tiny_steps(f, y0, t1=1.0, steps=400):
    """y(t1) by 400 classical Runge-Kutta steps under autograd: error about 1e-12 on these fields."""
    h, y = t1 / steps, y0
    for n in range(steps):
        t = torch.full((), n * h, dtype=torch.float64)
        k1 = f(t, y)
        k2 = f(t + h / 2, y + h / 2 * k1)
        k3 = f(t + h / 2, y + h / 2 * k2)
        k4 = f(t + h, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


@pytest.fixture
def y0():
    return torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2).requires_grad_()


@pytest.fixture
def weight():
    return torch.tensor([[0.3, -1.2], [0.9, 0.1]], dtype=torch.float64, requires_grad=True)


def field(t, y, w):
    return torch.tanh(y @ w.T) * torch.cos(t)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("gradient", GRADIENTS)
class TestTargets:
    """Where gradients flow to."""

    def test_args_and_initial_state(self, gradient, batch, y0, weight):
        sol = neuralode.solve(field, (0.0, 1.0), y0, args=(weight,), batch=batch, gradient=gradient, **TIGHT)
        got = torch.autograd.grad((sol.y1**2).sum(), [y0, weight])
        want = torch.autograd.grad(
            (tiny_steps(lambda t, y: field(t, y, weight), y0) ** 2).sum(), [y0, weight]
        )
        for g, w in zip(got, want, strict=True):
            close(g, w)

    def test_outputs_inside_the_span(self, gradient, batch, y0, weight):
        times = torch.tensor([0.0, 0.25, 0.25, 0.8, 1.0], dtype=torch.float64)
        sol = neuralode.solve(
            field, (0.0, 1.0), y0, t_eval=times, args=(weight,), batch=batch, gradient=gradient, **TIGHT
        )
        scale = torch.arange(1.0, 6.0, dtype=torch.float64)[:, None, None]
        got = torch.autograd.grad((scale * sol.y**3).sum() + sol.y1.sum(), [y0, weight])
        parts = [tiny_steps(lambda t, y: field(t, y, weight), y0, t1=t.item()) for t in times]
        loss = sum(s * (p**3).sum() for s, p in zip(scale[:, 0, 0], parts, strict=True)) + parts[-1].sum()
        for g, w in zip(got, torch.autograd.grad(loss, [y0, weight]), strict=True):
            close(g, w, 1e-7)

    def test_module_parameters_and_unused_ones(self, gradient, batch, y0):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2)).double()
        net.spare = nn.Parameter(torch.zeros(3, dtype=torch.float64))
        net[0].bias.requires_grad_(requires_grad=False)

        class Field(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net

            def forward(self, t, y):
                return self.net(y)

        neuralode.solve(Field(), (0.0, 1.0), y0, batch=batch, gradient=gradient, **TIGHT).y1.sum().backward()
        got = {name: p.grad for name, p in net.named_parameters()}
        net.zero_grad()
        tiny_steps(lambda t, y: net(y), y0).sum().backward()
        assert got["0.bias"] is None
        if gradient != "direct":
            close(got["spare"], torch.zeros(3, dtype=torch.float64))
        for name, p in net.named_parameters():
            if p.grad is not None:
                close(got[name], p.grad)

    def test_closed_over_leaf_view_and_computed_tensors(self, gradient, batch, y0, weight):
        made = torch.tanh(weight) * 0.5  # a hypernetwork's output
        row = made[0]  # a view of it, closed over beside it
        scale = torch.exp(weight.sum() * 0.1)

        def f(t, y):
            return scale * torch.tanh(y @ made.T) + row * t + 0.1 * (y @ weight)

        sol = neuralode.solve(f, (0.0, 1.0), y0, batch=batch, gradient=gradient, **TIGHT)
        (got,) = torch.autograd.grad((sol.y1**2).sum(), [weight], retain_graph=True)
        (want,) = torch.autograd.grad((tiny_steps(f, y0) ** 2).sum(), [weight])
        close(got, want)

    def test_times(self, gradient, batch, y0, weight):
        t0 = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
        t1 = torch.tensor(1.1, dtype=torch.float64, requires_grad=True)
        inner = torch.tensor([0.4, 0.9], dtype=torch.float64, requires_grad=True)

        def loss(t0, t1, inner):
            sol = neuralode.solve(
                field, (t0, t1), y0, t_eval=inner, args=(weight,), batch=batch, gradient=gradient, **TIGHT
            )
            return (sol.y**2).sum() + (sol.y1**3).sum()

        got = torch.autograd.grad(loss(t0, t1, inner), [t0, t1, inner])
        eps = 1e-5
        with torch.no_grad():
            close(got[0], (loss(t0 + eps, t1, inner) - loss(t0 - eps, t1, inner)) / (2 * eps), 1e-6)
            close(got[1], (loss(t0, t1 + eps, inner) - loss(t0, t1 - eps, inner)) / (2 * eps), 1e-6)
            for i in range(2):
                shift = eps * torch.eye(2, dtype=torch.float64)[i]
                want = (loss(t0, t1, inner + shift) - loss(t0, t1, inner - shift)) / (2 * eps)
                close(got[2][i], want, 1e-6)

    def test_pytrees(self, gradient, batch, weight):
        state = {"a": torch.ones(3, 2, dtype=torch.float64, requires_grad=True),
                 "b": (torch.full((3,), 0.5, dtype=torch.float64, requires_grad=True),)}  # fmt: skip

        def f(t, y, options):
            return {"a": -y["a"] @ options["w"], "b": (y["b"][0] * y["a"].sum(-1),)}

        sol = neuralode.solve(
            f, (0.0, 1.0), state, args=({"w": weight},), batch=batch, gradient=gradient, **TIGHT
        )
        leaves = [state["a"], state["b"][0], weight]
        got = torch.autograd.grad(sol.y1["b"][0].sum() + sol.y1["a"].sum(), leaves)

        def flat(t, y):
            return torch.cat((-y[:, :2] @ weight, y[:, 2:] * y[:, :2].sum(-1, keepdim=True)), 1)

        end = tiny_steps(flat, torch.cat((state["a"], state["b"][0][:, None]), 1))
        for g, w in zip(got, torch.autograd.grad(end.sum(), leaves), strict=True):
            close(g, w)

    def test_complex_states(self, gradient, batch):
        rate = torch.tensor(-0.3 + 1.5j, dtype=torch.complex128, requires_grad=True)
        y0 = torch.tensor([[1.0 + 0.5j], [0.2 - 1.0j]], dtype=torch.complex128, requires_grad=True)
        sol = neuralode.solve(lambda t, y: rate * y, (0.0, 1.0), y0, batch=batch, gradient=gradient, **TIGHT)
        close(sol.y1, y0 * torch.exp(rate))
        got = torch.autograd.grad(sol.y1.abs().square().sum() + sol.y1.real.sum(), [y0, rate])
        exact = y0 * torch.exp(rate)
        want = torch.autograd.grad(exact.abs().square().sum() + exact.real.sum(), [y0, rate])
        for g, w in zip(got, want, strict=True):
            close(g, w)

    def test_zero_length_span(self, gradient, batch, y0):
        sol = neuralode.solve(
            field, (1.0, 1.0), y0, args=(torch.eye(2).double(),), batch=batch, gradient=gradient
        )
        close(sol.y1, y0)
        close(torch.autograd.grad(sol.y1.sum() + sol.y[0].sum(), y0)[0], torch.full_like(y0, 2.0))


@pytest.mark.parametrize("batch", BATCHES)
def test_discrete_is_the_gradient_of_the_steps_taken(batch, y0, weight):
    """At a loose tolerance too: equal to autograd through the same steps to rounding."""
    results = []
    for gradient in ("direct", "discrete"):
        sol = neuralode.solve(
            field,
            (0.0, 5.0),
            y0,
            t_eval=[0.5, 2.0, 4.9],
            args=(weight,),
            batch=batch,
            gradient=gradient,
            rtol=1e-2,
        )
        results.append(torch.autograd.grad((sol.y**2).sum() + sol.y1.sum(), [y0, weight]))
    # The two sum a step's stages in different orders, and rounding reaches the step sizes.
    for a, b in zip(*results, strict=True):
        close(a, b, 1e-12)


@pytest.mark.parametrize("gradient", [*GRADIENTS, Backsolve(rtol=1e-11, atol=1e-11, norm="full")], ids=str)
def test_reference_sensitivities(gradient):
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    p = torch.tensor([1.5, 1.0, 3.0, 1.0], dtype=torch.float64, requires_grad=True)
    y1 = neuralode.solve(prey, (0.0, 10.0), y0, args=(p,), gradient=gradient, rtol=1e-11, atol=1e-11).y1
    for value, want in zip(y1, PREY, strict=True):
        got = torch.cat(torch.autograd.grad(value, [y0, p], retain_graph=True))
        close(got, torch.tensor(want, dtype=torch.float64), 1e-7)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("gradient", ["direct", "discrete"])
def test_second_derivatives(gradient, batch, y0, weight):
    def outputs(y, w):
        return neuralode.solve(
            field, (0.0, 1.0), y, t_eval=[0.3, 1.0], args=(w,), batch=batch, gradient=gradient, step=0.25
        ).y.sum(0)

    y = y0[:2].detach().requires_grad_()
    assert torch.autograd.gradcheck(outputs, (y, weight))
    assert torch.autograd.gradgradcheck(outputs, (y, weight))


def test_backsolve_refuses_second_derivatives(y0, weight):
    sol = neuralode.solve(field, (0.0, 1.0), y0, args=(weight,), gradient="backsolve")
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(sol.y1.sum(), y0, create_graph=True)


@pytest.mark.parametrize("batch", BATCHES)
def test_torch_func_transforms_see_closed_over_tensors(batch, y0, weight):
    def loss(w):
        return (
            neuralode.solve(lambda t, y: field(t, y, w), (0.0, 1.0), y0.detach(), batch=batch, **TIGHT).y1
            ** 2
        ).sum()

    (want,) = torch.autograd.grad(loss(weight), weight)
    plain = weight.detach()
    close(torch.func.grad(loss)(plain), want, 1e-12)
    close(torch.func.jacrev(loss)(plain), want, 1e-12)
    close(torch.func.jacfwd(loss)(plain), want, 1e-12)
    direction = torch.ones_like(plain)
    close(torch.func.jvp(loss, (plain,), (direction,))[1], want.sum(), 1e-12)
    if batch is None:
        again = torch.func.hessian(loss)(plain)
        double = torch.autograd.functional.hessian(loss, plain)
        close(again, double, 1e-10)


def test_vmap_says_what_to_do(y0):
    with pytest.raises(ValueError, match="batch='independent'"):
        torch.func.vmap(lambda y: neuralode.solve(lambda t, y: -y, (0.0, 1.0), y).y1)(y0.detach())


@pytest.mark.parametrize("method", ["rk4", "dopri5", "vern7", "leapfrog"])
def test_vmap_over_given_steps(method, y0):
    """No value decides there; of a gradient too."""
    rates = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    pair = method == "leapfrog"

    def end(rate, y):
        f = (
            (lambda t, s: (s[1], -rate * s[0]))
            if pair
            else (lambda t, y: -rate * torch.sin(y) + torch.cos(t))
        )
        found = neuralode.solve(f, (0.0, 1.0), (y, y) if pair else y, method=method, step=0.1).y1
        return found[0] if pair else found

    def both(rate, y):
        return end(rate, y), torch.func.grad(lambda r: end(r, y).sum())(rate)

    y = y0.detach()
    got = torch.func.vmap(both)(rates, y)
    want = [
        torch.stack(parts) for parts in zip(*(both(r, x) for r, x in zip(rates, y, strict=True)), strict=True)
    ]
    for g, w in zip(got, want, strict=True):
        close(g, w, 1e-13)


def test_autocast_is_entered_again_in_the_reverse_sweep():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 8))
    y0 = torch.randn(4, 8, requires_grad=True)
    found = {}
    for gradient in ("direct", "discrete"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            sol = neuralode.solve(
                lambda t, y: net(y), (0.0, 1.0), y0, method="rk4", step=0.25, gradient=gradient
            )
        assert sol.y1.dtype == torch.float32
        found[gradient] = torch.autograd.grad(sol.y1.sum(), y0)[0]
    # The same bfloat16 function both times; run in float32 it would differ by about 1e-3.
    close(found["discrete"], found["direct"], 5e-6)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_failed_sample_does_not_disturb_the_others(gradient):
    y0 = torch.tensor([[0.1], [1.0], [0.2]], dtype=torch.float64, requires_grad=True)
    options = {"batch": "independent", "gradient": gradient, "t_eval": [0.5, 2.0], "rtol": 1e-9, "atol": 1e-9}
    sol = neuralode.solve(lambda t, y: y * y, (0.0, 2.0), y0, throw=False, **options)
    assert sol.status.tolist() == [0, neuralode.Status.STEP_TOO_SMALL, 0] and not sol.success
    assert sol.y[1, 1].isnan().all() and not sol.y[0].isnan().any() and sol.y1[1].isnan().all()
    (got,) = torch.autograd.grad(sol.y1[[0, 2]].sum() + sol.y[:, [0, 2]].sum(), y0)
    rest = y0.detach()[[0, 2]].requires_grad_()
    end = rest / (1 - 2 * rest)
    (want,) = torch.autograd.grad(2 * end.sum() + (rest / (1 - 0.5 * rest)).sum(), rest)
    close(got[[0, 2]], want, 1e-6)
    assert got[1] == 0


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("gradient", ["direct", "discrete"])
def test_dense_output_is_differentiable(gradient, batch, y0, weight):
    t = torch.tensor([0.1, 0.77], dtype=torch.float64, requires_grad=True)
    sol = neuralode.solve(
        field, (0.0, 1.0), y0, args=(weight,), batch=batch, gradient=gradient, dense_output=True, **TIGHT
    )
    got = torch.autograd.grad((sol(t) ** 2).sum(), [y0, weight, t])
    ends = [tiny_steps(lambda t, y: field(t, y, weight), y0, t1=x.item()) for x in t]
    want = torch.autograd.grad(sum((end**2).sum() for end in ends), [y0, weight])
    close(got[0], want[0], 1e-6)
    close(got[1], want[1], 1e-6)
    slopes = [2 * (end * field(x, end, weight)).sum() for x, end in zip(t, ends, strict=True)]
    close(got[2], torch.stack(slopes), 1e-5)


def test_backsolve_with_dense_output_is_refused(y0):
    with pytest.raises(ValueError, match="dense_output"):
        neuralode.solve(lambda t, y: -y, (0.0, 1.0), y0, gradient="backsolve", dense_output=True)


def test_random_fields_are_refused(y0):
    drop = nn.Dropout(0.5)
    with pytest.raises(ValueError, match="f is random"):
        neuralode.solve(lambda t, y: drop(y), (0.0, 1.0), y0)


def test_a_capture_that_only_later_times_use_is_an_error_not_a_loss(y0, weight):
    def f(t, y):
        return -y if t < 0.5 else -(y @ weight)

    sol = neuralode.solve(f, (0.0, 1.0), y0, step=0.25, method="rk4")
    with pytest.raises(RuntimeError, match="later time"):
        sol.y1.sum().backward()


def test_captures_changed_in_place_before_backward_are_noticed(y0, weight):
    sol = neuralode.solve(field, (0.0, 1.0), y0, args=(weight,))
    with torch.no_grad():
        weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        sol.y1.sum().backward()


def test_partial_bound_methods_and_weight_norm(y0):
    torch.manual_seed(0)
    layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 2).double())

    def f(scale, t, y):
        return torch.tanh(layer(y)) * scale

    neuralode.solve(functools.partial(f, 0.5), (0.0, 1.0), y0, **TIGHT).y1.sum().backward()
    got = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    tiny_steps(functools.partial(f, 0.5), y0).sum().backward()
    for g, p in zip(got, layer.parameters(), strict=True):
        close(g, p.grad)


def test_backsolve_warns_of_drift():
    """Contracting dynamics: integrated backward the path leaves the one that was solved (the paper's section 6)."""
    k = torch.tensor(20.0, dtype=torch.float64, requires_grad=True)
    y0 = torch.ones(1, dtype=torch.float64)
    sol = neuralode.solve(lambda t, y: -k * y, (0.0, 2.0), y0, gradient="backsolve", rtol=1e-3, atol=1e-3)
    with pytest.warns(neuralode.SolverWarning, match="misses the stored state"):
        sol.y1.sum().backward()
