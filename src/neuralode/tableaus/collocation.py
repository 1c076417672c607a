"""Collocation methods: everything follows from the nodes (Hairer, Norsett, Wanner I, theorem II.7.7).

Nodes are given to 50 digits, and what follows from them is worked out in fractions. Hairer II = Hairer & Wanner,
Solving ODEs II, 2nd ed. (1996).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .tableau import Row, root, row


class Mode(NamedTuple):
    """An eigenvalue of A with its left and right vectors, left . right = 1; one of each conjugate pair."""

    value: complex | float
    left: tuple[complex, ...] | tuple[float, ...]
    right: tuple[complex, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Collocation:
    """A polynomial u of degree s with u(t) = y and u' = f(t, u) at the nodes t + c_i h.

    Written in Z_i = u(t + c_i h) - y,

        Z_i = h sum_j a_ij f(t + c_j h, y + Z_j),     y1 = y + sum_i ends_i Z_i,
        u(t + theta h) = y + sum_i Z_i sum_j dense_ij theta^(j+1).

    Attributes:
        c: nodes, none of them zero.
        order: order of y1; that of u inside a step is s.
        source: where the method comes from.
        first: weight of f(t, y) in the embedded formula; None without one.
        error_order: order of the embedded formula.
    """

    name: str
    order: int
    c: Row
    source: str
    first: float | None = None
    error_order: int = 0

    @property
    def stages(self) -> int:
        return len(self.c)

    @cached_property
    def lagrange(self) -> tuple[Row, ...]:
        """Coefficients of 1, x, ... of the polynomials that are one at one node and zero at the others."""
        return tuple(cardinal(self.c, j) for j in range(self.stages))

    @cached_property
    def a(self) -> tuple[Row, ...]:
        return tuple(tuple(integral(p, c) for p in self.lagrange) for c in self.c)

    @cached_property
    def b(self) -> Row:
        return tuple(integral(p, Fraction(1)) for p in self.lagrange)

    @cached_property
    def dense(self) -> tuple[tuple[float, ...], ...]:
        nodes = (Fraction(0), *self.c)
        return tuple(tuple(map(float, cardinal(nodes, j)[1:])) for j in range(1, len(nodes)))

    @cached_property
    def ends(self) -> tuple[float, ...]:
        nodes = (Fraction(0), *self.c)
        return tuple(float(sum(cardinal(nodes, j))) for j in range(1, len(nodes)))

    @cached_property
    def nodes(self) -> tuple[float, ...]:
        return tuple(map(float, self.c))

    @cached_property
    def matrix(self) -> tuple[tuple[float, ...], ...]:
        """A in floats."""
        return tuple(tuple(map(float, numbers)) for numbers in self.a)

    @cached_property
    def error(self) -> tuple[float, ...]:
        """e with the embedded formula's y1 at y1 + first h f(t, y) + sum_i e_i Z_i (Hairer II, eq. IV.8.18).

        Its weights integrate polynomials of degree s - 1 exactly together with ``first`` at node 0.
        """
        powers = np.array([[float(c**k) for c in self.c] for k in range(self.stages)])
        moments = -float(self.first or 0.0) * np.eye(self.stages)[0]
        return tuple(np.linalg.solve(np.array(self.matrix).T, np.linalg.solve(powers, moments)).tolist())

    @cached_property
    def modes(self) -> tuple[Mode, ...]:
        """A = sum of value right left^T, over real eigenvalues and both of each pair (Hairer II, section IV.8)."""
        values, right = np.linalg.eig(np.array(self.matrix))
        left = np.linalg.inv(right)
        kept = sorted(np.flatnonzero(values.imag >= 0), key=lambda k: abs(values[k].imag))
        return tuple(_mode(complex(values[k]), left[k], right[:, k]) for k in kept)


def _mode(value: complex, left: np.ndarray, right: np.ndarray) -> Mode:
    if value.imag == 0:
        value, left, right = value.real, left.real, right.real
    return Mode(value, tuple(left.tolist()), tuple(right.tolist()))


def cardinal(nodes: Sequence[Fraction], j: int) -> Row:
    """Coefficients of 1, x, ... of the polynomial that is one at nodes[j] and zero at the other nodes."""
    coefficients = [Fraction(1)]
    for m, node in enumerate(nodes):
        if m != j:
            lower, upper = [*coefficients, Fraction(0)], [Fraction(0), *coefficients]
            coefficients = [(u - node * x) / (nodes[j] - node) for u, x in zip(upper, lower, strict=True)]
    return tuple(coefficients)


def integral(coefficients: Row, x: Fraction) -> Fraction:
    """The integral of a polynomial from 0 to x."""
    return sum((c * x ** (k + 1) / (k + 1) for k, c in enumerate(coefficients)), Fraction(0))


HALF = Fraction(1, 2)
GAUSS_SOURCE = "Kuntzmann 1961; Butcher, Math. Comp. 18 (1964) 50-64; Hairer II, section IV.5"
GAUSS2 = Collocation("gauss2", 2, row(HALF), GAUSS_SOURCE)
GAUSS4 = Collocation("gauss4", 4, row(HALF - root(3) / 6, HALF + root(3) / 6), GAUSS_SOURCE)
GAUSS6 = Collocation("gauss6", 6, row(HALF - root(15) / 10, HALF, HALF + root(15) / 10), GAUSS_SOURCE)
# The weight of f(t, y) is the real eigenvalue of A, so that one factorisation serves for the filter as well.
RADAU5 = Collocation(
    "radau5",
    5,
    row((4 - root(6)) / 10, (4 + root(6)) / 10, 1),
    "Ehle 1969; Hairer II, section IV.8 (error estimate: eqs. 8.17 to 8.20)",
    first=1 / (3 + 3 ** (2 / 3) - 3 ** (1 / 3)),
    error_order=3,
)

COLLOCATION = (GAUSS2, GAUSS4, GAUSS6, RADAU5)
