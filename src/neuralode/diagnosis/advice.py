"""Which method, tolerance and gradient suit a problem, with a sentence of reason each."""

import math
from dataclasses import dataclass
from typing import Any

from .roughness import Rough

ERROR = 1e-3  # wanted at the end of the path, relative
LOOSEST, TIGHTEST = 1e-3, 1e-10
TRIED = 1e-4  # the tolerance of a trial
SMALL = 64  # unknowns up to which a method that factors df/dy once a step is the best for stiff problems
TAPE = 2**30  # bytes of states above which fewer are kept
EXPLICIT_STEPS = 200  # that stability alone costs; fewer are no reason for a method that solves equations


@dataclass(frozen=True)
class Advice:
    """What to take, and why."""

    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.value!r}: {self.reason}"


@dataclass(frozen=True)
class Evidence:
    """What advice is drawn from.

    Attributes:
        stiff: stability, not accuracy, would set the steps of an explicit method.
        explicit_steps: that stability alone would cost it.
        unknowns: of one system; numbers: of the whole state; steps: of the walk.
        decay: integral of the fastest decay along the path; NaN unknown.
        epsilon: of the state's dtype.
    """

    stiff: bool
    explicit_steps: float
    unknowns: int
    numbers: int
    steps: int
    decay: float
    epsilon: float
    rough: Rough | None
    kinks: tuple[str, ...]
    random: bool


def advise_method(e: Evidence) -> Advice:
    """For the solve."""
    if e.stiff:
        why = (
            f"stability alone would cost an explicit method {e.explicit_steps:.3g} steps, accuracy {e.steps}"
        )
        name = "rodas5p" if e.unknowns <= SMALL else "bdf"
        return Advice(
            name, why + ("" if e.unknowns <= SMALL else f"; with {e.unknowns} unknowns factors are reused")
        )
    if e.rough is not None:
        return Advice(
            "bosh3", "f is not Lipschitz on the path, where high order gains nothing: low order is cheapest"
        )
    if e.kinks:
        return Advice("bosh3", "f has kinks, at which a step has an error of low order whatever the method's")
    return Advice("tsit5", "f is smooth and not stiff along the path")


def advise_tolerance(e: Evidence, method: str, error: float | None) -> Advice:
    """rtol, with atol a hundredth of it, for 1e-3 at the end of the path.

    Args:
        error: relative, at the end, of a trial with ``method`` at rtol = TRIED; None where there is none.
    """
    if error is None or not math.isfinite(error):
        why = (
            "f is random, and steps follow the noise"
            if e.random
            else "the end was not reached, so none was tried"
        )
        return Advice(TRIED, f"the default; {why}")
    factor = max(error, TRIED * 1e-2) / TRIED
    power = 10.0 ** math.floor(math.log10(ERROR / factor) + 1e-9)
    return Advice(
        min(LOOSEST, max(power, TIGHTEST, 16.0 * e.epsilon)),
        f"{method!r} at rtol = {TRIED:g} ends {error:.2g} off, relatively; this aims at {ERROR:g}",
    )


def advise_gradient(e: Evidence) -> Advice:
    """For the solve."""
    if e.random:
        return Advice(
            "direct", "f is random: only a tape of the very evaluations has a gradient; better fix its noise"
        )
    size = e.steps * e.numbers * (4 if e.epsilon > 1e-10 else 8) * 2
    if size > TAPE:
        return Advice("checkpointed", f"the states of {e.steps} steps take {size / 2**30:.2g} GiB")
    why = "exact for the steps taken"
    if e.decay > 3.0:
        why += f"; walked backward the path would multiply errors by up to exp({e.decay:.3g}), so not 'backsolve'"
    return Advice("discrete", why)
