"""The fused solve takes the steps of the eager loop, and a sample is not touched by its neighbours."""

import pytest
import torch

from fused.fields import (
    ROUNDING,
    D,
    Spiral,
    assert_same_steps,
    blow_up,
    lorenz,
    lotka_volterra,
    states,
    van_der_pol,
)
from neuralode import Fused, SolverError, methods, solve
from neuralode.fused import UnsupportedError

EXPLICIT = [m for m in methods() if m.tableau is not None]
# The estimates of methods of order 8 come down to rounding here, which then sets the step sizes.
ROUGH = 1e-5


def both(f, span, y0, **options):
    """The eager and the fused solution."""
    with torch.no_grad():
        return tuple(solve(f, span, y0, backend=backend, **options) for backend in ("eager", "fused"))


def test_smoke_van_der_pol():
    mu = torch.linspace(1, 10, 40, dtype=D)
    options = {
        "args": (mu,),
        "batch": "independent",
        "rtol": 1e-6,
        "atol": 1e-6,
        "t_eval": torch.linspace(0, 5, 11),
    }
    a, b = both(van_der_pol, (0.0, 5.0), states(40, 2), **options)
    assert_same_steps(a, b)
    assert b.report == {"backend": "fused"}
    with torch.no_grad():
        alone = [
            solve(
                van_der_pol,
                (0.0, 5.0),
                states(40, 2)[i : i + 1],
                backend="fused",
                **{**options, "args": (mu[i : i + 1],)},
            )
            for i in (0, 17, 39)
        ]
        order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
        mixed = solve(
            van_der_pol,
            (0.0, 5.0),
            states(40, 2)[order],
            backend="fused",
            **{**options, "args": (mu[order],)},
        )
    for i, solution in zip((0, 17, 39), alone, strict=True):
        assert torch.equal(solution.y[:, 0], b.y[:, i])
    assert torch.equal(mixed.y, b.y[:, order])


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep"])
@pytest.mark.parametrize("norm", ["rms", "max"])
@pytest.mark.parametrize("controller", ["pi", "i", "pid"])
@pytest.mark.parametrize(
    ("f", "size", "args", "span"),
    [
        (lotka_volterra, 2, (), (0.0, 10.0)),
        (van_der_pol, 2, (torch.linspace(1, 10, 33, dtype=D),), (0.0, 5.0)),
        (lorenz, 3, (torch.linspace(0, 28, 33, dtype=D),), (0.0, 2.0)),
        (Spiral(), 2, (), (0.0, 10.0)),
        (Spiral(), 2, (), (3.0, 0.0)),
    ],
)
def test_same_steps(f, size, args, span, controller, norm, batch):
    options = {"args": args, "batch": batch, "controller": controller, "norm": norm}
    a, b = both(
        f, span, states(33, size), rtol=1e-6, atol=1e-6, t_eval=torch.linspace(*span, 7, dtype=D), **options
    )
    assert_same_steps(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep", None])
@pytest.mark.parametrize("method", EXPLICIT, ids=lambda m: m.name)
def test_every_explicit_method(method, batch):
    settings = {"rtol": 1e-6, "atol": 1e-8} if method.adaptive else {"step": 0.1}
    times = torch.linspace(0, 3, 8, dtype=D)
    y0 = states(9, 2) if batch else states(1, 2)[0]
    a, b = both(lotka_volterra, (0.0, 3.0), y0, method=method.name, batch=batch, t_eval=times, **settings)
    assert_same_steps(a, b, ROUGH if method.order >= 8 else ROUNDING)


@pytest.mark.slow
def test_spans_and_outputs_of_each_sample():
    ends = torch.linspace(0.0, 4.0, 21, dtype=D)
    times = torch.linspace(0, 1, 6, dtype=D) * ends[:, None]
    a, b = both(lotka_volterra, (0.0, ends), states(21, 2), batch="independent", t_eval=times)
    assert_same_steps(a, b)
    grid = {"step": 0.07, "method": "rk4", "batch": "independent"}
    assert_same_steps(*both(lotka_volterra, (0.0, ends), states(21, 2), t_eval=times, **grid))


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["rms", "max"])
@pytest.mark.parametrize("batch", ["independent", "lockstep", None])
def test_tolerances_of_each_entry(batch, norm):
    spread = torch.rand(20, 2, dtype=D, generator=torch.Generator().manual_seed(3))
    rtol, atol = 10 ** (-3 - 3 * spread), 10 ** (-4 - 4 * spread[0])
    y0 = states(20, 2) if batch else states(1, 2)[0]
    for levels in ({"rtol": rtol if batch else 1e-5, "atol": atol}, {"rtol": rtol[0], "atol": 1e-6}):
        assert_same_steps(*both(lotka_volterra, (0.0, 2.0), y0, batch=batch, norm=norm, **levels))


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep"])
def test_one_thread_is_two_threads(batch):
    f, found = Spiral(60), []  # wide enough for threads to share a step in lockstep
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with torch.no_grad():
                found.append(solve(f, (0.0, 1.0), states(3000, 2), batch=batch, backend="fused").y)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


