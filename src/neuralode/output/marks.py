"""Events among the outputs of a solve: where they lie in a step, and which outputs they became."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

# Rows of events are numbered from here until the outputs are sorted: no solve has as many outputs.
BASE = 1 << 40


class Sight(NamedTuple):
    """The events in one step; B is 1 for a state that steps as one.

    Attributes:
        theta: their places in the step, (M, B) in order; infinity where a sample has no M-th one.
        event: their indices, (M, B).
        stop: the place where the integration of a sample stops, (B,); infinity where it does not.
    """

    theta: Tensor
    event: Tensor
    stop: Tensor


class Marks(NamedTuple):
    """Which outputs are events: the n-th entry says that row ``row`` of sample ``sample`` is event ``event``."""

    row: Tensor
    sample: Tensor
    event: Tensor


@dataclass
class MarkLog:
    """The events of samples that step by themselves, numbered in each sample.

    Attributes:
        counts: so far, (B,).
        sign: direction of time, (B,).
    """

    counts: Tensor
    sign: Tensor
    entries: list[tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)

    def add(
        self, sight: Sight, samples: Tensor, t: Tensor, h: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(row, sample, theta, place) of the events in one trip of the loop, whose rows are those of ``samples``."""
        hits = torch.isfinite(sight.theta)
        order, place = hits.nonzero(as_tuple=True)
        theta, sample = sight.theta[order, place], samples[place]
        row = BASE + self.counts[sample] + order
        self.counts = self.counts.index_add(0, samples, hits.sum(0))
        self.entries.append((row, sample, sight.event[order, place], t[place] + theta * h[place]))
        return row, sample, theta, place

    def sorted_in(self, times: Tensor) -> tuple[Tensor, Tensor, Marks]:
        """Output times (T, B) with the events sorted in.

        Returns (times (R, B), the new row of every old one (R, B), marks); old rows are those of ``times``, then the
        events in their own order.
        """
        row, sample, event, time = (torch.cat(column) for column in zip(*self.entries, strict=True))
        row = row - BASE + len(times)
        extra = times.new_full((int(self.counts.max()), times.shape[1]), torch.nan)
        table = torch.cat([times, extra]).index_put_((row, sample), time)
        key = torch.where(torch.isnan(table), torch.inf, table * self.sign)
        order = torch.argsort(key, dim=0, stable=True)
        rank = torch.argsort(order, dim=0)
        return table.gather(0, order), rank, Marks(rank[row, sample], sample, event)


def renumbered(row: Tensor, sample: Tensor, count: int, rank: Tensor) -> Tensor:
    """The rows among the sorted outputs of rows that were numbered while the steps were taken."""
    return rank[torch.where(row >= BASE, row - BASE + count, row), sample]
