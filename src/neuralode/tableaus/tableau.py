"""The record that holds the numbers of a Runge-Kutta method."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import comb, isqrt

Row = tuple[Fraction, ...]
Terms = tuple[tuple[int, float], ...]


def row(*numbers: int | str | Fraction) -> Row:
    """Exact fractions from whole numbers, ``"3/8"`` or full decimals."""
    return tuple(Fraction(number) for number in numbers)


def rows(lines: str, widths: Sequence[int]) -> tuple[Row, ...]:
    """Rows of the given widths from lines "row column number", counted from one; what no line gives is zero."""
    found = [[Fraction(0)] * width for width in widths]
    for line in lines.split("\n"):
        if line:
            i, j, number = line.split()
            found[int(i) - 1][int(j) - 1] = Fraction(number)
    return tuple(tuple(numbers) for numbers in found)


def root(number: int) -> Fraction:
    """The square root to 50 digits."""
    return Fraction(isqrt(number * 10**100), 10**50)


def terms(numbers: Row) -> Terms:
    """The nonzero entries of a row as (stage, float)."""
    return tuple((i, float(number)) for i, number in enumerate(numbers) if number)


def bernstein(lines: tuple[Row, ...]) -> tuple[tuple[float, ...], ...]:
    """Polynomials sum_j number_j theta^j, j = 1 ... n, as coefficients of theta^k (1 - theta)^(n - k), k = 1 ... n.

    Coefficients of powers reach 1e4 and cancel; these stay near the values of the polynomials, so that the weights of
    a dense output come out to rounding.
    """
    n = len(lines[0])
    return tuple(
        tuple(
            float(sum((comb(n - j, k - j) * numbers[j - 1] for j in range(1, k + 1)), Fraction(0)))
            for k in range(1, n + 1)
        )
        for numbers in lines
    )


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method with its embedded error and its dense output.

    With k_i = f(t + c_i h, y + h sum_j a_ij k_j):

        y1    = y + h sum_i b_i k_i,                     error order ``order``
        error = h sum_i error_i k_i,                     error_i = b_i - bhat_i
        y(t + theta h) = y + h sum_i b_i(theta) k_i,     b_i(theta) = sum_j dense_ij theta^(j+1)

    A last stage at y1 (``fsal``) is the first one of the next step, so that it costs nothing; methods that are not
    adaptive leave it out, or have it among the extra stages.

    Attributes:
        a: lower rows; row i has i entries, the first row is empty.
        b, c: weights and nodes, one per stage.
        error: b - bhat, or None for a method without an estimate.
        damping: weights of a second estimate, of lower order, that corrects the first: error becomes
            error |error| / sqrt(|error|^2 + 0.01 |damping|^2) (Hairer, Norsett, Wanner I, eq. II.10.17).
        error_order: the estimate is O(h^(error_order + 1)): the order of the embedded solution bhat where no
            damping corrects it; 0 without an estimate.
        extra_a, extra_c: rows of a and nodes of the further stages that the dense output alone needs.
        dense: one row of polynomial coefficients per stage, the extra ones included.
        dense_order: order of the dense output (error O(h^(dense_order + 1)) inside a step).
        symmetric: whether a step of -h undoes one of h so well that steps may be walked back that way.
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
    damping: Row | None = None
    error_order: int = 0
    extra_a: tuple[Row, ...] = ()
    extra_c: Row = ()
    symmetric: bool = False

    def __post_init__(self) -> None:
        stages = len(self.b)
        if not (len(self.a) == len(self.c) == stages and len(self.extra_a) == len(self.extra_c)):
            raise ValueError(f"tableau {self.name}: a, b and c must have one row per stage")
        if len(self.dense) != stages + self.extra:
            raise ValueError(f"tableau {self.name}: dense must have one row per stage, extra ones included")
        if any(len(numbers) != stages for numbers in (self.error, self.damping) if numbers is not None):
            raise ValueError(f"tableau {self.name}: error and damping must have one entry per stage")
        nodes = (*self.c, *self.extra_c)
        for i, (numbers, node) in enumerate(zip(self.whole_a, nodes, strict=True)):
            if len(numbers) != i:
                raise ValueError(f"tableau {self.name}: row {i} of a must have {i} entries")
            if abs(sum(numbers) - node) > Fraction(1, 10**14):
                raise ValueError(f"tableau {self.name}: row {i} of a does not sum to c[{i}]")

    @property
    def stages(self) -> int:
        return len(self.b)

    @property
    def extra(self) -> int:
        return len(self.extra_a)

    @property
    def whole_a(self) -> tuple[Row, ...]:
        """Rows of a, the extra ones included."""
        return self.a + self.extra_a

    @cached_property
    def fsal(self) -> bool:
        """Whether the last stage is the first of the next step ("first same as last")."""
        return self.stages > 1 and self.c[-1] == 1 and self.a[-1] == self.b[:-1] and self.b[-1] == 0

    @cached_property
    def nodes(self) -> tuple[float, ...]:
        return tuple(float(node) for node in self.c)

    @cached_property
    def extra_nodes(self) -> tuple[float, ...]:
        return tuple(float(node) for node in self.extra_c)

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
    def damping_terms(self) -> Terms:
        return terms(self.damping or ())

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """The stages of a step that its dense output, or an extra stage, needs."""
        columns = [*self.extra_a, *zip(*self.dense, strict=True)]
        return tuple(i for i in range(self.stages) if any(column[i] for column in columns))

    @cached_property
    def extra_terms(self) -> tuple[Terms, ...]:
        """The extra rows over the kept stages and the extra ones before."""
        place = (*self.kept, *range(self.stages, self.stages + self.extra))
        return tuple(terms(tuple(numbers[i] for i in place if i < len(numbers))) for numbers in self.extra_a)

    @cached_property
    def dense_bernstein(self) -> tuple[tuple[float, ...], ...]:
        """Dense weights of the kept and extra stages."""
        places = (*self.kept, *range(self.stages, self.stages + self.extra))
        return bernstein(tuple(self.dense[i] for i in places))
