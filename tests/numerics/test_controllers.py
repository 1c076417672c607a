"""Step-size controllers: the formulas on numbers, floats and tensors alike, and what they do to real solves."""

import math

import pytest
import torch

import neuralode
from neuralode import Controller, PIDController, PredictiveController
from neuralode.control import CONTROLLERS, StepControl
from problems import BRUSSELATOR, LOTKA_VOLTERRA, TURN, VAN_DER_POL, vector

NAMES = sorted(CONTROLLERS)
RATIOS = [0.3, 0.9, 2.0, 0.5, 1e-12, 0.7, math.nan, 0.2, 1e30, 0.4]


@pytest.mark.parametrize("name", NAMES)
def test_floats_and_tensors_alike(name):
    control, size, one, many = CONTROLLERS[name], 0.1, None, None
    for ratio in RATIOS:
        accept, factor, one = control.judge(ratio, one, 4, size)
        pair = torch.tensor([ratio, 0.5], dtype=torch.float64)
        sizes = torch.tensor([size, 0.1], dtype=torch.float64)
        accepts, factors, many = control.judge(pair, many, 4, sizes)
        assert bool(accepts[0]) == accept and accepts[1]
        # A power of a tensor may differ from Python's in the last digit.
        assert float(factors[0]) == pytest.approx(factor, rel=1e-14)
        size *= factor


def after(control, *ratios, sizes=None):
    memory, factor = None, 1.0
    for ratio, size in zip(ratios, sizes or [1.0] * len(ratios), strict=True):
        _, factor, memory = control.judge(ratio, memory, 4, size)
    return factor


def test_formulas():
    """k = 5 here; the ratios are taken so that no limit is met. Steps are sized for the ratio 0.9^k."""
    assert after(CONTROLLERS["i"], 0.5) == pytest.approx(0.9 * 0.5**-0.2)
    assert after(Controller(), 0.3, 0.5) == pytest.approx(0.9 ** (0.7 - 0.4) * 0.5**-0.14 * 0.3**0.08)
    b1, b2, b3 = PIDController().beta
    expected = 0.9 ** (b1 + b2 + b3) * 0.5 ** (-b1 / 5) * 0.3 ** (-b2 / 5) * 0.7 ** (-b3 / 5)
    assert after(PIDController(), 0.7, 0.3, 0.5) == pytest.approx(expected)
    # The error rose from .3 to .5 while the step shrank: the trend says less than the elementary controller.
    expected = 0.9 * 0.8 * (0.3 / 0.5**2) ** 0.2
    assert expected < 0.9 * 0.5**-0.2
    assert after(PredictiveController(), 0.3, 0.5, sizes=[1.0, 0.8]) == pytest.approx(expected)
    # It fell: the elementary controller, which grows less, has the word.
    assert after(PredictiveController(), 0.8, 0.5, sizes=[1.0, 1.0]) == pytest.approx(0.9 * 0.5**-0.2)
    # Falling, with coefficients of its own, it is the PI controller; rising it still foresees.
    assert after(CONTROLLERS["predictive_pi"], 0.8, 0.5) == pytest.approx(after(Controller(), 0.8, 0.5))
    assert after(CONTROLLERS["predictive_pi"], 0.3, 0.5, sizes=[1.0, 0.8]) == pytest.approx(expected)


def test_a_pid_without_derivative_is_the_pi_controller():
    pid = PIDController((0.7, -0.4, 0.0))
    assert after(pid, 0.7, 0.3, 0.5) == pytest.approx(after(Controller(), 0.7, 0.3, 0.5))


@pytest.mark.parametrize("name", NAMES)
def test_after_a_rejection_no_step_grows(name):
    control = CONTROLLERS[name]
    for bad in (3.0, math.nan, math.inf):
        accept, factor, memory = control.judge(bad, None, 4, 1.0)
        assert not accept and factor < 1
        assert control.judge(1e-3, memory, 4, factor)[1] == 1.0
    memory = control.after_trouble(None)
    assert control.judge(1e-3, memory, 4, 1.0)[1] == 1.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("problem", [BRUSSELATOR, VAN_DER_POL, LOTKA_VOLTERRA, TURN], ids=repr)
