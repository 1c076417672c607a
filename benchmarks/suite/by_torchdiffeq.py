"""torchdiffeq: one step size for all samples; gradients by backpropagation or by the adjoint equation."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor

from .by_torch import forward, gradient
from .problem import Contender, Problem, RefusedError, flat


def solving(problem: Problem, y0: Tensor, tol: float, adjoint: bool = False) -> Tensor:
    import torchdiffeq

    if problem.stiff:
        raise RefusedError("no adaptive implicit method")

    def f(t: Tensor, y: Tensor) -> Tensor:
        return problem.field(t, y, *problem.args)

    options = {"method": "dopri5", **problem.tolerances(tol)}
    times = problem.times.to(y0)
    if not adjoint:
        return torchdiffeq.odeint(f, y0, times, **options)
    return torchdiffeq.odeint_adjoint(
        f, y0, times, adjoint_params=problem.params, adjoint_options={"norm": "seminorm"}, **options
    )


def nothing(problem: Problem) -> Callable[[float], Any]:
    raise RefusedError("")


def contenders() -> Iterator[Contender]:
    adjoint = partial(gradient, partial(solving, adjoint=True))
    yield Contender(
        "torchdiffeq", partial(forward, solving), partial(gradient, solving), flat, per_sample=False
    )
    yield Contender("torchdiffeq, adjoint", nothing, adjoint, flat, per_sample=False)
