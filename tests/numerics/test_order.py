"""Order of every method and of its dense output, measured; order conditions of every tableau, in fractions."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import neuralode
from neuralode.tableaus import EXPLICIT
from problems import FORCED

METHODS = [method for method in neuralode.methods() if method.kind == "explicit Runge-Kutta"]


def grid(steps: int, jitter: float) -> torch.Tensor:
    """A grid over the problem's span whose interior points are moved by up to ``jitter`` of a step."""
    t0, t1 = FORCED.t_span
    times = torch.linspace(t0, t1, steps + 1, dtype=torch.float64)
    shift = torch.sin(37.0 * torch.arange(steps + 1, dtype=torch.float64)) * jitter * (t1 - t0) / steps
    shift[0] = shift[-1] = 0.0
    return times + shift


def slope(sizes: list[int], errors: list[float]) -> float:
    """Least-squares slope of log error against log step size."""
    assert max(errors) > 1e-12, "errors at rounding level measure nothing"
    return -float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


@pytest.mark.parametrize("jitter", [0.0, 0.3], ids=["uniform", "jittered"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_order(method, jitter):
    # Fine enough for the leading term to rule, coarse enough to stay above rounding at order 5.
    first = {1: 320, 2: 160, 3: 96, 4: 160, 5: 68}[method.order]
    sizes = [first, round(1.4 * first), 2 * first, round(2.8 * first)]
    errors = []
    for steps in sizes:
        sol = neuralode.solve(
            FORCED.f, FORCED.t_span, FORCED.y0, method=method.name, step=grid(steps, jitter)
        )
        errors.append(float((sol.y1 - FORCED.end).abs().max()))
    assert slope(sizes, errors) == pytest.approx(method.order, abs=0.15)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_order_of_dense_output(method):
    """One step from the exact state: the error inside is O(h^(dense_order + 1)), unless y1's is larger."""
    sizes = [8, 16, 32, 64] if method.order > 2 else [32, 64, 128, 256]
    errors = []
    for steps in sizes:
        h = 1.0 / steps
        sol = neuralode.solve(FORCED.f, (0.5, 0.5 + h), FORCED.exact(torch.tensor(0.5, dtype=torch.float64)),
                              method=method.name, step=h, dense_output=True)  # fmt: skip
        t = 0.5 + h * torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
        errors.append(float((sol(t) - FORCED.exact(t)).abs().max()))
    assert method.dense_order >= method.order - 1
    # The next term of the error is still felt at these sizes and makes the slope look steeper, never flatter.
    assert method.dense_order + 0.85 <= slope(sizes, errors) <= method.dense_order + 1.5


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_dense_output_meets_the_steps(method):
    sol = neuralode.solve(
        FORCED.f, FORCED.t_span, FORCED.y0, method=method.name, step=0.1, t_eval="steps", dense_output=True
    )
    torch.testing.assert_close(sol(sol.t), sol.y, rtol=1e-13, atol=1e-14)


# Rooted trees as nested tuples of children; the order conditions of Butcher are sum_i b_i Phi_i = 1 / gamma.
def trees(order: int) -> list[tuple]:
    if order == 1:
        return [()]
    found = set()
    for sizes in partitions(order - 1):
        for children in itertools.product(*(trees(size) for size in sizes)):
            found.add(tuple(sorted(children, key=repr)))
    return sorted(found, key=repr)


def partitions(total: int, largest: int | None = None) -> list[list[int]]:
    if total == 0:
        return [[]]
    top = min(total, largest or total)
    return [[first, *rest] for first in range(top, 0, -1) for rest in partitions(total - first, first)]


def size(tree: tuple) -> int:
    return 1 + sum(size(child) for child in tree)


def gamma(tree: tuple) -> int:
    return size(tree) * math.prod(gamma(child) for child in tree)


def phi(tree: tuple, a: list[list[Fraction]]) -> list[Fraction]:
    weights = [Fraction(1)] * len(a)
    for child in tree:
        inner = phi(child, a)
        sums = [sum((x * y for x, y in zip(row, inner, strict=False)), Fraction(0)) for row in a]
        weights = [w * s for w, s in zip(weights, sums, strict=True)]
    return weights


def worst_condition(tableau, weights, order: int) -> float:
    a = [list(row) for row in tableau.a]
    return max(
        abs(float(sum(b * p for b, p in zip(weights, phi(tree, a), strict=True)) - Fraction(1, gamma(tree))))
        for k in range(1, order + 1)
        for tree in trees(k)
    )


def test_number_of_trees():
    assert [len(trees(order)) for order in range(1, 7)] == [1, 1, 2, 4, 9, 20]


@pytest.mark.parametrize("tableau", EXPLICIT, ids=lambda t: t.name)
def test_order_conditions(tableau):
    # exact in fractions, to 16 decimals of the source for tsit5
    bound = 2e-14 if tableau.name == "tsit5" else 0.0
    assert worst_condition(tableau, tableau.b, tableau.order) <= bound
    assert worst_condition(tableau, tableau.b, tableau.order + 1) > 1e-6
    if tableau.error is not None:
        embedded = [b - e for b, e in zip(tableau.b, tableau.error, strict=True)]
        assert worst_condition(tableau, embedded, tableau.error_order) <= bound
        assert worst_condition(tableau, embedded, tableau.error_order + 1) > 1e-6


@pytest.mark.parametrize("tableau", EXPLICIT, ids=lambda t: t.name)
@pytest.mark.parametrize("theta", [Fraction(1, 3), Fraction(4, 5)])
def test_order_conditions_of_dense_output(tableau, theta):
    weights = [sum(number * theta ** (j + 1) for j, number in enumerate(row)) for row in tableau.dense]
    a = [list(row) for row in tableau.a]
    bound = 2e-14 if tableau.name == "tsit5" else 0.0
    for order in range(1, tableau.dense_order + 1):
        for tree in trees(order):
            total = sum(w * p for w, p in zip(weights, phi(tree, a), strict=True))
            assert abs(float(total - theta**order / gamma(tree))) <= bound
