"""Dense output of high order: as good as the steps, its stages made only where an output lies, DOP853's estimate."""

import numpy as np
import pytest
import torch
from scipy.integrate import DOP853
from scipy.special import ellipj

import neuralode
from neuralode.control import NORMS, Tolerance
from neuralode.registry import METHODS
from problems import FORCED, LINEAR, RIGID_BODY, TURN

EXTENDED = [method.name for method in neuralode.methods() if method.extend and method.tableau]
EXACT = {
    TURN: TURN.exact,
    LINEAR: LINEAR.exact,
    RIGID_BODY: lambda t: torch.from_numpy(np.stack(ellipj(t.numpy(), 0.51)[:3], -1)),
}


def error(problem, exact, t_eval, **options):
    with torch.no_grad():
        sol = neuralode.solve(problem.f, problem.t_span, problem.y0, t_eval=t_eval, **options)
    return float((sol.y - exact(sol.t)).abs().max())


@pytest.mark.parametrize("tol", [1e-8, 1e-10])
@pytest.mark.parametrize("method", [name for name in EXTENDED if METHODS[name].adaptive])
@pytest.mark.parametrize("problem", EXACT, ids=repr)
def test_outputs_are_as_good_as_steps(problem, method, tol):
    options = {"method": method, "rtol": tol, "atol": tol}
    steps = error(problem, EXACT[problem], "steps", **options)
    times = torch.linspace(*problem.t_span, 501, dtype=torch.float64)
    # Where the steps err by a small part of the tolerance, outputs err by at most half of it.
    assert error(problem, EXACT[problem], times, **options) <= max(4 * steps, 0.5 * tol)


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
@pytest.mark.parametrize("method", EXTENDED)
def test_stages_are_made_only_for_outputs_inside_steps(method, batch):
    record = METHODS[method]
    options = {"method": method, "batch": batch, "step": 0.25}
    y0 = LINEAR.y0 if batch is None else torch.stack((LINEAR.y0, 2 * LINEAR.y0))

    def calls(**more):
        sol = neuralode.solve(LINEAR.f, (0.0, 2.0), y0, **options, **more)
        return torch.as_tensor(sol.nfev).expand(2)

    bare = calls()
    assert (calls(t_eval=[0.25, 0.5, 2.0]) == bare).all()
    assert (calls(t_eval="steps") == bare).all()
    assert (calls(t_eval=[0.1, 0.2, 0.6, 1.0]) == bare + 2 * record.extra).all()
    assert (calls(dense_output=True) == bare + 8 * record.extra).all()
    if batch != "independent":
        return
    # The second sample alone has outputs inside its steps.
    own = torch.tensor([[0.25, 0.5], [0.1, 1.1]], dtype=torch.float64)
    assert (calls(t_eval=own) == bare + torch.tensor([0, 2 * record.extra])).all()


@pytest.mark.parametrize("method", EXTENDED)
def test_loops_and_gradients_agree_on_outputs(method):
    times = torch.linspace(0.0, 2.0, 12, dtype=torch.float64)
    found = []
    for batch in (None, "independent"):
        for gradient in ("direct", "discrete"):
            rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
            y0 = (RIGID_BODY.y0 if batch is None else RIGID_BODY.y0[None]).clone().requires_grad_()
            sol = neuralode.solve(
                lambda t, y, rate=rate: rate * RIGID_BODY.f(t, y) + torch.cos(t), (0.0, 2.0), y0, t_eval=times,
                method=method, batch=batch, gradient=gradient, step=0.25,
            )  # fmt: skip
            y = sol.y.reshape(len(times), 3)
            weights = torch.arange(float(y.numel()), dtype=torch.float64).reshape(y.shape).cos()
            grads = torch.autograd.grad((weights * y).sum(), [rate, y0])
            found.append((y.detach(), grads[0], grads[1].reshape(3)))
    for other in found[1:]:
        # The same formulas in another order of sums, some of the weights large and of either sign; the gradients are
        # sums of 36 terms.
        for got, want in zip(other, found[0], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-11, atol=5e-12)


@pytest.mark.parametrize("method", EXTENDED)
def test_a_step_is_completed_once(method):
    record = METHODS[method]
    t, y = 0.3, FORCED.exact(torch.tensor(0.3, dtype=torch.float64))
    carry = record.init(FORCED.f, t, y)
    step = record.step(FORCED.f, t, 0.1, y, carry, None)
    whole = record.complete(FORCED.f, t, 0.1, y, step)
    assert len(whole.stages) == len(step.stages) + record.extra
    assert record.complete(FORCED.f, t, 0.1, y, whole).stages == whole.stages


def scipy_step(h, y0, tol):
    solver = DOP853(
        lambda t, y: FORCED.f(torch.tensor(t, dtype=torch.float64), torch.as_tensor(y)).numpy(), 0.3, y0.numpy(), 9.0,
        first_step=h, rtol=1.0, atol=1.0,
    )  # fmt: skip
    solver.step()
    scale = tol + tol * np.maximum(np.abs(solver.y_old), np.abs(solver.y))
    return solver, float(solver._estimate_error_norm(solver.K, h, scale))


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
def test_dop853_is_hairers(batch):
    """State, estimate and dense output of a step are SciPy's; each sample of a batch has an estimate of its own."""
    h, tol, record = 0.4, 1e-8, METHODS["dop853"]
    start = FORCED.exact(torch.tensor(0.3, dtype=torch.float64))
    y0 = start if batch is None else torch.stack((start, 3 * start))
    tolerance = Tolerance(tol, tol, NORMS["rms"], batch)
    column = torch.full((2,), 1.0, dtype=torch.float64)
    t, size = (0.3, h) if batch != "independent" else (0.3 * column, h * column)
    step = record.step(FORCED.f, t, size, y0, record.init(FORCED.f, t, y0), record.begin(tolerance))
    theirs = [scipy_step(h, y, tol) for y in (y0 if batch else [y0])]
    want = np.array([solver.y for solver, _ in theirs]).reshape(y0.shape)
    np.testing.assert_allclose(step.y1.numpy(), want, rtol=1e-14)
    norms = torch.tensor([norm for _, norm in theirs], dtype=torch.float64)
    ratio = torch.as_tensor(tolerance.ratio(step.error, y0, step.y1), dtype=torch.float64)
    # The estimate is a difference that cancels to 1e-9 of the stages.
    torch.testing.assert_close(ratio, norms if batch == "independent" else norms.max(), rtol=1e-5, atol=0.0)
    whole = record.complete(FORCED.f, t, size, y0, step)
    for theta in (0.2, 0.7):
        at = theta if batch != "independent" else theta * column
        inside = np.array([solver.dense_output()(0.3 + theta * h) for solver, _ in theirs]).reshape(y0.shape)
        np.testing.assert_allclose(record.dense(at, size, y0, whole.stages).numpy(), inside, rtol=1e-14)


@pytest.mark.parametrize("batch", [None, "lockstep", "independent"])
def test_dop853_at_rest(batch):
    """Estimates that are both zero are no error, and no NaN."""
    y0 = torch.ones(2, 3)
    sol = neuralode.solve(lambda t, y: torch.zeros_like(y), (0.0, 1.0), y0, method="dop853", batch=batch)
    assert torch.equal(sol.y1, y0)
    assert (torch.as_tensor(sol.rejected) == 0).all()
