"""compact=True: samples that have ended leave the calls of f; nothing else changes."""

import dataclasses
import math

import pytest
import torch

import neuralode
from neuralode import Event
from neuralode.layout import take_rows

COUNTS = ("nfev", "njev", "accepted", "rejected", "status")


def van_der_pol(t, y, mu):
    return torch.stack((y[..., 1], mu * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]), -1)


def batch(samples, last=1.4771):
    """Parameters from 0.1 to 10^last, and starts."""
    mu = torch.logspace(-1, last, samples, dtype=torch.float64)
    return mu, torch.tensor([2.0, 0.0], dtype=torch.float64).repeat(samples, 1)


def both(f, span, y0, **options):
    return [
        neuralode.solve(f, span, y0, batch="independent", compact=compact, **options)
        for compact in (False, True)
    ]


@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
def test_the_work_is_the_sum(method):
    """van der Pol, mu from 0.1 to 30: a sample's evaluations differ by a factor of ten and more."""
    mu, y0 = batch(32)
    with torch.no_grad():
        full, compact = both(van_der_pol, (0.0, 10.0), y0, args=(mu,), method=method, rtol=1e-5, atol=1e-7)
    total = int(compact.nfev.sum())
    assert total <= compact.evaluations <= 1.1 * total < full.evaluations
    assert torch.equal(full.y1, compact.y1)
    assert all(torch.equal(getattr(full, name), getattr(compact, name)) for name in COUNTS)
    for b in (0, 17, 31):
        with torch.no_grad():
            alone, _ = both(
                van_der_pol,
                (0.0, 10.0),
                y0[b : b + 1],
                args=(mu[b : b + 1],),
                method=method,
                rtol=1e-5,
                atol=1e-7,
            )
        assert torch.equal(alone.y1[0], compact.y1[b]) and int(alone.nfev) == int(compact.nfev[b])


CASES = {
    "outputs": {"t_eval": torch.linspace(0, 5, 9, dtype=torch.float64)},
    "steps": {"t_eval": "steps"},
    "dense": {"dense_output": True},
    "atol": {"atol": torch.logspace(-7, -3, 9, dtype=torch.float64)[:, None]},
    "pid": {"controller": "pid"},
    "predictive": {"controller": "predictive"},
    "fixed": {"step": 0.02},
    "spans": {"t_span": (0.0, torch.linspace(1, 5, 9, dtype=torch.float64))},
    "backward in time": {"t_span": (0.0, -torch.linspace(0.1, 0.6, 9, dtype=torch.float64))},
    "one already at the end": {"t_span": (0.0, torch.linspace(0, 5, 9, dtype=torch.float64))},
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_else_changes(case):
    mu, y0 = batch(9, 0.7)
    options = {"t_span": (0.0, 5.0), "rtol": 1e-5, **CASES[case]}
    with torch.no_grad():
        full, compact = both(van_der_pol, options.pop("t_span"), y0, args=(mu,), **options)
    assert compact.evaluations <= full.evaluations or case == "fixed"
    for name in ("t", "y", "y1"):
        torch.testing.assert_close(
            getattr(full, name), getattr(compact, name), rtol=0, atol=0, equal_nan=True
        )
    assert all(torch.equal(getattr(full, name), getattr(compact, name)) for name in COUNTS)
    if case == "dense":
        times = torch.linspace(0, 5, 33, dtype=torch.float64)
        assert torch.equal(full(times), compact(times))


IMPLICIT = [m.name for m in neuralode.methods() if m.adaptive and m.retake is not None]


@pytest.mark.parametrize("method", IMPLICIT[:3])
def test_what_a_method_hands_from_trial_to_trial_follows(method):
    mu, y0 = batch(7, 1.0)
    with torch.no_grad():
        full, compact = both(van_der_pol, (0.0, 3.0), y0, args=(mu,), method=method, rtol=1e-4)
    assert compact.evaluations < full.evaluations
    torch.testing.assert_close(full.y1, compact.y1, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(getattr(full, name), getattr(compact, name)) for name in COUNTS)


SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in ("bdf", "auto")]


@pytest.mark.parametrize("method", ["kvaerno3", "rodas4", "radau5", *SLOW])
def test_products_with_a_jacobian_follow(method):
    """300 unknowns a row, no matrix: the field and the state behind J v are cut with the batch."""
    n, k = 300, torch.logspace(-1, 1.3, 6, dtype=torch.float64)[:, None]
    y0 = torch.sin(math.pi * torch.arange(1, n + 1, dtype=torch.float64) / (n + 1)).repeat(6, 1)
    y0[:, :100] += 0.3

    def f(t, y, k):
        wide = torch.nn.functional.pad(y, (1, 1))
        return k * (wide[:, 2:] - 2 * y + wide[:, :-2]) - y**3

    with torch.no_grad():
        full, compact = both(
            f, (0.0, torch.linspace(0.3, 3, 6, dtype=torch.float64)), y0, args=(k,), method=method, rtol=1e-4
        )
    assert compact.evaluations < full.evaluations
    torch.testing.assert_close(full.y1, compact.y1, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(getattr(full, name), getattr(compact, name)) for name in COUNTS)


