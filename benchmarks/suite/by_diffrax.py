"""diffrax under jit: a step size for each sample by vmap, or all as one system; tolerances are arguments."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from operations import OfJax
from torch import Tensor

from .problem import Contender, Problem, RefusedError


@cache
def operations() -> OfJax:
    return OfJax(double=False)


@dataclass(frozen=True)
class Diffrax:
    """One way of stepping a batch, and one of taking gradients."""

    vmapped: bool
    adjoint: str = "RecursiveCheckpointAdjoint"

    def solution(self, problem: Problem, y0: Any, args: Any, params: Any, tol: Any) -> Any:
        """(T, B, n) or (T, n)."""
        import diffrax
        import jax

        ops, times = operations(), jax.numpy.asarray(problem.times.tolist())
        solver = diffrax.Kvaerno5() if problem.stiff else diffrax.Dopri5()
        controller = diffrax.PIDController(**problem.tolerances(tol))

        def one(y0: Any, args: Any) -> Any:
            return diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, y, p: problem.formula(ops, t, y, p)), solver, *problem.t_span, None, y0,
                args=(*args, *params), saveat=diffrax.SaveAt(ts=times), stepsize_controller=controller,
                max_steps=problem.max_steps, adjoint=getattr(diffrax, self.adjoint)(),
            ).ys  # fmt: skip

        return jax.vmap(one, out_axes=1)(y0, args) if self.vmapped and problem.batched else one(y0, args)

    def check(self, problem: Problem) -> None:
        if self.vmapped and not problem.batched:
            raise RefusedError("")
        if problem.stiff and not self.vmapped:
            raise RefusedError("")  # a dense Jacobian of the whole batch

    def forward(self, problem: Problem) -> Callable[[float], Any]:
        if self.adjoint != Diffrax.adjoint:
            raise RefusedError("")
        return self.compiled(
            problem, lambda y0, args, params, tol: (self.solution(problem, y0, args, params, tol),)
        )

    def gradient(self, problem: Problem) -> Callable[[float], Any]:
        def loss(y0: Any, args: Any, params: Any, tol: Any) -> Any:
            return problem.total_loss(operations(), self.solution(problem, y0, args, params, tol))

        return self.compiled(problem, operations().jax.grad(loss, argnums=(0, 2)))

    def compiled(self, problem: Problem, whole: Callable[..., Any]) -> Callable[[float], Any]:
        self.check(problem)
        jax = operations().jax
        double = problem.y0.dtype == torch.float64

        def converted(parts: Any) -> tuple[Any, ...]:
            return tuple(jax.numpy.asarray(part.detach().cpu().numpy()) for part in parts)

        run = jax.jit(whole)
        with jax.enable_x64(double):
            leaves = converted([problem.y0])[0], converted(problem.args), converted(problem.params)

        def work(tol: float) -> Any:
            try:
                with jax.enable_x64(double):
                    return jax.block_until_ready(run(*leaves, tol))
            except RuntimeError as error:  # equinox's, with the sentence in the midst of a traceback
                sentence = re.search(r"EquinoxRuntimeError: (.*)", str(error))
                raise RefusedError(sentence[1] if sentence else str(error).partition("\n")[0]) from error

        return work


def numbers(result: Any) -> Tensor:
    import numpy as np

    parts = operations().jax.tree.leaves(result)
    return torch.cat([torch.from_numpy(np.array(part, dtype=np.float64).reshape(-1)) for part in parts])


def contenders() -> Iterator[Contender]:
    for name, by in (
        ("diffrax vmap", Diffrax(vmapped=True)),
        ("diffrax", Diffrax(vmapped=False)),
        ("diffrax, backsolve", Diffrax(vmapped=False, adjoint="BacksolveAdjoint")),
    ):
        yield Contender(name, by.forward, by.gradient, numbers, by.vmapped)
