"""One call for every code: solve a problem by a method at a tolerance, timed, with the evaluations counted."""

import importlib.util
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp

import neuralode

Formula = Callable[..., tuple[Any, ...]]
# Kinds that take another kind of f than dy/dt = f(t, y).
SPECIAL = ("symplectic", "partitioned", "imex", "implicit-explicit", "split")
# Steps that a method fit for a stiff problem does not need at a loose tolerance.
STIFF_STEPS = 1000
STIFF = {
    "scipy": ("Radau", "BDF", "LSODA"),
    "torchdiffeq": (),
    "diffrax": ("Kvaerno3", "Kvaerno4", "Kvaerno5"),
}
SMOOTH = {
    "scipy": ("RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"),
    "torchdiffeq": ("adaptive_heun", "fehlberg2", "bosh3", "dopri5", "dopri8"),
    "diffrax": ("Heun", "Bosh3", "Dopri5", "Tsit5", "Dopri8"),
}


@dataclass(frozen=True, eq=False)
class Task:
    """A problem as each code takes it best: ``formula(t, *components)`` gives the derivatives, one by one."""

    name: str
    title: str
    formula: Formula
    t_span: tuple[float, float]
    y0: tuple[float, ...]
    end: tuple[float, ...]
    stiff: bool
    atol_ratio: float

    def error(self, y1: Sequence[float]) -> float:
        """Largest error at the end against atol_ratio + |y|, so that 1e-6 is what rtol = 1e-6 asks for."""
        each = [abs(a - b) / (self.atol_ratio + abs(b)) for a, b in zip(y1, self.end, strict=True)]
        return max(each) if all(map(math.isfinite, each)) else math.inf


@dataclass(frozen=True)
class Outcome:
    """``y1`` is None where the end was not reached."""

    y1: Sequence[float] | None
    nfev: int
    seconds: float


@dataclass(frozen=True)
class Entry:
    """A method of a code; ``solve(task, tolerance)`` integrates once."""

    code: str
    method: str
    solve: Callable[[Task, float], Outcome]


def ours(task: Task, chosen: Sequence[str] | None, notes: list[str]) -> Iterator[Entry]:
    """Every adaptive method for plain fields; on a stiff problem those that get through it at a loose tolerance."""
    for method in neuralode.methods():
        if not method.adaptive or (chosen is not None and method.name not in chosen):
            continue
        if any(word in method.kind.lower() for word in SPECIAL):
            notes.append(f"neuralode {method.name} takes another kind of field ({method.kind})")
        elif task.stiff and solve_ours(task, 1e-3, method.name, STIFF_STEPS).y1 is None:
            notes.append(
                f"neuralode {method.name} is not for {task.name}: {STIFF_STEPS} steps do not suffice at 1e-3"
            )
        else:
            yield Entry(
                "neuralode", method.name, lambda task, tol, name=method.name: solve_ours(task, tol, name)
            )


def solve_ours(task: Task, tol: float, method: str, max_steps: int = 1_000_000) -> Outcome:
    def f(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.stack(task.formula(t, *y.unbind(-1)), -1)

    y0 = torch.tensor(task.y0, dtype=torch.float64)
    start = time.process_time()
    with torch.no_grad():
        found = neuralode.solve(
            f,
            task.t_span,
            y0,
            method=method,
            rtol=tol,
            atol=tol * task.atol_ratio,
            max_steps=max_steps,
            throw=False,
        )
    seconds = time.process_time() - start
    return Outcome(found.y1.tolist() if found.success else None, int(found.nfev), seconds)


def scipy_entries(task: Task) -> Iterator[Entry]:
    for method in (STIFF if task.stiff else SMOOTH)["scipy"]:
        yield Entry("scipy", method, lambda task, tol, name=method: solve_scipy(task, tol, name))


def solve_scipy(task: Task, tol: float, method: str) -> Outcome:
    def f(t: float, y: np.ndarray) -> np.ndarray:
        return np.array(task.formula(t, *y.tolist()))

    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = solve_ivp(f, task.t_span, task.y0, method, rtol=tol, atol=tol * task.atol_ratio)
    seconds = time.process_time() - start
    return Outcome(found.y[:, -1].tolist() if found.success else None, found.nfev, seconds)


def torchdiffeq_entries(task: Task) -> Iterator[Entry]:
    for method in (STIFF if task.stiff else SMOOTH)["torchdiffeq"]:
        yield Entry("torchdiffeq", method, lambda task, tol, name=method: solve_torchdiffeq(task, tol, name))


def solve_torchdiffeq(task: Task, tol: float, method: str) -> Outcome:
    from torchdiffeq import odeint

    calls = 0

    def f(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return torch.stack(task.formula(t, *y.unbind(-1)), -1)

    y0, times = torch.tensor(task.y0, dtype=torch.float64), torch.tensor(task.t_span, dtype=torch.float64)
    start = time.process_time()
    try:
        with torch.no_grad():
            y1 = odeint(f, y0, times, method=method, rtol=tol, atol=tol * task.atol_ratio)[-1].tolist()
    except AssertionError:  # how it says that a step underflows
        y1 = None
    return Outcome(y1, calls, time.process_time() - start)


def diffrax_entries(task: Task) -> Iterator[Entry]:
    for method in (STIFF if task.stiff else SMOOTH)["diffrax"]:
        yield Entry("diffrax", method, DiffraxSolve(task, method))


class DiffraxSolve:
    """Compiled once for all tolerances: one function to time, one that counts the calls of f."""

    def __init__(self, task: Task, method: str) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        self.calls = 0
        self.timed = jax.jit(lambda tol: self.integrate(task, method, tol, counting=False))
        self.counted = jax.jit(lambda tol: self.integrate(task, method, tol, counting=True))

    def integrate(self, task: Task, method: str, tol: Any, counting: bool) -> Any:
        import diffrax
        import jax

        def count() -> None:
            self.calls += 1

        def f(t: Any, y: Any, args: Any) -> Any:
            if counting:
                jax.debug.callback(count)
            return jax.numpy.stack(task.formula(t, *y))

        found = diffrax.diffeqsolve(
            diffrax.ODETerm(f), getattr(diffrax, method)(), *task.t_span, None, jax.numpy.array(task.y0),
            stepsize_controller=diffrax.PIDController(rtol=tol, atol=tol * task.atol_ratio),
            max_steps=1_000_000, throw=False,
        )  # fmt: skip
        return found.ys[-1], found.result == diffrax.RESULTS.successful

    def __call__(self, task: Task, tol: float) -> Outcome:
        import jax

        self.calls = 0
        y1, reached = self.counted(tol)
        jax.effects_barrier()
        jax.block_until_ready(self.timed(tol))
        start = time.process_time()
        jax.block_until_ready(self.timed(tol))
        seconds = time.process_time() - start
        return Outcome(y1.tolist() if reached else None, self.calls, seconds)


def every(task: Task, chosen: Sequence[str] | None, notes: list[str]) -> Iterator[Entry]:
    """All entries for a task; what is missing, and why, is appended to ``notes``."""
    yield from ours(task, chosen, notes)
    yield from scipy_entries(task)
    for code, entries in (("torchdiffeq", torchdiffeq_entries), ("diffrax", diffrax_entries)):
        if importlib.util.find_spec(code) is None:
            notes.append(f"{code} is not installed")
        else:
            yield from entries(task)
