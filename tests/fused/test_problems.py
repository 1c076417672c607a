"""On the benchmark's problems, in float64, the fused solve takes the steps of the eager one, and has its gradients."""

import sys
from pathlib import Path

import pytest
import torch

import neuralode
from fused.fields import assert_same_steps

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


def solved(made, y0, backend, batch, **options):
    tol = {} if "step" in options else {"rtol": made.tol, "atol": made.tol}
    batch = batch if made.batched else None
    return neuralode.solve(
        made.field, made.t_span, y0, args=made.args, batch=batch, backend=backend, **tol, **options
    )


@pytest.mark.parametrize("batch", ["independent", "lockstep"])
@pytest.mark.parametrize("name", ["P1", "P2", "P2b", "P3-64", "P3-4096", "P4", "P6", "P8-64"])
def test_same_steps(name, batch):
    from suite.problems import problem

    made = problem(name, torch.float64, "cpu", small=False)
    with torch.no_grad():
        fused, eager = (solved(made, made.y0, way, batch, t_eval=made.times) for way in ("fused", "eager"))
    # Rounding in the estimates moves step sizes, and so y by far less than the tolerance.
    assert_same_steps(eager, fused, 1e-3 * made.tol)


@pytest.mark.parametrize("name", ["P1", "P3-64", "P4", "P8-64"])
def test_same_gradients_over_the_same_steps(name):
    from operations import OfTorch
    from suite.problems import problem

    made = problem(name, torch.float64, "cpu", small=False)
    with torch.no_grad():
        steps = solved(made, made.y0, "eager", "lockstep", t_eval="steps").t
    found = []
    for backend in ("fused", "eager"):
        ys = solved(made, made.leaves[0], backend, "lockstep", t_eval=made.times, step=steps).y
        found.append(torch.autograd.grad(made.total_loss(OfTorch, ys), made.leaves))
    for a, b in zip(*found, strict=True):
        assert (a - b).norm() <= 1e-12 * b.norm()
