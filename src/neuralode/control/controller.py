"""Accept or reject a step, and the size of the next: error ratio, norms, I and PI control.

Everything here works on Python floats (one step for the whole state) and on tensors (B,) (one per sample) alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Norm = Callable[[Tensor], Tensor]
Memory = tuple[Any, Any]  # the last accepted ratio, the largest factor allowed


def rms(x: Tensor) -> Tensor:
    """Root mean square over the last dimension."""
    return torch.linalg.vector_norm(x, dim=-1) * x.shape[-1] ** -0.5


def largest(x: Tensor) -> Tensor:
    """Largest magnitude over the last dimension."""
    return torch.linalg.vector_norm(x, ord=math.inf, dim=-1)


NORMS: dict[str, Norm] = {"rms": rms, "max": largest}


def whole(norm: Norm, scaled: Tensor) -> Tensor:
    """The norm of one system."""
    return norm(scaled.reshape(-1))


def worst(norm: Norm, scaled: Tensor) -> Tensor:
    """The largest of the samples' norms: every sample within tolerance."""
    return norm(scaled.reshape(scaled.shape[0], -1)).amax()


def each(norm: Norm, scaled: Tensor) -> Tensor:
    """The norm of every sample, (B,)."""
    return norm(scaled.reshape(scaled.shape[0], -1))


MEASURES: dict[str | None, Callable[[Norm, Tensor], Tensor]] = {
    None: whole,
    "lockstep": worst,
    "independent": each,
}


def select(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    if not isinstance(condition, Tensor):
        return a if condition else b
    a, b = (torch.as_tensor(x, dtype=torch.float64, device=condition.device) for x in (a, b))
    return torch.where(condition, a, b)


def clip(x: Any, low: Any, high: Any) -> Any:
    """x limited to [low, high]."""
    if isinstance(x, Tensor):
        return torch.clamp(torch.clamp(x, min=low), max=high)
    return min(max(x, low), high)


def error_ratio(error: Tensor, y: Tensor, y1: Tensor, rtol: Any, atol: Any) -> Tensor:
    """error / (atol + rtol max(|y|, |y1|)), entry by entry (Hairer I, eq. II.4.10)."""
    return error / torch.maximum(y.abs(), y1.abs()).mul_(rtol).add_(atol)


@dataclass(frozen=True)
class Controller:
    """Step-size control h_next = h safety r^(-alpha / k) r_prev^(beta / k), k = error_order + 1.

    r is the error ratio (a step is accepted when r <= 1), r_prev that of the last accepted step. beta = 0 is the
    elementary (I) controller, beta > 0 the PI controller of Gustafsson, ACM TOMS 17 (1991) 533-554. After a
    rejection the next step is not larger; a step whose ratio is not finite shrinks by ``smallest``.
    """

    alpha: float = 0.7
    beta: float = 0.4
    safety: float = 0.9
    smallest: float = 0.2
    largest: float = 10.0

    def judge(
        self, ratio: Any, memory: Memory | None, error_order: int, size: Any
    ) -> tuple[Any, Any, Memory]:
        """(accepted, factor for the next step size, memory for the next call); memory is None at the first step.

        ``size`` is the magnitude of the step that was judged.
        """
        k = error_order + 1
        previous, ceiling = memory or (1.0, self.largest)
        accept = ratio <= 1.0
        ratio = clip(select(ratio < 1e10, ratio, 1e10), 1e-10, 1e10)  # NaN fails every comparison
        grow = self.safety * ratio ** (-self.alpha / k) * previous ** (self.beta / k)
        shrink = self.safety * ratio ** (-1.0 / k)
        factor = select(accept, clip(grow, self.smallest, ceiling), clip(shrink, self.smallest, 1.0))
        previous = select(accept, clip(ratio, 1e-4, 1.0), previous)
        return accept, factor, (previous, select(accept, self.largest, 1.0))

    def after_trouble(self, memory: Memory | None) -> Memory:
        """The memory after a step that could not be judged: the next accepted step is not larger."""
        return (1.0 if memory is None else memory[0], 1.0)


CONTROLLERS: dict[str, Controller] = {
    "i": Controller(alpha=1.0, beta=0.0),
    "pi": Controller(),
}
