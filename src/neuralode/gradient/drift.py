"""How far a path that the backward pass walks again has drifted from the one that was solved."""

from torch import Tensor

from ..problem import Problem


def drifted(problem: Problem, y: Tensor, stored: Tensor) -> Tensor:
    """The largest |y - stored| / (atol + rtol |stored|): (), or (B,) where samples step by themselves.

    It is kept for the solution's ``drift``.
    """
    miss = (y - stored).abs() / (problem.rtol * stored.abs() + problem.atol)
    rows = miss.reshape(len(miss) if problem.batch == "independent" else 1, -1)
    found = rows.amax(1) if rows.shape[1] else rows.sum(1)
    problem.field.tally.missed(found)
    return found
