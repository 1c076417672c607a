"""One call for every way to a gradient: neuralode's, torchdiffeq's, diffrax's; with the work and memory counted."""

import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from gradient_cases import Case, OfTorch
from torch import Tensor

import neuralode
from neuralode.experiments.memory import peak_memory
from neuralode.gradient import GRADIENTS

METHODS = {method.name: method for method in neuralode.methods()}
# In turn, until one admits the gradient; the last is nearly its own inverse.
FALLBACKS = ("dopri5", "ees27")
# A walk back that diverges is given up; what is nearly its own inverse has order two, and takes more steps.
MAX_STEPS, MORE_STEPS = 3000, 20_000
FAILURES = (neuralode.SolverError, AssertionError, ArithmeticError, RuntimeError, ValueError)


class Failed(Exception):
    """No gradient came back, or one that is not finite."""


@dataclass
class Tally:
    """Evaluations of f and products with its Jacobian."""

    nfev: int = 0
    vjps: int = 0


@dataclass(frozen=True)
class Counts:
    """Evaluations of f in the forward pass and after it, and the products of a row with its Jacobian."""

    forward: int
    backward: int
    vjps: int


@dataclass(frozen=True)
class Mode:
    """A way to take a gradient of one case.

    Attributes:
        code, name, method: whose, its name there, and the solver's method.
        gradient: () -> gradient to y0 and every parameter, flat; raises ``Failed``.
        counts: () -> ``Counts``.
        memory: () -> bytes at the worst moment.
        drift: () -> what the last gradient's walk back has missed y0 by, in tolerances, or None.
        timed: () -> the gradient without what makes it a flat tensor of ours.
    """

    code: str
    name: str
    method: str
    gradient: Callable[[], Tensor]
    counts: Callable[[], Counts]
    memory: Callable[[], int]
    timed: Callable[[], Any]
    drift: Callable[[], float | None] = field(default=lambda: None)


class Tap(torch.autograd.Function):
    """The identity, which counts how often it is differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tally: Tally) -> Tensor:
        ctx.tally = tally
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor, None]:
        ctx.tally.vjps += 1
        return bar, None


def tapped(f: Callable[[Any, Tensor], Tensor], tally: Tally) -> Callable[[Any, Tensor], Tensor]:
    def counted(t: Any, y: Tensor) -> Tensor:
        tally.nfev += 1
        return Tap.apply(f(t, y), tally)

    return counted


Integrate = Callable[[Callable[[Any, Tensor], Tensor], Tensor, Sequence[Tensor]], Tensor]


class ByTorch:
    """A gradient in PyTorch; ``integrate(f, y0, params) -> y(t1)``."""

    def __init__(self, case: Case, integrate: Integrate) -> None:
        self.case, self.integrate = case, integrate
        self.y0, *self.params = (part.detach().clone().requires_grad_() for part in (case.y0, *case.params))

    def gradient(self) -> Tensor:
        return self.finished(self.loss(self.case.field(self.params)))

    def loss(self, f: Callable[[Any, Tensor], Tensor]) -> Tensor:
        return self.case.loss(OfTorch, self.integrate(f, self.y0, self.params))

    def finished(self, loss: Tensor) -> Tensor:
        leaves = (self.y0, *self.params)
        found = torch.cat([grad.reshape(-1) for grad in torch.autograd.grad(loss, leaves)])
        if not bool(torch.isfinite(found).all()):
            raise Failed("a gradient that is not finite")
        return found

    def counts(self) -> Counts:
        tally = Tally()
        loss = self.loss(tapped(self.case.field(self.params), tally))
        forward = tally.nfev
        self.finished(loss)
        return Counts(forward, tally.nfev - forward, tally.vjps)

    def memory(self) -> int:
        return peak_memory(self.gradient)


def method_of(case: Case, gradient: str) -> str:
    """The case's method, or the first of the fallbacks that admits the gradient."""
    return next(name for name in (case.method, *FALLBACKS) if gradient in METHODS[name].gradients)


def admitted(case: Case) -> list[str]:
    """Gradients that some of these methods admit."""
    names = {name for method in (case.method, *FALLBACKS) for name in METHODS[method].gradients}
    return [name for name in GRADIENTS if name in names]


def ours(case: Case, gradient: str, **options: Any) -> Mode:
    """neuralode's; ``options`` replace those of the solve."""
    method = method_of(case, gradient)
    given = {
        "method": method,
        "rtol": case.tol,
        "atol": case.tol,
        "gradient": gradient,
        "max_steps": MORE_STEPS if method == FALLBACKS[-1] else MAX_STEPS,
        **options,
    }
    solutions: list[Any] = []

    def integrate(f: Any, y0: Tensor, params: Sequence[Tensor]) -> Tensor:
        found = neuralode.solve(f, case.t_span, y0, **given)
        solutions[:] = [found]
        return found.y1

    by = ByTorch(case, integrate)

    def drift() -> float | None:
        return solutions[0].drift if solutions else None

    return Mode("neuralode", gradient, given["method"], by.gradient, by.counts, by.memory, by.gradient, drift)


