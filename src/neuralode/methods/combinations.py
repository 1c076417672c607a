"""The sums of stages that an explicit Runge-Kutta step is made of: term by term, or each as one product."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size, combine, small, spread
from ..tableaus import Tableau


class Chain(NamedTuple):
    """Any state, any step, differentiable: additions one after the other."""

    tableau: Tableau
    y: Tensor
    h: Size

    def stage(self, i: int, stages: Sequence[Tensor]) -> Tensor:
        """y + h sum_j a_ij k_j."""
        return combine(self.y, self.h, self.tableau.stage_terms[i], stages)

    def end(self, stages: Sequence[Tensor]) -> Tensor:
        """y + h sum_j b_j k_j."""
        return combine(self.y, self.h, self.tableau.weight_terms, stages)

    def error(self, stages: Sequence[Tensor]) -> Tensor:
        """h sum_j error_j k_j."""
        return combine(None, self.h, self.tableau.error_terms, stages)

    def damping(self, stages: Sequence[Tensor]) -> Tensor:
        """h sum_j damping_j k_j."""
        return combine(None, self.h, self.tableau.damping_terms, stages)


class Product:
    """As ``Chain``, for one small state after the other: the stages are rows of a matrix, the weights of a vector.

    What is returned is new; the matrix is scratch, of one integration, that every step writes anew. Nothing here has
    a gradient history.
    """

    def __init__(self, tableau: Tableau, y: Tensor) -> None:
        count = len(tableau.b)
        lines = [*tableau.a, tableau.b, tableau.error or (), tableau.damping or ()]
        table = [[*map(float, line), *(0.0,) * (count - len(line))] for line in lines]
        with torch.inference_mode(False):
            self.table = torch.tensor(table, dtype=torch.float64)
            self.scaled = torch.empty(self.table.shape, dtype=y.dtype)
            matrix = y.new_zeros(count, y.numel())
        self.rows = [row.view(y.shape) for row in matrix.unbind()]
        self.factors = [(matrix[:i].t(), self.scaled[i, :i]) for i in range(count)]
        self.whole, self.ends = matrix.t(), self.scaled[count:].unbind()
        self.shape, self.dtype = y.shape, y.dtype

    def at(self, y: Tensor, h: float) -> "Product":
        """Ready for a step."""
        self.y, self.flat = y, y.reshape(-1)
        torch.mul(self.table, h, out=self.scaled)
        return self

    def stage(self, i: int, stages: Sequence[Tensor]) -> Tensor:
        self.rows[i - 1].copy_(stages[i - 1])
        matrix, weights = self.factors[i]
        return torch.addmv(self.flat, matrix, weights).resize_as_(self.y)

    def end(self, stages: Sequence[Tensor]) -> Tensor:
        self.rows[-1].copy_(stages[-1])
        return torch.addmv(self.flat, self.whole, self.ends[0]).resize_as_(self.y)

    def error(self, stages: Sequence[Tensor]) -> Tensor:
        self.rows[-1].copy_(stages[-1])
        return torch.mv(self.whole, self.ends[1]).resize_as_(self.y)

    def damping(self, stages: Sequence[Tensor]) -> Tensor:
        return torch.mv(self.whole, self.ends[2]).resize_as_(self.y)


class Scratch:
    """The work of an explicit Runge-Kutta method: the tolerance, and a ``Product`` from the first step that may use it.

    Not a record of leaves, so that it is neither saved nor cut with the samples.
    """

    def __init__(self, tableau: Tableau, tolerance: Tolerance) -> None:
        self.tableau, self.tolerance = tableau, tolerance
        self.product: Product | None = None

    def sums(self, y: Tensor, h: Size) -> Chain | Product:
        """How the sums of a step are made."""
        if isinstance(h, Tensor):
            return Chain(self.tableau, y, spread(h, y))
        if not small(y):
            return Chain(self.tableau, y, h)
        product = self.product
        if product is None or product.shape != y.shape or product.dtype is not y.dtype:
            product = self.product = Product(self.tableau, y)
        return product.at(y, h)
