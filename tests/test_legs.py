"""Integrations in legs: f with discontinuities in time, states changed by events, and gradients through both."""

import math

import pytest
import torch

import neuralode
from neuralode import Event, Status
from neuralode.registry import METHODS

F64 = torch.float64
GRAVITY = 9.81
EXACT = {"rtol": 1e-9, "atol": 1e-11}


def ball(t, y, g=GRAVITY, e=0.8):
    return torch.stack((y[..., 1], -g * torch.ones_like(y[..., 0])), -1)


def ground(t, y, *args):
    return y[..., 0]


def bounce(t, y, g=GRAVITY, e=0.8):
    return torch.stack((y[..., 0], -e * y[..., 1]), -1)


BOUNCE = Event(ground, -1, apply=bounce)


def bounce_times(h, g, e, count):
    """Of a ball dropped from h: sqrt(2 h / g) (1 + 2 e + 2 e^2 + ...)."""
    h, g, e = (torch.as_tensor(x, dtype=F64) for x in (h, g, e))
    fall = torch.sqrt(2 * h / g)
    return torch.stack([fall * (1 + 2 * sum(e**k for k in range(1, n + 1))) for n in range(count)])


def switched(t, y, rates=(1.0, -2.0), at=1.0):
    """y' = rates[0] y before ``at`` and rates[1] y from then on."""
    return torch.where(t < at, rates[0], rates[1]) * y


# --- t_stops ---


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("method", ["dopri5", "euler", "rk4"])
@pytest.mark.parametrize("side", [torch.lt, torch.le])
def test_each_side_of_a_discontinuity_sees_its_own_f(batch, method, side):
    def f(t, y):
        return torch.where(side(t, 1.0), 1.0, -1.0) * torch.ones_like(y)

    y0 = torch.zeros(2, 1, dtype=F64)
    step = None if method == "dopri5" else 0.4
    sol = neuralode.solve(
        f, (0.0, 3.0), y0, t_stops=[1.0], batch=batch, method=method, step=step, t_eval="steps"
    )
    # every method is exact for a constant f: what is left is rounding
    torch.testing.assert_close(sol.y1, torch.full_like(y0, -1.0), rtol=0, atol=1e-14)
    assert 1.0 in sol.t.tolist() and bool((torch.as_tensor(sol.rejected) == 0).all())


def test_f_is_never_called_at_a_discontinuity():
    seen = []

    def f(t, y):
        seen.append(t.item())
        return switched(t, y)

    neuralode.solve(f, (0.0, 2.0), torch.ones(1, dtype=F64), t_stops=torch.tensor([1.0]))
    assert 1.0 not in seen and math.nextafter(1.0, 0) in seen and math.nextafter(1.0, 2) in seen
    assert min(seen) == 0.0 and max(seen) == 2.0


@pytest.mark.parametrize("span", [(0.0, 3.0), (3.0, 0.0)])
@pytest.mark.parametrize(
    "stops", [[1.0, 2.0], [2.0, 1.0, 1.0, 7.0, -1.0, 0.0, 3.0], torch.tensor([2.0, 1.0])]
)
def test_stops_in_any_order_are_the_same(span, stops):
    def f(t, y):
        return torch.where(t < 1, 1.0, torch.where(t < 2, -1.0, 3.0)) * y

    sol = neuralode.solve(f, span, torch.ones(1, dtype=F64), t_stops=stops, t_eval="steps", **EXACT)
    growth = (1 - 1 + 3) * (1 if span[1] > span[0] else -1)
    assert sol.y1.item() == pytest.approx(math.exp(growth), rel=1e-8)
    assert {1.0, 2.0} <= set(sol.t.tolist()) and len(set(sol.t.tolist())) == len(sol.t)


def test_stops_save_the_rejected_steps_of_a_jump():
    y0 = torch.ones(1, dtype=F64)
    told = neuralode.solve(switched, (0.0, 2.0), y0, t_stops=[1.0], **EXACT)
    untold = neuralode.solve(switched, (0.0, 2.0), y0, **EXACT)
    assert told.rejected == 0 and untold.rejected > 5 and told.nfev < untold.nfev


