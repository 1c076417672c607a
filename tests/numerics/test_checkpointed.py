"""The checkpointed gradient: numbers, evaluations and states kept."""

from functools import lru_cache
from math import comb, isqrt

import pytest
import torch

import neuralode
from neuralode import Checkpointed, Discrete
from neuralode.gradient.checkpointed import split
from neuralode.output import Thinning


def oscillators(t, y, w):
    """Of their own frequency, so that samples take different numbers of steps."""
    return torch.stack((y[..., 1], -(w**2) * torch.sin(y[..., 0]) + 0.1 * torch.cos(3 * t.reshape(-1))), -1)


def case():
    w = torch.tensor([1.0, 3.0, 9.0], dtype=torch.float64, requires_grad=True)
    y0 = torch.tensor([[1.0, 0.0], [0.5, 0.3], [0.9, -0.5]], dtype=torch.float64, requires_grad=True)
    return y0, w


def gradients(gradient, **options):
    y0, w = case()
    sol = neuralode.solve(oscillators, (0.0, 2.0), y0, args=(w,), gradient=gradient, **options)
    return sol, torch.autograd.grad((sol.y**2).sum(), [y0, w])


@pytest.mark.parametrize(
    "batch",
    [{"batch": "lockstep"}, {"batch": "independent"}, {"batch": "independent", "compact": True}],
    ids=["lockstep", "independent", "compact"],
)
@pytest.mark.parametrize(
    ("method", "slots", "options"),
    [
        ("dopri5", None, {}),
        ("dopri5", 4, {"t_eval": torch.linspace(0.1, 1.9, 7).double()}),
        ("vern7", 3, {"t_eval": torch.linspace(0.1, 1.9, 7).double()}),
        ("adams", None, {"t_eval": torch.linspace(0.1, 1.9, 7).double()}),
        ("rkc2", None, {}),
        ("rk4", 2, {}),
    ],
)
def test_same_numbers_as_discrete(method, slots, options, batch):
    """More steps than are kept, of methods with and without a carry, with outputs inside steps."""
    given = {"method": method, "rtol": 1e-6, "atol": 1e-6, "step": 0.1 if method == "rk4" else None}
    _, want = gradients("discrete", **given, **batch, **options)
    sol, got = gradients(Checkpointed(slots), **given, **batch, **options)
    assert int(torch.as_tensor(sol.accepted).max()) > 8
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("batch", ["lockstep", "independent"])
@pytest.mark.parametrize(
    ("method", "step", "tol"),
    [("rodas5p", None, 1e-10), ("kvaerno3", 0.1, 1e-10), ("gauss4", 0.1, 1e-10), ("radau5", None, 1e-6)],
)
def test_equations_are_solved_anew(method, step, tol, batch):
    """The same steps where their equations were solved to rounding, or have a matrix alone to solve with."""
    given = {"method": method, "rtol": 1e-7, "atol": 1e-7, "step": step, "batch": batch}
    sol, want = gradients("discrete", **given)
    assert int(torch.as_tensor(sol.accepted).max()) > 8
    for g, w in zip(gradients("checkpointed", **given)[1], want, strict=True):
        torch.testing.assert_close(g, w, rtol=tol, atol=tol)


@pytest.mark.parametrize("steps", [100, 1000])
def test_evaluations(steps):
    """Once in the forward pass, less than once to get states back, once under autograd."""
    y0, w = case()
    sol = neuralode.solve(
        oscillators, (0.0, 1.0), y0, args=(w,), gradient="checkpointed", method="dopri5", step=1.0 / steps
    )
    sol.y1.sum().backward()
    total = sol.nfev + sol.backward_count()
    assert total <= 3.05 * sol.nfev


def test_states_kept():
    """Between the root of N and twice that, at every N; and never more than asked for."""
    for most in (None, 2, 5):
        keeping, kept = Thinning(most), set()
        for n in range(5000):
            kept.add(n)
            kept -= set(keeping.dropped(n))
            assert 0 in kept and len(kept) <= (most or max(8, 2 * isqrt(n) + 2))
        assert kept == set(range(0, 5000, keeping.stride))


@lru_cache(None)
def fewest(steps, free):
    """Steps taken again, by trying every place for the next state."""
    if steps == 1:
        return 0
    if not free:
        return steps * (steps - 1) // 2
    return min(m + fewest(steps - m, free - 1) + fewest(m, free) for m in range(1, steps))


@lru_cache(None)
def taken(steps, free):
    if steps == 1:
        return 0
    m = split(steps, free)
    return m + taken(steps - m, max(free - 1, 0)) + taken(m, free)


@pytest.mark.parametrize("free", range(7))
def test_schedule_is_optimal(free):
    assert [taken(n, free) for n in range(1, 90)] == [fewest(n, free) for n in range(1, 90)]


def test_evaluations_with_few_slots():
    """As the binomial schedule says: r sweeps where binomial(slots + r, r) steps can be reversed."""
    y0, w = case()
    steps, slots = 200, 6
    sol = neuralode.solve(
        oscillators, (0.0, 1.0), y0, args=(w,), gradient=Checkpointed(slots), method="rk4", step=1.0 / steps
    )
    sol.y1.sum().backward()
    r = next(r for r in range(1, 20) if comb(slots + r, r) >= steps)
    assert sol.backward_count() <= (r + 1) * sol.nfev


def test_second_derivatives():
    def second(gradient):
        y0, w = case()
        sol = neuralode.solve(oscillators, (0.0, 1.0), y0, args=(w,), gradient=gradient, batch="independent")
        (first,) = torch.autograd.grad((sol.y1**2).sum(), w, create_graph=True)
        return torch.autograd.grad(first.sum(), w)[0]

    torch.testing.assert_close(second("checkpointed"), second("direct"), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("slots", [0, 1, True, -3])
def test_slots_are_checked(slots):
    with pytest.raises(ValueError, match="Checkpointed slots must be an integer of at least 2"):
        Checkpointed(slots)


def test_tapes_evaluate_nothing_again():
    y0, w = case()
    sol = neuralode.solve(oscillators, (0.0, 1.0), y0, args=(w,), gradient=Discrete(keep="tapes"))
    sol.y1.sum().backward()
    assert sol.backward_count() == 0
    _, want = gradients("discrete")
    _, got = gradients(Discrete(keep="tapes"))
    for g, expected in zip(got, want, strict=True):
        torch.testing.assert_close(g, expected, rtol=1e-12, atol=1e-12)
