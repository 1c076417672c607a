"""Times at which f jumps: the fused solve goes from one to the next, as the eager one does."""

import pytest
import torch

from fused.fields import D, assert_same_steps, states
from neuralode import solve

STOPS = torch.tensor([0.4, 1.1], dtype=D)
OWN = torch.tensor([[0.4, 1.1], [0.9, torch.inf], [0.2, 0.3], [1.9, 0.7]], dtype=D)  # inf: no second one


class Pushed(torch.nn.Module):
    """A damped turn, pushed from 0.4 on."""

    def __init__(self):
        super().__init__()
        self.turn = torch.nn.Linear(2, 2, bias=False, dtype=D)
        with torch.no_grad():
            self.turn.weight.copy_(torch.tensor([[-0.2, 3.0], [-3.0, -0.2]]))

    def forward(self, t, y):
        return self.turn(y) + torch.where(t < 0.4, 0.0, 5.0)


def ends(f, backend, stops, y0, **options):
    y0 = y0.clone().requires_grad_()
    stops = stops.clone().requires_grad_()
    found = solve(f, (0.0, 2.0), y0, backend=backend, t_stops=stops, t_eval=[0.0, 0.3, 0.4, 2.0], **options)
    loss = (found.y**2).sum() + found.y1.sum()
    return found, torch.autograd.grad(loss, (y0, stops, *f.parameters()))


@pytest.mark.parametrize(("steps", "bound"), [({"rtol": 1e-7}, 1e-8), ({"step": 0.05}, 1e-12)])
@pytest.mark.parametrize(
    ("batch", "stops"), [(None, STOPS), ("lockstep", STOPS), ("independent", STOPS), ("independent", OWN)]
)
def test_as_eager(batch, stops, steps, bound):
    f = Pushed()
    y0 = states(4, 2) if batch else states(1, 2)[0]
    (fused, ours), (eager, theirs) = (
        ends(f, way, stops, y0, batch=batch, **steps) for way in ("fused", "eager")
    )
    assert fused.report["backend"] == "fused" and "backend" not in eager.report
    torch.testing.assert_close(fused.y, eager.y, rtol=bound, atol=bound)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=10 * bound, atol=10 * bound)


@pytest.mark.parametrize("steps", [{"rtol": 1e-7}, {"step": 0.05}])
@pytest.mark.parametrize(("batch", "stops"), [("lockstep", STOPS), ("independent", OWN)])
def test_counts_are_those_of_eager(batch, stops, steps):
    with torch.no_grad():
        fused, eager = (
            solve(
                Pushed(),
                (0.0, 2.0),
                states(4, 2),
                backend=way,
                t_stops=stops,
                batch=batch,
                dense_output=True,
                **steps,
            )
            for way in ("fused", "eager")
        )
    assert_same_steps(eager, fused, 1e-8)
    torch.testing.assert_close(fused(1.05), eager(1.05), rtol=1e-8, atol=1e-8)


def test_a_jump_is_met_from_both_sides():
    """``t < s`` and ``t <= s`` are the same to a step that ends or starts at s, in float32 too."""
    y0 = torch.ones(3, 1)

    def before(t, y):
        return torch.where(t < 0.7, 1.0, -2.0) + 0.0 * y

    def until(t, y):
        return torch.where(t <= 0.7, 1.0, -2.0) + 0.0 * y

    for f in (before, until):
        found = solve(f, (0.0, 1.0), y0, batch="independent", backend="fused", t_stops=[0.7])
        torch.testing.assert_close(found.y1, torch.full((3, 1), 1.1), rtol=1e-6, atol=0)
        assert found.rejected.max() == 0


def test_legs_share_a_program(monkeypatch):
    from neuralode.fused import known

    traced = []
    real = known.traced
    monkeypatch.setattr(known, "traced", lambda *args: traced.append(1) or real(*args))
    stops = torch.linspace(0.1, 1.9, 19, dtype=D)
    solve(Pushed(), (0.0, 2.0), states(4, 2), batch="independent", backend="fused", t_stops=stops)
    assert len(traced) <= 1  # none where an equal f was solved before


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
def test_auto_says_what_it_took(batch):
    def f(t, y):
        return torch.where(t < 0.5, -y, y)

    found = solve(f, (0.0, 1.0), states(3, 2), batch=batch, backend="auto", t_stops=[0.5])
    assert found.report["backend"] == "fused"


def test_auto_leaves_events_to_the_eager_engine():
    def f(t, y):
        return -y

    found = solve(f, (0.0, 1.0), torch.ones(1), backend="auto", t_stops=[0.5], events=lambda t, y: y[0] - 0.5)
    assert found.report["backend"] == "eager" and "events are not fused" in found.report["not fused"]
    assert len(found.t_events[0]) == 1
