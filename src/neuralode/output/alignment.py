"""Accepted steps of samples that step by themselves, lined up by their number in each sample."""

import torch

from .batch_row import Attempt, BatchRow, Pairs
from .tape import Knots


class Alignment:
    """Where each sample's n-th accepted step is among all rows of all trips, one below the other.

    Attributes:
        counts: accepted steps of each sample, (B,); longest: the largest.
        number: of every row, how many steps its sample had accepted before.
        at: the row of each sample's n-th step, (longest, B); of its first trial behind its last step.
        firsts: the first row of every trip.
    """

    def __init__(self, attempts: list[Attempt]) -> None:
        accept = torch.cat([a.accept for a in attempts])
        samples = torch.cat([a.samples for a in attempts])
        batch = len(attempts[0].samples)
        sizes = torch.tensor([0, *(len(a.samples) for a in attempts)], device=accept.device)
        self.firsts = sizes.cumsum(0)[:-1]
        rows = accept.nonzero()[:, 0]
        rows = rows[torch.argsort(samples[rows], stable=True)]
        self.counts = torch.bincount(samples[rows], minlength=batch)
        self.longest = int(self.counts.max())
        before = self.counts.cumsum(0) - self.counts
        self.number = torch.zeros_like(samples)
        self.number[rows] = torch.arange(len(rows), device=rows.device) - before[samples[rows]]
        self.at = torch.arange(batch, device=rows.device).repeat(self.longest, 1)
        self.at[self.number[rows], samples[rows]] = rows
        self.active = torch.arange(self.longest, device=rows.device)[:, None] < self.counts

    def rows(self, attempts: list[Attempt], pairs: list[Pairs]) -> list[BatchRow]:
        """One row per step number; ``pairs`` as ``groups`` gives them."""
        t, h, y = (torch.cat(column) for column in list(zip(*attempts, strict=True))[:3])
        carry, solved = (
            [torch.cat(column) for column in zip(*(getattr(a, name) for a in attempts), strict=True)]
            for name in ("carry", "solved")
        )
        return [
            BatchRow(
                t[at],
                torch.where(active, h[at], 0.0),
                y[at],
                tuple(part[at] for part in carry),
                active,
                group,
                tuple(part[at] for part in solved),
            )
            for at, active, group in zip(self.at, self.active, pairs, strict=True)
        ]

    def groups(self, found: list[Pairs]) -> list[Pairs]:
        """The outputs of every step number: ``found``, which has a group for every trip of the loop, regrouped."""
        first = torch.cat([self.firsts[n].expand(len(pairs.time)) for n, pairs in enumerate(found)])
        time, sample, theta, place = (torch.cat(column) for column in zip(*found, strict=True))
        numbers = self.number[first + place]
        order = torch.argsort(numbers, stable=True)
        sizes = torch.bincount(numbers, minlength=self.longest).tolist()
        columns = (column[order].split(sizes) for column in (time, sample, theta, sample))
        return [Pairs(*group) for group in zip(*columns, strict=True)]

    def knots(self, attempts: list[Attempt]) -> Knots:
        """All steps stacked, (N, B, ...); samples with fewer steps repeat their first trial with h = 0."""
        t, h, y = (torch.cat(column)[self.at] for column in list(zip(*attempts, strict=True))[:3])
        stages = zip(*(a.stages for a in attempts), strict=True)
        return Knots(
            t,
            torch.where(self.active, h, 0.0),
            y,
            tuple(torch.cat(column)[self.at] for column in stages),
        )
