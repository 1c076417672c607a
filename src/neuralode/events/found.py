"""What the event functions of a solve met."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .ledger import Ledger


@dataclass(frozen=True)
class Found:
    """What the event functions met.

    Attributes:
        t_events: per event, (n,), or (n, B) padded with NaN; float64.
        y_events: per event, (n, *y0.shape); before the event changed the state.
        event_mask: (E,), or (E, B): which events occurred.
    """

    t_events: list[Tensor]
    y_events: list[Tensor]
    event_mask: Tensor


def found_in(ledgers: Sequence[Ledger], y0: Tensor, single: bool) -> Found:
    """From what was put down of every event."""
    tables = [ledger.table(y0[None] if single else y0) for ledger in ledgers]
    mask = torch.stack([ledger.counts > 0 for ledger in ledgers])
    if not single:
        return Found([t for t, _ in tables], [y for _, y in tables], mask)
    return Found([t[:, 0] for t, _ in tables], [y[:, 0] for _, y in tables], mask[:, 0])
