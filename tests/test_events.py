"""Events: located to the solver's own accuracy, sample by sample, with derivatives of time and state."""

import math

import pytest
import torch

import neuralode
from neuralode import Event

GRAVITY = 9.8


def ball(t, y, g=GRAVITY):
    return torch.stack((y[..., 1], -g * torch.ones_like(y[..., 0])), -1)


def landing(h, v, g=GRAVITY):
    return (v + (v * v + 2 * g * h) ** 0.5) / g


def ground(t, y, *args):
    return y[..., 0]


@pytest.mark.parametrize("gradient", ["direct", "discrete", "checkpointed", "interpolated", "backsolve"])
def test_terminal_event_and_its_derivatives(gradient):
    y0 = torch.tensor([10.0, 2.0], dtype=torch.float64, requires_grad=True)
    g = torch.tensor(GRAVITY, dtype=torch.float64, requires_grad=True)
    sol = neuralode.solve(
        ball,
        (0.0, 5.0),
        y0,
        args=(g,),
        events=Event(ground, -1, True),
        gradient=gradient,
        rtol=1e-9,
        atol=1e-9,
    )
    exact = landing(y0[0], y0[1], g)
    assert sol.status == neuralode.Status.EVENT and sol.event_mask.tolist() == [True]
    torch.testing.assert_close(sol.t_events[0][0], exact, rtol=1e-12, atol=0)
    assert abs(sol.y1[0].item()) < 1e-12
    for got, want in zip(
        torch.autograd.grad(sol.t_events[0].sum() + 3 * sol.y1[1], [y0, g]),
        torch.autograd.grad(exact + 3 * (y0[1] - g * exact), [y0, g]),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-10)


def test_event_function_parameters_get_gradients():
    level = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    y0 = torch.ones(1, dtype=torch.float64)
    sol = neuralode.solve(
        lambda t, y: -y, (0.0, 5.0), y0, events=lambda t, y: y[0] - level, rtol=1e-10, atol=1e-12
    )
    (grad,) = torch.autograd.grad(sol.t_events[0].sum(), level)
    assert sol.t_events[0].item() == pytest.approx(math.log(2.0), abs=1e-9)
    assert grad.item() == pytest.approx(-2.0, rel=1e-7)  # t = -log(level)


def test_recorded_events_do_not_disturb_the_solution():
    y0 = torch.tensor([0.0, 1.0], dtype=torch.float64)
    options = {"rtol": 1e-9, "atol": 1e-9, "t_eval": torch.linspace(0.5, 19.5, 7, dtype=torch.float64)}

    def turn(t, y):
        return torch.stack((y[1], -y[0]))

    plain = neuralode.solve(turn, (0.0, 20.0), y0, **options)
    seen = neuralode.solve(turn, (0.0, 20.0), y0, events=[lambda t, y: y[0], lambda t, y: y[1]], **options)
    # the same steps, whose sizes the second pass recovers from their ends: equal to rounding
    torch.testing.assert_close(seen.y, plain.y, rtol=0, atol=1e-13)
    torch.testing.assert_close(seen.y1, plain.y1, rtol=0, atol=1e-13)
    crossings = [k * math.pi for k in range(1, 7)]
    assert seen.t_events[0].tolist() == pytest.approx(crossings, abs=1e-7)
    assert seen.t_events[1].tolist() == pytest.approx([t - math.pi / 2 for t in crossings], abs=1e-7)
    assert seen.y_events[0].shape == (6, 2)


@pytest.mark.parametrize("direction", [-1, 0, 1])
def test_direction(direction):
    sol = neuralode.solve(
        lambda t, y: torch.cos(t) * torch.ones_like(y),
        (0.0, 10.0),
        torch.full((1,), 0.1, dtype=torch.float64),
        events=Event(lambda t, y: y[0], direction),
        rtol=1e-8,
        atol=1e-8,
        max_step=0.5,
    )
    rises = [2 * math.pi - math.asin(0.1)]
    falls = [math.pi + math.asin(0.1), 3 * math.pi + math.asin(0.1)]
    wanted = {1: rises, -1: falls, 0: sorted(rises + falls)}[direction]
    assert sol.t_events[0].tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("step", [None, 0.05])
