"""Diagonally implicit Runge-Kutta methods. Hairer II = Hairer & Wanner, Solving ODEs II, 2nd ed. (1996)."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from .tableau import Row, Terms, bernstein, root, row, terms


@dataclass(frozen=True)
class DiagonalTableau:
    """A Runge-Kutta method each of whose stages depends on itself and on earlier ones.

    As ``Tableau``, but row i of ``a`` has i + 1 entries; the last is zero (an explicit stage) or ``gamma``.

    Attributes:
        smooth: whether the error estimate is multiplied by (I - h gamma J)^-1, for an embedded solution that is not
            A-stable (Hosea & Shampine 1996, section 4).
    """

    name: str
    order: int
    a: tuple[Row, ...]
    b: Row
    dense: tuple[Row, ...]
    dense_order: int
    source: str
    error: Row | None = None
    error_order: int = 0
    smooth: bool = False

    def __post_init__(self) -> None:
        if not len(self.a) == len(self.b) == len(self.dense):
            raise ValueError(f"tableau {self.name}: a, b and dense must have one row per stage")
        if any(len(numbers) != i + 1 for i, numbers in enumerate(self.a)):
            raise ValueError(f"tableau {self.name}: row i of a must have i + 1 entries")
        if len({numbers[-1] for numbers in self.a} - {Fraction(0)}) != 1:
            raise ValueError(f"tableau {self.name}: the diagonal must hold one number besides zero")

    @property
    def stages(self) -> int:
        return len(self.b)

    @property
    def c(self) -> Row:
        """Nodes: the row sums."""
        return tuple(sum(numbers, Fraction(0)) for numbers in self.a)

    @property
    def gamma(self) -> float:
        """The diagonal."""
        return float(self.a[-1][-1])

    @property
    def explicit_first(self) -> bool:
        """Whether the first stage is f(t, y)."""
        return self.a[0][0] == 0

    @property
    def stiffly_accurate(self) -> bool:
        """Whether y1 is the last stage's state, and f(t1, y1) its slope."""
        return self.a[-1] == self.b

    @cached_property
    def stage_terms(self) -> tuple[Terms, ...]:
        """The rows without their diagonal."""
        return tuple(terms(numbers[:-1]) for numbers in self.a)

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
    def dense_bernstein(self) -> tuple[tuple[float, ...], ...]:
        return bernstein(self.dense)

    @cached_property
    def guesses(self) -> tuple[Terms, ...]:
        """Each stage's slope from those before it: the polynomial through the three nearest."""
        return tuple(_extrapolation(self.c[:i], node) for i, node in enumerate(self.c))


def _extrapolation(known: Row, node: Fraction) -> Terms:
    latest = {c: j for j, c in enumerate(known)}
    near = sorted(latest, key=lambda c: abs(c - node))[:3]
    weights = [Fraction(0)] * len(known)
    for c in near:
        weight = Fraction(1)
        for other in near:
            if other != c:
                weight *= (node - other) / (c - other)
        weights[latest[c]] = weight
    return terms(tuple(weights))


def hermite(b: Row) -> tuple[Row, ...]:
    """The cubic through both ends and their slopes, those of the first and the last stage."""
    last = len(b) - 1
    rows = [[Fraction(0), 3 * weight, -2 * weight] for weight in b]
    for stage, slope in ((0, (1, -2, 1)), (last, (0, -1, 1))):
        rows[stage] = [number + extra for number, extra in zip(rows[stage], slope, strict=True)]
    return tuple(tuple(numbers) for numbers in rows)


IMPLICIT_EULER = DiagonalTableau(
    name="implicit_euler",
    order=1,
    a=(row(1),),
    b=row(1),
    dense=(row(1),),
    dense_order=1,
    source="Hairer II, section IV.3",
)
TRAPEZOID = DiagonalTableau(
    name="trapezoid",
    order=2,
    a=(row(0), row("1/2", "1/2")),
    b=row("1/2", "1/2"),
    dense=(row(1, "-1/2"), row(0, "1/2")),
    dense_order=2,
    source="Crank & Nicolson, Proc. Camb. Phil. Soc. 43 (1947) 50-67; Hairer II, section IV.3",
)


