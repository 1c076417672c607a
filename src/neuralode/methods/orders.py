"""Whether a step is taken, and the order and size of the next: for formulas whose error grows with h^(order + 1).

Everything here is elementwise over one system, (1,), or a number for each sample, (B,).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance, power
from .differences import ERROR, of_order

# Of the tolerance, what a single step may err: the errors of many steps add up along a slow manifold. With it the
# stiff test set ends within ten times the tolerance.
SHARE = 0.1
SAFETY, SMALLEST, LARGEST = 0.7, 0.2, 10.0
# A step is kept where the next could not be larger by more than this.
WORTH_A_CHANGE = 1.2


class Formula(NamedTuple):
    """Attributes:
    order: of the next step.
    steps: accepted since order or size last changed.
    size: the signed step that the differences belong to; 0 before the first step.
    """

    order: Tensor
    steps: Tensor
    size: Tensor

    @classmethod
    def first(cls, h: Tensor) -> "Formula":
        """Order 1."""
        order = torch.ones_like(h, dtype=torch.long)
        return cls(order, torch.zeros_like(order), torch.zeros_like(h))

    def ratio(self, h: Tensor) -> Tensor:
        """h in units of ``size``."""
        return torch.where(self.size == 0, 1.0, h / self.size)


class Trial(NamedTuple):
    """Rows (R, n) of nabla^k y / h, nabla^(k + 1) y / h and nabla^(k + 2) y / h at the end of a step of order k."""

    lower: Tensor
    same: Tensor
    higher: Tensor


def errors(
    formula: Formula, trial: Trial, tolerance: Tolerance, y: Tensor, y1: Tensor, h: Tensor, max_order: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The errors of orders k - 1, k, k + 1 in units of what a step may err; infinite where there is no such order."""
    k = formula.order

    def size(part: Tensor, order: Tensor) -> Tensor:
        factor = (h / SHARE * of_order(ERROR, order.clamp(1, max_order))).to(part.dtype)
        found = tolerance.sizes(tolerance.scaled((factor[:, None] * part).reshape(y.shape), y, y1))
        return torch.where((order >= 1) & (order <= max_order), found, torch.inf)

    return size(trial.lower, k - 1), size(trial.same, k), size(trial.higher, k + 1)


def judged(
    formula: Formula,
    trial: Trial,
    tolerance: Tolerance,
    y: Tensor,
    y1: Tensor,
    h: Tensor,
    solvable: Tensor,
    max_order: int,
) -> tuple[Tensor, Tensor, Formula]:
    """(accept, factor for the next step, the formula for it).

    Order and size change after k + 1 steps of one size, from when on the difference of order k + 2 means something,
    or when a step is refused: then to the order that allows the largest step (Shampine & Reichelt 1997, section 2.2).
    A step whose equations could not be solved says nothing of orders.
    """
    k = formula.order
    lower, same, higher = errors(formula, trial, tolerance, y, y1, h, max_order)
    accept = (same <= 1) & solvable
    count = torch.where((h == formula.size) | (formula.size == 0), formula.steps, 0) + 1
    higher = torch.where(accept, higher, torch.inf)
    sizes = torch.stack((largest(lower, k), largest(same, k + 1), largest(higher, k + 2)))
    best, choice = sizes.max(0)
    factor = (SAFETY * best).clamp(SMALLEST, LARGEST)
    worth = (choice != 1) | (factor < 1) | (factor > WORTH_A_CHANGE)
    change = torch.where(accept, (count > k) & worth, solvable)
    factor = torch.where(change, torch.where(accept, factor, factor.clamp(max=0.9)), 1.0)
    order = torch.where(change, k + choice - 1, k)
    count = torch.where(change, 0, torch.where(accept, count, formula.steps))
    return accept, factor, Formula(order, count, torch.where(accept & (h != 0), h, formula.size))


def largest(error: Tensor, exponent: Tensor) -> Tensor:
    """The factor at which an error of O(h^exponent) is as large as it may be."""
    return power(error.nan_to_num(nan=torch.inf).clamp(min=1e-30), -1.0 / exponent)


def on_a_grid(
    formula: Formula, trial: Trial, tolerance: Tolerance, y: Tensor, y1: Tensor, h: Tensor, max_order: int
) -> Formula:
    """The formula after a step whose size was given: once k + 1 steps were of order k, the one that errs least."""
    k, moved = formula.order, h != 0
    lower, same, higher = errors(formula, trial, tolerance, y, y1, h, max_order)
    count = formula.steps + moved
    due = moved & (count > k)
    down = due & (lower < same)
    up = due & ~down & (higher < same)
    order = k + up.long() - down.long()
    return Formula(order, torch.where(up | down, 0, count), torch.where(moved, h, formula.size))