def test_samples_have_stops_of_their_own():
    at = torch.tensor([0.5, 1.0, 9.0], dtype=F64)
    stops = torch.tensor([[0.5, math.inf], [1.5, 1.0], [math.inf, math.inf]], dtype=F64)

    def f(t, y):
        return switched(t, y, at=at[:, None])

    y0 = torch.ones(3, 1, dtype=F64)
    times = [0.0, 0.5, 0.7, 1.0, 1.2, 2.0]
    options = {**EXACT, "t_eval": times, "dense_output": True}
    sol = neuralode.solve(f, (0.0, 2.0), y0, batch="independent", t_stops=stops, **options)
    t = torch.tensor(times, dtype=F64)[:, None]
    exact = torch.exp(torch.minimum(t, at) - 2 * (t - at).clamp(min=0))
    # error per unit step of 1e-9, grown by at most e^2
    torch.testing.assert_close(sol.y[..., 0], exact, rtol=1e-8, atol=0)
    torch.testing.assert_close(sol(t[:, 0])[..., 0], exact, rtol=1e-8, atol=0)
    assert sol.rejected.tolist() == [0, 0, 0] and sol.accepted[2] < sol.accepted[0]


@pytest.mark.parametrize("gradient", ["direct", "discrete", "checkpointed", "interpolated", "backsolve"])
@pytest.mark.parametrize("batch", [None, "independent"])
def test_gradients_through_stops_also_of_the_stops_themselves(gradient, batch):
    y0 = torch.ones(1, 1, dtype=F64, requires_grad=True)
    rates = torch.tensor([1.0, -2.0], dtype=F64, requires_grad=True)
    at = torch.tensor([1.0], dtype=F64, requires_grad=True)
    ends = torch.tensor([0.0, 3.0], dtype=F64, requires_grad=True)

    def f(t, y, rates):
        return switched(t, y, rates, at.detach())

    sol = neuralode.solve(
        f,
        (ends[0], ends[1]),
        y0,
        args=(rates,),
        t_stops=at,
        gradient=gradient,
        batch=batch,
        t_eval=[0.5, 2.0],
        **EXACT,
    )
    sizes = (rates[0] * 0.5, rates[0] * at + rates[1] * (2 - at), rates[0] * at + rates[1] * (ends[1] - at))
    wanted = sum(torch.exp(size - rates[0] * ends[0]) for size in sizes).sum() * y0.sum()
    inputs = (y0, rates, at, ends)
    got = torch.autograd.grad(sol.y.sum() + sol.y1.sum(), inputs)
    want = torch.autograd.grad(wanted, inputs)
    for g, w in zip(got, want, strict=True):
        # error of the solves, 1e-9 a step, times at most a hundred steps
        torch.testing.assert_close(g, w, rtol=1e-7, atol=1e-7)


def test_given_steps_get_the_stops_among_them():
    y0 = torch.ones(1, dtype=F64)
    options = {"method": "rk4", "t_eval": "steps", "t_stops": [1.0, 1.3]}
    sol = neuralode.solve(switched, (0.0, 2.0), y0, step=0.4, **options)
    assert sol.t.tolist() == pytest.approx([0, 0.4, 0.8, 1.0, 1.2, 1.3, 1.6, 2.0])
    given = torch.tensor([0.0, 0.4, 1.0, 2.0], dtype=F64)
    sol = neuralode.solve(switched, (0.0, 2.0), y0, step=given, **options)
    assert sol.t.tolist() == pytest.approx([0, 0.4, 1.0, 1.3, 2.0])


def test_first_step_is_the_first_legs_and_max_steps_everyones():
    y0 = torch.ones(1, dtype=F64)
    sol = neuralode.solve(switched, (0.0, 2.0), y0, t_stops=[1.0], first_step=0.03, t_eval="steps", **EXACT)
    after = sol.t.tolist().index(1.0)
    assert sol.t[1].item() == 0.03 and sol.t[after + 1].item() - 1.0 != pytest.approx(0.03)
    total = sol.accepted + sol.rejected
    enough = neuralode.solve(
        switched, (0.0, 2.0), y0, t_stops=[1.0], first_step=0.03, max_steps=total, **EXACT
    )
    assert enough.success
    with pytest.raises(neuralode.SolverError, match="max_steps"):
        neuralode.solve(
            switched, (0.0, 2.0), y0, t_stops=[1.0], first_step=0.03, max_steps=total - 1, **EXACT
        )


