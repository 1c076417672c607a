"""direct: autograd through the steps themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..engine import LOOPS, Run
from ..ops import transforming
from ..output import Everything
from ..problem import Problem


@dataclass(frozen=True)
class Direct:
    """Plain autograd through the solver's operations.

    Exact for the steps taken (their sizes are held constant), right for derivatives of any order and under
    torch.func transforms. Memory O(N s L): N steps, s stages, L the tape of one evaluation of f.
    """

    def solve(self, problem: Problem) -> Run:
        """Integrate with a tape of every operation."""
        try:
            return self._solve(problem)
        except RuntimeError as error:
            if transforming() and "vmap" in str(error):
                raise ValueError(
                    "solve decides on values, which torch.func.vmap hides: call it once on the whole batch, with "
                    "batch='independent' for steps of each sample's own; or give step= to an explicit method"
                ) from error
            raise

    def _solve(self, problem: Problem) -> Run:
        if problem.batch != "independent" and problem.method.retake is None:
            return LOOPS[problem.batch](problem)
        # A rejected trial of one sample may hold a NaN, which a mask keeps out of values but not out of
        # derivatives, step sizes must not carry a tangent, and equations are differentiated at their solution: find
        # the accepted steps first, then retake those.
        with torch.no_grad(), forward_ad._set_fwd_grad_enabled(False):
            run = LOOPS[problem.batch](problem, tape=Everything())
        return run.with_tensors(replay(problem, run.tape, problem.y0, run.tensors))


def replay(problem: Problem, tape: Any, y0: Tensor, like: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The accepted steps once more from y0, differentiably; returns tensors in the order of ``Run.tensors``."""
    method, field = problem.method, problem.field
    y, carry = y0, method.init(field, problem.t0, y0)
    values: list[Tensor] = []
    states: list[Tensor] = []
    stages: list[tuple[Tensor, ...]] = []
    for row in tape.rows:
        step = method.again(field, row.t, row.h, y, carry, row.stages)
        if problem.dense_output or row.inside:
            step = method.complete(field, row.t, row.h, y, step)
        values += row.read(method.dense, y, step.y1, step.stages)
        if problem.dense_output:
            states.append(y)
            stages.append(step.stages)
        y = row.merge(step.y1, y)
        carry = tuple(row.merge(new, old) for new, old in zip(step.carry, carry, strict=True))
    end = torch.where(torch.isnan(like[1]), like[1], y)
    knots = [torch.stack(states), *(torch.stack(k) for k in zip(*stages, strict=True))] if states else []
    return (tape.assemble(y0, values, like[0]), end, *knots)
