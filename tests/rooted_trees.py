"""Rooted trees and the order conditions of Butcher (Hairer, Norsett, Wanner I, section II.2), in 60 digits.

A tree is the sorted tuple of its children. A Runge-Kutta method has order p when for every tree of up to p vertices

    sum_i b_i Phi_i(tree) = 1 / gamma(tree),    Phi_i(tree) = prod over children u of sum_j a_ij Phi_j(u),

and its continuous extension when sum_i b_i(theta) Phi_i(tree) = theta^|tree| / gamma(tree).

Two further kinds of methods have conditions over the same trees, with other matrices along the edges: additive pairs,
where every vertex has one of two colours and the edge above it takes the matrix of that colour (Kennedy & Carpenter
2003, section 2), and Rosenbrock methods, where the edge above an only child takes alpha + Gamma and every other edge
alpha (Hairer & Wanner II, theorem IV.7.4, with the diagonal of Gamma left in).
"""

import decimal
import itertools
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cache

Tree = tuple["Tree", ...]
Coloured = tuple[tuple[int, "Coloured"], ...]

CONTEXT = decimal.Context(prec=60)


@cache
def trees(order: int) -> tuple[Tree, ...]:
    """Every rooted tree of ``order`` vertices, once."""
    if order == 1:
        return ((),)
    found = set()
    for sizes in partitions(order - 1):
        for children in itertools.product(*(trees(size) for size in sizes)):
            found.add(tuple(sorted(children, key=repr)))
    return tuple(sorted(found, key=repr))


def partitions(total: int, largest: int | None = None) -> list[list[int]]:
    if total == 0:
        return [[]]
    top = min(total, largest or total)
    return [[first, *rest] for first in range(top, 0, -1) for rest in partitions(total - first, first)]


@cache
def size(tree: Tree) -> int:
    return 1 + sum(size(child) for child in tree)


@cache
def gamma(tree: Tree) -> int:
    return size(tree) * math.prod(gamma(child) for child in tree)


def number(fraction: Fraction) -> Decimal:
    return CONTEXT.divide(Decimal(fraction.numerator), Decimal(fraction.denominator))


class Conditions:
    """The order conditions over one matrix a; what is common to several trees is computed once."""

    def __init__(self, a: Sequence[Sequence[Fraction]]) -> None:
        self.a = [[(j, number(x)) for j, x in enumerate(row) if x] for row in a]
        self.found: dict[Tree, list[Decimal]] = {}

    def phi(self, tree: Tree) -> list[Decimal]:
        weights = [Decimal(1)] * len(self.a)
        for child in tree:
            weights = [CONTEXT.multiply(w, s) for w, s in zip(weights, self.sums(child), strict=True)]
        return weights

    def sums(self, tree: Tree) -> list[Decimal]:
        """a Phi(tree)."""
        if tree not in self.found:
            inner = self.phi(tree)
            self.found[tree] = [dot(row, inner) for row in self.a]
        return self.found[tree]

    def worst(self, weights: Sequence[Fraction], order: int, theta: Fraction = Fraction(1)) -> float:
        """The largest residual of the conditions of trees with exactly ``order`` vertices."""
        terms = [(i, number(b)) for i, b in enumerate(weights) if b]
        return max(
            abs(float(dot(terms, self.phi(tree)) - number(theta**order / gamma(tree))))
            for tree in trees(order)
        )


def dot(terms: list[tuple[int, Decimal]], values: list[Decimal]) -> Decimal:
    total = Decimal(0)
    for i, x in terms:
        total = CONTEXT.fma(x, values[i], total)
    return total


class RosenbrockConditions(Conditions):
    """Those of a linearly implicit method with matrices alpha and Gamma, its diagonal included."""

    def __init__(self, alpha: Sequence[Sequence[Fraction]], gammas: Sequence[Sequence[Fraction]]) -> None:
        super().__init__(alpha)
        n = len(alpha)
        whole = [[*row, *[Fraction(0)] * (n - len(row))] for row in alpha]
        wide = [[*row, *[Fraction(0)] * (n - len(row))] for row in gammas]
        self.only = Conditions(
            [[x + y for x, y in zip(*pair, strict=True)] for pair in zip(whole, wide, strict=True)]
        )

    def phi(self, tree: Tree) -> list[Decimal]:
        if len(tree) != 1:
            return super().phi(tree)
        inner = self.phi(tree[0])
        return [dot(row, inner) for row in self.only.a]


def colourings(tree: Tree) -> Iterator["Coloured"]:
    """Every way to give each vertex of a tree but its root one of two colours."""
    for below in itertools.product(*(list(colourings(child)) for child in tree)):
        for colours in itertools.product((0, 1), repeat=len(tree)):
            yield tuple(zip(colours, below, strict=True))


class PairConditions:
    """Those of two methods with the same weights, over trees whose vertices belong to either."""

    def __init__(self, *matrices: Sequence[Sequence[Fraction]]) -> None:
        self.matrices = [Conditions(a).a for a in matrices]
        self.phi = cache(self._phi)

    def _phi(self, tree: "Coloured") -> list[Decimal]:
        weights = [Decimal(1)] * len(self.matrices[0])
        for colour, child in tree:
            inner = self.phi(child)
            sums = [dot(row, inner) for row in self.matrices[colour]]
            weights = [CONTEXT.multiply(w, s) for w, s in zip(weights, sums, strict=True)]
        return weights

    def worst(self, weights: Sequence[Fraction], order: int, theta: Fraction = Fraction(1)) -> float:
        """As ``Conditions.worst``, over all colourings."""
        terms = [(i, number(b)) for i, b in enumerate(weights) if b]
        return max(
            abs(float(dot(terms, self.phi(coloured)) - number(theta**order / gamma(tree))))
            for tree in trees(order)
            for coloured in set(colourings(tree))
        )
