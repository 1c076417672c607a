"""torchdiffeq: one step size for all samples; gradients by backpropagation or by the adjoint equation."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from operations import OfTorch
from torch import Tensor

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


def forward(problem: Problem) -> Callable[[float], Any]:
    def work(tol: float) -> Any:
        with torch.no_grad():
            return (solving(problem, problem.y0, tol),)

    return work


def gradient(adjoint: bool) -> Callable[[Problem], Callable[[float], Any]]:
    def prepare(problem: Problem) -> Callable[[float], Any]:
        def work(tol: float) -> Any:
            ys = solving(problem, problem.leaves[0], tol, adjoint)
            return torch.autograd.grad(problem.total_loss(OfTorch, ys), problem.leaves)

        return work

    return prepare


def nothing(problem: Problem) -> Callable[[float], Any]:
    raise RefusedError("")


def contenders() -> Iterator[Contender]:
    yield Contender("torchdiffeq", forward, gradient(adjoint=False), flat, per_sample=False)
    yield Contender("torchdiffeq, adjoint", nothing, gradient(adjoint=True), flat, per_sample=False)
