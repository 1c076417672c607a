"""neuralode: eager and fused, stepping each sample alone or all in lockstep."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import neuralode

from .by_torch import Work, forward, gradient
from .problem import Contender, Problem, RefusedError, flat

REFUSALS = (neuralode.SolverError, NotImplementedError, ValueError, TypeError)


@dataclass(frozen=True)
class Ours:
    """One backend with one way of stepping a batch; what is no batch is solved as one system."""

    backend: str
    batch: str = "independent"
    method: str = "dopri5"

    def solve(self, problem: Problem, y0: Tensor, tol: float) -> Any:
        try:
            return neuralode.solve(
                problem.field, problem.t_span, y0, t_eval=problem.times, args=problem.args, method=self.method,
                batch=self.batch if problem.batched else None, backend=self.backend,
                max_steps=max(problem.max_steps, neuralode.Solver.max_steps), **problem.tolerances(tol),
            )  # fmt: skip
        except REFUSALS as error:
            raise RefusedError(str(error).splitlines()[0]) from error

    def check(self, problem: Problem) -> None:
        foreign = self.batch == "lockstep" and not problem.batched
        if foreign or problem.stiff != (self.method != "dopri5"):
            raise RefusedError("")

    def outputs(self, problem: Problem, y0: Tensor, tol: float) -> Tensor:
        found: Tensor = self.solve(problem, y0, tol).y
        return found

    def forward(self, problem: Problem) -> Work:
        self.check(problem)
        return forward(self.outputs, problem)

    def gradient(self, problem: Problem) -> Work:
        self.check(problem)
        return gradient(self.outputs, problem)


def contenders() -> Iterator[Contender]:
    """Fused, eager, and eager methods for what is stiff."""
    for backend in ("fused", "eager"):
        for name, batch in ((backend, "independent"), (f"{backend}, lockstep", "lockstep")):
            by = Ours(backend, batch)
            yield Contender(name, by.forward, by.gradient, flat, batch != "lockstep")
    for method in ("bdf", "radau5", "kvaerno5"):
        by = Ours("eager", method=method)
        yield Contender(f"eager {method}", by.forward, by.gradient, flat, per_sample=True)


def taken(problem: Problem) -> str:
    """The engine that backend="auto" takes, and what it says of its choice."""
    with torch.no_grad():
        report = Ours("auto").solve(problem, problem.y0, problem.tol).report
    return ", ".join(f"{name}: {value}" for name, value in report.items()) or "eager"
