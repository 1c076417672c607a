"""What ``diagnose`` found, as plain numbers and as text."""

import math
from dataclasses import dataclass

from torch import Tensor

from .advice import Advice
from .roughness import Rough


@dataclass(frozen=True)
class BlowUp:
    """A time at which the solution becomes infinite, and the sample that does first (None for one system)."""

    t: float
    sample: int | None


@dataclass(frozen=True)
class Path:
    """Facts at places of the path; (P,) times of P places, (P, R) of R systems, float64, NaN where unknown.

    Attributes:
        t: times, (P, R).
        lipschitz: |df/dy|_2; where f has no derivatives, the largest difference quotient found.
        log_norm, abscissa, decay, radius: as in ``Slopes``.
        step: size of the step taken there, (P, R).
    """

    t: Tensor
    lipschitz: Tensor
    log_norm: Tensor
    abscissa: Tensor
    decay: Tensor
    radius: Tensor
    step: Tensor


@dataclass(frozen=True)
class Diagnosis:
    """What ``diagnose`` found. ``print`` it.

    Attributes:
        reached: time that the walk came to (the earliest sample's); status: how it ended, one sentence.
        steps, rejected: of the walk, the slowest sample's; evaluations: calls of f in all.
        lipschitz: the largest local Lipschitz constant |df/dy|_2 on the path; lipschitz_t: where.
        log_norm: the largest logarithmic norm; abscissa: the largest real part of an eigenvalue of df/dy; NaN for
            rows of more than 64 numbers.
        stiffness_index: fastest decay times the length of t_span; below about 100 of no concern.
        limited: how much of an explicit method's stability interval the walk's steps fill, at most 1, a mean over time.
        stiff: whether stability would set an explicit method's steps.
        worst: the sample with the largest Lipschitz constant; None for one system.
        blow_up, non_lipschitz: what was found, or None.
        kinks: activation functions and operations with kinks: "path (class)", or "torch.name in f".
        random: whether two evaluations at the same place differ.
        method, rtol, gradient: what is recommended: ``.value`` and ``.reason``.
        path: the facts along the path.
    """

    reached: float
    status: str
    steps: int
    rejected: int
    evaluations: int
    lipschitz: float
    lipschitz_t: float
    log_norm: float
    abscissa: float
    stiffness_index: float
    limited: float
    stiff: bool
    worst: int | None
    blow_up: BlowUp | None
    non_lipschitz: Rough | None
    kinks: tuple[str, ...]
    random: bool
    method: Advice
    rtol: Advice
    gradient: Advice
    path: Path

    def __str__(self) -> str:
        return "\n".join(f"{name:<15} {text}" for name, text in self._lines())

    def _lines(self) -> list[tuple[str, str]]:
        sample = "" if self.worst is None else f" in sample {self.worst}"
        lines = [
            (
                "walk",
                f"{self.status}, at t = {self.reached:.6g}: {self.steps} steps, {self.rejected} rejected",
            ),
            ("Lipschitz", f"|df/dy| at most {self.lipschitz:.3g}, at t = {self.lipschitz_t:.6g}{sample}"),
            ("eigenvalues", self._eigenvalues()),
            ("stiffness", self._stiffness()),
            ("blow-up", self._blow_up()),
            ("not Lipschitz", "no place found" if self.non_lipschitz is None else str(self.non_lipschitz)),
            ("kinks", ", ".join(self.kinks) if self.kinks else "none found"),
            ("randomness", "f is random" if self.random else "none"),
        ]
        return [
            *lines,
            ("method", str(self.method)),
            ("rtol", str(self.rtol)),
            ("gradient", str(self.gradient)),
        ]

    def _eigenvalues(self) -> str:
        if math.isnan(self.abscissa):
            return "unknown: the state is large, or f has no derivatives"
        return f"real parts up to {self.abscissa:.3g}; logarithmic norm up to {self.log_norm:.3g}"

    def _stiffness(self) -> str:
        return (
            f"{'stiff' if self.stiff else 'not stiff'}: index {self.stiffness_index:.3g}; steps fill "
            f"{100 * self.limited:.0f} % of what an explicit method is stable for"
        )

    def _blow_up(self) -> str:
        if self.blow_up is None:
            return "none in sight"
        sample = "" if self.blow_up.sample is None else f" in sample {self.blow_up.sample}"
        return f"the solution becomes infinite at t = {self.blow_up.t:.8g}{sample}"