def reference(case: Case) -> Tensor:
    """The gradient to far tighter tolerances, by steps of another method."""
    tight = replace(case, tol=case.tight, method="radau5" if case.method == "kvaerno5" else "dop853")
    return ours(tight, "discrete").gradient()


def of_torchdiffeq(case: Case) -> Iterator[Mode]:
    from torchdiffeq import odeint, odeint_adjoint

    bound = {"max_num_steps": MAX_STEPS}
    options = {"method": "dopri5", "rtol": case.tol, "atol": case.tol, "options": bound}

    def backprop(f: Any, y0: Tensor, params: Sequence[Tensor]) -> Tensor:
        return odeint(f, y0, times, **options)[-1]

    def adjoint(norm: dict[str, Any]) -> Integrate:
        def integrate(f: Any, y0: Tensor, params: Sequence[Tensor]) -> Tensor:
            return odeint_adjoint(
                f, y0, times, **options, adjoint_params=tuple(params), adjoint_options={**bound, **norm}
            )[-1]

        return integrate

    times = torch.tensor(case.t_span, dtype=torch.float64)
    ways = {
        "odeint": backprop,
        "odeint_adjoint": adjoint({}),
        "odeint_adjoint, seminorm": adjoint({"norm": "seminorm"}),
    }
    for name, integrate in ways.items():
        by = ByTorch(case, integrate)
        yield Mode("torchdiffeq", name, "dopri5", by.gradient, by.counts, by.memory, by.gradient)


class OfJax:
    """What formulas need, by JAX."""

    def __init__(self) -> None:
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
        import jax
        from jax import numpy

        jax.config.update("jax_enable_x64", True)
        self.jax = jax
        self.constant = lambda values: numpy.asarray(values.numpy())
        self.tanh, self.cos, self.exp, self.log1p = numpy.tanh, numpy.cos, numpy.exp, numpy.log1p
        self.stack, self.concatenate, self.relu = numpy.stack, numpy.concatenate, jax.nn.relu

    def convolve(self, x: Any, kernel: Any) -> Any:
        return self.jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")

    def normalise(self, x: Any, scale: Any, shift: Any) -> Any:
        from gradient_cases import GROUPS

        grouped = x.reshape(x.shape[0], GROUPS, -1)
        mean, variance = grouped.mean(-1, keepdims=True), grouped.var(-1, keepdims=True)
        plain = ((grouped - mean) / self.jax.numpy.sqrt(variance + 1e-5)).reshape(x.shape)
        return plain * scale[:, None, None] + shift[:, None, None]

    def tap(self, tally: Tally) -> Callable[[Any], Any]:
        """The identity, which counts how often it is evaluated and differentiated."""
        callback = self.jax.debug.callback

        def evaluated() -> None:
            tally.nfev += 1

        def differentiated() -> None:
            tally.vjps += 1

        @self.jax.custom_vjp
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
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, p: tap(self.case.formula(self.ops, t, y, p))),
            diffrax.Dopri5(), *self.case.t_span, None, y0, args=params, adjoint=self.adjoint, throw=False,
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
            raise Failed("a gradient that is not finite")
        return found

    def timed(self) -> None:
        self.ops.jax.block_until_ready(self.executable()(self.leaves))

    def counts(self) -> Counts:
        jax, tally = self.ops.jax, Tally()
        tap = self.ops.tap(tally)

        def calls(work: Callable[..., Any]) -> int:
            tally.nfev = 0
            jax.block_until_ready(jax.jit(work)(self.leaves))
            jax.effects_barrier()
            return tally.nfev

        forward = calls(lambda leaves: self.loss(leaves, tap))
        total = calls(jax.grad(lambda leaves: self.loss(leaves, tap)))
        return Counts(forward, total - forward, tally.vjps)

    def memory(self) -> int:
        analysis = self.executable().memory_analysis()
        return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes)


def of_diffrax(case: Case) -> Iterator[Mode]:
    ops = OfJax()
    import diffrax

    for name in ("RecursiveCheckpointAdjoint", "BacksolveAdjoint"):
        by = ByJax(case, ops, getattr(diffrax, name)())
        yield Mode("diffrax", name, "dopri5", by.gradient, by.counts, by.memory, by.timed)


def every(case: Case, notes: list[str]) -> Iterator[Mode]:
    """All ways; what is missing is appended to ``notes``."""
    yield from (ours(case, name) for name in admitted(case))
    for code, modes in (("torchdiffeq", of_torchdiffeq), ("diffrax", of_diffrax)):
        if importlib.util.find_spec(code) is None:
            notes.append(f"{code} is not installed")
        else:
            yield from modes(case)


def attempted(work: Callable[[], Any]) -> tuple[Any, str]:
    """What ``work`` returns and "", or None and the reason why there is nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the drift that they warn of is in the table
            return work(), ""
    except (Failed, *FAILURES) as error:
        return None, str(error).splitlines()[0]
