"""What an engine knows of a method: a record of pure functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ..ops import Size
from ..tableaus import Tableau

Field = Callable[[Tensor, Tensor], Tensor]
Carry = tuple[Tensor, ...]
Stages = tuple[Tensor, ...]


class Step(NamedTuple):
    """One trial step.

    Attributes:
        y1: state at t + h.
        error: estimate of y1's local error, None for a method without one.
        carry: what the next step needs of this one.
        stages: what ``Method.dense`` needs to evaluate the solution inside the step.
    """

    y1: Tensor
    error: Tensor | None
    carry: Carry
    stages: Stages


@dataclass(frozen=True)
class Method:
    """A one-step method as every engine and every gradient uses it.

    The functions are pure: new tensors out, nothing given is written to, and no Python decision depends on a
    tensor's values. t and h are Python floats, or float64 tensors (B,) when every sample steps by itself.

    Attributes:
        name: the name ``solve`` takes.
        order: order of y1.
        stages: evaluations of f in a step taken alone.
        kind: family, e.g. ``"explicit Runge-Kutta"``.
        adaptive: whether a step estimates its error.
        error_order: order of the error estimate's lower solution; its estimate is O(h^(error_order + 1)).
        dense_order: order of the dense output.
        evaluations: evaluations of f that one step makes after the first.
        init: ``init(f, t0, y0) -> carry``. When the carry is not empty its first entry is f(t0, y0).
        step: ``step(f, t, h, y, carry) -> Step``.
        dense: ``dense(theta, h, y, stages) -> y(t + theta h)``; theta a float, or a tensor (m,) with one
            entry per row of y, the stages and h.
        source: paper and equation.
        tableau: the coefficients, for the engines that generate code.
    """

    name: str
    order: int
    stages: int
    kind: str
    adaptive: bool
    error_order: int
    dense_order: int
    evaluations: int
    init: Callable[[Field, Size, Tensor], Carry]
    step: Callable[[Field, Size, Size, Tensor, Carry], Step]
    dense: Callable[[Size, Size, Tensor, Sequence[Tensor]], Tensor]
    source: str
    tableau: Tableau | None = None
