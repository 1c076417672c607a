"""torchode, eager: a step size for each sample, gradients by backpropagation."""

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from .by_torch import forward, gradient
from .problem import Contender, Problem, RefusedError, flat


def solving(problem: Problem, y0: Tensor, tol: float) -> Tensor:
    """(T, B, n)."""
    import torchode

    if problem.stiff:
        raise RefusedError("no implicit method")
    rows = y0 if problem.batched else y0[None]
    shape, size = rows.shape, rows[0].numel()

    def f(t: Tensor, y: Tensor) -> Tensor:
        return problem.field(t[:, None], y.reshape(shape), *problem.args).reshape(len(y), size)

    term = torchode.ODETerm(f)
    controller = torchode.IntegralController(term=term, **problem.tolerances(tol))
    # Steps held constant in the gradient, as by the other codes; through their choice it is far off in float32.
    solver = torchode.AutoDiffAdjoint(
        torchode.Dopri5(term=term), controller, backprop_through_step_size_control=False
    )
    times = problem.times.to(y0).expand(len(rows), -1)
    found = solver.solve(torchode.InitialValueProblem(y0=rows.reshape(len(rows), size), t_eval=times))
    if bool((found.status != 0).any()):
        raise RefusedError(f"ends with status {int(found.status.max())}")
    return found.ys.transpose(0, 1).reshape(len(problem.times), *y0.shape)


def contenders() -> Iterator[Contender]:
    yield Contender("torchode", partial(forward, solving), partial(gradient, solving), flat, per_sample=True)
