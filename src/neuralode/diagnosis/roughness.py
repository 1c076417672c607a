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
    field: VectorField,
    time: Tensor,
    y: Tensor,
    direction: Tensor,
    along: int | None,
    t: Tensor,
    size: Tensor,
) -> tuple[float, Rough | None]:
    """(largest quotient of all rows, the roughest point) on a line through y; 30 to 85 evaluations.

    Every halving keeps the half around the node with the largest second difference, which leads to a jump, a cusp or
    an infinite slope that lies on the line. A steep but smooth f has quotients that stop growing.

    Args:
        time: as f takes it; t: float64 (R,) for the report.
        direction: shaped like y, unit rows; along: the component of y that it is, None if mixed.
        size: of the states on the path, (R,): the first interval has a hundredth of it to either side.
    """
    lines = _Lines(field, time, y, direction, size)
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
    """One interval a row, on lines through y, and f at five nodes of each."""

    def __init__(self, field: VectorField, time: Tensor, y: Tensor, direction: Tensor, size: Tensor) -> None:
        self.field, self.time, self.y = field, time, y
        self.rows, self.unit = field.rows(y), field.rows(direction)
        self.place = (self.rows * self.unit).sum(1)
        self.width = REACH * size.to(self.rows)
        self.centre = torch.zeros_like(self.width)
        self.values = torch.stack(
            [self.at(self.centre + x * self.width) for x in (-1.0, -0.5, 0.0, 0.5, 1.0)]
        )
        self.eps = torch.finfo(self.width.dtype).eps
        self.quotients: list[Tensor] = []
        self.lengths: list[Tensor] = []

    def at(self, s: Tensor) -> Tensor:
        """f on the lines, (R, n)."""
        state = (self.rows + s[:, None] * self.unit).reshape(self.y.shape)
        return self.field.rows(self.field(self.time, state))

    def halve(self) -> bool:
        """One halving; whether rounding and infinities still leave a row to be judged."""
        bends = torch.linalg.vector_norm(self.values.diff(n=2, dim=0), dim=2)
        node = bends.nan_to_num(0.0).argmax(0)
        self.centre = self.centre + 0.5 * self.width * (node - 1).to(self.width)
        self.width = 0.5 * self.width
        kept = [
            self.values.gather(0, (node + k)[None, :, None].expand_as(self.values[:1]))[0] for k in range(3)
        ]
        new = [self.at(self.centre + x * self.width) for x in (-0.5, 0.5)]
        self.values = torch.stack((kept[0], new[0], kept[1], new[1], kept[2]))
        change = torch.linalg.vector_norm(self.values.amax(0) - self.values.amin(0), dim=1)
        ends = torch.linalg.vector_norm(self.values.abs().amax(0), dim=1)
        coordinate = (self.place + self.centre).abs() + self.width
        sharp = (change > 64 * self.eps * ends) & (self.width > 64 * self.eps * coordinate)
        self.quotients.append(torch.where(sharp, change / (2 * self.width), torch.nan).double())
        self.lengths.append(2 * self.width.double())
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
        place = self.rows[row] + self.centre[row] * self.unit[row]
        return Rough(
            t=t,
            sample=row if self.field.batched else None,
            component=int((self.values.amax(0) - self.values.amin(0))[row].argmax()),
            along=along,
            value=math.nan if along is None else float(place[along]),
            power=max(0.0, 1.0 - power),
            quotient=float(table[count - 1]),
            distance=float(self.lengths[count - 1][row]),
        )
