"""Event functions, and the watch that finds their zeros on the steps as they are taken."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..control import root
from ..methods import Step
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
        terminal: whether the event ends the integration (of that sample).
    """

    g: Callable[..., Tensor]
    direction: float = 0.0
    terminal: bool = False


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
        else Event(event, float(getattr(event, "direction", 0.0)), bool(getattr(event, "terminal", False)))
        for event in listed
    )


def evaluate(problem: Problem, event: Event, t: Any, y: Tensor) -> Tensor:
    """g(t, y, *args): a 0-d tensor, or (B,) with batch="independent"."""
    layout, args = problem.field.layout, problem.field.args
    samples = len(y) if problem.batch == "independent" else None
    time = torch.as_tensor(t, device=y.device).to(REAL.get(y.dtype, y.dtype))
    if samples is not None:
        time = spread(time.expand(samples), y.real)
    value = event.g(time, y if layout is None else layout.unravel(y), *args)
    count = value.numel() if isinstance(value, Tensor) and not value.is_complex() else -1
    if count != (1 if samples is None else samples):
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        want = "one real number" if samples is None else f"one real number per sample, shape ({samples},)"
        raise ValueError(f"an event function must return {want}, got {got}")
    return value.reshape(()) if samples is None else value.reshape(-1)


def crossed(low: Any, high: Any, direction: float) -> Any:
    """Whether a function went through zero between two values; one that starts at zero did not."""
    rose = (low < 0) & (high >= 0) & (direction >= 0)
    fell = (low > 0) & (high <= 0) & (direction <= 0)
    return rose | fell


@dataclass
class Watch:
    """Finds the events of a state that steps as one.

    Attributes:
        values: of every event function at the start of the next step.
        found: (event, [time]) in the order of integration within each step.
    """

    problem: Problem
    events: Sequence[Event]
    found: list[tuple[int, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = [self._measure(event, self.problem.t0, self.problem.y0) for event in self.events]

    def _measure(self, event: Event, t: float, y: Tensor) -> float:
        return evaluate(self.problem, event, t, y).item()

    def look(self, t: float, h: float, t1: float, y: Tensor, step: Step) -> float | None:
        """The time of this accepted step's first terminal event, if it has one."""
        hits = []
        for index, event in enumerate(self.events):
            low, high = self.values[index], self._measure(event, t1, step.y1)
            self.values[index] = high
            if crossed(low, high, event.direction):
                hits.append((self._locate(event, t, h, y, step, low, high), index))
        hits.sort()
        for theta, index in hits:
            self.found.append((index, torch.tensor([t + theta * h], dtype=torch.float64, device=y.device)))
            if self.events[index].terminal:
                return t + theta * h
        return None

    def _locate(
        self, event: Event, t: float, h: float, y: Tensor, step: Step, low: float, high: float
    ) -> float:
        dense = self.problem.method.dense

        def inside(x: float) -> float:
            return self._measure(event, t + x * h, dense(x, h, y, step.stages))

        return float(root(inside, low, high))


@dataclass
class BatchWatch:
    """Finds the events of samples that step by themselves; times are (B,), NaN where a sample had none."""

    problem: Problem
    events: Sequence[Event]
    found: list[tuple[int, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = [self._measure(event, self.problem.t0, self.problem.y0) for event in self.events]

    def _measure(self, event: Event, t: Tensor, y: Tensor) -> Tensor:
        return evaluate(self.problem, event, t, y).double()

    def look(self, t: Tensor, h: Tensor, t1: Tensor, y: Tensor, step: Step, accept: Tensor) -> Tensor:
        """The place theta of every sample's first terminal event in this step; infinity without one."""
        dense = self.problem.method.dense
        first = torch.full_like(t, torch.inf)
        hits = []
        for index, event in enumerate(self.events):
            low, high = self.values[index], self._measure(event, t1, step.y1)
            self.values[index] = torch.where(accept, high, low)
            fired = accept & crossed(low, high, event.direction)
            if not fired.any():
                continue
            low, high, size = (
                torch.where(fired, low, -1.0),
                torch.where(fired, high, 1.0),
                torch.where(fired, h, 0.0),
            )

            def inside(x: Tensor, e: Event = event, size: Tensor = size) -> Tensor:
                return self._measure(e, t + x * size, dense(x, size, y, step.stages))

            # A sample that did not fire keeps a made-up bracket whose values do not matter.
            theta = torch.where(fired, root(inside, low, high), torch.inf)
            hits.append((index, theta))
            if event.terminal:
                first = torch.minimum(first, theta)
        for index, theta in hits:
            kept = torch.isfinite(theta) & (theta <= first)
            self.found.append((index, torch.where(kept, t + theta.nan_to_num(posinf=0.0) * h, torch.nan)))
        return first
