"""A solve that is repeated goes a shorter way, to the same result, and to the same errors."""

import pytest
import torch
from torch import nn

from fused.fields import D, Spiral, lotka_volterra, states, van_der_pol
from neuralode import Solver, SolverError, methods, solve
from neuralode.fused import again, empty_cache, known


@pytest.fixture
def long_ways(monkeypatch):
    """How many solves went the long way."""
    from neuralode import backends

    count = []
    real = backends.solve_fused
    monkeypatch.setattr(backends, "solve_fused", lambda *args: count.append(1) or real(*args))
    return count


def assert_same(a, b) -> None:
    for name in ("t", "y", "y1", "nfev", "accepted", "rejected", "njev", "status", "evaluations"):
        x, y = getattr(a, name), getattr(b, name)
        assert type(x) is type(y), name
        torch.testing.assert_close(x, y, rtol=0, atol=0, msg=name)
    assert (a.success, a.message, a.report) == (b.success, b.message, b.report)


TIMES = torch.linspace(0, 2, 5, dtype=D)
CASES = [
    (lotka_volterra, states(1, 2)[0], {}),
    (lotka_volterra, states(1, 2)[0], {"t_eval": TIMES}),
    (lotka_volterra, states(7, 2), {"batch": "independent", "t_eval": [0.0, 0.5, 2.0]}),
    (lotka_volterra, states(7, 2), {"batch": "lockstep", "t_eval": TIMES}),
    (van_der_pol, states(7, 2), {"batch": "independent", "args": (torch.linspace(1, 5, 7, dtype=D),)}),
    (lotka_volterra, states(7, 2), {"batch": "independent", "method": "rk4", "step": 0.1}),
]


@pytest.mark.parametrize(("f", "y0", "options"), CASES)
def test_the_same_to_the_last_bit(f, y0, options, long_ways):
    known.TABLES.clear()
    runs = [solve(f, (0.0, 2.0), y0, backend="fused", **options) for _ in range(4)]
    for run in runs[1:]:
        assert_same(run, runs[0])
    assert len(long_ways) == 3  # the first, and two with a comparison due
    other = solve(f, (0.0, 2.0), 1.1 * y0, backend="fused", **options)
    assert_same(other, solve(f, (0.0, 2.0), 1.1 * y0, backend="fused", **{"max_steps": 99_999, **options}))


def test_times_are_compared_by_value():
    times = torch.tensor([0.5, 1.0], dtype=D)
    shared = times.numpy()
    runs = [
        solve(lotka_volterra, (0.0, 2.0), states(1, 2)[0], t_eval=times, backend="fused") for _ in range(4)
    ]
    shared[1] = 2.0
    moved = solve(lotka_volterra, (0.0, 2.0), states(1, 2)[0], t_eval=times, backend="fused")
    assert torch.equal(moved.y[1], moved.y1)
    assert not torch.equal(runs[-1].y[1], moved.y[1])
    with pytest.raises(ValueError, match="out of order"):
        solve(lotka_volterra, (0.0, 2.0), states(1, 2)[0], t_eval=times.flip(0), backend="fused")
    with pytest.raises(ValueError, match="t_span"):
        solve(lotka_volterra, (0.0, float("nan")), states(1, 2)[0], t_eval=times, backend="fused")


def test_steps_that_are_a_tensor_are_read_anew():
    step = torch.tensor(0.5, dtype=D)
    solver = Solver(method="rk4", step=step, backend="fused")
    y0 = states(1, 2)[0]
    for _ in range(4):
        assert solver.solve(lotka_volterra, (0.0, 2.0), y0).accepted == 4
    step.fill_(0.25)
    assert solver.solve(lotka_volterra, (0.0, 2.0), y0).accepted == 8


