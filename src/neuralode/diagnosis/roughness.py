"""Places where f is not Lipschitz: difference quotients that keep growing as the distance shrinks."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..field import VectorField

REACH = 1e-2  # half the first interval, relative to the state's size
HALVINGS = 40
LAST = 8  # halvings over which growth is measured: a factor 256 of distance
FIRST = 12  # halvings before a direction is given up: f is steep there at most
POWER = 0.2  # quotients that grow like distance^-POWER or faster are suspicious: |y|^0.8 and rougher
JUMP = 0.9


@dataclass(frozen=True)
class Rough:
    """A suspected non-Lipschitz point.

    Attributes:
        t: where on the path.
        sample: index along the batch dimension, None for one system.
        component: flat index of the component of f that changes most.
        along: flat index of the component of y that it changes with; None for a mixed direction.
        value: of that component of y (NaN for a mixed direction) at the suspected point.
        power: |f(y + d) - f(y)| goes like |d|^power: 0 for a jump, 1/2 for a square root.
        quotient: the largest difference quotient seen.
        distance: over which it was.
    """

    t: float
    sample: int | None
    component: int
    along: int | None
    value: float
    power: float
    quotient: float
    distance: float

    @property
    def jump(self) -> bool:
        """Whether f seems to jump, rather than to have an infinite slope."""
        return self.power < 1.0 - JUMP

    def __str__(self) -> str:
        where = "" if self.along is None else f", where y[{self.along}] = {self.value:.6g}"
        kind = "jumps" if self.jump else f"changes like the distance to the power {self.power:.2g}"
        return (
            f"f[{self.component}] {kind} next to the path at t = {self.t:.6g}{where} (its difference quotient is "
            f"{self.quotient:.3g} over a distance of {self.distance:.2g}, and grows as that shrinks)"
        )


def roughest(
    field: VectorField, time: Tensor, y: Tensor, direction: Tensor, along: int | None, t: Tensor
) -> tuple[float, Rough | None]:
    """(largest quotient of all rows, the roughest point) on a line through y, by bisection; 3 to 42 evaluations.

    Every halving keeps the half whose difference quotient is larger, which leads to a jump or an infinite slope that
    lies on the line. A steep but smooth f has quotients that stop growing.

    Args:
        time: as f takes it; t: float64 (R,) for the report.
        direction: shaped like y, unit rows.
    """
    lines = _Lines(field, time, y, direction)
    for number in range(HALVINGS):
        if not lines.halve() or (number >= FIRST and not bool((lines.powers() > POWER).any())):
            break
    powers = lines.powers()
    peak = float(torch.stack(lines.quotients).nan_to_num(0.0).max()) if lines.quotients else 0.0
    row = int(powers.argmax())
    if not float(powers[row]) > POWER:
        return peak, None
    return peak, lines.report(row, along, float(t[row]))


class _Lines:
    """One interval a row, on lines through y, and f at its ends."""

    def __init__(self, field: VectorField, time: Tensor, y: Tensor, direction: Tensor) -> None:
        self.field, self.time, self.direction = field, time, direction
        self.rows = field.rows(y)
        self.unit = field.rows(direction)
        size = torch.linalg.vector_norm(self.rows, dim=1)
        self.reach = REACH * torch.where(size > 0, size, 1.0)
        self.low, self.high = -self.reach, self.reach.clone()
        self.y = y
        self.f_low, self.f_high = self.at(self.low), self.at(self.high)
        self.eps = torch.finfo(self.low.dtype).eps
        self.quotients: list[Tensor] = []
        self.lengths: list[Tensor] = []

    def at(self, s: Tensor) -> Tensor:
        """f on the lines, (R, n)."""
        state = (self.rows + s[:, None] * self.unit).reshape(self.y.shape)
        return self.field.rows(self.field(self.time, state))

    def halve(self) -> bool:
        """One halving; whether rounding and infinities still leave a row to be judged."""
        middle = 0.5 * (self.low + self.high)
        f_middle = self.at(middle)
        left = torch.linalg.vector_norm(f_middle - self.f_low, dim=1)
        right = torch.linalg.vector_norm(self.f_high - f_middle, dim=1)
        take = left >= right
        self.high, self.f_high = (
            torch.where(take, middle, self.high),
            torch.where(take[:, None], f_middle, self.f_high),
        )
        self.low, self.f_low = (
            torch.where(take, self.low, middle),
            torch.where(take[:, None], self.f_low, f_middle),
        )
        change, length = torch.maximum(left, right), self.high - self.low
        ends = torch.maximum(
            torch.linalg.vector_norm(self.f_low, dim=1), torch.linalg.vector_norm(self.f_high, dim=1)
        )
        # The end of the line nearer to the point is where its coordinates are rounded.
        place = (self.rows * self.unit).sum(1)
        coordinate = torch.maximum((place + self.low).abs(), (place + self.high).abs())
        sharp = (change > 64 * self.eps * ends) & (length > 64 * self.eps * coordinate) & torch.isfinite(ends)
        self.quotients.append(torch.where(sharp, change / length, torch.nan).double())
        self.lengths.append(length.double())
        return bool(sharp.any())

    def powers(self) -> Tensor:
        """How fast the quotients of every row grew over its last halvings: the exponent of 1 / distance; 0 unknown."""
        table = torch.stack(self.quotients)
        known = torch.isfinite(table) & (table > 0)
        # A row's judged halvings are its first ones, up to where rounding shows.
        count = known.long().cumprod(0).sum(0)
        last, before = (count - 1).clamp(min=0), (count - 1 - LAST).clamp(min=0)
        rise = table.gather(0, last[None])[0].log2() - table.gather(0, before[None])[0].log2()
        return torch.where(count > LAST, rise / LAST, 0.0).nan_to_num(0.0)

    def report(self, row: int, along: int | None, t: float) -> Rough:
        """The row's point."""
        table = torch.stack(self.quotients)[:, row]
        count = int((torch.isfinite(table) & (table > 0)).long().cumprod(0).sum())
        power = float(self.powers()[row])
        place = self.rows[row] + 0.5 * (self.low + self.high)[row] * self.unit[row]
        return Rough(
            t=t,
            sample=row if self.field.batched else None,
            component=int((self.f_high - self.f_low)[row].abs().argmax()),
            along=along,
            value=math.nan if along is None else float(place[along]),
            power=max(0.0, 1.0 - power),
            quotient=float(table[count - 1]),
            distance=float(self.lengths[count - 1][row]),
        )
