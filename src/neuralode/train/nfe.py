"""How often the vector fields of a model were evaluated."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class Evaluations(NamedTuple):
    """Evaluations of the vector fields in the last forward call and in its backward sweep."""

    forward: int
    backward: int


def evaluations(model: nn.Module) -> Evaluations:
    """Sum `nfev` and `nfev_backward` over the outermost modules of `model` that count them.

    A module without these counters (a plain layer) adds nothing; what lies inside a counting module is its own affair.
    """
    if hasattr(model, "nfev"):
        return Evaluations(int(model.nfev or 0), int(getattr(model, "nfev_backward", 0) or 0))
    inner = [evaluations(child) for child in model.children()]
    return Evaluations(sum(each.forward for each in inner), sum(each.backward for each in inner))
