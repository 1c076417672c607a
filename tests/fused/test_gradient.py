"""Gradients of the fused solve are those of the eager one."""

import pytest
import torch

from fused.fields import D, Deep, Spiral, lotka_volterra, states, van_der_pol
from neuralode import Fused, methods, solve
from neuralode.fused import empty_cache

EXPLICIT = [m.name for m in methods() if m.tableau is not None]
EXACT = 1e-12  # relative, of the norm; the same steps differ by rounding alone


def gradients(f, span, y0, wanted, backend, **options):
    y0 = y0.clone().requires_grad_()
    solution = solve(f, span, y0, backend=backend, **options)
    weights = torch.linspace(1, 2, solution.y.numel(), dtype=y0.dtype).reshape(solution.y.shape)
    loss = (solution.y * weights).sum() + (solution.y1**2).sum()
    return torch.autograd.grad(loss, (y0, *wanted))


def assert_same_gradients(f, span, y0, wanted, bound=EXACT, **options):
    eager = gradients(f, span, y0, wanted, "eager", **options)
    fused = gradients(f, span, y0, wanted, "fused", **options)
    for a, b in zip(eager, fused, strict=True):
        assert (a - b).norm() <= bound * a.norm(), (a, b)


@pytest.mark.parametrize("batch", ["independent", "lockstep", None])
def test_smoke_spiral(batch):
    f = Spiral()
    y0 = states(20, 2) if batch else states(1, 2)[0]
    times = torch.linspace(0, 3, 7, dtype=D)
    assert_same_gradients(f, (0.0, 3.0), y0, tuple(f.parameters()), t_eval=times, batch=batch)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep"])
@pytest.mark.parametrize("method", EXPLICIT)
def test_every_explicit_method(method, batch):
    found = next(m for m in methods() if m.name == method)
    settings = {} if found.adaptive else {"step": 0.1}
    # Estimates of high order come down to rounding, and the step sizes with them: y differs by 4e-13.
    bound = 1e-11 if found.order >= 6 else EXACT
    times = torch.linspace(0, 2, 7, dtype=D)
    f = Spiral(4)
    options = {"method": method, "t_eval": times, "batch": batch, **settings}
    assert_same_gradients(f, (0.0, 2.0), states(9, 2), tuple(f.parameters()), bound, **options)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep"])
