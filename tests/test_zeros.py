"""Which zeros of event functions count: several in a step, at the ends, touched ones; and what finding them costs."""

import dataclasses
import math

import pytest
import torch

import neuralode
from neuralode import Event
from neuralode.registry import METHODS

F64 = torch.float64


def one(t, y):
    """y = t: every method is exact, so that places of zeros are known to rounding."""
    return torch.ones_like(y)


def turn(t, y):
    return torch.stack((y[..., 1], -y[..., 0]), -1)


@pytest.fixture
def extended(monkeypatch):
    """dopri5 with a dense output that costs an evaluation, and how often it was asked for."""
    calls = []

    def extend(f, t, h, y, stages):
        calls.append(t)
        f(torch.as_tensor(t, dtype=y.dtype).reshape(-1, *(1,) * (y.dim() - 1))[: len(y)], y)
        return stages

    late = dataclasses.replace(METHODS["dopri5"], name="late", extend=extend, extra=1)
    monkeypatch.setitem(METHODS, "late", late)
    return calls


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
@pytest.mark.parametrize("batch", [None, "independent"])
def test_every_zero_of_one_step_is_found_in_order(method, batch):
    y0 = torch.zeros(1, 1, dtype=F64)
    roots = torch.tensor([0.1, 0.35, 0.5, 0.93], dtype=F64)

    def g(t, y):
        return torch.stack([y.reshape(-1) - root for root in roots]).prod(0)

    sol = neuralode.solve(one, (0.0, 1.0), y0, batch=batch, method=method, step=1.0, events=[g, Event(g, -1)])
    both, falling = (t.reshape(-1) for t in sol.t_events)
    # g's slope at its zeros is above 0.05, so that its rounding moves them by less than 1e-13
    torch.testing.assert_close(both, roots, rtol=0, atol=1e-13)
    torch.testing.assert_close(falling, roots[[0, 2]], rtol=0, atol=1e-13)
    torch.testing.assert_close(sol.y_events[0].reshape(-1), roots, rtol=0, atol=1e-13)


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("start", [0.0, 0.1 + 0.2 - 0.3])
def test_a_zero_at_the_start_is_no_event_but_its_return_is(batch, start):
    y0 = torch.tensor([[start, 1.0]], dtype=F64)
    sol = neuralode.solve(
        turn, (0.0, 10.0), y0, batch=batch, rtol=1e-10, atol=1e-12, events=lambda t, y: y[..., 0]
    )
    times = sol.t_events[0].reshape(-1).tolist()
    assert times == pytest.approx([math.pi, 2 * math.pi, 3 * math.pi], abs=1e-8)


def test_a_return_inside_the_first_part_of_a_step_is_found():
    y0 = torch.zeros(1, dtype=F64)
    sol = neuralode.solve(
        one, (0.0, 1.0), y0, step=1.0, method="rk4", events=lambda t, y: y[0] * (1e-3 - y[0])
    )
    assert sol.t_events[0].tolist() == pytest.approx([1e-3], rel=1e-10)


@pytest.mark.parametrize("touch", [0.5, 0.2, 1.0, 0.37])
@pytest.mark.parametrize("batch", [None, "independent"])
def test_a_zero_that_is_touched_and_not_crossed_is_no_event(touch, batch):
    y0 = torch.zeros(1, 1, dtype=F64)
    sol = neuralode.solve(
        one,
        (0.0, 2.0),
        y0,
        batch=batch,
        step=0.5,
        method="rk4",
        events=lambda t, y: (y - touch).reshape(-1) ** 2,
    )
    assert sol.t_events[0].numel() == 0 and not sol.event_mask.any()


@pytest.mark.parametrize("batch", [None, "independent"])
@pytest.mark.parametrize("root", [0.5, 1.0, 1.5])
def test_a_zero_exactly_at_the_end_of_a_step_counts_once(batch, root):
    # Euler's y = t is exact in these steps
    y0 = torch.zeros(1, 1, dtype=F64)
    sol = neuralode.solve(
        one, (0.0, 1.5), y0, batch=batch, step=0.5, method="euler", events=lambda t, y: y.reshape(-1) - root
    )
    assert sol.t_events[0].reshape(-1).tolist() == pytest.approx([root], abs=1e-14)


def test_values_that_are_nan_decide_nothing():
    y0 = torch.zeros(1, dtype=F64)
    sol = neuralode.solve(
        one, (0.0, 1.0), y0, step=0.1, method="rk4", events=lambda t, y: torch.sqrt(y[0] - 0.05) - 0.5
    )
    assert sol.t_events[0].tolist() == pytest.approx([0.3], abs=1e-13)


@pytest.mark.parametrize("batch", [None, "independent"])
def test_the_nth_occurrence_ends_the_integration(batch):
    y0 = torch.tensor([[0.0, 1.0]], dtype=F64)
    event = Event(lambda t, y: y[..., 0], 0, 3)
    sol = neuralode.solve(turn, (0.0, 20.0), y0, batch=batch, rtol=1e-9, atol=1e-11, events=event)
    assert sol.t_events[0].reshape(-1).tolist() == pytest.approx([k * math.pi for k in (1, 2, 3)], abs=1e-6)
    assert bool((torch.as_tensor(sol.status) == neuralode.Status.EVENT).all())
    torch.testing.assert_close(sol.y1, sol.y_events[0][-1], rtol=0, atol=0)


@pytest.mark.parametrize("batch", [None, "independent"])
def test_events_are_where_the_dense_output_is_zero_and_cost_no_evaluations(batch):
    y0 = torch.tensor([[0.3, 1.0]], dtype=F64)
    options = {"rtol": 1e-4, "atol": 1e-6, "batch": batch, "dense_output": True}
    plain = neuralode.solve(turn, (0.0, 20.0), y0, **options)
    seen = neuralode.solve(turn, (0.0, 20.0), y0, events=lambda t, y: y[..., 0], **options)
    assert int(seen.nfev) == int(plain.nfev) and int(seen.accepted) == int(plain.accepted)
    times = seen.t_events[0].reshape(-1)
    assert len(times) == 6
    # |dg/dt| = 1 there, and a zero is known to 2^-50 of a step
    assert plain(times)[..., 0].abs().max().item() < 1e-13


@pytest.mark.parametrize("batch", [None, "independent"])
def test_stages_of_dense_output_are_computed_only_in_steps_with_a_sign_change(extended, batch):
    y0 = torch.tensor([[1.0, 0.0]], dtype=F64)
    sol = neuralode.solve(
        turn, (0.0, 7.0), y0, method="late", batch=batch, rtol=1e-8, atol=1e-8, events=lambda t, y: y[..., 0]
    )
    assert sol.t_events[0].numel() == 2 and len(extended) == 2 and int(sol.accepted) > 20
    plain = neuralode.solve(turn, (0.0, 7.0), y0, method="late", batch=batch, rtol=1e-8, atol=1e-8)
    assert int(sol.nfev) == int(plain.nfev) + 2


def test_a_number_of_occurrences_must_be_whole():
    for terminal in (-1, 1.5):
        with pytest.raises(ValueError, match="terminal must be"):
            Event(one, terminal=terminal)
    with pytest.raises(TypeError, match="g must be callable"):
        Event(3)
