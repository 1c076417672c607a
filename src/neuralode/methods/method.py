"""What an engine knows of a method: a record of pure functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from ..control import Tolerance
from ..ops import Size
from ..tableaus import Tableau

Carry = tuple[Tensor, ...]
Stages = tuple[Tensor, ...]
ALL_GRADIENTS = ("direct", "discrete", "checkpointed", "interpolated", "backsolve", "steady")


class Field(Protocol):
    """f as a method sees it."""

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt at one time, or at one time per sample (B, 1, ..., 1)."""

    def rows(self, y: Tensor) -> Tensor:
        """y as (R, n): R systems that do not depend on each other, of n unknowns each."""

    def jacobian(self, t: Tensor, y: Tensor) -> Tensor:
        """df/dy, (R, n, n)."""

    def push(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """(df/dy) v for v shaped like y."""

    def rate(self, t: Tensor, y: Tensor) -> Tensor:
        """df/dt, shaped like y."""


class SplitField(Protocol):
    """f as an implicit-explicit method sees it: the sum of two."""

    explicit: Field
    implicit: Field

    def parts(self, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Both at one place."""


class Step(NamedTuple):
    """One trial step.

    Attributes:
        y1: state at t + h.
        error: estimate of y1's local error, None for a method without one.
        carry: what the next step needs of this one, differentiable.
        stages: what ``Method.dense`` and ``Method.retake`` need of this step; tensors, one row a sample where samples
            step by themselves.
        work: handed to the next trial step, whether this one is accepted or not. Where samples step by themselves it
            is cut down when some of them leave (``compact=True``) and saved when a ``Stepper`` is: it is a structure
            (tuples, dicts, dataclasses) whose tensors have one row a sample or a first dimension that is not as
            long as the batch; after the first step it keeps its structure. What else it holds (functions, the field,
            scratch memory) is neither cut nor saved, and means the same at every step.
        calls: evaluations of f that a sample alone would have made, int or (B,); None: ``Method.evaluations``.
        jacobians: likewise those of df/dy.
        trouble: 0, or the ``Status`` that this trial would end with if no smaller step could be tried; int or (B,).
    """

    y1: Tensor
    error: Tensor | None
    carry: Carry
    stages: Stages
    work: Any = None
    calls: Any = None
    jacobians: Any = 0
    trouble: Any = 0


class Verdict(NamedTuple):
    """What a method that controls its own steps says of one.

    Attributes:
        accept: whether the step is taken, bool or (B,).
        factor: for the size of the next step, float or (B,).
        step: the step with what the next one depends on, ``carry`` and ``work``, brought up to date.
    """

    accept: Any
    factor: Any
    step: Step


def itself(tolerance: Tolerance) -> Any:
    """The work of a method that keeps nothing but the tolerance."""
    return tolerance


def nothing(work: Any) -> dict[str, Any]:
    """The report of a method with nothing to say of itself."""
    return {}


@dataclass(frozen=True)
class Method:
    """A method as every engine and every gradient uses it.

    The functions are pure: new tensors out, nothing given is written to but scratch memory in ``work``. t and h are
    Python floats, or float64 tensors (B,) when every sample steps by itself. Explicit methods decide nothing on a
    tensor's values.

    Attributes:
        name: the name ``solve`` takes.
        order: order of y1; the highest for a method of variable order.
        stages: evaluations of f in a step taken alone.
        kind: family, e.g. ``"explicit Runge-Kutta"``.
        adaptive: whether a step estimates its error.
        error_order: order of the error estimate's lower solution; its estimate is O(h^(error_order + 1)).
        dense_order: order of the dense output.
        evaluations: evaluations of f that one step makes after the first, where that number is fixed.
        init: ``init(f, t0, y0) -> carry``. When an adaptive method's is not empty its first entry is f(t0, y0).
        step: ``step(f, t, h, y, carry, work) -> Step``.
        dense: ``dense(theta, h, y, stages) -> y(t + theta h)``; theta a float, or a tensor (m,) with one
            entry per row of y, the stages and h.
        source: paper and equation.
        tableau: the coefficients, for the engines that generate code.
        begin: ``begin(tolerance) -> work`` for the first step.
        extend: ``extend(f, t, h, y, stages) -> stages`` with those that only ``dense`` needs; None: it needs no more.
        extra: evaluations of f that ``extend`` makes.
        retake: ``retake(f, t, h, y, carry, stages) -> Step``: a recorded step as a differentiable function, for a
            method whose ``step`` solves equations or decides on values; None: ``step`` itself is one.
        decide: ``decide(step, tolerance, y, h) -> Verdict`` for a method with a control of its own.
        real: whether complex states are handed to it as pairs of reals.
        repeatable: whether ``step`` with the work of a beginning finds the stages of a recorded step again, given where
            it started: for a method with ``retake`` that keeps no history but in the carry.
        gradients: names of the gradients that can be taken through it.
        report: ``report(work) -> dict`` after the last step: what the method has to say of itself, by name.
        controller: name of the step-size controller that suits it.
        split: whether it takes f as a pair (f_explicit, f_implicit), and gets a ``SplitField``.
        state: ``"any"``, or ``"pair"``: two leaves of one shape, (q, p), raveled to (..., 2 n), with dq/dt a function
            of (t, p) and dp/dt of (t, q).
    """

    name: str
    order: int
    stages: int
    kind: str
    adaptive: bool
    error_order: int
    dense_order: int
    evaluations: int
    init: Callable[[Any, Size, Tensor], Carry]
    step: Callable[[Any, Size, Size, Tensor, Carry, Any], Step]
    dense: Callable[[Size, Size, Tensor, Sequence[Tensor]], Tensor]
    source: str
    tableau: Tableau | None = None
    begin: Callable[[Tolerance], Any] = itself
    extend: Callable[[Any, Size, Size, Tensor, Stages], Stages] | None = None
    extra: int = 0
    retake: Callable[[Any, Size, Size, Tensor, Carry, Stages], Step] | None = None
    decide: Callable[[Step, Tolerance, Tensor, Size], Verdict] | None = None
    real: bool = False
    repeatable: bool = False
    gradients: tuple[str, ...] = ALL_GRADIENTS
    report: Callable[[Any], dict[str, Any]] = nothing
    controller: str = "pi"
    split: bool = False
    state: str = "any"

    def again(self, f: Any, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        """A recorded step once more, differentiable with respect to y, the carry and all that f depends on."""
        if self.retake is not None:
            return self.retake(f, t, h, y, carry, stages)
        return self.step(f, t, h, y, carry, None)

    def complete(self, f: Any, t: Size, h: Size, y: Tensor, step: Step) -> Step:
        """The step with all that ``dense`` needs."""
        return step if self.extend is None else step._replace(stages=self.extend(f, t, h, y, step.stages))
