"""progress=: how far an integration is, now and then, without another read from the device."""

import pytest
import torch

import neuralode
from neuralode import progress as progress_module
from neuralode.nn import ODEBlock
from problems import VAN_DER_POL

BATCHES = [None, "lockstep", "independent"]
Y0 = torch.tensor([[2.0, 0.0], [0.5, 0.5]], dtype=torch.float64)


@pytest.fixture
def without_throttle(monkeypatch):
    monkeypatch.setattr(progress_module, "EVERY", 0.0)


def reports(**options):
    told = []
    sol = neuralode.solve(
        VAN_DER_POL.f, (0.0, 3.0), Y0, progress=lambda *numbers: told.append(numbers), **options
    )
    return told, sol


@pytest.mark.usefixtures("without_throttle")
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("step", [None, 0.1])
@pytest.mark.parametrize("compact", [False, True])
def test_every_step_can_be_told(batch, step, compact):
    if compact and batch != "independent":
        pytest.skip("compact is for independent samples")
    with torch.no_grad():
        told, sol = reports(batch=batch, step=step, compact=compact)
    fractions, steps, nfev = zip(*told, strict=True)
    assert list(fractions) == sorted(fractions) and fractions[-1] == 1.0 and fractions[0] < 0.3
    assert list(steps) == sorted(steps) and list(nfev) == sorted(nfev)
    trips = int(torch.as_tensor(sol.accepted + (sol.rejected if batch == "independent" else 0)).max())
    assert steps[-1] == trips == len(told) - 1  # the last one is told again at the end
    assert nfev[-1] >= int(torch.as_tensor(sol.nfev).max())


@pytest.mark.parametrize("batch", BATCHES)
def test_a_short_solve_tells_its_end_alone(batch, monkeypatch):
    monkeypatch.setattr(progress_module, "EVERY", 3600.0)
    told, _ = reports(batch=batch)
    assert len(told) == 1 and told[0][0] == 1.0


@pytest.mark.usefixtures("without_throttle")
def test_the_line(capsys):
    neuralode.solve(VAN_DER_POL.f, (0.0, 3.0), Y0, progress=True, step=1.0, method="rk4")
    out, err = capsys.readouterr()
    lines = err.split("\r")
    assert (
        out == ""
        and err.endswith("\n")
        and "100.0 %  3 steps" in lines[-1]
        and "[" + "#" * 30 + "]" in lines[-1]
    )
    assert "[" + "#" * 10 + "." * 20 + "]  33.3 %  1 steps" in lines[1]


@pytest.mark.usefixtures("without_throttle")
def test_the_line_ends_where_the_solve_fails(capsys):
    with pytest.raises(neuralode.SolverError):
        neuralode.solve(VAN_DER_POL.f, (0.0, 3.0), Y0, progress=True, max_steps=3)
    assert capsys.readouterr().err.endswith(" s\n")


def test_silence(capsys):
    neuralode.solve(VAN_DER_POL.f, (0.0, 3.0), Y0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("without_throttle")
@pytest.mark.parametrize("gradient", ["direct", "discrete", "checkpointed", "interpolated", "backsolve"])
def test_backward_passes_are_silent(gradient):
    told = []
    y0 = Y0.clone().requires_grad_()
    sol = neuralode.solve(
        VAN_DER_POL.f, (0.0, 1.0), y0, gradient=gradient, progress=lambda *numbers: told.append(numbers)
    )
    forward = len(told)
    sol.y1.sum().backward()
    assert len(told) == forward > 1


def test_a_bad_option():
    with pytest.raises(TypeError, match="progress must be True, False or a function"):
        neuralode.Solver(progress="bar")


def test_modules_take_it():
    told = []
    block = ODEBlock(lambda t, y: -y, (0.0, 1.0), progress=lambda *numbers: told.append(numbers))
    block(torch.ones(2, 3))
    assert told[-1][0] == 1.0
    block.progress = False
    block(torch.ones(2, 3))
    assert len(told) == 1
