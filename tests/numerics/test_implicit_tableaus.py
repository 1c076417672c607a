"""Tableaus of implicit methods: order conditions in 60 digits, and where they are stable."""

import cmath
from fractions import Fraction
from math import comb, factorial

import numpy as np
import pytest

from neuralode.tableaus import DIAGONAL, IMEX, ROSENBROCK
from rooted_trees import Conditions, PairConditions, RosenbrockConditions, colourings, trees

ONE = Fraction(1)
THETAS = (Fraction(1, 3), Fraction(4, 5), ONE)
# Kvaerno's and Steinebach's numbers have 16 to 18 digits and some are near 200; the others are given to 26 or more.
EXACT = 1e-14
# Of the conditions of the next order, which a method does not claim.
SEEN = 1e-5


def padded(rows):
    return [[*row, *[Fraction(0)] * (len(rows) - len(row))] for row in rows]


def product(x, y):
    return [[sum((a * b for a, b in zip(row, column, strict=True)), Fraction(0)) for column in zip(*y, strict=True)]
            for row in x]  # fmt: skip


def inverse(lower):
    """Of a lower triangular matrix of fractions."""
    n = len(lower)
    found = [[Fraction(0)] * n for _ in range(n)]
    for j in range(n):
        for i in range(j, n):
            rest = sum((lower[i][k] * found[k][j] for k in range(j, i)), Fraction(0))
            found[i][j] = (Fraction(i == j) - rest) / lower[i][i]
    return found


def classical(tableau):
    """(alpha, Gamma) of a Rosenbrock tableau, whose unknowns are u = Gamma k (Hairer II, eq. IV.7.24)."""
    below = padded(tableau.C)
    gammas = inverse(
        [[Fraction(i == j) / tableau.gamma - x for j, x in enumerate(row)] for i, row in enumerate(below)]
    )
    return product(padded(tableau.a), gammas), gammas


def of_slopes(tableau, weights):
    """Weights of u as weights of k."""
    return product([list(weights)], classical(tableau)[1])[0]


class Facts:
    """What is proved of any tableau: its conditions, its weights as weights of slopes, and what it claims."""

    def __init__(self, tableau, conditions, weights=list):
        self.name, self.conditions = tableau.name, conditions
        record = getattr(tableau, "implicit", tableau)
        b = record.m if hasattr(record, "m") else record.b
        self.b, self.order = weights(b), record.order
        self.error_order, self.dense_order = record.error_order, record.dense_order
        self.embedded = (
            weights([x - y for x, y in zip(b, record.error, strict=True)]) if record.error else None
        )
        self.dense = lambda theta: weights(
            [sum(x * theta ** (j + 1) for j, x in enumerate(row)) for row in record.dense]
        )

    def __repr__(self):
        return self.name


def worst_up_to(facts, weights, order, theta=ONE):
    return max(facts.conditions.worst(weights, k, theta) for k in range(1, order + 1))


FACTS = [
    *(Facts(tableau, Conditions(tableau.a)) for tableau in DIAGONAL),
    *(Facts(pair, PairConditions(pair.explicit, pair.implicit.a)) for pair in IMEX),
    *(
        Facts(
            tableau,
            RosenbrockConditions(*classical(tableau)),
            lambda x, tableau=tableau: of_slopes(tableau, x),
        )
        for tableau in ROSENBROCK
    ),
]
each = pytest.mark.parametrize("facts", FACTS, ids=repr)


def test_number_of_coloured_trees():
    """Kennedy & Carpenter's count of the conditions of two methods of equal weights, the root's colour left out.

    Half of the rooted trees with vertices of two colours: 2, 4, 14, 52, 214.
    """
    assert [sum(len(kinds(tree)) for tree in trees(order)) for order in range(1, 6)] == [1, 2, 7, 26, 107]


def kinds(tree):
    """Colourings that no exchange of equal children turns into each other."""

    def sort(coloured):
        return tuple(sorted(((colour, sort(child)) for colour, child in coloured), key=repr))

    return {sort(coloured) for coloured in colourings(tree)}


@each
def test_order_conditions(facts):
    assert worst_up_to(facts, facts.b, facts.order) <= EXACT
    assert facts.conditions.worst(facts.b, facts.order + 1) > SEEN


