"""What a solve keeps of its steps when every sample steps by itself: outputs, tape and knots, sample by sample."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .alignment import Alignment
from .batch_row import Attempt, BatchRow, Pairs, read_pairs
from .marks import BASE, MarkLog, Marks, Sight, renumbered
from .tape import Dense, Knots, cut
from .thinning import Keeping


@dataclass(frozen=True)
class BatchTape:
    """Accepted steps aligned by their number in each sample, whatever trips of the loop they were made in."""

    attempts: list[Attempt]
    found: list[Pairs]
    start: Pairs
    batch: int

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
        return self._rows(self.attempts, self.found)

    def _rows(self, attempts: list[Attempt], found: list[Pairs]) -> list[BatchRow]:
        if not attempts:
            return []
        aligned = Alignment(attempts, self.batch)
        return aligned.rows(attempts, aligned.groups(found))

    def segments(self, y0: Tensor) -> list[list[BatchRow]]:
        """The rows, cut where a trip keeps its state if some do not; steps are numbered in each piece.

        The first row of a piece holds the state of the whole batch. Whoever has ended before stands still, at y0.
        """
        starts = [n for n, attempt in enumerate(self.attempts) if attempt.y is not None]
        if len(starts) == len(self.attempts):
            return [self.rows] if self.rows else []
        pieces = []
        for attempts, found in zip(cut(self.attempts, starts), cut(self.found, starts), strict=True):
            rows = self._rows(attempts, found)
            if rows:
                rows[0] = replace(rows[0], **entry(attempts[0], y0))
                pieces.append(rows)
        return pieces


def entry(attempt: Attempt, y0: Tensor) -> dict[str, Any]:
    """State and carry at a trip of the loop, for the whole batch."""
    at = attempt.samples
    assert attempt.y is not None
    blank = (part.new_zeros(len(y0), *part.shape[1:]) for part in attempt.carry)
    carry = tuple(zero.index_copy(0, at, part) for zero, part in zip(blank, attempt.carry, strict=True))
    return {"y": y0.index_copy(0, at, attempt.y), "carry": carry}


@dataclass
class BatchRecorder:
    """Evaluates the outputs of accepted steps as they are made, and keeps the tape and the knots if wanted.

    Attributes:
        times: (T, B) for the whole batch, or ``"steps"``.
        tape_of: which trips of the loop keep their state on the tape; None: no tape.
        samples: whose steps are recorded; all others have ended.
        columns: their output times.
        cursor: how many outputs each of them has.
    """

    times: Any
    sign: Tensor
    dense: Dense
    tape_of: Keeping | None
    with_knots: bool
    attempts: list[Attempt] = field(default_factory=list)
    found: list[Pairs] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def begin(self, t0: Tensor, y0: Tensor) -> None:
        """Outputs at t0."""
        self.samples = torch.arange(len(t0), device=t0.device)
        self.columns = self.times
        if isinstance(self.columns, Tensor):
            self.keys = (self.columns * self.sign).T.contiguous()
            self.cursor = self._reached(t0)
        else:
            self.cursor = torch.ones_like(self.samples)
        self.start = self._pairs(torch.zeros_like(self.cursor), self.cursor, t0, torch.ones_like(t0))
        self.ends = t0
        self.step_times = [t0]
        self.log = MarkLog(torch.zeros_like(self.cursor), self.sign)
        self.marks: Marks | None = None

    def narrow(self, keep: Tensor) -> None:
        """Record the steps of some of these samples from now on."""
        self.samples, self.cursor, self.sign = self.samples[keep], self.cursor[keep], self.sign[keep]
        if isinstance(self.columns, Tensor):
            self.keys, self.columns = self.keys[keep], self.columns[:, keep]

    def _reached(self, t: Tensor) -> Tensor:
        """How many output times of each sample lie at or before t."""
        return torch.searchsorted(self.keys, (t * self.sign)[:, None], right=True)[:, 0]

    def reach(self, t1: Tensor, accept: Tensor) -> Tensor:
        """How many outputs every sample has after a step to t1, for the samples that accept it."""
        after = self._reached(t1) if isinstance(self.columns, Tensor) else self.cursor + 1
        return torch.where(accept, after, self.cursor)

    def inside(self, after: Tensor, t1: Tensor) -> Tensor:
        """Which samples have an output strictly inside a step to t1, where ``after`` is what ``reach`` said."""
        hits = after - self.cursor
        if not isinstance(self.columns, Tensor) or not len(self.columns):
            return torch.zeros_like(hits, dtype=torch.bool)
        first = self.columns.gather(0, self.cursor.clamp(max=len(self.columns) - 1)[None])[0]
        return (hits > 0) & (first != t1)

    def _pairs(self, before: Tensor, after: Tensor, t: Tensor, h: Tensor) -> Pairs:
        hits = after - before
        place = torch.repeat_interleave(hits)
        sample = self.samples[place]
        offset = torch.arange(len(place), device=place.device) - (hits.cumsum(0) - hits)[place]
        time = before[place] + offset
        if not isinstance(self.columns, Tensor):
            return Pairs(time, sample, torch.ones_like(h[place]), place)
        return Pairs(time, sample, (self.columns[time, place] - t[place]) / h[place], place)

    def keep(
        self,
        t1: Tensor,
        after: Tensor,
        any_output: bool,
        any_inside: bool,
        attempt: Attempt,
        step_end: tuple[Tensor, Tensor],
        sight: Sight | None = None,
    ) -> None:
        """One trip of the loop.

        ``t1``: the end of every step, or where an event stops it; ``after`` is what ``reach`` said. ``any_output``:
        whether anything was reached; ``any_inside``: whether strictly inside a step. ``step_end``: time and state at
        the whole step's end; ``sight``: its events.
        """
        whole, y1 = step_end
        empty = self.samples[:0]
        groups = [Pairs(empty, empty, attempt.t[:0], empty)]
        if any_output:
            pairs = self._pairs(self.cursor, after, attempt.t, attempt.h)
            groups = [pairs._replace(theta=self._theta(pairs, whole, sight))]
        if sight is not None:
            groups.append(Pairs(*self.log.add(sight, self.samples, attempt.t, attempt.h)))
        pairs = Pairs(*(torch.cat(column) for column in zip(*groups, strict=True)))
        if len(pairs.time):
            assert attempt.y is not None  # only what is on the tape loses it
            inside = any_inside or sight is not None
            self.values.append(
                read_pairs(self.dense, pairs, inside, attempt.h, attempt.y, y1, attempt.stages)
            )
        self.cursor = after
        self.found.append(pairs)
        if self.tape_of is not None or self.with_knots:
            self.attempts.append(attempt if self.with_knots else attempt._replace(stages=()))
        if self.tape_of is not None:
            for n in self.tape_of.dropped(len(self.attempts) - 1):
                old = self.attempts[n]
                solved = old.solved if self.tape_of.stages else ()
                self.attempts[n] = old._replace(y=None, carry=(), stages=(), solved=solved)
        if not isinstance(self.times, Tensor):
            self.step_times.append(t1[groups[0].place])

    def _theta(self, pairs: Pairs, whole: Tensor, sight: Sight | None) -> Tensor:
        """Places of outputs in their steps, exactly 1 at the end of one."""
        if isinstance(self.columns, Tensor):
            return torch.where(self.columns[pairs.time, pairs.place] == whole[pairs.place], 1.0, pairs.theta)
        return pairs.theta if sight is None else sight.stop.clamp(max=1.0)[pairs.place]

    def settle(self) -> None:
        """Sort the events in among the outputs, once all steps have been taken."""
        if not self.log.entries:
            return
        times = self.output_times()
        table, rank, self.marks = self.log.sorted_in(times)
        self.start, *self.found = (
            pairs._replace(time=renumbered(pairs.time, pairs.sample, len(times), rank))
            for pairs in (self.start, *self.found)
        )
        self.times = table

    def outputs(self, y0: Tensor) -> Tensor:
        """(T, B, ...); rows that were not reached hold NaN."""
        time, sample = self._all_pairs()
        count = len(self.times) if isinstance(self.times, Tensor) else self._longest(time)
        blank = y0.new_full((count, *y0.shape), torch.nan)
        return blank.index_put_((time, sample), torch.cat([y0[self.start.sample], *self.values]))

    def output_times(self) -> Tensor:
        """(T, B) float64; NaN behind the last step of a sample when every step is wanted."""
        if isinstance(self.times, Tensor):
            return self.times
        time, sample = self._all_pairs()
        user = time < BASE
        time, sample = time[user], sample[user]
        blank = self.ends.new_full((self._longest(time), len(self.ends)), torch.nan)
        return blank.index_put_((time, sample), torch.cat(self.step_times))

    def _longest(self, time: Tensor) -> int:
        return int(time.max()) + 1 if len(time) else 0

    def _all_pairs(self) -> tuple[Tensor, Tensor]:
        groups = [self.start, *self.found]
        return torch.cat([group.time for group in groups]), torch.cat([group.sample for group in groups])

    def tape(self) -> BatchTape | None:
        if self.tape_of is None:
            return None
        return BatchTape(self.attempts, self.found, self.start, len(self.ends))

    def knots(self) -> Knots | None:
        """The kept steps, aligned and stacked."""
        if not self.with_knots or not self.attempts:
            return None
        return Alignment(self.attempts, len(self.ends)).knots(self.attempts)
