"""Samples that have ended leave the calls of f: the work is the sum over the samples, not batch times slowest."""

from dataclasses import replace

import torch
from torch import Tensor

from ..layout import take_rows
from ..methods import Step
from ..ops import stage_times
from ..output import BatchRecorder
from ..problem import Problem
from .device_step import State

# Samples leave once this share of those in the calls has ended: rows in vain stay below a ninth, and what the cut
# costs is paid log(B) / share times a solve.
SHARE = 0.1
# A relative difference of f for some samples from f for all of them that is more than rounding.
COUPLED = 1e-3
RESULTS = ("t", "y", "size", "running", "accepted", "rejected", "nfev", "njev", "status", "h")


class Crew:
    """The samples that are stepped, and where the others have ended.

    Attributes:
        samples: their numbers in the whole batch; None while nobody has left.
    """

    def __init__(self, problem: Problem, recorder: BatchRecorder) -> None:
        self.whole, self.recorder = problem, recorder
        self.samples: Tensor | None = None
        self.ended: State | None = None

    def without_ended(self, problem: Problem, state: State, running: int) -> tuple[Problem, State]:
        """The problem and the state of those ``running``, once enough of the others have ended.

        Raises:
            ValueError: f of these samples is not what it is in the whole batch.
        """
        size = len(state.t)
        if not problem.compact or running > (1 - SHARE) * size or not running:
            return problem, state
        keep = state.running.nonzero()[:, 0]
        narrow = narrowed(problem, keep)
        if self.samples is None:
            check_rows(problem, narrow, state, keep)
            self.samples = torch.arange(size, device=keep.device)
        self.ended = self.all(state)
        self.samples = self.samples[keep]
        self.recorder.narrow(keep)
        return narrow, state_of(state, keep)

    def spread(self, part: Tensor) -> Tensor:
        """One row for every sample of the whole batch, of those who have left nothing but zeros."""
        if self.samples is None:
            return part
        return part.new_zeros((len(self.whole.t0), *part.shape[1:])).index_copy(0, self.samples, part)

    def spread_step(self, step: Step) -> Step:
        """What event functions see of a step, with one row for every sample of the whole batch."""
        return step._replace(
            y1=self.spread(step.y1),
            carry=tuple(self.spread(part) for part in step.carry),
            stages=tuple(self.spread(part) for part in step.stages),
        )

    def mine(self, whole: Tensor) -> Tensor:
        """The rows of the samples that are stepped."""
        return whole if self.samples is None else whole[self.samples]

    def all(self, state: State) -> State:
        """The whole batch: what was recorded of those who left, and ``state`` of the others."""
        report = self.whole.method.report(state.work)
        if self.ended is None or self.samples is None:
            return state._replace(report=report)
        old, mine = self.ended, self.samples
        both = {name: getattr(old, name).index_copy(0, mine, getattr(state, name)) for name in RESULTS}
        whole = {name: value.index_copy(0, mine, report[name]) for name, value in old.report.items()}
        return old._replace(**both, report=whole)


def narrowed(problem: Problem, keep: Tensor) -> Problem:
    """The problem of some of its samples, without outputs and events, which others keep."""
    p, samples = problem, len(problem.t0)
    field = p.field.of_samples(keep, samples)
    rtol, atol = take_rows((p.rtol, p.atol), keep, samples)
    t0, t1, sign, y0 = (part[keep] for part in (p.t0, p.t1, p.sign, p.y0))
    grid = None if p.grid is None else p.grid[:, keep]
    return replace(
        p, field=field, start=field, y0=y0, t0=t0, t1=t1, sign=sign, grid=grid, rtol=rtol, atol=atol
    )


def state_of(state: State, keep: Tensor) -> State:
    """The state of some of its samples."""
    samples = len(state.t)
    return State(*(take_rows(part, keep, samples) for part in state))


def check_rows(whole: Problem, part: Problem, state: State, keep: Tensor) -> None:
    """Hold f of some samples to f of all, once: args may hold no row a sample, f may mix samples."""
    time = stage_times(state.t, 0.0 * state.t, (0.0,), state.y)[0]
    expected = whole.field(time, state.y)[keep]
    advice = (
        "compact=True calls f for some of the samples alone: f must be row-wise, and a tensor with a row for each "
        "sample must be in args, not closed over (one without must not have the batch's size in dimension 0)"
    )
    try:
        found = part.field(time[keep], state.y[keep])
    except Exception as error:
        raise ValueError(f"f fails without the samples that have ended. {advice}") from error
    miss = torch.where(torch.isfinite(expected), found - expected, 0.0)
    if not float(miss.norm()) <= COUPLED * float(expected.nan_to_num(0.0, 0.0, 0.0).norm()):
        raise ValueError(f"f is another function without the samples that have ended. {advice}")
