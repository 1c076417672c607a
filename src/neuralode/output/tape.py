"""What a solve keeps of its steps when the state steps as one: outputs, and the tape that gradients replay."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..ops import small
from .marks import Sight
from .thinning import Keeping

Dense = Callable[[Any, Any, Tensor, Sequence[Tensor]], Tensor]
Item = TypeVar("Item")
# Numbers in the outputs that are evaluated together.
TOGETHER = 1 << 14


@dataclass(frozen=True)
class Row:
    """One accepted step: where it started, and which outputs lie in it (theta in (0, 1]).

    ``y`` and ``carry`` are None and empty where the tape does not keep every state; ``stages`` are those that the
    method wants back to retake the step, where they are kept.
    """

    t: float
    h: float
    y: Tensor | None
    carry: tuple[Tensor, ...]
    thetas: tuple[float, ...]
    slots: slice
    stages: tuple[Tensor, ...] = ()

    @property
    def inside(self) -> bool:
        """Whether an output lies strictly inside the step."""
        return any(theta != 1.0 for theta in self.thetas)

    def read(self, dense: Dense, y: Tensor, y1: Tensor, stages: Sequence[Tensor]) -> list[Tensor]:
        """The outputs of this step, from a state y and the step made of it."""
        return [y1 if theta == 1.0 else dense(theta, self.h, y, stages) for theta in self.thetas]

    def bars(self, grad_ys: Tensor) -> Sequence[Tensor]:
        """The cotangents of what ``read`` gives."""
        return grad_ys[self.slots].unbind()

    def masked(self, cotangent: Tensor) -> Tensor:
        """The part of a cotangent that enters this step: all of it."""
        return cotangent

    def merge(self, new: Tensor, old: Tensor) -> Tensor:
        """The cotangent before this step."""
        return new


@dataclass(frozen=True)
class Tape:
    """The accepted steps, in order. The first ``initial`` outputs are y0 itself."""

    rows: list[Row]
    initial: int

    def segments(self, y0: Tensor) -> list[list[Row]]:
        """The rows, cut in front of each that keeps its state where some do not."""
        return cut(self.rows, [n for n, row in enumerate(self.rows) if row.y is not None])

    def from_initial(self, grad_ys: Tensor) -> Tensor:
        """The cotangent of y0 through the outputs that are y0."""
        return grad_ys[: self.initial].sum(0)

    def assemble(self, y0: Tensor, values: list[Tensor], like: Tensor) -> Tensor:
        """All outputs in order, shaped ``like`` them; rows that were not reached hold NaN."""
        start = [y0.expand(self.initial, *y0.shape)] if self.initial else []
        found = torch.cat([*start, torch.stack(values)] if values else [*start, like[:0]])
        return torch.cat([found, torch.full_like(like[len(found) :], torch.nan)])


def cut(items: list[Item], starts: Sequence[int]) -> list[list[Item]]:
    """Pieces that begin at ``starts``; one piece where everything is a start."""
    if len(starts) == len(items):
        return [items] if items else []
    return [items[low:high] for low, high in pairwise([*starts, len(items)])]


@dataclass(frozen=True)
class Knots:
    """Accepted steps as one piecewise polynomial: t, h (N,) or (N, B) float64; y, each stage (N, *y.shape)."""

    t: Tensor
    h: Tensor
    y: Tensor
    stages: tuple[Tensor, ...]


@dataclass
class Recorder:
    """Evaluates the outputs of accepted steps as they are made, and keeps the tape and the knots if wanted.

    Attributes:
        times: output times in the direction of integration, or ``"steps"`` for every step.
        sign: direction of time.
        dense: the method's dense output.
        tape: which steps keep their state on the tape; None: no tape.
        ts, values: outputs so far; at first those at t0.
        marks: (output, event) of those that are events.
        waiting: (place in ``values``, theta, h, y, stages) of outputs that are not evaluated yet.
    """

    times: Any
    sign: float
    dense: Dense
    tape: Keeping | None
    with_knots: bool
    ts: list[float]
    values: list[Tensor]
    rows: list[Row] = field(default_factory=list)
    steps: list[tuple[float, float, Tensor, tuple[Tensor, ...]]] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)
    waiting: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cursor = len(self.ts)

    def inside(self, t1: float) -> bool:
        """Whether an output lies strictly inside a step that ends at t1."""
        at = self.cursor
        return self.times != "steps" and at < len(self.times) and self.sign * (self.times[at] - t1) < 0

    def keep(
        self,
        t: float,
        h: float,
        t1: float,
        y: Tensor,
        carry: Any,
        step: Any,
        solved: tuple[Tensor, ...],
        sight: Sight | None = None,
    ) -> None:
        """An accepted step from (t, y) to (t1, step.y1).

        ``solved``: the stages that retaking it needs; ``sight``: the events in it, which are outputs too.
        """
        start = len(self.ts)
        thetas = self._due(t, h, t1) if sight is None else self._sorted_in(t, h, t1, sight)
        if thetas:
            self._read(thetas, h, y, step)
        if self.tape is not None:
            self.rows.append(Row(t, h, y, carry, tuple(thetas), slice(start, len(self.ts)), solved))
            for n in self.tape.dropped(len(self.rows) - 1):
                old = self.rows[n]
                self.rows[n] = replace(old, y=None, carry=(), stages=old.stages if self.tape.stages else ())
        if self.with_knots:
            self.steps.append((t, h, y, step.stages))

    def _due(self, t: float, h: float, t1: float) -> list[float]:
        """The places in a step of the outputs that it has reached; their times are noted."""
        reached = self._reached(t1)
        self.ts += reached
        return [1.0 if time == t1 else (time - t) / h for time in reached]

    def _sorted_in(self, t: float, h: float, t1: float, sight: Sight) -> list[float]:
        """As ``_due``, with the events of the step among them; nothing is reached behind one that stops."""
        start, stop = len(self.ts), float(sight.stop)
        end = t1 if stop == math.inf else t + stop * h
        due = [(1.0 if time == t1 else (time - t) / h, -1, time) for time in self._reached(end)]
        hits = zip(sight.theta[:, 0].tolist(), sight.event[:, 0].tolist(), strict=True)
        due += [(theta, event, t + theta * h) for theta, event in hits if theta != math.inf]
        due.sort(key=lambda output: output[0])
        self.marks += [(start + n, event) for n, (_, event, _) in enumerate(due) if event >= 0]
        self.ts += [time for _, _, time in due]
        return [theta for theta, _, _ in due]

    def _read(self, thetas: list[float], h: float, y: Tensor, step: Any) -> None:
        """The outputs of a step; those inside steps of a small state wait for others, to be evaluated together."""
        later = small(y)
        for theta in thetas:
            if theta != 1.0 and later:
                self.waiting.append((len(self.values), theta, h, y, step.stages))
            inside = theta != 1.0 and not later
            self.values.append(self.dense(theta, h, y, step.stages) if inside else step.y1)
        if later and len(self.waiting) * y.numel() >= TOGETHER:
            self._settle()

    def _settle(self) -> None:
        """Evaluate the outputs that wait."""
        if not self.waiting:
            return
        places, thetas, sizes, states, stages = zip(*self.waiting, strict=True)
        theta, h = torch.tensor((thetas, sizes), dtype=torch.float64, device=states[0].device)
        found = self.dense(theta, h, torch.stack(states), [torch.stack(k) for k in zip(*stages, strict=True)])
        for place, value in zip(places, found.unbind(), strict=True):
            self.values[place] = value
        self.waiting.clear()

    def _reached(self, end: float) -> list[float]:
        """The output times up to the end of a step that have not been given yet."""
        if self.times == "steps":
            return [end]
        start = self.cursor
        while self.cursor < len(self.times) and self.sign * (self.times[self.cursor] - end) <= 0:
            self.cursor += 1
        return self.times[start : self.cursor]

    def finish(self, y0: Tensor) -> tuple[Tensor, Knots | None]:
        """(outputs (T, *y0.shape), NaN where they were not reached; the kept steps, stacked)."""
        self._settle()
        if self.times != "steps":
            self.ts = self.ts + self.times[self.cursor :]
        values = self.values + [torch.full_like(y0, torch.nan)] * (len(self.ts) - len(self.values))
        ys = torch.stack(values) if values else y0.new_empty((0, *y0.shape))
        if not self.steps:
            return ys, None
        starts, sizes, states, stages = zip(*self.steps, strict=True)
        t, h = (torch.tensor(x, dtype=torch.float64, device=y0.device) for x in (starts, sizes))
        return ys, Knots(t, h, torch.stack(states), tuple(torch.stack(k) for k in zip(*stages, strict=True)))
