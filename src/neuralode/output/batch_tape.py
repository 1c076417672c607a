"""What a solve keeps of its steps when every sample steps by itself: outputs, tape and knots, sample by sample."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ops import merge
from .tape import Dense, Knots


class Pairs(NamedTuple):
    """Outputs as index pairs: row of t_eval, sample, and the place theta in that sample's step."""

    time: Tensor
    sample: Tensor
    theta: Tensor


class Attempt(NamedTuple):
    """One trip of the loop: every sample's trial step, and who accepted it.

    ``stages`` are what dense output needs, ``solved`` those that retaking the step needs.
    """

    t: Tensor
    h: Tensor
    y: Tensor
    carry: tuple[Tensor, ...]
    stages: tuple[Tensor, ...]
    solved: tuple[Tensor, ...]
    accept: Tensor


def read_pairs(
    dense: Dense, pairs: Pairs, inside: bool, h: Tensor, y: Tensor, y1: Tensor, stages: Sequence[Tensor]
) -> Tensor:
    """The outputs of some samples' steps, (m, ...); without one ``inside`` a step, no dense stages are needed."""
    b = pairs.sample
    if not inside:
        return y1[b]
    found = dense(pairs.theta, h[b], y[b], [k[b] for k in stages])
    return merge(pairs.theta == 1.0, y1[b], found)


@dataclass(frozen=True)
class BatchRow:
    """The n-th accepted step of every sample that has one (``active``); the others stand still, h = 0."""

    t: Tensor
    h: Tensor
    y: Tensor
    carry: tuple[Tensor, ...]
    active: Tensor
    pairs: Pairs
    stages: tuple[Tensor, ...]

    @cached_property
    def inside(self) -> bool:
        """Whether an output lies strictly inside some sample's step."""
        return bool((self.pairs.theta != 1.0).any())

    def read(self, dense: Dense, y: Tensor, y1: Tensor, stages: Sequence[Tensor]) -> list[Tensor]:
        """The outputs of this step, as one tensor (m, ...); nothing without any."""
        if not len(self.pairs.time):
            return []
        return [read_pairs(dense, self.pairs, self.inside, self.h, y, y1, stages)]

    def bars(self, grad_ys: Tensor) -> Sequence[Tensor]:
        """The cotangents of what ``read`` gives."""
        return [grad_ys[self.pairs.time, self.pairs.sample]] if len(self.pairs.time) else []

    def masked(self, cotangent: Tensor) -> Tensor:
        """The part of a cotangent that enters this step: that of the active samples."""
        return merge(self.active, cotangent, torch.zeros_like(cotangent))

    def merge(self, new: Tensor, old: Tensor) -> Tensor:
        """The cotangent before this step: unchanged for samples that stood still."""
        return merge(self.active, new, old)


@dataclass(frozen=True)
class BatchTape:
    """Accepted steps aligned by their number in each sample, whatever trips of the loop they were made in."""

    attempts: list[Attempt]
    found: list[Pairs]
    start: Pairs

    def from_initial(self, grad_ys: Tensor) -> Tensor:
        """The cotangent of y0 through the outputs that are y0."""
        total = torch.zeros_like(grad_ys[0] if len(grad_ys) else grad_ys.new_empty(grad_ys.shape[1:]))
        return total.index_put_(
            (self.start.sample,), grad_ys[self.start.time, self.start.sample], accumulate=True
        )

    def assemble(self, y0: Tensor, values: list[Tensor], like: Tensor) -> Tensor:
        """All outputs (T, B, ...), shaped ``like`` them; rows that were not reached hold NaN."""
        groups = [self.start, *(row.pairs for row in self.rows if len(row.pairs.time))]
        time = torch.cat([group.time for group in groups])
        sample = torch.cat([group.sample for group in groups])
        return torch.full_like(like, torch.nan).index_put(
            (time, sample), torch.cat([y0[self.start.sample], *values])
        )

    @cached_property
    def rows(self) -> list[BatchRow]:
        """One row per step number."""
        if not self.attempts:
            return []
        aligned = Alignment(self.attempts)
        groups = aligned.groups(self.found)
        return [aligned.row(n, groups[n]) for n in range(aligned.longest)]


