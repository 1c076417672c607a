"""Gradients through diffrax, compiled at their first use, with the work counted."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from gradient_cases import Case
from gradient_mode import Counts, Mode, NoGradientError, Tally
from operations import OfJax
from torch import Tensor


def tap(jax: Any, tally: Tally) -> Callable[[Any], Any]:
    """The identity, which counts how often it is evaluated and differentiated."""
    callback = jax.debug.callback

    def evaluated() -> None:
        tally.nfev += 1

    def differentiated() -> None:
        tally.vjps += 1

    @jax.custom_vjp
    def identity(x: Any) -> Any:
        callback(evaluated)
        return x

    def forward(x: Any) -> tuple[Any, None]:
        callback(evaluated)
        return x, None

    def backward(nothing: None, bar: Any) -> tuple[Any]:
        callback(differentiated)
        return (bar,)

    identity.defvjp(forward, backward)
    return identity


class ByJax:
    """A gradient through diffrax, compiled at its first use."""

    def __init__(self, case: Case, ops: OfJax, adjoint: Any) -> None:
        self.case, self.ops, self.adjoint = case, ops, adjoint
        self.leaves = tuple(ops.constant(part) for part in (case.y0, *case.params))
        self.compiled: Any = None

    def loss(self, leaves: Sequence[Any], tap: Callable[[Any], Any] = lambda x: x) -> Any:
        import diffrax

        y0, *params = leaves
        solver = getattr(diffrax, self.case.method.capitalize())()
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, p: tap(self.case.formula(self.ops, t, y, p))),
            solver, *self.case.t_span, None, y0, args=params, adjoint=self.adjoint, throw=False,
            stepsize_controller=diffrax.PIDController(rtol=self.case.tol, atol=self.case.tol),
        )  # fmt: skip
        return self.case.loss(self.ops, found.ys[-1])

    def executable(self) -> Any:
        if self.compiled is None:
            self.compiled = self.ops.jax.jit(self.ops.jax.grad(self.loss)).lower(self.leaves).compile()
        return self.compiled

    def gradient(self) -> Tensor:
        parts = self.ops.jax.block_until_ready(self.executable()(self.leaves))
        found = torch.cat([torch.tensor(self.ops.jax.numpy.ravel(part).tolist()).double() for part in parts])
        if not bool(torch.isfinite(found).all()):
            raise NoGradientError("a gradient that is not finite")
        return found

    def timed(self) -> None:
        self.ops.jax.block_until_ready(self.executable()(self.leaves))

    def counts(self) -> Counts:
        jax, tally = self.ops.jax, Tally()
        counted = tap(jax, tally)

        def calls(work: Callable[..., Any]) -> int:
            tally.nfev = 0
            jax.block_until_ready(jax.jit(work)(self.leaves))
            jax.effects_barrier()
            return tally.nfev

        forward = calls(lambda leaves: self.loss(leaves, counted))
        total = calls(jax.grad(lambda leaves: self.loss(leaves, counted)))
        return Counts(forward, total - forward, tally.vjps)

    def memory(self) -> int:
        analysis = self.executable().memory_analysis()
        return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)


def of_diffrax(case: Case) -> Iterator[Mode]:
    ops = OfJax(double=True)
    import diffrax

    for name in ("RecursiveCheckpointAdjoint", "BacksolveAdjoint"):
        by = ByJax(case, ops, getattr(diffrax, name)())
        yield Mode("diffrax", name, case.method, by.gradient, by.counts, by.memory, by.timed)
