"""Driving an integration by hand: the steps of solve, stopped, saved, loaded and gone on with, bit by bit."""

import json
import math

import pytest
import torch
from safetensors.torch import load, save

import neuralode
from neuralode import Solver, SolverError, Status, Stepper
from problems import VAN_DER_POL

BATCHES = [None, "lockstep", "independent"]
METHODS = ["dopri5", "trbdf2", "rock4"]
Y0 = torch.tensor([[2.0, 0.0], [0.5, 0.5], [-1.0, 2.0]], dtype=torch.float64)
SPAN = (0.0, 1.0)


def through_files(saved):
    """What a state becomes on its way through safetensors and JSON."""
    tensors = load(save({k: v for k, v in saved.items() if isinstance(v, torch.Tensor)}))
    rest = json.loads(json.dumps({k: v for k, v in saved.items() if not isinstance(v, torch.Tensor)}))
    return {**tensors, **rest}


def run_on(stepper):
    return [(step.t, step.y, step.h, step.accepted, step.rejected) for step in stepper]


def same(one, two):
    return len(one) == len(two) and all(
        all(torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(x, y, strict=True))
        for x, y in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options", [{"rtol": 1e-5, "controller": "pid"}, {"step": 0.05}], ids=["adaptive", "given"]
)
def test_the_steps_are_those_of_solve(method, batch, options):
    solver = Solver(method=method, batch=batch, **options)
    stepper = solver.start(VAN_DER_POL.f, SPAN, Y0)
    assert isinstance(stepper, Stepper) and not stepper.finished
    steps = list(stepper)
    with torch.no_grad():
        sol = solver.solve(VAN_DER_POL.f, SPAN, Y0, t_eval="steps")
    assert stepper.finished and torch.equal(stepper.y, sol.y1)
    for name in ("accepted", "rejected", "nfev"):
        assert torch.equal(torch.as_tensor(getattr(stepper, name)), torch.as_tensor(getattr(sol, name)))
    if batch != "independent":
        assert [step.t for step in steps] == sol.t[1:].tolist()
        assert torch.equal(torch.stack([step.y for step in steps]), sol.y[1:])
    else:
        assert (stepper.t == SPAN[1]).all() and (stepper.status == 0).all()
        taken = torch.stack([step.taken for step in steps])
        assert torch.equal(taken.sum(0), sol.accepted)
    if "step" not in options:
        assert all((torch.as_tensor(step.ratio)[torch.as_tensor(step.taken)] <= 1).all() for step in steps)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", [{"rtol": 1e-5, "controller": "predictive"}, {"step": 0.05}])
@pytest.mark.parametrize("after", [0, 1, 7])
def test_stop_save_load_and_go_on(method, batch, options, after):
    solver = Solver(method=method, batch=batch, **options)
    first = solver.start(VAN_DER_POL.f, SPAN, Y0)
    for _ in range(after):
        first.step()
    saved = first.state_dict()
    files = through_files(saved)
    rest = run_on(first)
    again = solver.start(VAN_DER_POL.f, SPAN, Y0)
    again.load_state_dict(files)
    assert same(run_on(again), rest)
    assert torch.equal(torch.as_tensor(first.nfev), torch.as_tensor(again.nfev))
    # A stepper that went on can be set back, too.
    first.load_state_dict(saved)
    assert same(run_on(first), rest)


def test_a_saved_state_is_tensors_and_plain_values():
    stepper = Solver(method="kvaerno5", batch="independent").start(VAN_DER_POL.f, SPAN, Y0)
    stepper.step()
    saved = stepper.state_dict()
    assert all(isinstance(x, (torch.Tensor, bool, int, float, str, type(None))) for x in saved.values())
    assert saved["method"] == "kvaerno5" and saved["state.y"].shape == Y0.shape
    before = saved["state.y"].clone()
    stepper.step()
    assert torch.equal(saved["state.y"], before)


def test_pytrees_args_and_spans_of_their_own():
    def f(t, y, rate):
        return {"a": -rate[:, None] * y["a"], "b": torch.cos(t).expand_as(y["b"])}

    y0 = {"a": torch.ones(3, 2).double(), "b": torch.zeros(3, 1).double()}
    rate = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    ends = torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64)
    stepper = Solver(batch="independent", rtol=1e-8, atol=1e-10).start(f, (0.0, ends), y0, args=(rate,))
    list(stepper)
    torch.testing.assert_close(stepper.y["a"][:, 0], torch.exp(-rate * ends), rtol=1e-7, atol=0)
    torch.testing.assert_close(stepper.y["b"][:, 0], torch.sin(ends), rtol=1e-6, atol=1e-8)