def test_arguments_of_each_sample_and_of_all(batch):
    mu = torch.linspace(1, 5, 20, dtype=D).requires_grad_()
    assert_same_gradients(van_der_pol, (0.0, 2.0), states(20, 2), (mu,), args=(mu,), batch=batch)
    matrix = torch.randn(2, 5, dtype=D, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def twice(t, y, w):
        return torch.tanh(y @ w) @ w.T - torch.nn.functional.softplus(y)

    assert_same_gradients(twice, (0.0, 1.0), states(20, 2), (matrix,), args=(matrix,), batch=batch)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep"])
def test_tolerances_of_each_entry(batch):
    mu = torch.linspace(1, 5, 20, dtype=D).requires_grad_()
    atol = torch.logspace(-7, -4, 20, dtype=D)[:, None]
    assert_same_gradients(van_der_pol, (0.0, 2.0), states(20, 2), (mu,), args=(mu,), batch=batch, atol=atol)


@pytest.mark.slow
def test_closed_over_tensors_and_what_is_computed_of_them():
    rate = torch.tensor([1.0, 0.5], dtype=D, requires_grad=True)
    derived = rate.exp() * 0.1

    def f(t, y):
        normal = rate / rate.norm()
        return lotka_volterra(t, y) * normal[0] + derived * torch.sin(t)

    y0 = states(5, 2)
    found = []
    for backend in ("eager", "fused"):
        solution = solve(f, (0.0, 1.0), y0, batch="independent", backend=backend)
        found.append(torch.autograd.grad(solution.y1.sum(), rate, retain_graph=True)[0])
    torch.testing.assert_close(found[1], found[0], rtol=EXACT, atol=EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep", None])
def test_times(batch):
    y0 = states(3, 2) if batch else states(1, 2)[0]
    found = []
    for backend in ("eager", "fused"):
        t1 = torch.tensor(1.0, dtype=D, requires_grad=True)
        t0 = torch.tensor(0.1, dtype=D, requires_grad=True)
        solution = solve(lotka_volterra, (t0, t1), y0, batch=batch, backend=backend)
        found.append(torch.stack(torch.autograd.grad(solution.y1.sum(), (t0, t1))))
    torch.testing.assert_close(found[1], found[0], rtol=EXACT, atol=EXACT)


@pytest.mark.slow
def test_training_builds_once(monkeypatch):
    from neuralode.fused import field

    f = Spiral(6)
    optimizer = torch.optim.SGD(f.parameters(), 0.1)
    losses = []
    for step in range(3):
        if step:
            monkeypatch.setattr(field, "trace", lambda *_: pytest.fail("traced again"))
        solution = solve(f, (0.0, 1.0), states(4, 2), batch="independent", backend="fused")
        loss = (solution.y1**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.slow
def test_second_derivatives_are_refused():
    y0 = states(2, 2).requires_grad_()
    solution = solve(lotka_volterra, (0.0, 1.0), y0, batch="independent", backend="fused")
    with pytest.raises(NotImplementedError, match="create_graph"):
        torch.autograd.grad(solution.y1.sum(), y0, create_graph=True)


def kept(memory, f, y0, inputs, **options):
    y0 = y0.clone().requires_grad_()
    times = torch.linspace(0, 3, 7, dtype=D)
    backend = Fused(memory=memory)
    options = {"batch": "independent", **options}
    solution = solve(f, (0.0, 3.0), y0, t_eval=times, backend=backend, **options)
    return torch.autograd.grad((solution.y**2).sum() + solution.y1.sum(), (y0, *inputs))


CASES = {
    "dopri5": {},
    "rk4": {"step": 0.05},
    "dopri5 given steps": {"method": "dopri5", "step": 0.05},
    "vern7": {},
    "bosh3": {"controller": "i"},
    "dopri5 lockstep": {"batch": "lockstep"},
    "rk4 lockstep": {"batch": "lockstep", "step": 0.05},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_little_memory_gives_the_same_bits(case, dtype):
    options = {"method": case.split()[0], **CASES[case]}
    f = Spiral(5, dtype)
    arguments = f, states(45, 2, dtype=dtype), tuple(f.parameters())
    want = kept(2**31, *arguments, **options)
    for memory in (0, 20_000):
        for a, b in zip(want, kept(memory, *arguments, **options), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("batch", ["independent", "lockstep"])
def test_what_is_held_and_what_is_evaluated_again_give_the_same_bits(batch):
    """Rejected steps and samples that end early among them; 500 kB hold the first steps, until all are let go."""
    f, y0, found, bytes_kept = Deep(), states(45, 2) * 3, [], []
    for memory in (2**31, 500_000, 0):
        empty_cache()
        found.append(kept(memory, f, y0, tuple(f.parameters()), batch=batch, rtol=1e-6, atol=1e-6))
        bytes_kept.append(empty_cache())
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)
    assert bytes_kept[0] > 4 * bytes_kept[2], "nothing was held"


class Mixed(torch.nn.Module):
    """Products of weights with the time alone, with every second entry, and with an argument of each sample."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.of_time, self.of_some = torch.nn.Linear(1, 20, dtype=D), torch.nn.Linear(2, 20, dtype=D)
        self.of_args, self.last = (torch.nn.Linear(m, n, dtype=D) for m, n in ((3, 20), (20, 4)))

    def forward(self, t, y, a):
        t = torch.atleast_1d(t)
        return self.last(torch.tanh(self.of_time(t) + self.of_some(y[..., ::2]) + self.of_args(a))) * t


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep"])
def test_products_with_what_lies_apart(batch):
    f = Mixed()
    a = states(19, 3, seed=1).requires_grad_()
    assert_same_gradients(f, (0.2, 2.0), states(19, 4), (a, *f.parameters()), args=(a,), batch=batch)


def test_little_memory_with_arguments_of_each_sample():
    mu = torch.linspace(1, 5, 70, dtype=D).requires_grad_()
    found = [kept(memory, van_der_pol, states(70, 2), (mu,), args=(mu,)) for memory in (2**31, 0)]
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="memory"):
        Fused(memory=-1)


@pytest.mark.slow
def test_gradients_are_the_same_every_time():
    f, y0, found = Spiral(5), states(300, 2), []
    threads = torch.get_num_threads()
    try:
        for count in (2, 2, 1):
            torch.set_num_threads(count)
            found.append(kept(2**31, f, y0, tuple(f.parameters())))
    finally:
        torch.set_num_threads(threads)
    for a, b, c in zip(*found, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=EXACT, atol=EXACT)
    assert torch.equal(found[0][0], found[2][0])
