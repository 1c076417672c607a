"""The numbers of every tableau: order conditions of weights, embedded weights and dense output, in 60 digits."""

import dataclasses
from fractions import Fraction

import pytest

from neuralode.tableaus import EXPLICIT
from rooted_trees import Conditions, trees

BY_NAME = {tableau.name: tableau for tableau in EXPLICIT}

# Fractions and 30 digits at least are given for every number; coefficients up to 1e4 cancel in the sums.
EXACT = 1e-20
# Of the conditions that a method does not claim; those of the Verner pairs are made small.
SEEN = 1e-7

each = pytest.mark.parametrize("tableau", EXPLICIT, ids=lambda t: t.name)
adaptive = pytest.mark.parametrize("tableau", [t for t in EXPLICIT if t.error], ids=lambda t: t.name)


def conditions(tableau):
    return Conditions(tableau.whole_a)


def worst_up_to(found, weights, order, theta=Fraction(1)):
    return max(found.worst(weights, k, theta) for k in range(1, order + 1))


def at(tableau, theta):
    """The weights of the dense output at theta."""
    return [sum(number * theta ** (j + 1) for j, number in enumerate(row)) for row in tableau.dense]


def test_number_of_trees():
    # Hairer, Norsett, Wanner I, table II.2.3
    assert [len(trees(order)) for order in range(1, 11)] == [1, 1, 2, 4, 9, 20, 48, 115, 286, 719]


@each
def test_order_conditions(tableau):
    found = conditions(tableau)
    assert worst_up_to(found, tableau.b, tableau.order) <= EXACT
    assert found.worst(tableau.b, tableau.order + 1) > SEEN


@adaptive
def test_order_conditions_of_embedded_weights(tableau):
    found = conditions(tableau)
    # DOP853's two estimates are of orders 5 and 3, and combined O(h^8): Hairer, Norsett, Wanner I, section II.10.
    orders = {"error": 5, "damping": 3} if tableau.damping else {"error": tableau.error_order}
    for name, order in orders.items():
        embedded = [b - e for b, e in zip(tableau.b, getattr(tableau, name), strict=True)]
        assert worst_up_to(found, embedded, order) <= EXACT
        assert found.worst(embedded, order + 1) > SEEN


@each
@pytest.mark.parametrize("theta", [Fraction(1, 3), Fraction(4, 5)], ids=str)
def test_order_conditions_of_dense_output(tableau, theta):
    found, weights = conditions(tableau), at(tableau, theta)
    assert worst_up_to(found, weights, tableau.dense_order, theta) <= EXACT
    assert found.worst(weights, tableau.dense_order + 1, theta) > SEEN


@each
def test_dense_output_meets_both_ends(tableau):
    """b(1) = b; and, where a stage is at y1, both slopes, so that the solution is once differentiable over steps."""
    rest = (Fraction(0),) * tableau.extra
    assert max(abs(x - y) for x, y in zip(at(tableau, Fraction(1)), tableau.b + rest, strict=True)) < EXACT
    ends = [i for i, row in enumerate(tableau.whole_a) if row == tableau.b[:i] and not any(tableau.b[i:])]
    if not ends:
        return
    for slopes, stage in (
        ([row[0] for row in tableau.dense], 0),
        ([sum((j + 1) * number for j, number in enumerate(row)) for row in tableau.dense], ends[0]),
    ):
        assert max(abs(slope - (i == stage)) for i, slope in enumerate(slopes)) < EXACT


@each
def test_dense_weights_in_floats(tableau):
    """In Bernstein form they are good to rounding, however large the coefficients of powers are."""
    theta = Fraction(7, 10)
    n = len(tableau.dense[0])
    exact = [w for i, w in enumerate(at(tableau, theta)) if i in tableau.kept or i >= tableau.stages]
    assert sum(abs(w) for w in exact) == sum(abs(w) for w in at(tableau, theta))  # what is dropped is zero
    for row, want in zip(tableau.dense_bernstein, exact, strict=True):
        got = sum(x * 0.7**k * 0.3 ** (n - k) for k, x in enumerate(row, 1))
        # The coefficients of this form, at most 1e3, are each rounded once.
        assert abs(got - float(want)) <= 4 * n * 2.0**-53 * max(1.0, *map(abs, row))


def entries(tableau):
    """Every nonzero number of a, b, error and dense, as (field, row, column)."""
    for name in ("a", "extra_a", "dense"):
        for i, row in enumerate(getattr(tableau, name)):
            yield from ((name, i, j) for j, number in enumerate(row) if number)
    for name in ("b", "error"):
        yield from ((name, None, j) for j, number in enumerate(getattr(tableau, name) or ()) if number)


@adaptive
def test_one_wrong_digit_is_seen(tableau):
    """A change of 1e-9 in any number breaks the conditions by far more than what they are held to."""
    for field, i, j in list(entries(tableau))[
        :: max(1, 2 * (tableau.stages - 7))
    ]:  # some, where there are many
        numbers = {key: getattr(tableau, key) for key in ("a", "extra_a", "dense", "b", "error")}
        row = list(numbers[field] if i is None else numbers[field][i])
        row[j] *= 1 + Fraction(1, 10**9)
        numbers[field] = (
            tuple(row) if i is None else (*numbers[field][:i], tuple(row), *numbers[field][i + 1 :])
        )
        found = Conditions(numbers["a"] + numbers["extra_a"])
        broken = dataclasses.make_dataclass("Broken", numbers)(**numbers)
        theta = Fraction(1, 3)
        order = 5 if tableau.damping else tableau.error_order
        embedded = [b - e for b, e in zip(broken.b, broken.error, strict=True)]
        residuals = (
            worst_up_to(found, broken.b, tableau.order),
            worst_up_to(found, embedded, order),
            worst_up_to(found, at(broken, theta), tableau.dense_order, theta),
        )
        assert max(residuals) > 1e3 * EXACT, (field, i, j)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c": (Fraction(0),)}, "one row per stage"),
        ({"dense": ((Fraction(1),),)}, "dense must have one row per stage"),
        ({"error": (Fraction(1),)}, "one entry per stage"),
        ({"c": (Fraction(0), Fraction(1))}, "does not sum to"),
        ({"a": ((), (Fraction(1, 4), Fraction(1, 4)))}, "must have 1 entries"),
        ({"extra_c": (Fraction(1),)}, "one row per stage"),
    ],
    ids=lambda x: x if isinstance(x, str) else next(iter(x)),
)
def test_misshapen_tableaus_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(BY_NAME["midpoint"], **change)