class Alignment:
    """Where each sample's n-th accepted step is among the trips of the loop."""

    def __init__(self, attempts: list[Attempt]) -> None:
        self.t, self.h, self.y = (torch.stack(column) for column in list(zip(*attempts, strict=True))[:3])
        self.carry = [torch.stack(column) for column in zip(*(a.carry for a in attempts), strict=True)]
        self.solved = [torch.stack(column) for column in zip(*(a.solved for a in attempts), strict=True)]
        accept = torch.stack([a.accept for a in attempts])
        self.counts = accept.sum(0)
        self.longest = int(self.counts.max())
        self.number = accept.cumsum(0) - 1
        self.samples = torch.arange(accept.shape[1], device=accept.device)
        self.trip = torch.zeros((self.longest, accept.shape[1]), dtype=torch.long, device=accept.device)
        trips, samples = accept.nonzero(as_tuple=True)
        self.trip[self.number[trips, samples], samples] = trips

    def row(self, n: int, pairs: Pairs) -> BatchRow:
        active = n < self.counts
        at = (self.trip[n], self.samples)
        h = torch.where(active, self.h[at], 0.0)
        carry, solved = (tuple(part[at] for part in parts) for parts in (self.carry, self.solved))
        return BatchRow(self.t[at], h, self.y[at], carry, active, pairs, solved)

    def groups(self, found: list[Pairs]) -> list[Pairs]:
        """The outputs of every row: ``found`` regrouped from trips of the loop to step numbers."""
        trips = torch.cat([torch.full_like(pairs.time, trip) for trip, pairs in enumerate(found)])
        time, sample, theta = (torch.cat(column) for column in zip(*found, strict=True))
        rows = self.number[trips, sample]
        order = torch.argsort(rows, stable=True)
        sizes = torch.bincount(rows, minlength=self.longest).tolist()
        columns = (column[order].split(sizes) for column in (time, sample, theta))
        return [Pairs(*group) for group in zip(*columns, strict=True)]

    def knots(self, attempts: list[Attempt]) -> Knots:
        """All steps stacked, (N, B, ...); samples with fewer steps repeat their first one with h = 0."""
        at = (self.trip, self.samples.expand_as(self.trip))
        active = torch.arange(self.longest, device=self.counts.device)[:, None] < self.counts
        stages = zip(*(a.stages for a in attempts), strict=True)
        return Knots(
            self.t[at],
            torch.where(active, self.h[at], 0.0),
            self.y[at],
            tuple(torch.stack(column)[at] for column in stages),
        )


