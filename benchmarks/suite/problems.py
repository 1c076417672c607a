"""The problems P1 to P8, each written once for every code."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from gradient_cases import (
    block,
    butterfly,
    convolution,
    dense,
    density,
    flow,
    on_cubes,
    oscillator,
    perceptron,
    seeded,
    spiral,
    squares,
    unlikely,
)
from torch import Tensor

from .problem import Problem

WIDTHS = (64, 128, 256, 512, 1024)
START = torch.tensor([2.0, 0.0], dtype=torch.float64)


def hunting(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    """Lotka and Volterra's prey and hunters."""
    a, b, c, d = p
    prey, hunters = y[..., 0], y[..., 1]
    return ops.stack((a * prey - b * prey * hunters, c * prey * hunters - d * hunters), -1)


def kinetics(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    """Robertson's three reactions."""
    a, b, c = y[..., 0], y[..., 1], y[..., 2]
    slow, fast, back = p[0] * a, 3e7 * b**2, 1e4 * b * c
    return ops.stack((back - slow, slow - back - fast, fast), -1)


def stiff_oscillator(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    """Van der Pol's, mu = 1000."""
    return oscillator(ops, t, y, (1000.0,))


def at_end(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda ops, ys: loss(ops, ys[-1])


def hunt(end: float, outputs: int) -> Problem:
    rates = tuple(torch.tensor([1.5, 1.0, 1.0, 3.0], dtype=torch.float64))
    return Problem(
        "P1", "Lotka-Volterra, one system", hunting, (0.0, end), torch.ones(2).double(), 1e-6, params=rates,
        outputs=outputs, loss=squares,
    )  # fmt: skip


def oscillators(name: str, mu: Tensor, end: float) -> Problem:
    title = f"van der Pol, {len(mu)} samples, μ {mu.min():.3g} … {mu.max():.3g}"
    y0 = START.repeat(len(mu), 1)
    return Problem(name, title, oscillator, (0.0, end), y0, 1e-5, args=(mu,), outputs=10)


def shuffled(values: Tensor) -> Tensor:
    """As the samples of a minibatch come."""
    return values[torch.randperm(len(values), generator=torch.Generator().manual_seed(0))]


fitted_spiral = cache(spiral)


def spirals(samples: int, small: bool) -> Problem:
    case = fitted_spiral(small)
    if small:
        y0 = case.y0
    else:
        angles = torch.linspace(0.0, 6.0, samples, dtype=torch.float64)
        y0 = shuffled(torch.stack((2.0 * torch.cos(angles), torch.sin(angles)), -1))
    title = f"spiral, MLP 2-50-2 on y³, {len(y0)} samples"
    return Problem(
        f"P3-{samples}", title, on_cubes, case.t_span, y0, case.tol, params=case.params, outputs=100,
        loss=squares,
    )  # fmt: skip


def flows(small: bool) -> Problem:
    case = flow(small)
    title = f"{case.title}, exact trace, {len(case.y0)} samples"
    return Problem(
        "P4", title, density, case.t_span, case.y0, case.tol, params=case.params, loss=at_end(unlikely)
    )


def images(small: bool) -> Problem:
    case = convolution(small, batch=128)
    title = f"convolutional block 64 x 7 x 7, {len(case.y0)} samples"
    return Problem(
        "P5",
        title,
        one_or_more(block),
        case.t_span,
        case.y0,
        case.tol,
        params=case.params,
        loss=at_end(squares),
    )


def one_or_more(formula: Callable[..., Any]) -> Callable[..., Any]:
    """A formula of a batch of images, for one image too."""

    def of_any(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
        return formula(ops, t, y, p) if len(y.shape) == 4 else formula(ops, t, y[None], p)[0]

    return of_any


def butterflies(small: bool) -> Problem:
    rho = torch.linspace(0, 28, 16 if small else 4096, dtype=torch.float64)
    return Problem(
        "P6", f"Lorenz, {len(rho)} samples, rho 0 … 28", with_rho, (0.0, 1.0 if small else 10.0),
        torch.ones(len(rho), 3).double(), 1e-6, args=(shuffled(rho),),
    )  # fmt: skip


def with_rho(ops: Any, t: Any, y: Any, p: Sequence[Any]) -> Any:
    return butterfly(ops, t, y, (10.0, p[0], 8.0 / 3.0))


def reactions(small: bool) -> Problem:
    rates = torch.linspace(0.02, 0.08, 4 if small else 64, dtype=torch.float64)
    return Problem(
        "P7-Robertson", f"Robertson, {len(rates)} samples", kinetics, (0.0, 1.0 if small else 1e5),
        torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).repeat(len(rates), 1), 1e-6, args=(rates,),
        atol_ratio=1e-4, stiff=True, max_steps=100_000,
    )  # fmt: skip


def relaxations(small: bool) -> Problem:
    """The last jump of every sample is over at the end, the next far off."""
    x = torch.linspace(1.9, 2.1, 4 if small else 64, dtype=torch.float64)
    return Problem(
        "P7-van-der-Pol", f"van der Pol, {len(x)} samples, μ = 1000", stiff_oscillator,
        (0.0, 10.0 if small else 2000.0), torch.stack((x, torch.zeros_like(x)), -1), 1e-6, atol_ratio=1e-3,
        stiff=True, max_steps=100_000,
    )  # fmt: skip


def wide(width: int, small: bool) -> Problem:
    y0 = seeded(8 if small else 256, 16, seed=9)
    return Problem(
        f"P8-{width}", f"MLP 16-{width}-{width}-16, {len(y0)} samples", perceptron, (0.0, 1.0), y0, 1e-5,
        params=dense(16, width, width, 16, gain=1.5), loss=at_end(squares),
    )  # fmt: skip


MADE: dict[str, Callable[[bool], Problem]] = {
    "P1": lambda small: hunt(10.0 if small else 100.0, 100),
    "P2": lambda small: oscillators("P2", torch.linspace(1, 10, 8 if small else 256).double(), 10.0),
    "P2b": lambda small: oscillators(
        "P2b",
        shuffled(torch.logspace(-1, 1.0 if small else math.log10(31), 8 if small else 4096).double()),
        10.0,
    ),
    "P3-64": lambda small: spirals(64, small),
    "P3-4096": lambda small: spirals(4096, small),
    "P4": flows,
    "P5": images,
    "P6": butterflies,
    "P7-Robertson": reactions,
    "P7-van-der-Pol": relaxations,
    **{f"P8-{width}": lambda small, width=width: wide(width, small) for width in WIDTHS},
}
GRADIENTS = ("P3-64", "P3-4096", "P4", "P5")


def problem(name: str, dtype: torch.dtype, device: str, small: bool) -> Problem:
    """A problem by name; what is stiff, in float64."""
    made = MADE[name](small)
    return replace(made.to(torch.float64 if made.stiff else dtype, device), name=name)


def chosen(names: Sequence[str]) -> list[str]:
    """Names, or P3 for all that begin so."""
    return [name for name in MADE if any(name == want or name.startswith(f"{want}-") for want in names)]