@pytest.mark.parametrize("facts", [facts for facts in FACTS if facts.embedded], ids=repr)
def test_order_conditions_of_embedded_weights(facts):
    order = facts.error_order + (
        facts.name in ("trbdf2", "rosenbrock23")
    )  # their embedded solution is the better one
    assert worst_up_to(facts, facts.embedded, order) <= EXACT
    assert facts.conditions.worst(facts.embedded, order + 1) > SEEN


@each
@pytest.mark.parametrize("theta", THETAS, ids=str)
def test_order_conditions_of_dense_output(facts, theta):
    weights = facts.dense(theta)
    # Of rodas5p the coefficients of theta to theta^4, up to 80, are given to 16 digits.
    bound = 3e-14 if facts.name == "rodas5p" else EXACT
    assert worst_up_to(facts, weights, facts.dense_order, theta) <= bound
    if theta == ONE:
        assert max(abs(x - y) for x, y in zip(weights, facts.b, strict=True)) < EXACT
    else:
        assert facts.conditions.worst(weights, facts.dense_order + 1, theta) > SEEN


def stability(tableau):
    """R(z) = 1 + z b^T (I - z A)^-1 1, with A = alpha + Gamma for a Rosenbrock method (Hairer II, eq. IV.3.2)."""
    if hasattr(tableau, "m"):
        alpha, gammas = (np.array(matrix, dtype=float) for matrix in classical(tableau))
        a, b = alpha + gammas, np.array(of_slopes(tableau, tableau.m), dtype=float)
    else:
        a, b = np.array(padded(tableau.a), dtype=float), np.array(tableau.b, dtype=float)
    one = np.ones(len(b))
    return lambda z: 1 + z * (b @ np.linalg.solve(np.eye(len(b)) - z * a, one))


IMPLICIT = [*DIAGONAL, *(pair.implicit for pair in IMEX), *ROSENBROCK]
# |R(infinity)| of those that do not damp the stiffest components at once.
ENDLESS = {"trapezoid": 1.0}


@pytest.mark.parametrize("tableau", IMPLICIT, ids=lambda tableau: tableau.name)
def test_stability(tableau):
    """A-stable: |R| <= 1 on the imaginary axis, and no pole, 1 / gamma, lies left of it; and L-stable but for two."""
    r = stability(tableau)
    assert tableau.gamma > 0 or tableau.name == "trapezoid"
    # Where terms of 1e2 cancel, and where |R| = 1 - O(y^6), rounding is all there is.
    assert max(abs(r(1j * y)) for y in np.geomspace(1e-3, 1e6, 400)) <= 1 + 1e-12
    want = ENDLESS.get(tableau.name, 0.0)
    # R decays as 1 / z, with a constant below 1e3; rounding of 1e-16 is multiplied by coefficients of 1e2.
    assert abs(abs(r(-1e8)) - want) <= 1e-5
    assert (
        max(abs(r(1e8 * cmath.exp(1j * angle))) for angle in np.linspace(np.pi / 2, np.pi, 20)) <= want + 1e-5
    )


@pytest.mark.parametrize("name", ["kvaerno3", "kvaerno4"])
def test_gamma_is_the_root_that_makes_the_method_stable_at_infinity(name):
    """Of (-1)^s L_s(1 / g) = 0, the condition of order s at R(infinity) = 0 (Hairer II, section IV.6, table 6.4)."""
    (tableau,) = (tableau for tableau in DIAGONAL if tableau.name == name)
    s, g = tableau.order, tableau.a[-1][-1]
    laguerre = sum(Fraction((-1) ** j * comb(s, j), factorial(j)) * g ** (s - j) for j in range(s + 1))
    assert abs(laguerre) < 1e-20


@pytest.mark.parametrize("tableau", ROSENBROCK, ids=lambda tableau: tableau.name)
def test_times_of_stages_are_the_row_sums(tableau):
    """What a stage is told of time is what a system with t as an unknown would do."""
    for matrix, sums in zip(classical(tableau), (tableau.c, tableau.d), strict=True):
        assert max(abs(sum(row) - want) for row, want in zip(matrix, sums, strict=True)) <= EXACT


@pytest.mark.parametrize("pair", IMEX, ids=lambda pair: pair.name)
def test_both_parts_end_their_stages_at_the_same_times(pair):
    for row, node in zip(pair.explicit, pair.implicit.c, strict=True):
        assert abs(sum(row) - node) < 1e-20
