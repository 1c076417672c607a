"""Integrations that cannot be finished end, and say where and why."""

import math
import pickle

import pytest
import torch

import neuralode
from neuralode import SolverError, Status
from neuralode.diagnosis import stability_interval

BATCHES = [None, "lockstep", "independent"]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("method", ["dopri5", "tsit5", "bosh3"])
def test_blow_up_names_time_and_sample(batch, method):
    y0 = torch.tensor([[0.1], [1.0], [0.2]], dtype=torch.float64)
    with pytest.raises(SolverError, match="shorten t_span") as caught:
        neuralode.solve(lambda t, y: y * y, (0.0, 2.0), y0, batch=batch, method=method, rtol=1e-6, atol=1e-8)
    assert caught.value.t == pytest.approx(1.0, abs=1e-3)
    assert caught.value.sample == (None if batch is None else 1)
    assert caught.value.hint and caught.value.reason in str(caught.value)


@pytest.mark.parametrize("batch", BATCHES)
def test_nan_from_some_time_on(batch):
    def f(t, y):
        return torch.where(t > 1.0, torch.nan, -1.0) * y

    with pytest.raises(SolverError) as caught:
        neuralode.solve(f, (0.0, 3.0), torch.ones(2, 1), batch=batch)
    assert caught.value.t == pytest.approx(1.0, abs=1e-6)
    assert "every step tried from here" in caught.value.reason
    assert "last good state [0.3679" in caught.value.hint
    sol = neuralode.solve(f, (0.0, 3.0), torch.ones(2, 1), batch=batch, throw=False)
    assert (torch.as_tensor(sol.status) == Status.NONFINITE).all() and "every step tried" in sol.message


@pytest.mark.parametrize("batch", BATCHES)
def test_a_nan_in_a_trial_step_only_shrinks_it(batch):
    """y' = -50 sqrt(y): a trial step that goes below zero is rejected, not the end."""
    y0 = torch.ones(1, 1, dtype=torch.float64)
    sol = neuralode.solve(
        lambda t, y: -5 * torch.sqrt(y), (0.0, 0.39), y0, batch=batch, rtol=1e-6, first_step=0.39
    )
    assert sol.y1.item() == pytest.approx((1 - 2.5 * 0.39) ** 2, abs=1e-5)
    assert int(torch.as_tensor(sol.rejected).max()) > 0


@pytest.mark.parametrize("batch", BATCHES)
def test_nan_at_the_start(batch):
    with pytest.raises(SolverError, match=r"f\(t0, y0\) is infinite or NaN.*NaN weight"):
        neuralode.solve(lambda t, y: y * math.nan, (0.0, 1.0), torch.ones(2, 1), batch=batch)


@pytest.mark.parametrize("batch", BATCHES)
def test_too_many_steps(batch):
    with pytest.raises(SolverError, match="max_steps"):
        neuralode.solve(
            lambda t, y: torch.cos(1e3 * t) * y, (0.0, 10.0), torch.ones(2, 1), batch=batch, max_steps=50
        )


@pytest.mark.parametrize("batch", BATCHES)
def test_fixed_steps_never_return_a_silent_nan(batch):
    with pytest.raises(SolverError, match="became infinite or NaN") as caught:
        neuralode.solve(
            lambda t, y: -1e3 * y**3, (0.0, 1.0), torch.ones(2, 1), method="rk4", step=0.1, batch=batch
        )
    assert 0.0 < caught.value.t <= 1.0


@pytest.mark.parametrize("batch", [None, "lockstep"])
def test_without_throw_the_status_says_so(batch):
    y0 = torch.tensor([[1.0]], dtype=torch.float64)
    sol = neuralode.solve(lambda t, y: y * y, (0.0, 2.0), y0, t_eval=[0.5, 1.5], batch=batch, throw=False)
    assert sol.status == Status.STEP_TOO_SMALL and not sol.success and "t = 1.0" in sol.message
    assert sol.y[0].item() == pytest.approx(2.0, rel=1e-3)
    assert sol.y[1].isnan().all() and sol.y1.isnan().all()


def stiff_van_der_pol(t, y):
    return torch.stack((y[..., 1], 1e3 * (1 - y[..., 0] ** 2) * y[..., 1] - y[..., 0]), -1)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("method", ["dopri5", "tsit5", "bosh3"])
