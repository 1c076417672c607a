"""What an event is: a function of the solution whose zeros are wanted, and what happens at them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..ops import REAL, spread
from ..problem import Problem


@dataclass(frozen=True)
class Event:
    """A function of the solution whose zeros are wanted.

    Attributes:
        g: ``g(t, y, *args)``, with t and y as f gets them; returns one real number, or (B,) with
            batch="independent". Differentiable.
        direction: 0 any crossing, > 0 only from negative to positive, < 0 only the other way (in the order of
            integration).
        terminal: whether the event ends the integration (of that sample); a whole number n: its n-th occurrence does.
        apply: ``apply(t, y, *args) -> y``, with y's structure, shape and dtype: at every occurrence that does not end
            the integration the state becomes this, and the integration restarts from there. Differentiable. With
            batch="independent" it is called on the whole batch, and counts for the samples that have the event.

    Raises:
        ValueError: ``terminal`` is negative, or ends the integration where ``apply`` would first be called.
        TypeError: g or apply is not callable.
    """

    g: Callable[..., Tensor]
    direction: float = 0.0
    terminal: bool | int = False
    apply: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        for name, function in (("g", self.g), ("apply", self.apply)):
            if not callable(function) and not (name == "apply" and function is None):
                raise TypeError(
                    f"{name} must be callable as {name}(t, y, *args), got {type(function).__name__}"
                )
        if int(self.terminal) != self.terminal or self.terminal < 0:
            raise ValueError(
                f"terminal must be True, False or the number of occurrences, got {self.terminal!r}"
            )
        if self.apply is not None and self.terminal == 1:
            raise ValueError(
                "terminal=True ends the integration where apply= would change the state: give one of them, or the "
                "number of occurrences as terminal="
            )


def as_events(events: Any) -> tuple[Event, ...]:
    """Events from an ``Event``, a function, or a list of such; SciPy's attributes on functions are honoured.

    Raises:
        TypeError: something else is among them.
    """
    listed = events if isinstance(events, (list, tuple)) else [events]
    for event in listed:
        if not isinstance(event, Event) and not callable(event):
            raise TypeError(
                f"events must hold functions g(t, y, *args) or Events, got {type(event).__name__}"
            )
    return tuple(
        event
        if isinstance(event, Event)
        else Event(event, float(getattr(event, "direction", 0.0)), getattr(event, "terminal", False))
        for event in listed
    )


def evaluate(problem: Problem, event: Event, t: Any, y: Tensor) -> Tensor:
    """g(t, y, *args), (C,): C is B with batch="independent", else 1."""
    return value_of(problem, event, *as_f_gets_them(problem, t, y))


def value_of(problem: Problem, event: Event, time: Tensor, state: Any) -> Tensor:
    """g(time, state, *args), (C,), of what ``as_f_gets_them`` gives."""
    value = event.g(time, state, *problem.field.args)
    samples = problem.samples
    count = value.numel() if isinstance(value, Tensor) and not value.is_complex() else -1
    if count != (1 if samples is None else samples):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        want = "one real number" if samples is None else f"one real number per sample, shape ({samples},)"
        raise ValueError(f"an event function must return {want}, got {got}")
    return value.reshape(-1)


def changed(problem: Problem, event: Event, t: Any, y: Tensor) -> Tensor:
    """apply(t, y, *args) as one tensor like y."""
    assert event.apply is not None
    time, state = as_f_gets_them(problem, t, y)
    found, layout = event.apply(time, state, *problem.field.args), problem.field.layout
    if layout is not None:
        found = layout.ravel(found, "an event's apply")
    if not isinstance(found, Tensor):
        raise TypeError(f"an event's apply must return a state like y, got {type(found).__name__}")
    if found.shape != y.shape or found.dtype != y.dtype or found.device != y.device:
        raise ValueError(
            f"an event's apply returned {found.dtype} {tuple(found.shape)} on {found.device}, expected a state like "
            f"y, {y.dtype} {tuple(y.shape)} on {y.device}"
        )
    return found


def as_f_gets_them(problem: Problem, t: Any, y: Tensor) -> tuple[Tensor, Any]:
    """(t, y) as arguments of f, g and apply; t a float, or (C,)."""
    layout = problem.field.layout
    time = torch.as_tensor(t, dtype=REAL.get(y.dtype, y.dtype), device=y.device)
    time = spread(time.expand(len(y)), y.real) if problem.batch == "independent" else time.reshape(())
    return time, y if layout is None else layout.unravel(y)
