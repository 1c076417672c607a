"""Small states are combined by products into scratch memory: the same steps, and nothing of it is handed out."""

import pytest
import torch

import neuralode
from neuralode.control import NORMS, Tolerance
from neuralode.registry import METHODS

ADAPTIVE = sorted(m.name for m in METHODS.values() if m.kind == "explicit Runge-Kutta" and m.adaptive)


def field(t, y):
    return torch.sin(t + y) - y.roll(1, 0)


def two_steps(method, y0, seen=None):
    """States, errors and stages of two steps, one after the other, with the same work."""
    record, tolerance = METHODS[method], Tolerance(1e-6, 1e-6, NORMS["rms"], None)

    def f(t, y):
        if seen is not None:
            seen.append((y, y.clone()))
        return field(t, y)

    work, carry, y, found = record.begin(tolerance), record.init(f, 0.3, y0), y0, []
    for n in range(2):
        step = record.step(f, 0.3 + 0.1 * n, 0.1, y, carry, work)
        tensors = [step.y1, step.error, *step.stages]
        found.append((tensors, [x.clone() for x in tensors]))
        y, carry, work = step.y1, step.carry, step.work
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (4, 2), (3, 2, 2)])
@pytest.mark.parametrize("method", ADAPTIVE)
def test_products_are_the_sums_they_stand_for(method, shape, dtype):
    y0 = torch.linspace(-1.0, 2.0, torch.Size(shape).numel(), dtype=dtype).reshape(shape)
    with torch.no_grad():
        products = two_steps(method, y0)
    sums = two_steps(method, y0)  # with gradients on, term by term
    # Sums in another order: roundings of h a_ij k_j, for h = 0.1, each of them passed on by the stages behind it.
    largest = max(sum(map(abs, line), 0) for line in METHODS[method].tableau.a)
    near = (50 + 5 * float(largest)) * torch.finfo(dtype).eps
    for (some, _), (others, _) in zip(products, sums, strict=True):
        for a, b in zip(some, others, strict=True):
            torch.testing.assert_close(a, b, rtol=near, atol=near)


@pytest.mark.parametrize("method", ["bosh3", "dopri5", "dop853"])
def test_nothing_that_a_step_gives_changes_later(method):
    seen = []
    with torch.no_grad():
        found = two_steps(method, torch.linspace(-1.0, 2.0, 8, dtype=torch.float64).reshape(4, 2), seen)
    for tensors, copies in found:
        assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True))
    assert all(torch.equal(a, b) for a, b in seen)


def test_f_may_solve_another_problem_of_the_same_shape():
    y0 = torch.tensor([1.0, 0.5], dtype=torch.float64)

    def nested(t, y):
        return -neuralode.solve(lambda s, x: -x, (0.0, 0.1), y, rtol=1e-10, atol=1e-12).y1

    with torch.no_grad():
        found = neuralode.solve(nested, (0.0, 1.0), y0, rtol=1e-9, atol=1e-11).y1
    want = y0 * torch.exp(-torch.exp(torch.tensor(-0.1, dtype=torch.float64)))
    torch.testing.assert_close(found, want, rtol=1e-8, atol=1e-8)  # tolerances of the two solves


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("count", [7, 5000])
def test_outputs_evaluated_together_are_those_evaluated_one_by_one(count, batch):
    """5000 outputs are more than are kept waiting."""
    y0 = torch.linspace(-1.0, 2.0, 8, dtype=torch.float64).reshape(4, 2)
    times = torch.linspace(0.0, 3.0, count, dtype=torch.float64)
    options = {"t_eval": times, "batch": batch, "step": 0.25}
    with torch.no_grad():
        together = neuralode.solve(field, (0.0, 3.0), y0, **options).y
    single = neuralode.solve(field, (0.0, 3.0), y0, gradient="direct", **options).y
    torch.testing.assert_close(together, single, rtol=1e-12, atol=1e-12)  # sums of 8 terms in another order