@pytest.mark.parametrize("batch", [None, "independent"])
def test_a_leg_that_fails_is_the_last_one(batch):
    def f(t, y):
        return y * torch.where((t > 1) & (y > 2), torch.nan, 1.0)

    y0 = torch.tensor([[1.0], [0.05]], dtype=F64)[: 1 if batch is None else 2].requires_grad_()
    sol = neuralode.solve(
        f, (0.0, 3.0), y0, t_stops=[1.0, 2.0], batch=batch, t_eval=[0.5, 1.0, 1.5, 2.5], throw=False, **EXACT
    )
    assert torch.as_tensor(sol.status).reshape(-1)[0] == Status.FIRST_NONFINITE and "t = 1" in sol.message
    assert sol.y[:2, 0].isfinite().all() and sol.y[2:, 0].isnan().all() and sol.y1[0].isnan().all()
    if batch is not None:
        assert sol.status[1] == Status.SUCCESS
        (grad,) = torch.autograd.grad(sol.y1[1].sum() + sol.y[1, 0].sum(), y0)
        torch.testing.assert_close(grad[:, 0], torch.tensor([1.0, 3.0], dtype=F64).exp(), rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    ("stops", "batch", "match"),
    [
        ([math.nan], None, "NaN"),
        (torch.zeros(2, 3), None, r"shape \(S,\), got \(2, 3\)"),
        (torch.zeros(3, 2), "independent", r"\(2, S\), got \(3, 2\)"),
        (1.0, None, "shape"),
    ],
)
def test_bad_stops_are_named(stops, batch, match):
    with pytest.raises(ValueError, match=match):
        neuralode.solve(switched, (0.0, 2.0), torch.ones(2, 1), t_stops=stops, batch=batch)


def test_stops_hold_real_times():
    with pytest.raises(TypeError, match="real times"):
        neuralode.solve(switched, (0.0, 2.0), torch.ones(2, 1), t_stops=torch.tensor([1j]))


# --- events that change the state ---