@dataclass
class BatchRecorder:
    """Evaluates the outputs of accepted steps as they are made, and keeps the tape and the knots if wanted."""

    times: Any
    sign: Tensor
    dense: Dense
    with_tape: bool
    with_knots: bool
    attempts: list[Attempt] = field(default_factory=list)
    found: list[Pairs] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def begin(self, t0: Tensor, y0: Tensor) -> None:
        """Outputs at t0."""
        self.samples = torch.arange(len(t0), device=t0.device)
        if isinstance(self.times, Tensor):
            self.keys = (self.times * self.sign).T.contiguous()
            self.cursor = self._reached(t0)
        else:
            self.cursor = torch.ones_like(self.samples)
        self.start = self._pairs(torch.zeros_like(self.cursor), self.cursor, t0, torch.ones_like(t0))
        self.ends = t0
        self.step_times = [t0]

    def _reached(self, t: Tensor) -> Tensor:
        """How many output times of each sample lie at or before t."""
        return torch.searchsorted(self.keys, (t * self.sign)[:, None], right=True)[:, 0]

    def reach(self, t1: Tensor, accept: Tensor) -> Tensor:
        """How many outputs every sample has after a step to t1, for the samples that accept it."""
        after = self._reached(t1) if isinstance(self.times, Tensor) else self.cursor + 1
        return torch.where(accept, after, self.cursor)

    def inside(self, after: Tensor, t1: Tensor) -> Tensor:
        """Which samples have an output strictly inside a step to t1, where ``after`` is what ``reach`` said."""
        hits = after - self.cursor
        if not isinstance(self.times, Tensor) or not len(self.times):
            return torch.zeros_like(hits, dtype=torch.bool)
        first = self.times[self.cursor.clamp(max=len(self.times) - 1), self.samples]
        return (hits > 0) & (first != t1)

    def _pairs(self, before: Tensor, after: Tensor, t: Tensor, h: Tensor) -> Pairs:
        hits = after - before
        sample = torch.repeat_interleave(self.samples, hits)
        offset = torch.arange(len(sample), device=sample.device) - (hits.cumsum(0) - hits)[sample]
        time = before[sample] + offset
        if not isinstance(self.times, Tensor):
            return Pairs(time, sample, torch.ones_like(h[sample]))
        return Pairs(time, sample, (self.times[time, sample] - t[sample]) / h[sample])

    def keep(
        self, t1: Tensor, after: Tensor, any_output: bool, any_inside: bool, attempt: Attempt, y1: Tensor
    ) -> None:
        """One trip of the loop; ``after`` is what ``reach`` said.

        ``any_output``: whether anything was reached; ``any_inside``: whether strictly inside a step.
        """
        if any_output:
            pairs = self._pairs(self.cursor, after, attempt.t, attempt.h)
            ends = self._at_end(pairs, t1)
            pairs = Pairs(pairs.time, pairs.sample, torch.where(ends, 1.0, pairs.theta))
            self.values.append(
                read_pairs(self.dense, pairs, any_inside, attempt.h, attempt.y, y1, attempt.stages)
            )
        else:
            empty = self.samples[:0]
            pairs = Pairs(empty, empty, attempt.t[:0])
        self.cursor = after
        self.found.append(pairs)
        if self.with_tape or self.with_knots:
            self.attempts.append(attempt if self.with_knots else attempt._replace(stages=()))
        if not isinstance(self.times, Tensor):
            self.step_times.append(t1[pairs.sample])

    def _at_end(self, pairs: Pairs, t1: Tensor) -> Tensor:
        if not isinstance(self.times, Tensor):
            return torch.ones_like(pairs.theta, dtype=torch.bool)
        return self.times[pairs.time, pairs.sample] == t1[pairs.sample]

    def outputs(self, y0: Tensor) -> Tensor:
        """(T, B, ...); rows that were not reached hold NaN."""
        time, sample = self._all_pairs()
        count = len(self.times) if isinstance(self.times, Tensor) else int(self.cursor.max())
        blank = y0.new_full((count, *y0.shape), torch.nan)
        return blank.index_put_((time, sample), torch.cat([y0[self.start.sample], *self.values]))

    def output_times(self) -> Tensor:
        """(T, B) float64; NaN behind the last step of a sample when every step is wanted."""
        if isinstance(self.times, Tensor):
            return self.times
        time, sample = self._all_pairs()
        blank = self.ends.new_full((int(self.cursor.max()), len(self.samples)), torch.nan)
        return blank.index_put_((time, sample), torch.cat(self.step_times))

    def _all_pairs(self) -> tuple[Tensor, Tensor]:
        groups = [self.start, *self.found]
        return torch.cat([group.time for group in groups]), torch.cat([group.sample for group in groups])

    def tape(self) -> BatchTape | None:
        return BatchTape(self.attempts, self.found, self.start) if self.with_tape else None

    def knots(self) -> Knots | None:
        """The kept steps, aligned and stacked."""
        if not self.with_knots or not self.attempts:
            return None
        return Alignment(self.attempts).knots(self.attempts)
