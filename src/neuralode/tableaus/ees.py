"""Explicit and effectively symmetric methods: a step of -h undoes one of h up to a high power of h."""

from fractions import Fraction

from .tableau import Row, Tableau, root, row

SOURCE = "Shmelev, Ebrahimi-Fard, Tapia, Salvi, arXiv 2507.21006 (2025)"


def _effectively_symmetric(name: str, a: tuple[Row, ...], b: Row) -> Tableau:
    """Of order two, with the difference to Euler's step as the estimate, so that errors go with the tolerance."""
    first = (b[0] - 1, *b[1:])
    # y(theta) = y + theta h k1 + theta^2 (y1 - y - h k1)
    return Tableau(
        name=name,
        order=2,
        a=a,
        b=b,
        c=tuple(sum(numbers, Fraction(0)) for numbers in a),
        error=first,
        error_order=1,
        dense=tuple((Fraction(i == 0), weight) for i, weight in enumerate(first)),
        dense_order=2,
        symmetric=True,
        source=SOURCE,
    )


EES25 = _effectively_symmetric("ees25", (row(), row("1/3"), row("-5/48", "15/16")), row("1/10", "1/2", "2/5"))


def _ees27() -> Tableau:
    s = root(2)
    a = (
        row(),
        ((2 - s) / 3,),
        ((-4 + s) / 24, (4 + s) / 8),
        ((-176 + 145 * s) / 168, 3 * (8 - 5 * s) / 56, 3 * (3 - s) / 7),
    )
    b = ((5 - 3 * s) / 14, (3 + s) / 14, 3 * (-1 + 2 * s) / 14, (9 - 4 * s) / 14)
    return _effectively_symmetric("ees27", a, b)


EES27 = _ees27()
