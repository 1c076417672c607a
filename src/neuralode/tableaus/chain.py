"""The record of one stabilised explicit step: a chain of stages in a three-term recurrence, and what follows it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

STANDING = (1.0, 0.0, 0.0, 0.0)  # the row of a chain that makes no step


class Chain(NamedTuple):
    """With D_j = Y_j - y, D_0 = 0, and for j = 1 ... m:

        D_j = own_j D_(j-1) + before_j D_(j-2) + slope_j h F_(j-1) + start_j h F_0,    F_j = f(t + node_j h, Y_j)

    Attributes:
        rows: (own, before, slope, start) for j = 1 ... m.
        nodes: node_1 ... node_(m-1).
        after: nodes of the evaluations that follow the chain; the last is at t + h.
        finish: weights of those, as the family of methods has them.
    """

    rows: tuple[tuple[float, float, float, float], ...]
    nodes: tuple[float, ...]
    after: tuple[float, ...]
    finish: tuple[float, ...] = ()


@dataclass(frozen=True)
class Stabilised:
    """A family of chains by their number of stages s, which counts all evaluations of a step after the first.

    Attributes:
        chain: the chain of s stages.
        stages_for: the least s whose interval of stability holds h rho.
        fewest, most: the range of s.
        error_order: order that the error estimate assumes of the solution it is compared with.
    """

    name: str
    order: int
    error_order: int
    chain: Callable[[int], Chain]
    stages_for: Callable[[float], int]
    fewest: int
    most: int
    source: str
