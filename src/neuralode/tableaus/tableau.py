"""The record that holds the numbers of a Runge-Kutta method."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

Row = tuple[Fraction, ...]
Terms = tuple[tuple[int, float], ...]


def row(*numbers: int | str | Fraction) -> Row:
    """Exact fractions from whole numbers, ``"3/8"`` or full decimals."""
    return tuple(Fraction(number) for number in numbers)


def terms(numbers: Row) -> Terms:
    """The nonzero entries of a row as (stage, float)."""
    return tuple((i, float(number)) for i, number in enumerate(numbers) if number)


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method with its embedded error and its dense output.

    With k_i = f(t + c_i h, y + h sum_j a_ij k_j):

        y1    = y + h sum_i b_i k_i,                     error order ``order``
        error = h sum_i error_i k_i,                     error_i = b_i - bhat_i
        y(t + theta h) = y + h sum_i b_i(theta) k_i,     b_i(theta) = sum_j dense_ij theta^(j+1)

    Attributes:
        a: lower rows; row i has i entries, the first row is empty.
        b, c: weights and nodes, one per stage.
        error: b - bhat, or None for a method without an estimate.
        error_order: order of the embedded solution bhat, 0 without one.
        dense: one row of polynomial coefficients per stage.
        dense_order: order of the dense output (error O(h^(dense_order + 1)) inside a step).
        source: where the numbers come from.
    """

    name: str
    order: int
    a: tuple[Row, ...]
    b: Row
    c: Row
    dense: tuple[Row, ...]
    dense_order: int
    source: str
    error: Row | None = None
    error_order: int = 0

    def __post_init__(self) -> None:
        stages = len(self.b)
        if not len(self.a) == len(self.c) == len(self.dense) == stages:
            raise ValueError(f"tableau {self.name}: a, b, c and dense must have one row per stage")
        for i, (numbers, node) in enumerate(zip(self.a, self.c, strict=True)):
            if len(numbers) != i:
                raise ValueError(f"tableau {self.name}: row {i} of a must have {i} entries")
            if abs(sum(numbers) - node) > Fraction(1, 10**14):
                raise ValueError(f"tableau {self.name}: row {i} of a does not sum to c[{i}]")

    @property
    def stages(self) -> int:
        return len(self.b)

    @cached_property
    def fsal(self) -> bool:
        """Whether the last stage is the first of the next step ("first same as last")."""
        return self.stages > 1 and self.c[-1] == 1 and self.a[-1] == self.b[:-1] and self.b[-1] == 0

    @cached_property
    def stage_terms(self) -> tuple[Terms, ...]:
        return tuple(terms(numbers) for numbers in self.a)

    @cached_property
    def weight_terms(self) -> Terms:
        return terms(self.b)

    @cached_property
    def error_terms(self) -> Terms:
        return terms(self.error or ())

    @cached_property
    def nodes(self) -> tuple[float, ...]:
        return tuple(float(node) for node in self.c)

    @cached_property
    def dense_floats(self) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(number) for number in numbers) for numbers in self.dense)