@pytest.mark.parametrize("gradient", ["direct", "discrete", "checkpointed", "interpolated", "backsolve"])
@pytest.mark.parametrize("dense_output", [False, True])
def test_gradients_are_the_same(gradient, dense_output):
    if gradient in ("interpolated", "backsolve") and dense_output:
        pytest.skip("has none")
    times = torch.linspace(0, 2, 5, dtype=torch.float64)
    found = []
    for compact in (False, True):
        mu, y0 = (x.requires_grad_() for x in batch(6, 0.5))
        sol = neuralode.solve(
            van_der_pol, (0.0, 2.0), y0, args=(mu,), t_eval=times, batch="independent", gradient=gradient,
            dense_output=dense_output, compact=compact,
        )  # fmt: skip
        loss = (sol.y * torch.arange(5.0)[:, None, None]).sum() + sol.y1.square().sum()
        if dense_output:
            loss = loss + sol(times + 1e-3 * (1 - times)).square().sum()
        found.append((sol.evaluations, *torch.autograd.grad(loss, [y0, mu])))
    assert found[1][0] < found[0][0]
    # The same steps, summed in the same order.
    torch.testing.assert_close(found[0][1:], found[1][1:], rtol=1e-13, atol=1e-13)


def test_samples_that_fail_leave_too():
    def f(t, y, c):
        return torch.where(t > 0.5, torch.where(c > 0, torch.nan, -y), -y)

    y0 = torch.ones(4, 2, dtype=torch.float64)
    c = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)[:, None]
    with torch.no_grad():
        full, compact = both(f, (0.0, 20.0), y0, args=(c,), throw=False, rtol=1e-8)
    assert compact.status.tolist() == [0, neuralode.Status.NONFINITE] * 2
    assert torch.equal(full.status, compact.status) and torch.equal(full.y1[::2], compact.y1[::2])
    assert compact.y1[1::2].isnan().all() and compact.evaluations < full.evaluations


def test_terminal_events():
    """Each sample falls from its own height and stops on the ground."""
    height = torch.linspace(1, 20, 8, dtype=torch.float64)
    y0 = torch.stack((height, torch.zeros(8, dtype=torch.float64)), 1)
    ground = Event(lambda t, y, g: y[:, 0], terminal=True)

    def fall(t, y, g):
        return torch.stack((y[:, 1], -g), 1)

    with torch.no_grad():
        full, compact = both(
            fall, (0.0, 10.0), y0, args=(9.81 * torch.ones(8).double(),), events=ground, max_step=0.1
        )
    assert torch.equal(full.t_events[0], compact.t_events[0]) and torch.equal(full.y1, compact.y1)
    torch.testing.assert_close(compact.t_events[0][0], (2 * height / 9.81).sqrt())
    assert compact.evaluations < full.evaluations


@dataclasses.dataclass
class Parameters:
    mu: torch.Tensor
    shared: torch.Tensor
    name: str = "mu"


def test_arguments_follow_in_any_structure():
    mu, y0 = batch(5, 0.7)
    args = (Parameters(mu, torch.ones(2, dtype=torch.float64)), {"scale": torch.tensor(1.0).double(), "n": 3})

    def f(t, y, parameters, more):
        return van_der_pol(t, y * parameters.shared, parameters.mu) * more["scale"]

    with torch.no_grad():
        full, compact = both(f, (0.0, 5.0), y0, args=args)
    assert torch.equal(full.y1, compact.y1) and compact.evaluations < full.evaluations


def test_take_rows():
    keep = torch.tensor([0, 2])
    tree = {"a": (torch.arange(3), torch.arange(2), torch.tensor(1.0), None), "b": [torch.eye(3), 1.0]}
    cut = take_rows(tree, keep, 3)
    assert cut["a"][0].tolist() == [0, 2] and cut["a"][1:3] == tree["a"][1:3] and cut["a"][3] is None
    assert torch.equal(cut["b"][0], torch.eye(3)[keep]) and cut["b"][1] == 1.0


def test_a_pytree_state():
    mu, y0 = batch(5, 0.7)

    def f(t, y, mu):
        x, v = y["x"], y["v"]
        return {"x": v, "v": mu[:, None] * (1 - x**2) * v - x}

    state = {"x": y0[:, :1], "v": y0[:, 1:]}
    with torch.no_grad():
        full, compact = both(
            f, (0.0, 5.0), state, args=(mu,), atol={"x": 1e-6, "v": torch.full((5, 1), 1e-5)}
        )
    assert torch.equal(full.y1["v"], compact.y1["v"]) and compact.evaluations < full.evaluations


def test_closed_over_rows_are_named():
    mu, y0 = batch(6, 1.0)
    with pytest.raises(ValueError, match=r"must be in args, not closed over"), torch.no_grad():
        neuralode.solve(lambda t, y: van_der_pol(t, y, mu), (0.0, 5.0), y0, batch="independent", compact=True)


def test_an_f_that_mixes_samples_is_refused():
    mu, y0 = batch(6, 1.0)

    def mixing(t, y, mu):
        return van_der_pol(t, y, mu) - 0.1 * y.mean(0)

    with (
        pytest.raises(ValueError, match="another function without the samples that have ended"),
        torch.no_grad(),
    ):
        neuralode.solve(mixing, (0.0, 5.0), y0, args=(mu,), batch="independent", compact=True)


@pytest.mark.parametrize("mode", [None, "lockstep"])
def test_compact_needs_samples_that_step_by_themselves(mode):
    with pytest.raises(ValueError, match=r"compact=True.*needs batch='independent'"):
        neuralode.Solver(batch=mode, compact=True)


def test_rows_are_counted_in_every_mode():
    calls = []

    def f(t, y):
        calls.append(len(y))
        return -y

    for mode, rows in ((None, 1), ("lockstep", 3), ("independent", 3)):
        calls.clear()
        with torch.no_grad():
            sol = neuralode.solve(f, (0.0, 1.0), torch.ones(3, 2), batch=mode)
        assert sol.evaluations == rows * len(calls)
