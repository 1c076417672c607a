"""How often the vector fields of a model were evaluated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn


class Evaluations(NamedTuple):
    """Evaluations of the vector fields in the last forward call and in its backward sweep."""

    forward: int
    backward: int


def counting(model: nn.Module) -> list[nn.Module]:
    """The outermost modules of `model` that count evaluations: those with an attribute `nfev`."""
    if hasattr(model, "nfev"):
        return [model]
    return [module for child in model.children() for module in counting(child)]


def evaluations(modules: Iterable[nn.Module]) -> Evaluations:
    """Sum `nfev` and `nfev_backward` of the last calls of `modules`."""
    forward = backward = 0
    for module in modules:
        forward += int(getattr(module, "nfev", 0) or 0)
        backward += int(getattr(module, "nfev_backward", 0) or 0)
    return Evaluations(forward, backward)
