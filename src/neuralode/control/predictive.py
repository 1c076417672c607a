"""Predictive control, for implicit methods: the trend of the error along with its size."""

from dataclasses import dataclass
from typing import Any

from .choice import clip, select
from .power import power
from .step_control import Memory, StepControl


@dataclass(frozen=True)
class PredictiveController(StepControl):
    """h_next = h safety min(r^(-alpha / k) r_prev^(beta / k), (h / h_prev) (r_prev / r^2)^(1 / k)).

    k = error_order + 1. Gustafsson, ACM TOMS 20 (1994) 496-517, as in Hairer & Wanner II, eq. IV.8.25: implicit methods
    have errors whose constant drifts along the solution, which this one extrapolates, so that a step shrinks before it
    would be rejected. It never grows more than the controller of alpha and beta, which alone decides the first step: by
    default the elementary one, as there. With alpha = 0.7 and beta = 0.4, PI control, steps do not leap either where
    the estimate passes zero.

    Attributes:
        floor: the least ratio that counts as the one before, so that an error near zero does not stall the next step.
        alpha, beta: of the growth that is not exceeded.
    """

    floor: float = 1e-2
    alpha: float = 1.0
    beta: float = 0.0

    def before_first(self) -> Memory:
        return 1.0, 0.0

    def growth(self, ratio: Any, size: Any, past: Memory, k: int) -> Any:
        before, length = past
        known = length > 0
        most = power(ratio, -self.alpha / k) * power(before, self.beta / k)
        change = size / select(known, length, 1.0)
        predicted = power(ratio, -1.0 / k) * change * power(before / ratio, 1.0 / k)
        return select(known & (predicted < most), predicted, most)

    def remember(self, ratio: Any, size: Any, past: Memory) -> Memory:
        return clip(ratio, self.floor, 1e4), size
