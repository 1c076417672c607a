"""How a model is optimised: optimiser, learning rate and its course."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adamax": torch.optim.Adamax,
    "rmsprop": torch.optim.RMSprop,
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}


def _constant(progress: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _exponential(progress: float) -> float:
    return float(0.01**progress)


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "exponential": _exponential,
}


@dataclass(frozen=True)
class Recipe:
    """Settings of the optimisation.

    Attributes:
        optimizer: "adam", "adamw", "adamax", "rmsprop" or "sgd" (Nesterov momentum 0.9).
        lr: learning rate at its highest.
        weight_decay: decay given to the optimiser.
        schedule: factor on `lr` over the run: "constant", "cosine" (to 0) or "exponential" (to 1 %).
        warmup: share of the run, in [0, 1), over which the factor first rises linearly from 0.
        clip: largest norm of the gradient; None leaves it as it is.
    """

    optimizer: str = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: float = 0.0
    clip: float | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if value not in known:
                raise ValueError(f"{name}: got {value!r}, takes one of {', '.join(known)}")
        if not self.lr > 0:
            raise ValueError(f"lr: got {self.lr}, takes a number > 0")
        if not 0.0 <= self.warmup < 1.0:
            raise ValueError(f"warmup: got {self.warmup}, takes a share of the run in [0, 1)")

    def make_optimizer(self, parameters: Iterable[Parameter]) -> Optimizer:
        """The optimiser over `parameters`."""
        return OPTIMIZERS[self.optimizer](parameters, lr=self.lr, weight_decay=self.weight_decay)

    def factor(self, step: int, steps: int) -> float:
        """The factor on `lr` at `step` of `steps`."""
        progress = min(step / steps, 1.0)
        if progress < self.warmup:
            return (step + 1) / (self.warmup * steps + 1)
        return SCHEDULES[self.schedule]((progress - self.warmup) / (1.0 - self.warmup))