@pytest.mark.parametrize("gradient", ["direct", "discrete", "checkpointed", "interpolated", "backsolve"])
def test_bouncing_ball_and_the_derivatives_of_its_tenth_bounce(gradient):
    h, g, e = (torch.tensor(x, dtype=F64, requires_grad=True) for x in (10.0, GRAVITY, 0.8))
    exact = bounce_times(h, g, e, 21)
    end = float(exact[19:21].detach().mean())
    y0 = torch.stack((h, torch.zeros_like(h)))
    sol = neuralode.solve(ball, (0.0, end), y0, args=(g, e), events=BOUNCE, gradient=gradient, **EXACT)
    assert sol.status == Status.SUCCESS and len(sol.t_events[0]) == 20
    # the bound; a parabola is found to rounding
    torch.testing.assert_close(sol.t_events[0], exact[:20], rtol=0, atol=1e-9)
    speeds = torch.sqrt(2 * g * h) * e ** torch.arange(20, dtype=F64)
    torch.testing.assert_close(sol.y_events[0][:, 1], -speeds, rtol=0, atol=1e-9)
    for got, want in zip(
        torch.autograd.grad(sol.t_events[0][9], (h, g, e), retain_graph=True),
        torch.autograd.grad(exact[9], (h, g, e), retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-7)
    left = end - exact[19]
    final = speeds[19] * e * left - g * left**2 / 2
    for got, want in zip(
        torch.autograd.grad(sol.y1[0], (h, g, e)), torch.autograd.grad(final, (h, g, e)), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-7)


@pytest.mark.parametrize("gradient", ["direct", "discrete", "checkpointed", "interpolated", "backsolve"])
def test_samples_bounce_each_as_often_as_they_do(gradient):
    h = torch.tensor([10.0, 4.0, 1.0, 30.0], dtype=F64, requires_grad=True)
    e = torch.tensor([0.8, 0.7, 0.9, 0.5], dtype=F64)
    y0 = torch.stack((h, torch.zeros_like(h)), -1)
    options = {**EXACT, "t_eval": [0.0, 1.0, 2.0], "gradient": gradient}
    sol = neuralode.solve(
        ball, (0.0, 2.4), y0, args=(GRAVITY, e), batch="independent", events=BOUNCE, **options
    )
    bounces = [1, 2, 3, 0]
    assert (~sol.t_events[0].isnan()).sum(0).tolist() == bounces and sol.status.tolist() == [0, 0, 0, 0]
    grads = torch.autograd.grad(sol.y1[:, 0].sum(), h)[0]
    for b, count in enumerate(bounces):
        exact = bounce_times(h[b].detach(), GRAVITY, e[b], count + 1)
        torch.testing.assert_close(sol.t_events[0][:count, b].detach(), exact[:count], rtol=0, atol=1e-9)
        alone_y0 = y0[b].detach().requires_grad_()
        alone = neuralode.solve(ball, (0.0, 2.4), alone_y0, args=(GRAVITY, e[b]), events=BOUNCE, **options)
        torch.testing.assert_close(alone.y, sol.y[:, b], rtol=0, atol=1e-12)
        grad = torch.autograd.grad(alone.y1[0], alone_y0)[0][0]
        torch.testing.assert_close(grads[b], grad, rtol=1e-9, atol=0)


def every_method(state):
    """(method, batch), those beside batch None in the slow suite but for one of a kind."""
    quick = ("dopri5", "dop853", "rk4", "kvaerno3", "rodas4")
    return [
        pytest.param(name, batch, marks=() if batch is None or name in quick else pytest.mark.slow)
        for name, method in sorted(METHODS.items())
        for batch in (None, "lockstep", "independent")
        if method.state == state
    ]


@pytest.mark.parametrize(("name", "batch"), every_method("any"))
def test_every_method_takes_stops_and_events(name, batch):
    """y' = y, from t = 1 on y' = -2 y; y is halved where it reaches 2: t = log 2; the second zero is in the fall."""
    method = METHODS[name]
    y0 = torch.ones(1, 1, dtype=F64)
    options = {"rtol": 1e-6, "atol": 1e-8} if method.adaptive else {"step": 0.01}

    def half(t, y):
        return switched(t, y) / 2

    sol = neuralode.solve(
        (half, half) if method.split else switched,
        (0.0, 1.5),
        y0,
        method=name,
        batch=batch,
        t_stops=[1.0],
        t_eval=[0.5, 1.25],
        events=[
            Event(lambda t, y: y.reshape(-1) - 2.0, 1, apply=lambda t, y: y / 2),
            lambda t, y: y.reshape(-1) - 0.7,
        ],
        dense_output=True,
        **options,
    )
    # a hundred times the tolerance, which methods of low order spend on their dense output; given steps of 0.01: the
    # order's error, 30 for a constant; the dense output's may be one less
    room = 1e-4 if method.adaptive else max(30 * 0.01 ** min(method.order, method.dense_order + 1), 1e-12)
    halved, fallen = (t.reshape(-1) for t in sol.t_events)
    exact = torch.tensor([math.log(2.0), 1 + math.log(math.e / 1.4) / 2], dtype=F64)
    torch.testing.assert_close(torch.cat((halved, fallen)), exact, rtol=0, atol=room)
    values = torch.tensor([math.exp(0.5), math.e / 2 * math.exp(-0.5)], dtype=F64)
    torch.testing.assert_close(sol.y.reshape(-1), values, rtol=0, atol=room)
    torch.testing.assert_close(sol([0.5, 1.25]).reshape(-1), values, rtol=0, atol=room)
    assert sol.y1.item() == pytest.approx(math.e / 2 * math.exp(-1.0), abs=room)


@pytest.mark.parametrize(("name", "batch"), every_method("pair"))
def test_every_method_of_pairs_takes_stops_and_events(name, batch):
    """A ball under a gravity that starts at t = 0.5."""
    method = METHODS[name]
    y0 = (torch.ones(1, 1, dtype=F64), torch.zeros(1, 1, dtype=F64))
    sol = neuralode.solve(
        lambda t, y: (y[1], torch.where(t < 0.5, 0.0, -2.0) * torch.ones_like(y[0])),
        (0.0, 2.0),
        y0,
        method=name,
        batch=batch,
        step=0.01,
        t_stops=[0.5],
        events=Event(lambda t, y: y[0].reshape(-1), -1, apply=lambda t, y: (y[0], -0.5 * y[1])),
    )
    # a parabola: exact from order 2 on; of order 1, a step times the speed
    room = 1e-12 if method.order > 1 else 0.03
    assert sol.t_events[0].item() == pytest.approx(1.5, abs=room)
    assert sol.y1[0].item() == pytest.approx(0.25, abs=room) and sol.y1[1].item() == pytest.approx(
        0.0, abs=room
    )


@pytest.mark.parametrize("gradient", ["discrete", "direct"])
def test_compact_batches_bounce_as_others_do(gradient):
    h = torch.linspace(0.5, 20.0, 24, dtype=F64).requires_grad_()
    e = torch.full_like(h, 0.8).detach()
    y0 = torch.stack((h, torch.zeros_like(h)), -1)
    event = Event(ground, -1, 2, bounce)
    options = {**EXACT, "batch": "independent", "events": event, "t_eval": [0.3, 1.0], "gradient": gradient}
    compact, plain = (
        neuralode.solve(ball, (0.0, 4.0), y0, args=(GRAVITY, e), t_stops=[0.7], compact=c, **options)
        for c in (True, False)
    )
    assert compact.status.tolist() == plain.status.tolist() and len(set(compact.status.tolist())) == 2
    for got, want in ((compact.t_events[0], plain.t_events[0]), (compact.y, plain.y), (compact.y1, plain.y1)):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12, equal_nan=True)
    grads = [torch.autograd.grad(sol.y1[:, 1].sum(), h)[0] for sol in (compact, plain)]
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("batch", [None, "independent"])
def test_a_ball_that_comes_to_rest_says_so(batch):
    y0 = torch.tensor([[1.0, 0.0]], dtype=F64)
    e = torch.full((1,), 0.3, dtype=F64) if batch else 0.3
    sol = neuralode.solve(
        ball,
        (0.0, 5.0),
        y0[0] if batch is None else y0,
        args=(GRAVITY, e),
        batch=batch,
        events=BOUNCE,
        throw=False,
    )
    rest = math.sqrt(2 / GRAVITY) * (1 + 2 * 0.3 / 0.7)
    assert int(sol.status) == Status.ZENO and "repeats" in sol.message
    assert sol.t_events[0].nan_to_num().max().item() == pytest.approx(rest, abs=1e-12)
    assert sol.y1.isnan().all()


