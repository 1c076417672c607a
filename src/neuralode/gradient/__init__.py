"""How gradients are taken, a method a file."""

from typing import Any

from ..engine import Run
from ..errors import unknown
from ..problem import Problem
from . import endpoints
from .backsolve import Backsolve
from .direct import Direct
from .discrete import Discrete

Gradient = Direct | Discrete | Backsolve
GRADIENTS: dict[str, Gradient] = {"direct": Direct(), "discrete": Discrete(), "backsolve": Backsolve()}


def find_gradient(gradient: Any) -> Gradient:
    """The gradient method of that name; an object with options is passed through."""
    if isinstance(gradient, Gradient):
        return gradient
    if gradient not in GRADIENTS:
        raise unknown("gradient", gradient, GRADIENTS)
    return GRADIENTS[gradient]


def run(problem: Problem, gradient: Gradient, ends_only: bool) -> Run:
    """Solve ``problem`` so that its result is differentiable; ``ends_only``: the outputs are the two ends."""
    if not endpoints.wanted(problem):
        return gradient.solve(problem)
    return endpoints.with_outputs(problem, gradient.solve(endpoints.with_start(problem)), ends_only)


__all__ = ["GRADIENTS", "Backsolve", "Direct", "Discrete", "Gradient", "find_gradient", "run"]
