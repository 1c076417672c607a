"""What event functions are worth where an integration starts or starts again, and a zero there is no new event."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..problem import Problem
from .event import Event, evaluate
from .rate import TINY, noise_of, sign_at_zero
from .watch import Watch

# A state this far from a zero, in units of sqrt(eps), is not looked at for rounding.
NEAR = 16.0


def first_values(problem: Problem, events: Sequence[Event], t: Tensor, y: Tensor) -> Tensor:
    """The event functions at the start, (E, C); one that is zero there gets the sign that follows."""
    y = y.detach()
    values = _values(problem, events, t, y)
    for index, event in enumerate(events):
        near = _near(problem, event, t, y, values[index], torch.zeros_like(t))
        if bool(near.any()):
            values[index] = torch.where(near, sign_at_zero(problem, event, t, y), values[index])
    return values


def values_after(problem: Problem, watch: Watch, t: Tensor, before: Tensor, y: Tensor) -> Tensor:
    """The event functions behind events that changed the state from ``before`` to y, (E, C).

    One that is at its zero up to rounding gets the sign that follows where it is the event that has just been, and
    where the change has put it there; else it keeps the sign that it had: its event is still to come.
    """
    old, values = _values(problem, watch.events, t, before), _values(problem, watch.events, t, y)
    for index, event in enumerate(watch.events):
        scale = watch.scale[index]
        near = _near(problem, event, t, y, values[index], scale)
        if not bool(near.any()):
            continue
        was_near = old[index].abs() <= 4 * noise_of(problem, event, t, before, scale)
        waiting = was_near & ~watch.ended[index] & (watch.values[index] != 0)
        sign = torch.where(waiting, TINY * watch.values[index].sign(), sign_at_zero(problem, event, t, y))
        values[index] = torch.where(near, sign, values[index])
    return values


def _values(problem: Problem, events: Sequence[Event], t: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.stack([evaluate(problem, event, t, y) for event in events]).double()


def _near(problem: Problem, event: Event, t: Tensor, y: Tensor, value: Tensor, scale: Tensor) -> Tensor:
    """The samples whose event function is zero up to rounding."""
    size = 1.0 + t.abs() + (float(y.abs().max()) if y.numel() else 0.0) + scale
    worth_looking = value.abs() <= NEAR * torch.finfo(y.dtype).eps ** 0.5 * size
    if not bool(worth_looking.any()):
        return worth_looking
    return worth_looking & (value.abs() <= noise_of(problem, event, t, y, scale))
