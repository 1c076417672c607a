"""What every step-size controller shares: who is accepted, the limits of a step's change, what follows a rejection.

Everything here works on Python floats (one step for the whole state) and on tensors (B,) (one per sample) alike.
"""

from dataclasses import dataclass
from typing import Any

from .choice import clip, select
from .power import power

Memory = tuple[
    Any, ...
]  # the largest factor allowed next, then what the controller remembers of accepted steps


@dataclass(frozen=True, kw_only=True)
class StepControl:
    """Accept a step or reject it, and scale the next one; a controller adds how steps grow after accepted ones.

    With r the error ratio (a step is accepted when r <= 1) and k = error_order + 1, steps are sized for the ratio
    safety^k, whatever the controller remembers; a rejected step is tried again
    at safety r^(-1 / k) of its size, and the step after it does not grow; a ratio that is not finite counts as
    enormous.

    Attributes:
        safety: fraction of the size that would just be accepted.
        smallest, largest: limits of the factor between two steps.
    """

    safety: float = 0.9
    smallest: float = 0.2
    largest: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.safety <= 1:
            raise ValueError(f"safety must lie in (0, 1], got {self.safety}")
        if not 0 < self.smallest < 1 < self.largest:
            raise ValueError(f"smallest < 1 < largest must hold, got {self.smallest} and {self.largest}")

    def judge(
        self, ratio: Any, memory: Memory | None, error_order: int, size: Any
    ) -> tuple[Any, Any, Memory]:
        """(accepted, factor for the next step size, memory for the next call); memory is None at the first step.

        ``size`` is the magnitude of the step that was judged.
        """
        k = error_order + 1
        ceiling, *past = self._remembered(memory)
        accept = ratio <= 1.0
        ratio = clip(select(ratio < 1e10, ratio, 1e10), 1e-10, 1e10)  # NaN fails every comparison
        aimed = clip(ratio * self.safety**-k, 1e-10, 1e10)
        grown = self.growth(aimed, size, tuple(past), k)
        shrunk = self.safety * power(ratio, -1.0 / k)
        factor = select(accept, clip(grown, self.smallest, ceiling), clip(shrunk, self.smallest, 1.0))
        now = self.remember(aimed, size, tuple(past))
        kept = (select(accept, new, old) for new, old in zip(now, past, strict=True))
        return accept, factor, (select(accept, self.largest, 1.0), *kept)

    def after_trouble(self, memory: Memory | None) -> Memory:
        """The memory after a step that could not be judged: the next accepted step is not larger."""
        return (1.0, *self._remembered(memory)[1:])

    def _remembered(self, memory: Memory | None) -> Memory:
        return (self.largest, *self.before_first()) if memory is None else memory

    def before_first(self) -> Memory:
        """What stands for the past of the first step."""
        raise NotImplementedError

    def growth(self, ratio: Any, size: Any, past: Memory, k: int) -> Any:
        """The factor after an accepted step whose ratio, and those before it, are in units of the one aimed at."""
        raise NotImplementedError

    def remember(self, ratio: Any, size: Any, past: Memory) -> Memory:
        """The past that an accepted step leaves."""
        raise NotImplementedError
