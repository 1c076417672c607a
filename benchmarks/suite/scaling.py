"""How time and memory grow with the batch, the state and the number of steps."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from gradient_cases import dense, perceptron, seeded, squares
from timing import once

from .measure import FAILURES, synchronised
from .memory import peak
from .problem import Contender, Problem
from .problems import at_end, hunt, spirals

NAMES = ("fused", "eager", "torchdiffeq", "diffrax vmap", "diffrax")
LONGEST = 8.0  # seconds: a call that is to take longer, by the last one's growth, is not made
STEPS_A_TIME = 8.6  # accepted steps of dopri5 at 1e-6 in a unit of time of Lotka and Volterra


@dataclass(frozen=True)
class Scale:
    """A ladder of sizes; ``make(size)`` is a problem."""

    name: str
    title: str
    mode: str
    sizes: Sequence[int]
    make: Callable[[int], Problem]


@dataclass(frozen=True)
class Growth:
    """Seconds and bytes at each size that was reached; the exponents of both over the last decade reached."""

    scale: str
    contender: str
    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    bytes: list[int | None] = field(default_factory=list)
    time_exponent: float | None = None
    memory_exponent: float | None = None
    note: str = ""


def many_samples(batch: int) -> Problem:
    made = spirals(batch, small=False)
    return replace(made, t_span=(0.0, 5.0), outputs=2)


def wide_state(size: int) -> Problem:
    return Problem(
        "state", "", perceptron, (0.0, 1.0), seeded(64, size), 1e-5, params=dense(size, 64, size),
        loss=at_end(squares),
    )  # fmt: skip


def many_steps(steps: int) -> Problem:
    """One system, the gradient too, in float64: a float32 has no room for so many steps."""
    return replace(hunt(steps / STEPS_A_TIME, 2), loss=at_end(squares), max_steps=64 + 4 * steps)


def scales(quick: bool) -> list[Scale]:
    batches = (1, 8, 64) if quick else (1, 8, 64, 512, 4096, 8192, 16_384, 32_768, 65_536)
    states = (2, 8, 32) if quick else (2, 16, 128, 512, 1024, 2048, 4096)
    steps = (10, 30, 100) if quick else (10, 100, 1000, 10_000, 20_000, 50_000, 100_000)
    return [
        Scale("batch", "samples of the spiral, t 0 … 5, forward", "forward", batches, many_samples),
        Scale("state", "numbers a sample, MLP n-64-n, 64 samples, forward", "forward", states, wide_state),
        Scale("steps", "steps of Lotka-Volterra, float64, gradient", "gradient", steps, many_steps),
    ]


def exponent(sizes: Sequence[int], values: Sequence[float | None]) -> float | None:
    """The slope of log value over log size in the last decade; None of fewer than two points."""
    kept = [(s, v) for s, v in zip(sizes, values, strict=True) if v and s >= sizes[-1] / 10]
    if len(kept) < 2:
        return None
    x, y = np.log(np.array(kept, dtype=float)).T
    return float(np.polyfit(x, y, 1)[0])


def growth_of(
    scale: Scale, contender: Contender, dtype: torch.dtype, device: str, say: Callable[[str], Any]
) -> Growth:
    """One contender up the ladder, until a call is to take too long; best of three calls where they are short."""
    found, note = Growth(scale.name, contender.name), ""
    precise = torch.float64 if scale.name == "steps" else dtype
    for size in scale.sizes:
        if found.seconds and found.seconds[-1] * size / found.sizes[-1] > LONGEST:
            note = f"from {size:,} on a call takes more than {LONGEST:g} s"
            break
        say(f"{scale.name} {size} {contender.name}")
        problem = scale.make(size).to(precise, device)
        try:
            work = partial(synchronised(problem, getattr(contender, scale.mode)(problem)), problem.tol)
            work()
            held = peak(work, problem.y0.device)
            times = [once(work)]
            while len(times) < 3 and times[0][1] < 1.0:
                times.append(once(work))
        except FAILURES as reason:
            note = str(reason).partition("\n")[0]
            break
        found.sizes.append(size)
        found.seconds.append(min(wall if device != "cpu" else processor for processor, wall in times))
        found.bytes.append(held)
    return replace(
        found, note=note, time_exponent=exponent(found.sizes, found.seconds),
        memory_exponent=exponent(found.sizes, found.bytes),
    )  # fmt: skip


def growths(
    scale: Scale, contenders: Iterable[Contender], dtype: torch.dtype, device: str, say: Callable[[str], Any]
) -> list[Growth]:
    """Those of every contender that takes the scale's problems."""
    found = [growth_of(scale, one, dtype, device, say) for one in contenders if one.name in NAMES]
    return [growth for growth in found if growth.sizes or growth.note]