def _trbdf2() -> DiagonalTableau:
    w, d = root(2) / 4, 1 - root(2) / 2
    b = (w, w, d)
    embedded = ((1 - w) / 3, (3 * w + 1) / 3, d / 3)
    return DiagonalTableau(
        name="trbdf2",
        order=2,
        a=(row(0), (d, d), b),
        b=b,
        error=tuple(x - y for x, y in zip(b, embedded, strict=True)),
        error_order=2,
        smooth=True,
        dense=hermite(b),
        dense_order=2,
        source="Bank et al. 1985; Hosea & Shampine, Appl. Numer. Math. 20 (1996) 21-37",
    )


def _embedded(name: str, order: int, a: tuple[Row, ...], dense_order: int) -> DiagonalTableau:
    """Both the last stage and the one before it end at t1: their difference is the error estimate."""
    b, other = a[-1], (*a[-2], Fraction(0))
    return DiagonalTableau(
        name=name,
        order=order,
        a=a,
        b=b,
        error=tuple(x - y for x, y in zip(b, other, strict=True)),
        error_order=order - 1,
        dense=hermite(b),
        dense_order=dense_order,
        source="Kvaerno, BIT 44 (2004) 489-502",
    )


def _kvaerno3() -> DiagonalTableau:
    g = Fraction("0.43586652150845899941601945119356")  # 6 g^3 - 18 g^2 + 9 g = 1: L-stable
    third = ((6 * g - 4 * g**2 - 1) / (4 * g), (1 - 2 * g) / (4 * g), g)
    last = ((6 * g - 1) / (12 * g), -1 / ((24 * g - 12) * g), (6 * g - 6 * g**2 - 1) / (6 * g - 3), g)
    return _embedded("kvaerno3", 3, (row(0), (g, g), third, last), 3)


def _kvaerno4() -> DiagonalTableau:
    g = Fraction("0.5728160624821348554080")  # of the pair that goes on with its fourth-order solution

    def p(*numbers: int) -> Fraction:
        value = Fraction(0)
        for number in numbers:
            value = value * g + number
        return value

    q, r, s = p(12, -6, 1), p(12, -9, 2), p(3, -1)
    third = (p(144, -180, 81, -15, 1) * g / q**2, p(-36, 39, -15, 2) * g / q**2, g)
    fourth = (
        p(-144, 396, -330, 117, -18, 1) / (12 * g**2 * r),
        p(72, -126, 69, -15, 1) / (12 * g**2 * s),
        p(-6, 6, -1) * q**2 / (12 * g**2 * r * s),
        g,
    )
    last = (
        p(288, -312, 120, -18, 1) / (48 * g**2 * r),
        p(24, -12, 1) / (48 * g**2 * s),
        -(q**3) / (48 * g**2 * s * r * p(6, -6, 1)),
        p(-24, 36, -12, 1) / p(24, -24, 4),
        g,
    )
    return _embedded("kvaerno4", 4, (row(0), (g, g), third, fourth, last), 3)


KVAERNO5 = _embedded(
    "kvaerno5",
    5,
    (
        row(0),
        row("0.26", "0.26"),
        row("0.13", "0.84033320996790809", "0.26"),
        row("0.22371961478320505", "0.47675532319799699", "-0.06470895363112615", "0.26"),
        row(
            "0.16648564323248321",
            "0.10450018841591720",
            "0.03631482272098715",
            "-0.13090704451073998",
            "0.26",
        ),
        row(
            "0.13855640231268224",
            0,
            "-0.04245337201752043",
            "0.02446657898003141",
            "0.61943039072480676",
            "0.26",
        ),
        row(
            "0.13659751177640291",
            0,
            "-0.05496908796538376",
            "-0.04118626728321046",
            "0.62993304899016403",
            "0.06962479448202728",
            "0.26",
        ),
    ),
    3,
)

DIAGONAL = (IMPLICIT_EULER, TRAPEZOID, _trbdf2(), _kvaerno3(), _kvaerno4(), KVAERNO5)
