"""What the codes on PyTorch share: solves without a gradient, and gradients of the loss by autograd."""

from collections.abc import Callable
from typing import Any

import torch
from operations import OfTorch
from torch import Tensor

from .problem import Problem

Solving = Callable[[Problem, Tensor, float], Tensor]  # problem, y0, tolerance -> outputs
Work = Callable[[float], Any]


def forward(solving: Solving, problem: Problem) -> Work:
    """The outputs."""

    def work(tol: float) -> Any:
        with torch.no_grad():
            return (solving(problem, problem.y0, tol),)

    return work


def gradient(solving: Solving, problem: Problem) -> Work:
    """The gradient to y0 and all parameters."""

    def work(tol: float) -> Any:
        ys = solving(problem, problem.leaves[0], tol)
        return torch.autograd.grad(problem.total_loss(OfTorch, ys), problem.leaves)

    return work