@pytest.mark.slow
def test_a_sample_that_fails_stops_alone():
    rate = torch.tensor([1.0, 0.1, torch.nan, 0.2], dtype=D)
    options = {"args": (rate,), "batch": "independent", "throw": False, "t_eval": [0.5, 2.0]}
    a, b = both(blow_up, (0.0, 2.0), torch.ones(4, 1, dtype=D), **options)
    assert a.status.tolist() == b.status.tolist()
    torch.testing.assert_close(b.y[:, [1, 3]], a.y[:, [1, 3]])
    assert b.y1[[0, 2]].isnan().all()
    with pytest.raises(SolverError, match="sample 0"):
        solve(blow_up, (0.0, 2.0), torch.ones(4, 1, dtype=D), **{**options, "throw": True}, backend="fused")
    few = solve(
        blow_up,
        (0.0, 0.5),
        torch.ones(4, 1, dtype=D),
        **{**options, "t_eval": None},
        max_steps=2,
        backend="fused",
    )
    eager = solve(blow_up, (0.0, 0.5), torch.ones(4, 1, dtype=D), **{**options, "t_eval": None}, max_steps=2)
    assert few.status.tolist() == eager.status.tolist()


def mixes(t, y):
    return y - y.mean(0)


def sorts(t, y):
    return y.sort(-1).values


def branches(t, y):
    return y if y.sum() > 0 else -y


@pytest.mark.parametrize(("f", "words"), [(mixes, "mixes samples"), (sorts, "sort"), (branches, "traced")])
def test_what_cannot_be_fused_is_named(f, words):
    y0 = states(5, 2)
    with pytest.raises(UnsupportedError, match=words):
        solve(f, (0.0, 1.0), y0, batch="independent", backend="fused")
    for backend in ("auto", Fused(fallback=True)):
        solution = solve(f, (0.0, 1.0), y0, batch="independent", backend=backend)
        assert solution.report["backend"] == "eager"
        assert words in solution.report["not fused"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "kvaerno5"}, "explicit"),
        ({"gradient": "backsolve"}, "discrete"),
        ({"events": lambda t, y: y[..., 0]}, "events"),
    ],
)
def test_settings_that_are_refused(options, words):
    with pytest.raises(UnsupportedError, match=words):
        solve(
            lotka_volterra, (0.0, 1.0), states(2, 2), backend="fused", **{"batch": "independent", **options}
        )


def test_a_change_of_what_f_closes_over_is_seen():
    class Scaled(torch.nn.Module):
        factor = 1.0
        weight = torch.nn.Parameter(torch.ones(1, dtype=D))

        def forward(self, t, y):
            return -self.factor * self.weight * y

    f = Scaled()
    y0 = torch.ones(2, 1, dtype=D)

    def end() -> float:
        solution = solve(f, (0.0, 1.0), y0, rtol=1e-9, atol=1e-9, batch="independent", backend="fused")
        return float(solution.y1[0].detach().log())

    assert end() == pytest.approx(-1.0, rel=1e-6)
    with torch.no_grad():
        f.weight.mul_(2.0)
    assert end() == pytest.approx(-2.0, rel=1e-6)
    f.factor = 0.25
    assert end() == pytest.approx(-0.5, rel=1e-6)