def test_samples_stop_each_at_their_own_event(step):
    y0 = torch.tensor([[10.0, 0.0], [5.0, 1.0], [1.0, 40.0]], dtype=torch.float64)
    sol = neuralode.solve(
        ball,
        (0.0, 3.0),
        y0,
        batch="independent",
        events=Event(ground, -1, True),
        t_eval=[1.2],
        step=step,
        rtol=1e-8,
    )
    exact = landing(y0[:, 0], y0[:, 1])
    assert sol.status.tolist() == [1, 1, 0] and sol.event_mask.tolist() == [[True, True, False]]
    torch.testing.assert_close(sol.t_events[0][0, :2], exact[:2], rtol=1e-9, atol=0)
    assert sol.y[0, 1].isnan().all() and not sol.y[0, [0, 2]].isnan().any()
    torch.testing.assert_close(sol.y1[:2, 0], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-9)
    alone = neuralode.solve(ball, (0.0, 3.0), y0[1], events=Event(ground, -1, True), step=step, rtol=1e-8)
    torch.testing.assert_close(alone.y1, sol.y1[1], rtol=1e-12, atol=1e-12)


def test_first_of_several_terminal_events_ends_a_step_in_order():
    y0 = torch.tensor([1.0], dtype=torch.float64)
    events = [
        Event(lambda t, y: y[0] - 0.3, 0, True),
        Event(lambda t, y: y[0] - 0.6, 0, True),
        lambda t, y: y[0] - 0.8,
    ]
    sol = neuralode.solve(lambda t, y: -y, (0.0, 5.0), y0, events=events, method="rk4", step=2.5)
    assert [len(t) for t in sol.t_events] == [0, 1, 1] and sol.event_mask.tolist() == [False, True, True]


def test_backward_in_time():
    y0 = torch.tensor([1.0], dtype=torch.float64)
    sol = neuralode.solve(
        lambda t, y: -y, (0.0, -3.0), y0, events=Event(lambda t, y: y[0] - 2.0, 1, True), rtol=1e-9
    )
    assert sol.t_events[0].item() == pytest.approx(-math.log(2.0), abs=1e-7)


def test_pytree_states():
    sol = neuralode.solve(
        lambda t, y: {"x": -y["x"]},
        (0.0, 5.0),
        {"x": torch.ones(2, dtype=torch.float64)},
        events=Event(lambda t, y: y["x"][0] - 0.5, 0, True),
    )
    assert sol.y_events[0]["x"].shape == (1, 2)


def test_bad_event_functions_are_named():
    y0 = torch.ones(2)
    with pytest.raises(TypeError, match="events must hold functions"):
        neuralode.solve(lambda t, y: -y, (0.0, 1.0), y0, events=[3])
    with pytest.raises(ValueError, match="must return one real number"):
        neuralode.solve(lambda t, y: -y, (0.0, 1.0), y0, events=lambda t, y: y)


def test_grazing_event_warns():
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    with pytest.warns(neuralode.SolverWarning, match="grazes"):
        neuralode.solve(
            lambda t, y: torch.ones_like(y),
            (-1.0, 1.0),
            x - 1.0,
            events=lambda t, y: y[0] ** 3,
            step=0.5,
            method="rk4",
        )


@pytest.mark.parametrize("gradient", ["direct", "discrete"])
def test_second_derivatives_are_refused_not_zero(gradient):
    y0 = torch.tensor([10.0, 2.0], dtype=torch.float64, requires_grad=True)
    sol = neuralode.solve(ball, (0.0, 5.0), y0, events=Event(ground, -1, True), gradient=gradient)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(sol.t_events[0].sum(), y0, create_graph=True)
