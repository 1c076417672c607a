"""What a solve keeps of its steps when every sample steps by itself: outputs, tape and knots, sample by sample."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..ops import merge, scalar
from .alignment import Alignment
from .batch_row import Attempt, BatchRow, Pairs, read_pairs
from .marks import BASE, MarkLog, Marks, Sight, renumbered
from .tape import TOGETHER, Dense, Knots, cut
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
        waiting: (place in ``values``, theta and rows of h, y, y1 and the stages) of outputs that are not evaluated
            yet; numbers: how many numbers they are.
    """

    times: Any
    sign: Tensor
    dense: Dense
    tape_of: Keeping | None
    with_knots: bool
    attempts: list[Attempt] = field(default_factory=list)
    found: list[Pairs] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    waiting: list[tuple[int, list[Tensor]]] = field(default_factory=list)
    numbers: int = 0

    def begin(self, t0: Tensor, y0: Tensor) -> None:
        """Outputs at t0."""
        self.samples = torch.arange(len(t0), device=t0.device)
        self.columns = self.times
        if isinstance(self.columns, Tensor):
            self.keys = (self.columns * self.sign).T.contiguous()
            self.cursor = self._reached(t0)
        else:
            self.cursor = torch.ones_like(self.samples)
        self.start = self._pairs(torch.zeros_like(self.cursor), self.cursor, t0, torch.ones_like(t0), t0)
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

    def _pairs(self, before: Tensor, after: Tensor, t: Tensor, h: Tensor, t1: Tensor) -> Pairs:
        """The outputs ``before`` ... ``after`` of steps from t by h; their place is exactly 1 at the end t1 of one."""
        hits = after - before
        place = torch.repeat_interleave(hits)
        sample, size = self.samples.index_select(0, place), h.index_select(0, place)
        # The n-th of all pairs is output before + n less the pairs of the samples in front of its own.
        shift = (before + hits - hits.cumsum(0)).index_select(0, place)
        time = shift + torch.arange(len(place), device=place.device)
        if not isinstance(self.columns, Tensor):
            return Pairs(time, sample, torch.ones_like(size), place)
        at = self.columns[time, place]
        theta = (at - t.index_select(0, place)) / size
        one = scalar(1.0, theta.dtype, theta.device)
        return Pairs(time, sample, torch.where(at == t1.index_select(0, place), one, theta), place)

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
            pairs = self._pairs(self.cursor, after, attempt.t, attempt.h, whole)
            groups = [pairs if sight is None else self._ending(pairs, sight)]
        if sight is not None:
            groups.append(Pairs(*self.log.add(sight, self.samples, attempt.t, attempt.h)))
        pairs = groups[0]
        if len(groups) > 1:
            pairs = Pairs(*(torch.cat(column) for column in zip(*groups, strict=True)))
        if len(pairs.time):
            self._read(pairs, any_inside or sight is not None, attempt, y1)
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

    def _read(self, pairs: Pairs, inside: bool, attempt: Attempt, y1: Tensor) -> None:
        """The outputs of a trip; those inside steps wait for others, to be evaluated together."""
        h, y, stages = attempt.h, attempt.y, attempt.stages
        assert y is not None  # only what is on the tape loses it
        if not inside or torch.is_grad_enabled():
            self.values.append(read_pairs(self.dense, pairs, inside, h, y, y1, stages))
            return
        rows = [part.index_select(0, pairs.place) for part in (h, y, y1, *stages)]
        self.waiting.append((len(self.values), [pairs.theta, *rows]))
        self.values.append(rows[2])
        self.numbers += rows[2].numel()
        if self.numbers >= TOGETHER:
            self._settle_values()

    def _settle_values(self) -> None:
        """Evaluate the outputs that wait."""
        if not self.waiting:
            return
        theta, h, y, y1, *stages = (
            torch.cat(column) for column in zip(*(rows for _, rows in self.waiting), strict=True)
        )
        found = merge(theta == 1.0, y1, self.dense(theta, h, y, stages))
        sizes = [len(rows[0]) for _, rows in self.waiting]
        for (place, _), values in zip(self.waiting, found.split(sizes), strict=True):
            self.values[place] = values
        self.waiting.clear()
        self.numbers = 0

    def _ending(self, pairs: Pairs, sight: Sight) -> Pairs:
        """Where every step is an output: at its end, or where an event stops it."""
        if isinstance(self.columns, Tensor):
            return pairs
        return pairs._replace(theta=sight.stop.clamp(max=1.0)[pairs.place])

    def settle(self) -> None:
        """Evaluate the last outputs and sort the events in among them, once all steps have been taken."""
        self._settle_values()
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
