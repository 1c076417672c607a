"""I and PI control: the step size from the last error ratio, or the last two."""

from dataclasses import dataclass
from typing import Any

from .choice import clip
from .power import power
from .step_control import Memory, StepControl


@dataclass(frozen=True)
class Controller(StepControl):
    """h_next = h safety r^(-alpha / k) r_prev^(beta / k), k = error_order + 1.

    r is the error ratio of the step, r_prev that of the accepted step before it. beta = 0 is the elementary (I)
    controller, beta > 0 the PI controller of Gustafsson, ACM TOMS 17 (1991) 533-554. The defaults are his PI.3.4 for
    non-stiff problems, alpha = 0.7 and beta = 0.4.

    Example:
        >>> accepted, factor, memory = Controller(alpha=1.0, beta=0.0).judge(0.5, None, 4, 0.1)
        >>> accepted, round(factor, 3)
        (True, 1.034)
    """

    alpha: float = 0.7
    beta: float = 0.4

    def before_first(self) -> Memory:
        return (1.0,)

    def growth(self, ratio: Any, size: Any, past: Memory, k: int) -> Any:
        return power(ratio, -self.alpha / k) * power(past[0], self.beta / k)

    def remember(self, ratio: Any, size: Any, past: Memory) -> Memory:
        return (clip(ratio, 1e-4, 1e4),)