@pytest.mark.parametrize("batch", [None, "independent"])
def test_an_event_whose_apply_does_nothing_occurs_once_a_crossing(batch):
    y0 = torch.tensor([[0.0, 1.0]], dtype=F64)
    event = Event(ground, apply=lambda t, y: y.clone())
    sol = neuralode.solve(
        lambda t, y: torch.stack((y[..., 1], -y[..., 0]), -1),
        (0.0, 10.0),
        y0,
        batch=batch,
        events=event,
        **EXACT,
    )
    assert sol.t_events[0].reshape(-1).tolist() == pytest.approx([k * math.pi for k in (1, 2, 3)], abs=1e-8)


def test_apply_may_lead_off_the_zero():
    """Integrate and fire: v' = 1 from 0, reset at the threshold."""
    event = Event(lambda t, v: v[0] - 0.3, apply=lambda t, v: torch.zeros_like(v))
    sol = neuralode.solve(
        lambda t, v: torch.ones_like(v), (0.0, 1.0), torch.zeros(1, dtype=F64), events=event
    )
    assert sol.t_events[0].tolist() == pytest.approx([0.3, 0.6, 0.9], abs=1e-14)
    assert sol.y1.item() == pytest.approx(0.1, abs=1e-14)


@pytest.mark.parametrize("gap", [0.0, 1e-16, 1e-15, 1e-13, 1e-9])
def test_two_events_at_the_same_time_both_change_the_state(gap):
    """Two balls in one state, which reach the ground together but for rounding."""

    def f(t, y):
        return torch.stack((y[1], -GRAVITY * torch.ones_like(y[0]), y[3], -GRAVITY * torch.ones_like(y[0])))

    def event(i):
        def apply(t, y):
            return torch.stack([-0.8 * y[j] if j == i + 1 else y[j] for j in range(4)])

        return Event(lambda t, y: y[i], -1, apply=apply)

    y0 = torch.tensor([10.0, 0.0, 10.0 + gap, 0.0], dtype=F64)
    sol = neuralode.solve(f, (0.0, 6.0), y0, events=[event(0), event(2)], **EXACT)
    assert [len(t) for t in sol.t_events] == [3, 3]
    # the gap in height is one of as many seconds over the speed of the first fall, 14
    torch.testing.assert_close(sol.t_events[0], sol.t_events[1], rtol=0, atol=1e-12 + gap)


