"""Accepted steps of samples that step by themselves, lined up by their number in each sample."""

import torch
from torch import Tensor

from .batch_row import Attempt, BatchRow, Pairs
from .tape import Knots


class Alignment:
    """Where each sample's n-th accepted step is among all rows of all trips, one below the other.

    Attributes:
        counts: accepted steps of each sample, (B,); longest: the largest.
        number: of every row, how many steps its sample had accepted before.
        at: the row of each sample's n-th step, (longest, B); behind its last step of its first trial, or any row.
        firsts: the first row of every trip.
    """

    def __init__(self, attempts: list[Attempt], batch: int) -> None:
        accept = torch.cat([a.accept for a in attempts])
        samples = torch.cat([a.samples for a in attempts])
        sizes = torch.tensor([0, *(len(a.samples) for a in attempts)], device=accept.device)
        self.firsts = sizes.cumsum(0)[:-1]
        rows = accept.nonzero()[:, 0]
        rows = rows[torch.argsort(samples[rows], stable=True)]
        self.counts = torch.bincount(samples[rows], minlength=batch)
        self.longest = int(self.counts.max())
        before = self.counts.cumsum(0) - self.counts
        self.number = torch.zeros_like(samples)
        self.number[rows] = torch.arange(len(rows), device=rows.device) - before[samples[rows]]
        first = attempts[0].samples
        home = torch.zeros(batch, dtype=torch.long, device=rows.device)
        home[first] = torch.arange(len(first), device=rows.device)
        self.at = home.repeat(self.longest, 1)
        self.at[self.number[rows], samples[rows]] = rows
        self.active = torch.arange(self.longest, device=rows.device)[:, None] < self.counts

    def rows(self, attempts: list[Attempt], pairs: list[Pairs]) -> list[BatchRow]:
        """One row per step number; ``pairs`` as ``groups`` gives them. Without states unless every trip has one."""
        t, h = torch.cat([a.t for a in attempts]), torch.cat([a.h for a in attempts])
        every = all(a.solved for a in attempts)
        solved = columns([a.solved for a in attempts]) if every else []
        states = [a.y for a in attempts if a.y is not None]
        whole = len(states) == len(attempts)
        y, carry = (torch.cat(states), columns([a.carry for a in attempts])) if whole else (None, [])
        return [
            BatchRow(
                t[at],
                torch.where(active, h[at], 0.0),
                None if y is None else y[at],
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
        stages = columns([a.stages for a in attempts])
        return Knots(t, torch.where(self.active, h, 0.0), y, tuple(column[self.at] for column in stages))


def columns(rows: list[tuple[Tensor, ...]]) -> list[Tensor]:
    """Tuples of tensors, one below the other."""
    return [torch.cat(column) for column in zip(*rows, strict=True)]
