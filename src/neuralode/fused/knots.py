"""The accepted steps of a compiled solve themselves: for dense output, and for outputs at every step.

Their number is not known beforehand: where there was no room for all of them, the solve is repeated with as much as it
was found to need.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..output import Knots
from ..problem import Problem
from ..solution import Status
from .call import Call

FEWEST = 64


def every_step(problem: Problem) -> bool:
    """Whether there is an output at every step."""
    return isinstance(problem.times, str)


@dataclass(frozen=True)
class Room:
    """For so many steps of every sample: times and sizes (R, B) float64, states (R, *y0.shape), stages (S, R, ...).

    ``every``: whether they are outputs; ``stages`` are None where there is no dense output.
    """

    t: Tensor
    h: Tensor
    y: Tensor
    stages: Tensor | None
    every: bool

    @classmethod
    def wanted(cls, problem: Problem, rows: int) -> "Room | None":
        """Room for ``rows`` steps, if the problem wants them kept."""
        every = every_step(problem)
        if not (problem.dense_output or every):
            return None
        y0, tableau = problem.y0.detach(), problem.method.tableau
        assert tableau is not None
        count = len(tableau.kept) + tableau.extra if problem.dense_output else None
        return cls.of(rows, y0, problem.batch_size or 1, count, every)

    @classmethod
    def of(cls, rows: int, y0: Tensor, samples: int, stages: int | None, every: bool) -> "Room":
        """Room for ``rows`` steps."""
        t, h = torch.zeros((2, rows, samples), dtype=torch.float64)
        kept = None if stages is None else y0.new_zeros((stages, rows, *y0.shape))
        return cls(t, h, y0.new_zeros((rows, *y0.shape)), kept, every)

    def larger(self, rows: int) -> "Room":
        """Room for ``rows`` steps of the same solve."""
        stages = None if self.stages is None else len(self.stages)
        return Room.of(rows, self.y[0], self.t.shape[1], stages, self.every)

    @property
    def rows(self) -> int:
        """So many steps."""
        return len(self.t)

    def show(self, call: Call) -> None:
        """Let the compiled solve write here, for as long as there is room."""
        call.knots = self.rows
        call.knot_t, call.knot_h, call.knot_y = self.t.data_ptr(), self.h.data_ptr(), self.y.data_ptr()
        if self.stages is not None:
            call.knot_k = self.stages.data_ptr()

    def kept(self, accepted: Tensor) -> tuple[Tensor, ...]:
        """States and stages of the steps; nothing without dense output or without a step."""
        n = int(accepted.max())
        return () if self.stages is None or n == 0 else (self.y[:n], *self.stages[:, :n])

    def knots(self, single: bool, tensors: Sequence[Tensor]) -> Knots | None:
        """The steps as the eager loops stack them, from what ``kept`` gave; None without."""
        if not tensors:
            return None
        n = len(tensors[0])
        t, h = ((x[:n, 0] if single else x[:n]) for x in (self.t, self.h))
        return Knots(t, h, tensors[0], tuple(tensors[1:]))

    def states(self, accepted: Tensor, last: Tensor) -> Tensor:
        """y0 and the end of every step, (T, *y0.shape); NaN behind the last one of a sample."""
        n, samples = int(accepted.max()), len(accepted)
        ys = _stacked(self.y[:n].reshape(n, samples, -1), last.reshape(samples, -1), accepted)
        return ys.reshape(n + 1, *last.shape)

    def times(self, problem: Problem, accepted: Tensor, status: Tensor) -> Any:
        """When ``states`` are, as ``Run.times``."""
        samples = len(accepted)
        t0, t1 = (torch.as_tensor(x, dtype=torch.float64).expand(samples) for x in (problem.t0, problem.t1))
        final = (accepted - 1).clamp(min=0)[None]
        reached = (self.t.gather(0, final) + self.h.gather(0, final))[0]
        ends = torch.where(status == Status.SUCCESS, t1, torch.where(accepted > 0, reached, t0))
        times = _stacked(self.t[: int(accepted.max())], ends, accepted)
        return times[:, 0].tolist() if problem.samples is None else times


def _stacked(starts: Tensor, end: Tensor, accepted: Tensor) -> Tensor:
    """Of every sample (B, ...) the values at the starts of its steps, then that at the end, then NaN."""
    before, at = (mask.reshape(*mask.shape, *(1,) * (end.dim() - 1)) for mask in _rows(accepted))
    whole = torch.cat((starts, end[None]))
    return torch.where(before, whole, torch.where(at, end, torch.nan))


def _rows(accepted: Tensor) -> tuple[Tensor, Tensor]:
    """(rows before the end of each sample, the row of its end), (T, B)."""
    rows = torch.arange(int(accepted.max()) + 1)[:, None]
    return rows < accepted, rows == accepted


def pulled_apart(grad_ys: Tensor, accepted: Tensor) -> tuple[Tensor, Tensor]:
    """The cotangent of ``outputs`` as those of the steps' starts and of the ends."""
    bars = grad_ys.reshape(len(grad_ys), len(accepted), -1)
    before, at = (mask[..., None] for mask in _rows(accepted))
    zero = torch.zeros_like(bars)
    ends = torch.where(at, bars, zero).sum(0)
    return torch.where(before, bars, zero)[:-1].reshape(grad_ys[:-1].shape), ends.reshape(grad_ys.shape[1:])
