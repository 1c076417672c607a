"""Predictive control, for implicit methods: the trend of the error along with its size."""

from dataclasses import dataclass
from typing import Any

from .choice import clip, select
from .power import power
from .step_control import Memory, StepControl


@dataclass(frozen=True)
class PredictiveController(StepControl):
    """h_next = h safety min(r^(-1 / k), (h / h_prev) (r_prev / r^2)^(1 / k)), k = error_order + 1.

    Gustafsson, ACM TOMS 20 (1994) 496-517, as in Hairer & Wanner II, eq. IV.8.25: implicit methods have errors
    whose constant drifts along the solution, which this one extrapolates, so that a step shrinks before it would be
    rejected. It never grows more than the elementary controller, which alone decides the first step.

    Attributes:
        floor: the least ratio that counts as the one before, so that an error near zero does not stall the next step.
    """

    floor: float = 1e-2

    def before_first(self) -> Memory:
        return 1.0, 0.0

    def growth(self, ratio: Any, size: Any, past: Memory, k: int) -> Any:
        before, length = past
        known = length > 0
        plain = power(ratio, -1.0 / k)
        change = size / select(known, length, 1.0)
        predicted = plain * change * power(before / ratio, 1.0 / k)
        return select(known & (predicted < plain), predicted, plain)

    def remember(self, ratio: Any, size: Any, past: Memory) -> Memory:
        return clip(ratio, self.floor, 1e4), size
