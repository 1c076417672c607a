"""What the legs of a solve have brought so far: outputs, events, and the steps for dense output."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..output import Knots


@dataclass
class Ledger:
    """Rows of times and states, counted in each of C samples (C is 1 for a state that steps as one).

    Attributes:
        counts: rows so far, (C,).
    """

    counts: Tensor
    entries: list[tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=list)

    def add(self, mask: Tensor, times: Tensor, states: Tensor) -> None:
        """Those of the rows (R, C), (R, C, ...) that ``mask`` (R, C) takes, in order."""
        if not bool(mask.any()):  # and no graph either
            return
        place, sample = mask.nonzero(as_tuple=True)
        row = (self.counts + mask.cumsum(0) - 1)[place, sample]
        self.counts = self.counts + mask.sum(0)
        self.entries.append((row, sample, times[place, sample], states[place, sample]))

    def table(self, like: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor]:
        """(times (R, C), states (R, C, ...)), R the largest count or ``rows``; NaN where there are none.

        ``like`` is one row of states, (C, ...).
        """
        count = rows if rows is not None else int(self.counts.max()) if len(self.counts) else 0
        times = torch.full((count, len(self.counts)), torch.nan, dtype=torch.float64, device=like.device)
        states = like.new_full((count, *like.shape), torch.nan)
        if not self.entries:
            return times, states
        row, sample, time, state = (torch.cat(column) for column in zip(*self.entries, strict=True))
        return times.index_put((row, sample), time), states.index_put((row, sample), state)


def joined(parts: Sequence[Knots], batched: bool) -> Knots | None:
    """The knots of consecutive legs as one; per sample, rows in which it stood still go last."""
    if not parts:
        return None
    t, h, y = (torch.cat([getattr(part, name) for part in parts]) for name in ("t", "h", "y"))
    stages = tuple(torch.cat(column) for column in zip(*(part.stages for part in parts), strict=True))
    whole = Knots(t, h, y, stages)
    if not batched or len(parts) == 1:
        return whole
    longest = int((h != 0).sum(0).max())
    order = torch.argsort((h == 0).int(), dim=0, stable=True)[:longest]
    at = (order, torch.arange(h.shape[1], device=h.device).expand_as(order))
    return replace(whole, t=t[at], h=h[at], y=y[at], stages=tuple(stage[at] for stage in stages))