def test_outputs_dense_output_stops_and_events_together():
    times = torch.linspace(0.0, 4.0, 9, dtype=F64)
    y0 = torch.tensor([10.0, 0.0], dtype=F64, requires_grad=True)
    sol = neuralode.solve(
        lambda t, y: ball(t, y) + torch.where(t < 2, 0.0, 1.0) * torch.tensor([0.0, 5.0], dtype=F64),
        (0.0, 4.0),
        y0,
        t_eval=times,
        t_stops=[2.0],
        events=[BOUNCE, Event(lambda t, y: y[1]), Event(lambda t, y: y[0] - 3.0, 1)],
        dense_output=True,
        **EXACT,
    )
    hit = math.sqrt(20 / GRAVITY)
    up = 0.8 * GRAVITY * hit
    at_two = up * (2 - hit) - GRAVITY * (2 - hit) ** 2 / 2
    speed = up - GRAVITY * (2 - hit)
    late = times[times >= 2] - 2
    torch.testing.assert_close(
        sol.y[times >= 2, 0].detach(), at_two + speed * late - 2.405 * late**2, rtol=0, atol=1e-9
    )
    torch.testing.assert_close(sol(times), sol.y, rtol=0, atol=1e-12)
    top = 2 + speed / 4.81
    assert [t.tolist() for t in sol.t_events] == [
        pytest.approx([hit], abs=1e-9),
        pytest.approx([top], abs=1e-9),
        pytest.approx([hit + (up - math.sqrt(up**2 - 6 * GRAVITY)) / GRAVITY], abs=1e-9),
    ]
    # at a bounce the solution is the state behind it
    assert sol(sol.t_events[0].detach())[0, 1].item() == pytest.approx(up, abs=1e-9)
    (grad,) = torch.autograd.grad(sol(times[5]).sum() + sol.y[5].sum(), y0)
    assert grad.isfinite().all()


def test_lockstep_batches_have_one_event_function():
    """All samples restart where one of them needs it."""
    y0 = torch.tensor([[10.0, 0.0], [20.0, 0.0]], dtype=F64)

    def apply(t, y):
        hit = y[:, 0] < 1e-9
        return torch.where(hit[:, None], bounce(t, y), y)

    event = Event(lambda t, y: y[:, 0].min(), -1, apply=apply)
    sol = neuralode.solve(ball, (0.0, 2.5), y0, batch="lockstep", events=event, **EXACT)
    exact = [math.sqrt(20 / GRAVITY), math.sqrt(40 / GRAVITY)]
    assert sol.t_events[0].tolist() == pytest.approx(exact, abs=1e-9)


def test_backward_in_time_events_and_stops():
    y0 = torch.tensor([1.0], dtype=F64)
    event = Event(lambda t, y: y[0] - 2.0, 1, apply=lambda t, y: y / 2)
    sol = neuralode.solve(lambda t, y: -y, (0.0, -2.0), y0, events=event, t_stops=[-1.0], **EXACT)
    assert sol.t_events[0].tolist() == pytest.approx([-math.log(2.0), -2 * math.log(2.0)], abs=1e-8)
    assert sol.y1.item() == pytest.approx(math.exp(2.0) / 4, rel=1e-8)


