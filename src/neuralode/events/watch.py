"""The watch that finds the zeros of event functions on the steps as they are taken."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import root
from ..engine import Span
from ..methods import Step
from ..ops import spread, stage_times
from ..output import Sight
from ..problem import Problem
from .event import Event, as_f_gets_them, evaluate, value_of
from .rate import TINY, sign_at_zero

# Where event functions are evaluated in every step: a pair of zeros closer than h / 5 can be missed.
NODES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
# Places in a step that are the same but for rounding.
TIE = 2.0**-44
HALVINGS = 52


class Hit(NamedTuple):
    """A zero in this step: its place, the samples that have it, and the sign behind it, each (C,)."""

    event: int
    theta: Tensor
    fired: Tensor
    sign: Tensor


@dataclass
class Watch:
    """Finds events; C is B with batch="independent", else 1.

    Attributes:
        values: of every event function at the start of the next step, (E, C); only their signs matter.
        seen: how often each has occurred, (E, C).
        scale: largest value that each took in the step of its last event, (E, C).
        ended: the events that stopped a sample, (E, C); final: the samples that go no further, (C,).
    """

    problem: Problem
    events: Sequence[Event]
    values: Tensor
    seen: Tensor

    def __post_init__(self) -> None:
        self.single = self.problem.batch != "independent"
        self.scale = torch.zeros_like(self.values)
        self.ended = torch.zeros_like(self.seen, dtype=torch.bool)
        self.final = torch.zeros_like(self.ended[0])

    def look(self, span: Span, step: Step) -> Sight | None:
        """The events in a step, if it has any."""
        method, finish = self.problem.method, span.finish
        coarse = method.tableau is not None and method.tableau.fsal
        if finish is not None and not coarse:
            step, finish = finish(), None
        table = self._table(span, step, coarse)
        signs = table.sign()
        if bool(((signs == signs[:, :1]) & (signs != 0)).all()):
            self.values = table[:, -1]
            return None
        if finish is not None:
            step = finish()
        table = self._settled(span, step, self._table(span, step, False) if coarse else table)
        hits = [
            hit for event in range(len(self.events)) for hit in self._hits(span, step, event, table[event])
        ]
        sight = self._judge(hits, table) if hits else None
        stop = torch.full_like(table[0, 0], torch.inf) if sight is None else sight.stop
        self._move_on(hits, table, stop)
        return sight

    def _table(self, span: Span, step: Step, coarse: bool) -> Tensor:
        """Every event function at every node, (E, N, C); constant for samples that took no step.

        ``coarse``: on Hermite's cubic, which costs next to nothing and is enough to see signs by.
        """
        p, inner = self.problem, NODES[1:-1]
        with torch.no_grad():
            times = (*stage_times(span.t, span.h, inner, span.y), as_f_gets_them(p, span.t1, span.y)[0])
            states = (*(_cubic if coarse else self._dense)(span, step), step.y1)
            shaped = states if p.field.layout is None else map(p.field.layout.unravel, states)
            columns = [
                torch.stack([value_of(p, event, time, state) for event in self.events])
                for time, state in zip(times, shaped, strict=True)
            ]
            table = torch.cat([self.values[:, None], torch.stack(columns, 1).double()], 1)
        return table if span.accepted is None else torch.where(span.accepted, table, self.values[:, None])

    def _dense(self, span: Span, step: Step) -> list[Tensor]:
        return [self._state(span, step, self._place(span, theta)) for theta in NODES[1:-1]]

    def _place(self, span: Span, theta: float) -> Any:
        return torch.full_like(span.t, theta) if isinstance(span.t, Tensor) else theta

    def _state(self, span: Span, step: Step, theta: Any) -> Tensor:
        """The state at a place in the step, a float, or (C,)."""
        return self.problem.method.dense(theta, span.h, span.y, step.stages)

    def _settled(self, span: Span, step: Step, table: Tensor) -> Tensor:
        """The table with exact zeros at the step's end given the sign that follows, where there is a crossing."""
        zero = table[:, -1] == 0
        if not bool(zero.any()):
            return table
        t1 = torch.as_tensor(span.t1, dtype=torch.float64, device=table.device).reshape(-1)
        signs = [sign_at_zero(self.problem, event, t1, step.y1) for event in self.events]
        return torch.cat([table[:, :-1], torch.where(zero, torch.stack(signs), table[:, -1])[:, None]], 1)

    def _hits(self, span: Span, step: Step, index: int, table: Tensor) -> Iterator[Hit]:
        """The zeros of one event function, every sample's first ones, then the second ones, and so on."""
        direction, fired, columns = self.events[index].direction, [], []
        last, at = table[0], torch.zeros_like(table[0])
        for node, value in zip(NODES[1:], table[1:], strict=True):
            rose = (last < 0) & (value > 0) & (direction >= 0)
            fell = (last > 0) & (value < 0) & (direction <= 0)
            fired.append(rose | fell)
            columns.append(torch.stack((at, torch.full_like(at, node), last, value)))
            known = (value > 0) | (value < 0)  # a value that is zero or NaN decides nothing
            last, at = torch.where(known, value, last), torch.where(known, node, at)
        found = torch.stack(fired)
        number, brackets = found.cumsum(0), torch.stack(columns)
        samples = torch.arange(found.shape[1], device=found.device)
        for n in range(1, int(number.max()) + 1):
            this = found & (number == n)
            has = this.any(0)
            bracket = brackets[this.int().argmax(0), :, samples].T
            theta = self._locate(span, step, index, bracket, has)
            yield Hit(index, torch.where(has, theta, torch.inf), has, bracket[3].sign())

    def _locate(self, span: Span, step: Step, index: int, bracket: Tensor, fired: Tensor) -> Tensor:
        """The place of a zero in every sample's bracket (a, b, g(a), g(b)); some place for those that did not fire."""
        a, b, low, high = bracket
        event, problem = self.events[index], self.problem
        low, high = torch.where(fired, low, -1.0), torch.where(fired, high, 1.0)

        def inside(x: Any) -> Any:
            theta = a + x * (b - a)
            with torch.no_grad():
                place = float(theta) if self.single else theta
                value = evaluate(problem, event, span.t + place * span.h, self._state(span, step, place))
            return value.item() if self.single else torch.where(fired, value.double(), x - 0.5)

        start, stop = torch.zeros_like(a), torch.ones_like(a)
        for _ in range(HALVINGS):  # until both ends of the bracket have values that mean something
            vague = (low.abs() <= TINY) & fired
            if not bool(vague.any()):
                break
            middle = (start + stop) / 2
            value = torch.as_tensor(inside(middle), dtype=low.dtype, device=low.device).reshape(-1)
            beyond = value * high.sign() > 0
            stop, high = torch.where(vague & beyond, middle, stop), torch.where(vague & beyond, value, high)
            start, low = torch.where(vague & ~beyond, middle, start), torch.where(vague & ~beyond, value, low)
        ends = (low.item(), high.item()) if self.single else (low, high)
        return a + (start + root(lambda x: inside(start + x * (stop - start)), *ends) * (stop - start)) * (
            b - a
        )

    def _judge(self, hits: list[Hit], table: Tensor) -> Sight:
        """Which zeros count, those up to the first that stops a sample; ``seen``, ``ended``, ``final`` with them."""
        ordinal, stops = self.seen.clone(), []
        stop = torch.full_like(table[0, 0], torch.inf)
        for hit in hits:
            event = self.events[hit.event]
            ordinal[hit.event] += hit.fired
            final = hit.fired & (ordinal[hit.event] == int(event.terminal))
            stops.append((final, hit.fired if event.apply is not None else final))
            stop = torch.minimum(stop, torch.where(stops[-1][1], hit.theta, torch.inf))
        places = []
        for hit, (final, ends) in zip(hits, stops, strict=True):
            kept = hit.fired & (hit.theta <= stop + TIE)
            self.seen[hit.event] += kept
            self.ended[hit.event] |= kept & ends
            self.final |= kept & final
            places.append(torch.where(kept, hit.theta, torch.inf))
        theta, order = torch.stack(places).sort(dim=0, stable=True)
        events = torch.tensor([hit.event for hit in hits], device=theta.device)[order]
        return Sight(theta, events, stop)

    def _move_on(self, hits: list[Hit], table: Tensor, stop: Tensor) -> None:
        """The values that the next step starts from: of known sign where possible, and up to the stop."""
        values, at = table[:, 0], torch.zeros_like(table[:, 0])
        for n, node in enumerate(NODES[1:], 1):
            known = ((table[:, n] > 0) | (table[:, n] < 0)) & (node <= stop)
            values, at = torch.where(known, table[:, n], values), torch.where(known, node, at)
        values = values.clone()
        for hit in hits:
            behind = hit.fired & (hit.theta <= stop + TIE) & (hit.theta >= at[hit.event])
            values[hit.event] = torch.where(behind, hit.sign * TINY, values[hit.event])
        self.values, self.scale = values, table.abs().nan_to_num().amax(1)


def _cubic(span: Span, step: Step) -> tuple[Tensor, ...]:
    """Hermite's cubic through the ends of a step, at the inner nodes."""
    y, h = span.y, span.h
    size = spread(h, y) if isinstance(h, Tensor) else h
    basis = torch.stack((y, step.y1, size * span.carry[0], size * step.carry[0])).reshape(4, -1)
    return (_weights(y.dtype, y.device) @ basis).reshape(-1, *y.shape).unbind()


@lru_cache(maxsize=64)
def _weights(dtype: torch.dtype, device: torch.device) -> Tensor:
    rows = [
        (1 - x * x * (3 - 2 * x), x * x * (3 - 2 * x), x * (1 - x) ** 2, x * x * (x - 1)) for x in NODES[1:-1]
    ]
    return torch.tensor(rows, dtype=dtype, device=device)