def test_tolerance_proportionality(name, problem):
    """The slope of log error against log tolerance lies in [0.8, 1.3], over six decades."""
    tolerances, errors = [1e-4, 1e-6, 1e-8, 1e-10], []
    with torch.no_grad():
        for tol in tolerances:
            sol = neuralode.solve(
                problem.f, problem.t_span, problem.y0, rtol=tol, atol=tol * 1e-2, controller=name
            )
            errors.append(float((sol.y1 - problem.end).abs().max()))
    x = torch.tensor(tolerances, dtype=torch.float64).log()
    e = torch.tensor(errors, dtype=torch.float64).log()
    slope = float(((x - x.mean()) * (e - e.mean())).sum() / ((x - x.mean()) ** 2).sum())
    assert 0.8 <= slope <= 1.3


def forty_waves(t, y):
    """y' = -y + forty cosines, up to frequency 60, with fixed phases."""
    frequency = torch.linspace(1, 60, 40, dtype=torch.float64)
    return -y + torch.cos(frequency * t + 2.4 * torch.arange(40)).sum()


@pytest.mark.parametrize("batch", [None, "independent"])
def test_rejections_on_a_rough_problem(batch):
    def wave(t, y):
        return forty_waves(t, y) if batch is None else torch.func.vmap(forty_waves)(t, y)

    counts = {}
    for name in NAMES:
        with torch.no_grad():
            sol = neuralode.solve(
                wave,
                (0.0, 5.0),
                vector(1.0, 2.0)[:, None],
                rtol=1e-6,
                atol=1e-7,
                controller=name,
                batch=batch,
            )
        counts[name] = int(torch.as_tensor(sol.rejected).max()), int(torch.as_tensor(sol.nfev).max())
    # Filters of the error's history, aimed at the same ratio, reject less often than the elementary controller.
    assert counts["pid"][0] < 0.85 * counts["i"][0] and counts["pi"][0] < 0.85 * counts["i"][0]
    assert counts["pid"][1] < counts["i"][1]


@pytest.mark.parametrize("name", NAMES)
def test_smooth_problems_cost_alike(name):
    """Once under way on a smooth problem no controller wastes evaluations: within a quarter of the best."""
    cost = {}
    for other in NAMES:
        with torch.no_grad():
            cost[other] = neuralode.solve(
                BRUSSELATOR.f, BRUSSELATOR.t_span, BRUSSELATOR.y0, rtol=1e-6, atol=1e-7, controller=other
            ).nfev
    assert cost[name] <= 1.25 * min(cost.values())


def test_coefficients_of_ones_own():
    class Timid(StepControl):
        """Steps that never grow."""

        def before_first(self):
            return ()

        def growth(self, ratio, size, past, k):
            return 1.0 + 0.0 * ratio

        def remember(self, ratio, size, past):
            return ()

    run = {"rtol": 1e-6, "first_step": 0.05}
    sol = neuralode.solve(TURN.f, TURN.t_span, TURN.y0, controller=Timid(safety=1.0), **run)
    assert sol.accepted == 200
    other = neuralode.solve(
        TURN.f, TURN.t_span, TURN.y0, controller=PIDController((1 / 18, 1 / 9, 1 / 18)), **run
    )
    assert other.success and other.accepted < 200


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Controller(safety=0.0), r"safety must lie in \(0, 1\]"),
        (lambda: PIDController(smallest=2.0), "smallest < 1 < largest"),
        (lambda: PredictiveController(largest=0.5), "smallest < 1 < largest"),
        (lambda: PIDController((0.7, -0.4)), "beta must hold three"),
    ],
)
def test_bad_coefficients(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_controller_is_a_name_or_an_object():
    with pytest.raises(ValueError, match="unknown controller 3"):
        neuralode.Solver(controller=3)