def test_what_goes_wrong_is_said_as_ever():
    def f(t, y):
        return y * y

    y0 = torch.full((3, 1), 0.1, dtype=D)
    options = {"batch": "independent", "backend": "fused"}
    for _ in range(4):
        solve(f, (0.0, 2.0), y0, **options)
    with pytest.raises(SolverError, match="sample 1"):
        solve(f, (0.0, 2.0), torch.tensor([[0.1], [1.0], [0.1]], dtype=D), **options)
    told = solve(f, (0.0, 2.0), torch.ones(3, 1, dtype=D), throw=False, **options)
    assert not told.success
    with pytest.raises(ValueError, match="NaN"):
        solve(f, (0.0, 2.0), torch.tensor([[0.1], [torch.nan], [0.1]], dtype=D), **options)


@pytest.mark.parametrize("batch", ["independent", "lockstep", None])
def test_gradients(batch, long_ways):
    f = Spiral(5)
    found = []
    for _ in range(4):
        y0 = (states(6, 2) if batch else states(1, 2)[0]).requires_grad_()
        solution = solve(f, (0.0, 2.0), y0, batch=batch, t_eval=TIMES, backend="fused")
        assert solution.nfev_backward == 0
        grads = torch.autograd.grad(solution.y.square().sum(), (y0, *f.parameters()))
        found.append((solution.nfev_backward, grads))
    assert len(long_ways) == 3
    for count, grads in found:
        assert count == found[0][0]
        for a, b in zip(grads, found[0][1], strict=True):
            assert torch.equal(a, b)
    with torch.no_grad():
        assert not solve(f, (0.0, 2.0), y0, batch=batch, t_eval=TIMES, backend="fused").y.requires_grad
    for parameter in f.parameters():
        parameter.requires_grad_(False)
    solution = solve(f, (0.0, 2.0), y0.detach(), batch=batch, t_eval=TIMES, backend="fused")
    assert not solution.y.requires_grad


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dopri5", "bosh3", "vern7", "dop853", "heun", "rk4"])
def test_evaluations_of_the_backward_pass_are_eagers(method):
    adaptive = next(m for m in methods() if m.name == method).adaptive
    settings = {} if adaptive else {"step": 0.1}
    for batch in (None, "lockstep"):
        y0 = (states(4, 2) if batch else states(1, 2)[0]).requires_grad_()
        counts = []
        for backend in ("eager", "fused"):
            solution = solve(
                lotka_volterra,
                (0.0, 2.0),
                y0,
                method=method,
                batch=batch,
                t_eval=TIMES,
                backend=backend,
                **settings,
            )
            solution.y.sum().backward()
            counts.append(solution.nfev_backward)
        assert counts[0] == counts[1]


def test_modes_and_settings_send_a_solve_the_long_way():
    f, y0 = Spiral(5), states(6, 2)
    solver = Solver(batch="independent", backend="fused")
    with torch.no_grad():
        for _ in range(6):
            solver.solve(f, (0.0, 1.0), y0)
        assert again(solver, f, (0.0, 1.0), y0, None, ()) is not None
        assert again(solver.using(rtol=1e-5), f, (0.0, 1.0), y0, None, ()) is None
        assert again(solver, f, (0.0, 1.5), y0, None, ()) is None
        assert again(solver, f, (0.0, 1.0), y0.float(), None, ()) is None
        assert again(solver, f, (0.0, 1.0), y0[:5], None, ()) is None
        assert again(solver, f.forward, (0.0, 1.0), y0, None, ()) is None
        with torch.autocast("cpu"):
            assert again(solver, f, (0.0, 1.0), y0, None, ()) is None
    assert again(solver, f, (0.0, 1.0), y0, None, ()) is None  # now the parameters want gradients


def test_a_parameter_as_the_state():
    y0 = nn.Parameter(states(3, 2))
    for _ in range(4):
        solution = solve(lotka_volterra, (0.0, 1.0), y0, batch="independent", backend="fused")
        (grad,) = torch.autograd.grad(solution.y.sum(), y0)
        assert torch.isfinite(grad).all()


def test_memory_of_the_steps_is_given_back():
    y0 = states(40, 2).requires_grad_()
    solve(lotka_volterra, (0.0, 2.0), y0, batch="independent", backend="fused").y1.sum().backward()
    assert empty_cache() >= 2**16
    assert empty_cache() == 0
    solve(lotka_volterra, (0.0, 2.0), y0, batch="independent", backend="fused").y1.sum().backward()