def test_an_explicit_method_says_that_a_problem_is_stiff(batch, method):
    """df/dy has the eigenvalue -3000 at the start, and the step settles where the method is just stable."""
    y0 = torch.tensor([[2.0, 0.0], [2.0, 0.1]], dtype=torch.float64)
    with pytest.raises(SolverError, match="f is stiff here") as caught:
        neuralode.solve(stiff_van_der_pol, (0.0, 2e3), y0, batch=batch, method=method, max_steps=300)
    assert "eigenvalue of df/dy, 3e+03" in caught.value.hint and repr(method) in caught.value.hint
    assert "Use a method for stiff problems: " in caught.value.hint and "'kvaerno5'" in caught.value.hint
    assert caught.value.step * 3e3 == pytest.approx(
        {"dopri5": 3.3, "tsit5": 3.5, "bosh3": 2.5}[method], rel=0.2
    )


@pytest.mark.parametrize(
    "f",
    [
        lambda t, y: torch.cos(1e3 * t) * y,  # fast in t alone
        lambda t, y: 100 * torch.stack((y[..., 1], -y[..., 0]), -1),  # oscillates
        lambda t, y: y * 3.0,  # grows
        lambda t, y: -y + torch.sign(torch.sin(100 * t)),  # jumps
    ],
)
def test_what_is_not_stiff_is_not_called_so(f):
    y0 = torch.ones(2, dtype=torch.float64)
    with pytest.raises(SolverError, match="Loosen rtol and atol") as caught:
        neuralode.solve(f, (0.0, 1e3), y0, max_steps=60, rtol=1e-8)
    assert "is stiff here" not in caught.value.hint


def test_an_f_without_derivatives_gets_the_plain_hint():
    class Opaque(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return -1e4 * y

        @staticmethod
        def backward(ctx, g):
            raise NotImplementedError

    with pytest.raises(SolverError, match="Loosen rtol and atol"):
        neuralode.solve(lambda t, y: Opaque.apply(y), (0.0, 10.0), torch.ones(2), max_steps=60)


@pytest.mark.parametrize(
    ("name", "interval"),
    # Hairer & Wanner II, section IV.2, figures 2.1 and 2.2, to what they can be read.
    [("euler", 2.0), ("rk4", 2.785), ("dopri5", 3.31), ("bosh3", 2.51)],
)
def test_stability_intervals(name, interval):
    method = next(m for m in neuralode.methods() if m.name == name)
    assert stability_interval(method) == pytest.approx(interval, abs=0.011)


def test_implicit_methods_have_no_limit():
    assert stability_interval(next(m for m in neuralode.methods() if m.name == "kvaerno5")) is None


def test_non_lipschitz_corners_end():
    y0 = torch.tensor([1.0], dtype=torch.float64)
    slides = neuralode.solve(lambda t, y: -torch.sign(y), (0.0, 3.0), y0, max_steps=20_000, throw=False)
    assert slides.status in (Status.SUCCESS, Status.STEP_TOO_SMALL, Status.MAX_STEPS)
    if slides.success:
        assert abs(slides.y1.item()) < 1e-2
    # Reaches 0 at t = 2, from where y = 0 and y = -(t - 2)^2 / 4 are both solutions.
    sol = neuralode.solve(lambda t, y: -torch.sqrt(torch.abs(y)), (0.0, 3.0), y0, max_steps=20_000)
    assert -0.26 <= sol.y1.item() <= 0.01


def test_an_error_inside_f_says_when():
    calls = []

    def f(t, y):
        calls.append(t)
        if len(calls) == 9:
            raise KeyError("weights")
        return -y

    with pytest.raises(KeyError) as caught:
        neuralode.solve(f, (0.0, 1.0), torch.ones(2))
    assert any("raised by f at evaluation 9, t = [" in note for note in caught.value.__notes__)


def test_min_step_is_kept():
    with pytest.raises(SolverError, match="min_step"):
        neuralode.solve(lambda t, y: torch.cos(1e3 * t) * y, (0.0, 1.0), torch.ones(1), min_step=0.05)


def test_solver_errors_survive_processes():
    error = SolverError("reason", 1.0, 2, 0.1, "hint")
    again = pickle.loads(pickle.dumps(error))
    assert (again.t, again.sample, str(again)) == (1.0, 2, str(error))


@pytest.mark.parametrize("batch", BATCHES)
def test_a_far_end_does_not_keep_first_steps_from_being_small(batch):
    """A layer of 1e-6 at the start of a span of 1e11, where t1's own spacing is 1e-5: 5e-6 had been too small."""

    def f(t, y):
        return -(y - 1.0) * 1e6 / (1.0 + 1e7 * t) ** 2

    sol = neuralode.solve(
        f,
        (0.0, 1e11),
        torch.zeros(1, 1, dtype=torch.float64),
        batch=batch,
        rtol=1e-6,
        atol=1e-6,
        first_step=5e-6,
    )
    assert int(torch.as_tensor(sol.rejected).max()) > 0
    # y - 1 = -exp(-0.1 (1 - 1 / (1 + 1e7 t)))
    assert sol.y1.item() == pytest.approx(1 - math.exp(-0.1), abs=1e-5)
