"""The output times and the given steps of one leg; its start and stop are (C,)."""

from typing import Any

import torch
from torch import Tensor

from ..problem import Problem


def times_from(problem: Problem, start: Tensor) -> Any:
    """The output times of a leg; those of earlier legs are moved to its start."""
    times, sign = problem.times, problem.sign
    if isinstance(times, str):
        return times
    if problem.batch != "independent":
        first = start.item()
        return [first if sign * (time - first) < 0 else time for time in times]
    if not len(times):
        return start.new_empty((0, len(start)))
    return torch.where((times - start) * sign < 0, start, times)


def grid_between(problem: Problem, start: Tensor, stop: Tensor) -> Any:
    """The given steps inside a leg, with its ends; None where steps are not given."""
    grid = problem.grid
    if grid is None:
        return None
    if problem.batch != "independent":
        first, last, sign = start.item(), stop.item(), problem.sign
        inner = [time for time in grid if sign * (time - first) > 0 and sign * (last - time) > 0]
        return [first, *inner, last] if first != last else [first]
    low, high = torch.minimum(start, stop), torch.maximum(start, stop)
    rows = torch.cat([start[None], torch.minimum(torch.maximum(grid, low), high), stop[None]])
    moved = torch.ones_like(rows[:, 0], dtype=torch.bool)
    moved[1:] = (rows[1:] != rows[:-1]).any(1)
    return rows[moved]