def test_pytree_states_are_changed_as_they_are():
    y0 = {"h": torch.tensor([1.0], dtype=F64), "v": torch.tensor([0.0], dtype=F64)}
    event = Event(lambda t, y: y["h"][0], -1, apply=lambda t, y: {"h": y["h"], "v": -0.5 * y["v"]})
    sol = neuralode.solve(
        lambda t, y: {"h": y["v"], "v": torch.full_like(y["v"], -2.0)}, (0.0, 1.5), y0, events=event, **EXACT
    )
    assert sol.t_events[0].tolist() == pytest.approx([1.0], abs=1e-9)
    assert sol.y1["v"].item() == pytest.approx(0.0, abs=1e-9)  # up at 1, 0.5 later


def test_float32_states_bounce_too():
    y0 = torch.tensor([10.0, 0.0])
    sol = neuralode.solve(ball, (0.0, 9.0), y0, events=BOUNCE, rtol=1e-5, atol=1e-6)
    exact = bounce_times(10.0, GRAVITY, 0.8, 20)
    exact = exact[exact < 9.0]
    # rounding of the state, 1e-7, ten bounces, times and speeds of up to 14
    torch.testing.assert_close(sol.t_events[0], exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("apply", "error", "match"),
    [
        (lambda t, y: y[:1], ValueError, r"apply returned torch.float64 \(1,\)"),
        (lambda t, y: y.float(), ValueError, "apply returned torch.float32"),
        (lambda t, y: 0.0, TypeError, "state like y, got float"),
    ],
)
def test_bad_changes_are_named(apply, error, match):
    y0 = torch.tensor([1.0, 0.0], dtype=F64)
    with pytest.raises(error, match=match):
        neuralode.solve(ball, (0.0, 1.0), y0, events=Event(ground, -1, apply=apply))


def test_a_terminal_event_has_nothing_to_change():
    with pytest.raises(ValueError, match="terminal=True ends"):
        Event(ground, -1, True, bounce)
    with pytest.raises(TypeError, match="apply must be callable"):
        Event(ground, apply=3)


def test_the_nth_bounce_ends_the_integration_of_its_sample():
    h = torch.tensor([10.0, 1.0], dtype=F64)
    y0 = torch.stack((h, torch.zeros_like(h)), -1)
    e = torch.full((2,), 0.8, dtype=F64)
    event = Event(ground, -1, 3, bounce)
    sol = neuralode.solve(ball, (0.0, 4.0), y0, args=(GRAVITY, e), batch="independent", events=event, **EXACT)
    assert sol.status.tolist() == [Status.SUCCESS, Status.EVENT]
    assert sol.y1[1, 0].abs() < 1e-12 and sol.y1[1, 1] < 0
    torch.testing.assert_close(
        sol.t_events[0][2, 1], bounce_times(1.0, GRAVITY, 0.8, 3)[2], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("batch", [None, "independent"])
def test_gradients_of_output_times_and_of_the_end_next_to_events(batch):
    y0 = torch.tensor([[10.0, 0.0], [1.0, 9.0]], dtype=F64)
    y0 = y0 if batch else y0[0]
    times = torch.tensor([0.5, 1.0], dtype=F64, requires_grad=True)
    end = torch.tensor(1.5, dtype=F64, requires_grad=True)
    event = Event(ground, -1, True)
    sol = neuralode.solve(ball, (0.0, end), y0, t_eval=times, batch=batch, events=event, **EXACT)
    want = -GRAVITY * times.detach() + (9.0 if batch else 0.0)
    (grad,) = torch.autograd.grad(sol.y[:, -1, 0].sum() if batch else sol.y[:, 0].sum(), times)
    torch.testing.assert_close(grad, want, rtol=1e-9, atol=1e-9)
    if batch is None:
        assert not sol.y1.requires_grad  # the ball has landed by then
    else:
        (grad,) = torch.autograd.grad(sol.y1[1, 0] + sol.y1[0, 1], end)
        assert grad.item() == pytest.approx(9.0 - GRAVITY * 1.5, abs=1e-8)
