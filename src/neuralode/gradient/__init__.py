"""How gradients are taken, a method a file."""

from dataclasses import replace

import torch

from ..engine import LOOPS, Run
from ..ops import transforming
from ..problem import Problem
from . import endpoints
from .backsolve import Backsolve
from .checkpointed import Checkpointed
from .direct import Direct
from .discrete import Discrete
from .interpolated import Interpolated
from .reversible import Reversible
from .steady import Steady

Gradient = Direct | Discrete | Checkpointed | Interpolated | Backsolve | Reversible | Steady
DIRECT = Direct()
GRADIENTS: dict[str, Gradient] = {
    "direct": DIRECT,
    "discrete": Discrete(),
    "checkpointed": Checkpointed(),
    "interpolated": Interpolated(),
    "backsolve": Backsolve(),
    "reversible": Reversible(),
    "steady": Steady(),
}


def run(problem: Problem, gradient: Gradient) -> Run:
    """Solve ``problem`` so that its result is differentiable."""
    if isinstance(gradient, Steady):  # ends where it ends, with gradients or without
        return gradient.solve(problem)
    if not torch.is_grad_enabled():
        return LOOPS[problem.batch](problem)
    if transforming():  # a tensor that f closes over would lose its gradient in an autograd.Function
        gradient = DIRECT
    if problem.inputs == (None, None, None):
        return gradient.solve(problem)
    return endpoints.with_outputs(problem, gradient.solve(endpoints.with_start(problem)))


def at_outputs(problem: Problem, run: Run) -> Run:
    """The run whose outputs, known already, depend on t_eval where a gradient is wanted of it."""
    t_eval = problem.inputs[2]
    if t_eval is None or not torch.is_grad_enabled():
        return run
    return endpoints.with_outputs(replace(problem, inputs=(None, None, t_eval)), run)


__all__ = [
    "GRADIENTS",
    "Backsolve",
    "Checkpointed",
    "Direct",
    "Discrete",
    "Gradient",
    "Interpolated",
    "Reversible",
    "Steady",
    "at_outputs",
    "run",
]
