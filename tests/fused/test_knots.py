"""Outputs at every step and dense output of the fused solve are those of the eager one, gradients included."""

import pytest
import torch

from fused.fields import D, Spiral, blow_up, lotka_volterra, states
from neuralode import solve

EXACT = 1e-12  # relative: given steps differ by the rounding of f alone
# Step sizes follow error estimates, which are differences: rounding is larger in them, and more so at higher order.
CHOSEN = 1e-7
KINDS = {
    "steps": {"t_eval": "steps"},
    "dense": {"t_eval": [0.0, 1.2, 3.0], "dense_output": True},
    "both": {"t_eval": "steps", "dense_output": True},
}


def found(f, y0, backend, kind, batch, **options):
    """(output times, what has gradients, step counts)."""
    s = solve(f, (0.0, 3.0), y0, batch=batch, backend=backend, **KINDS[kind], **options)
    values = [s.y, s.y1]
    if kind != "steps":
        values.append(s(torch.linspace(0, 3, 11, dtype=D)))
    return s.t.double(), values, (torch.as_tensor(s.accepted), torch.as_tensor(s.rejected))


def compared(batch, kind, bound, **options):
    f = Spiral(4)
    y = states(9, 2) if batch else states(1, 2)[0]
    sides = []
    for backend in ("eager", "fused"):
        y0 = y.clone().requires_grad_()
        times, values, counts = found(f, y0, backend, kind, batch, **options)
        loss = sum((v.nan_to_num() * torch.linspace(1, 2, v.numel()).reshape(v.shape)).sum() for v in values)
        sides.append(
            (times, [v.detach() for v in values], counts, torch.autograd.grad(loss, (y0, *f.parameters())))
        )
    (times, values, counts, grads), fused = sides[0], sides[1]
    torch.testing.assert_close(fused[0], times, rtol=bound, atol=bound, equal_nan=True)
    for a, b in zip(values, fused[1], strict=True):
        torch.testing.assert_close(b, a, rtol=bound, atol=bound, equal_nan=True)
    assert all(torch.equal(a, b) for a, b in zip(counts, fused[2], strict=True))
    for a, b in zip(grads, fused[3], strict=True):
        assert (a - b).norm() <= bound * a.norm()


def test_smoke():
    with torch.no_grad():
        want, got = (
            found(lotka_volterra, states(5, 2), backend, "both", "independent")
            for backend in ("eager", "fused")
        )
    for a, b in zip(want[1], got[1], strict=True):
        torch.testing.assert_close(b, a, rtol=CHOSEN, atol=CHOSEN, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep", None])
@pytest.mark.parametrize("method", ["dopri5", "vern7", "rk4"])
@pytest.mark.parametrize("kind", KINDS)
def test_given_steps(kind, method, batch):
    compared(batch, kind, EXACT, method=method, step=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep", None])
@pytest.mark.parametrize("method", ["dopri5", "dop853"])
@pytest.mark.parametrize("kind", KINDS)
def test_chosen_steps(kind, method, batch):
    compared(batch, kind, CHOSEN, method=method, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep"])
def test_more_steps_than_there_was_room_for(batch):
    with torch.no_grad():
        sides = [
            found(lotka_volterra, states(5, 2), backend, "both", batch, rtol=1e-9, atol=1e-9)
            for backend in ("eager", "fused", "fused")
        ]
    assert int(sides[0][2][0].max()) > 64
    for times, values, counts in sides[1:]:
        assert torch.equal(counts[0], sides[0][2][0])
        torch.testing.assert_close(times, sides[0][0], rtol=CHOSEN, atol=CHOSEN, equal_nan=True)
        torch.testing.assert_close(values[2], sides[0][1][2], rtol=CHOSEN, atol=CHOSEN)


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["independent", "lockstep"])
def test_a_solve_that_fails_keeps_what_it_has(batch):
    rate, y0 = torch.tensor([1.0, 0.1, 0.3], dtype=D), torch.ones(3, 1, dtype=D)
    sides = []
    for backend in ("eager", "fused"):
        options = {"args": (rate,), "batch": batch, "throw": False, "max_steps": 7, "rtol": 1e-8}
        with torch.no_grad():
            sides.append(solve(blow_up, (0.0, 0.9), y0, t_eval="steps", backend=backend, **options))
    a, b = sides
    assert not a.success
    torch.testing.assert_close(b.t, a.t, rtol=CHOSEN, atol=CHOSEN, equal_nan=True)
    torch.testing.assert_close(b.y, a.y, rtol=CHOSEN, atol=CHOSEN, equal_nan=True)
