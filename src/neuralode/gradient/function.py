"""A solve as an autograd.Function: its inputs are y0 and all that f closes over."""

from typing import Any

import torch

from ..engine import LOOPS, Run
from ..problem import Problem
from .capture import with_captures


def through(function: type[torch.autograd.Function], options: Any, problem: Problem) -> Run:
    """Integrate by ``function.apply(options, problem, box, y0, *tensors)``, whose forward pass puts its run in the box.

    Where nothing wants a gradient the loop alone integrates.
    """
    problem, tensors, wanted = with_captures(problem)
    if not wanted:
        with torch.no_grad():
            return LOOPS[problem.batch](problem)
    box: list[Run] = []
    outputs = function.apply(options, problem, box, problem.y0, *tensors)
    return box[0].with_tensors(outputs)
