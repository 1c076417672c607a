"""PID control: the step size from the last three error ratios."""

from dataclasses import dataclass
from typing import Any

from .choice import clip
from .power import power
from .step_control import Memory, StepControl


@dataclass(frozen=True)
class PIDController(StepControl):
    """h_next = h safety r^(-b1 / k) r_prev^(-b2 / k) r_before^(-b3 / k), k = error_order + 1.

    The general three-term controller of Soderlind, ACM TOMS 29 (2003) 1-26, as a filter of the error ratios of the
    last three accepted steps. The default coefficients are those that SUNDIALS' ARKODE documents for its PID
    controller. Others: (1/18, 1/9, 1/18), Soderlind's noise filter H312PID; (1/6, 1/6, 0), his H211PI;
    (0.7, -0.4, 0), the PI controller.

    Attributes:
        beta: (b1, b2, b3).
    """

    beta: tuple[float, float, float] = (0.58, -0.21, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.beta) != 3:
            raise ValueError(f"beta must hold three coefficients, got {self.beta}")

    def before_first(self) -> Memory:
        return (1.0, 1.0)

    def growth(self, ratio: Any, size: Any, past: Memory, k: int) -> Any:
        b1, b2, b3 = self.beta
        return power(ratio, -b1 / k) * power(past[0], -b2 / k) * power(past[1], -b3 / k)

    def remember(self, ratio: Any, size: Any, past: Memory) -> Memory:
        return clip(ratio, 1e-4, 1e4), past[0]
