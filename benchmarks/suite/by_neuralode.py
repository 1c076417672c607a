"""neuralode: eager and fused, stepping each sample alone or all in lockstep."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from operations import OfTorch
from torch import Tensor

import neuralode

from .problem import Contender, Problem, RefusedError, flat

REFUSALS = (neuralode.SolverError, NotImplementedError, ValueError, TypeError)


@dataclass(frozen=True)
class Ours:
    """One backend with one way of stepping a batch."""

    backend: str
    batch: str | None
    method: str = "dopri5"

    def solve(self, problem: Problem, y0: Tensor, tol: float) -> Any:
        try:
            return neuralode.solve(
                problem.field, problem.t_span, y0, t_eval=problem.times, args=problem.args, method=self.method,
                batch=self.batch, backend=self.backend, **problem.tolerances(tol),
            )  # fmt: skip
        except REFUSALS as error:
            raise RefusedError(str(error).splitlines()[0]) from error

    def check(self, problem: Problem) -> None:
        if problem.batched != (self.batch is not None):
            raise RefusedError("")
        if problem.stiff != (self.method != "dopri5"):
            raise RefusedError("")

    def forward(self, problem: Problem) -> Callable[[float], Any]:
        self.check(problem)

        def work(tol: float) -> Any:
            with torch.no_grad():
                return self.solve(problem, problem.y0, tol).y

        return work

    def gradient(self, problem: Problem) -> Callable[[float], Any]:
        self.check(problem)

        def work(tol: float) -> Any:
            found = self.solve(problem, problem.leaves[0], tol)
            return torch.autograd.grad(problem.total_loss(OfTorch, found.y), problem.leaves)

        return work


def contender(name: str, ours: Ours) -> Contender:
    def numbers(result: Any) -> Tensor:
        return flat(result if isinstance(result, tuple) else [result])

    return Contender(name, ours.forward, ours.gradient, numbers, ours.batch != "lockstep")


def contenders() -> Iterator[Contender]:
    """Of each problem those that fit it refuse the rest without a word."""
    for backend in ("fused", "eager"):
        yield contender(backend, Ours(backend, None))
        yield contender(backend, Ours(backend, "independent"))
        yield contender(f"{backend}, lockstep", Ours(backend, "lockstep"))
    for method in ("bdf", "radau5", "kvaerno5"):
        yield contender(f"eager {method}", Ours("eager", "independent", method))
