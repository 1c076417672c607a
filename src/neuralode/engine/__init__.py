"""The loops around a step."""

from ..problem import Problem
from . import device_loop, host_loop
from .run import Run

_LOOPS = {None: host_loop, "lockstep": host_loop, "independent": device_loop}


def integrate(problem: Problem, tape: bool = False) -> Run:
    """Run the loop that ``problem.batch`` asks for."""
    return _LOOPS[problem.batch].integrate(problem, tape)


__all__ = ["Run", "integrate"]
