"""Every way to a gradient: neuralode's, torchdiffeq's and diffrax's, with the work and memory counted."""

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from gradient_cases import Case
from gradient_diffrax import of_diffrax
from gradient_mode import Counts, Mode, NoGradientError, Tally
from operations import OfTorch
from torch import Tensor

import neuralode
from neuralode.experiments.memory import peak_memory
from neuralode.gradient import GRADIENTS

METHODS = {method.name: method for method in neuralode.methods()}
# In turn, until one admits the gradient; the last is nearly its own inverse.
FALLBACKS = ("dopri5", "ees27")
# A walk back that diverges is given up; what is nearly its own inverse has order two, and takes more steps.
MAX_STEPS, MORE_STEPS = 3000, 20_000
FAILURES = (NoGradientError, neuralode.SolverError, AssertionError, ArithmeticError, RuntimeError, ValueError)


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
            raise NoGradientError("a gradient that is not finite")
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
    """Gradients that some of these methods admit, and that are of y(t1) here."""
    names = {name for method in (case.method, *FALLBACKS) for name in METHODS[method].gradients}
    return [name for name in GRADIENTS if name in names and (case.at_rest or name != "steady")]


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
    except FAILURES as error:
        return None, str(error).splitlines()[0]