def test_a_step_at_a_time():
    stepper = Solver().start(lambda t, y: -y, (0.0, 1.0), torch.ones(2, requires_grad=True))
    assert stepper.t == 0.0 and stepper.accepted == 0
    step = stepper.step()
    assert step.t == stepper.t == step.h and step.accepted == 1 and step.ratio <= 1
    assert not step.y.requires_grad
    assert list(stepper)[-1].t == 1.0
    with pytest.raises(ValueError, match=r"no step is left.*t = 1.0"):
        stepper.step()


@pytest.mark.parametrize("batch", BATCHES)
def test_failures(batch):
    y0 = torch.ones(2, 1, dtype=torch.float64)
    stepper = Solver(batch=batch).start(lambda t, y: y * y, (0.0, 2.0), y0)
    with pytest.raises(SolverError, match="shorten t_span"):
        list(stepper)
    assert stepper.finished
    quiet = Solver(batch=batch, throw=False, max_steps=7).start(lambda t, y: y * y, (0.0, 2.0), y0)
    list(quiet)
    assert quiet.finished and (torch.as_tensor(quiet.status) == Status.MAX_STEPS).all()
    assert int(torch.as_tensor(quiet.accepted + quiet.rejected).max()) == 7
    nan = Solver(batch=batch, throw=False).start(lambda t, y: y * math.nan, (0.0, 2.0), y0)
    assert nan.finished and (torch.as_tensor(nan.status) == Status.FIRST_NONFINITE).all()
    steps = Solver(batch=batch, throw=False, method="rk4", step=0.1).start(
        lambda t, y: -1e3 * y**3, (0.0, 1.0), y0
    )
    list(steps)
    assert (torch.as_tensor(steps.status) == Status.NONFINITE).all()


@pytest.mark.parametrize(
    ("other", "y0", "match"),
    [
        ({"method": "bosh3"}, Y0, "one of method 'dopri5', not 'bosh3'"),
        ({}, Y0[:2], r"y of shape \(3, 2\), y0 has \(2, 2\)"),
        ({"batch": "independent"}, Y0, "not one of this problem"),
    ],
)
def test_states_of_something_else(other, y0, match):
    first = Solver().start(VAN_DER_POL.f, SPAN, Y0)
    first.step()
    stepper = Solver(**other).start(VAN_DER_POL.f, SPAN, y0)
    with pytest.raises(ValueError, match=match):
        stepper.load_state_dict(first.state_dict())


@pytest.mark.parametrize("option", ["dense_output", "compact"])
def test_options_that_need_the_whole(option):
    with pytest.raises(ValueError, match=f"{option}=True needs the whole integration"):
        Solver(batch="independent", **{option: True}).start(VAN_DER_POL.f, SPAN, Y0)


def test_empty_states_are_finished():
    assert neuralode.Solver().start(lambda t, y: -y, (0.0, 1.0), torch.zeros(0)).finished


@pytest.mark.parametrize("batch", [None, "independent"])
@pytest.mark.parametrize("method", ["bdf", "radau5", "rodas5p", "auto", "rkc2", "dop853"])
def test_every_kind_of_method_goes_on_from_what_it_saved(method, batch):
    solver = Solver(method=method, batch=batch, rtol=1e-4)
    first = solver.start(VAN_DER_POL.f, SPAN, Y0)
    for _ in range(3):
        first.step()
    again = solver.start(VAN_DER_POL.f, SPAN, Y0)
    again.load_state_dict(through_files(first.state_dict()))
    assert same(run_on(again), run_on(first))


@pytest.mark.parametrize("method", ["dopri5", "trbdf2"])
def test_complex_states(method):
    solver = Solver(method=method)
    y0 = torch.tensor([1.0 + 1.0j, 2.0j])
    first = solver.start(lambda t, y: 1j * y, SPAN, y0)
    first.step()
    again = solver.start(lambda t, y: 1j * y, SPAN, y0)
    again.load_state_dict(through_files(first.state_dict()))
    assert again.y.dtype == y0.dtype and same(run_on(again), run_on(first))
