"""A way to take a gradient, as gradients.py sees it, and what it costs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


class NoGradientError(Exception):
    """No gradient came back, or one that is not finite."""


@dataclass
class Tally:
    """Evaluations of f and products with its Jacobian."""

    nfev: int = 0
    vjps: int = 0


@dataclass(frozen=True)
class Counts:
    """Evaluations of f in the forward pass and after it, and the products of a row with its Jacobian."""

    forward: int
    backward: int
    vjps: int


@dataclass(frozen=True)
class Mode:
    """A way to take a gradient of one case.

    Attributes:
        code, name, method: whose, its name there, and the solver's method.
        gradient: () -> gradient to y0 and every parameter, flat; raises ``NoGradientError``.
        counts: () -> ``Counts``.
        memory: () -> bytes at the worst moment.
        drift: () -> what the last gradient's walk back has missed y0 by, in tolerances, or None.
        timed: () -> the gradient without what makes it a flat tensor of ours.
    """

    code: str
    name: str
    method: str
    gradient: Callable[[], Tensor]
    counts: Callable[[], Counts]
    memory: Callable[[], int]
    timed: Callable[[], Any]
    drift: Callable[[], float | None] = field(default=lambda: None)
