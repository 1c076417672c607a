"""What this machine offers, and whether the solver is right on it."""

from __future__ import annotations

import math
import os
import platform
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .. import __version__, methods, solve
from ..fused.build import compiler, register_width

END = 2.0


@dataclass(frozen=True)
class Machine:
    """Versions and resources, and the time the solver itself takes a step of dopri5 for a small state."""

    neuralode: str
    python: str
    torch: str
    cores: int
    threads: int
    gpu: str
    fused: str
    microseconds_a_step: int


@dataclass(frozen=True)
class Check:
    """A number whose right value is known: its error, and what the error must stay below."""

    name: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the error is small enough; a NaN is not."""
        return self.error < self.bound


def machine() -> Machine:
    """What is installed and what there is to compute with."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none that PyTorch can use"
    return Machine(
        __version__,
        platform.python_version(),
        torch.__version__,
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        torch.get_num_threads(),
        gpu,
        _fused(),
        _step_time(),
    )


def _fused() -> str:
    """Whether backend="fused" works here: by what, or why not."""
    try:
        solve(_decay, (0.0, 1.0), torch.ones(2), backend="fused")
    except NotImplementedError as error:
        return f"no: {error}"
    return f"by {compiler()}, {8 * register_width()}-bit registers"


def checks() -> list[Check]:
    """Each method on y' = -2 t y**2, y(0) = 1, solved by 1 / (1 + t**2); then each gradient, dy(2)/dy(0).

    Those for pairs on q' = p, p' = -q, q(0) = 1, p(0) = 0, solved by q = cos t.
    """
    exact = 1.0 / (1.0 + END**2)
    slope = exact**2  # y(t) = 1 / (1/y0 + t**2), so dy/dy0 = y**2 / y0**2
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    found = []
    for method in methods():
        options: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-8} if method.adaptive else {"step": 2.0**-9}
        bound = 1e-6 if method.adaptive else 10.0 * 2.0 ** (-9 * method.order) + 1e-12
        if method.state == "pair":
            start = (_one(), torch.zeros_like(_one()))
            end, want = solve(_turn, (0.0, END), start, method=method.name, **options).y1[0], math.cos(END)
        else:
            field: Any = (_half, _half) if method.split else _rational
            end, want = solve(field, (0.0, END), _one(), method=method.name, **options).y1, exact
        found.append(Check(f"solution, {method.name}", abs(end.item() - want), bound))
    for device in devices:
        for name in ("direct", "discrete", "checkpointed", "interpolated", "backsolve"):
            y0 = _one(device).requires_grad_()
            solve(_rational, (0.0, END), y0, rtol=1e-8, atol=1e-8, gradient=name).y1.sum().backward()
            error = math.nan if y0.grad is None else abs(y0.grad.item() - slope)
            found.append(Check(f"gradient, {name}, {device}", error, 1e-6))
    return found


def _one(device: str = "cpu") -> Tensor:
    return torch.ones(1, dtype=torch.float64, device=device)


def _rational(t: Tensor, y: Tensor) -> Tensor:
    return -2.0 * t * y * y


def _half(t: Tensor, y: Tensor) -> Tensor:
    return -t * y * y


def _turn(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return y[1], -y[0]


def _decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


def _step_time(steps: int = 200) -> int:
    """Microseconds of one dopri5 step on a state of 32 numbers with f = -y."""
    y0, times = torch.ones(32), (0.0, 1.0)
    solve(_decay, times, y0, step=0.1)
    start = time.perf_counter()
    solve(_decay, times, y0, step=1.0 / steps)
    return round(1e6 * (time.perf_counter() - start) / steps)
