"""What a solve returns, and the codes it ends with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from torch import Tensor


class Status(IntEnum):
    """How a solve ended; 0 and above reached what was asked for."""

    SUCCESS = 0
    EVENT = 1
    STEADY = 2
    MAX_STEPS = -1
    STEP_TOO_SMALL = -2
    NONFINITE = -3
    FIRST_NONFINITE = -4
    NEWTON_DIVERGED = -5
    SINGULAR = -6
    TOO_STIFF = -7
    ZENO = -8
    UNSTEADY = -9
    DEGENERATE = -10


SENTENCES: dict[Status, str] = {
    Status.SUCCESS: "the end of t_span was reached",
    Status.EVENT: "a terminal event ended the integration",
    Status.STEADY: "a steady state was reached",
    Status.MAX_STEPS: "max_steps was reached before the end of t_span",
    Status.STEP_TOO_SMALL: "the step size fell below what t resolves (or below min_step)",
    Status.NONFINITE: "the state became infinite or NaN",
    Status.FIRST_NONFINITE: "f(t0, y0) is infinite or NaN",
    Status.NEWTON_DIVERGED: "Newton's iteration for the equations of an implicit step did not converge",
    Status.SINGULAR: "the matrix of an implicit step's equations is singular",
    Status.TOO_STIFF: "the spectral radius of df/dy is not finite, or asks for more stages than rounding allows",
    Status.ZENO: "an event with apply= repeats without time going on",
    Status.UNSTEADY: "no steady state was found: dy/dt is not small at the end, or its zero is not near",
    Status.DEGENERATE: "df/dy is singular at the steady state, which therefore depends on the path that led there",
}
HINTS: dict[Status, str] = {
    Status.MAX_STEPS: "Loosen rtol and atol, raise max_steps, or, where f is stiff, scale time or use a stiff method.",
    Status.STEP_TOO_SMALL: (
        "The solution may end here (blow-up, or a kink in f): shorten t_span, loosen rtol and atol, "
        "or look at f near this time."
    ),
    Status.NONFINITE: "Use smaller steps or an adaptive method, or look at f near this time.",
    Status.NEWTON_DIVERGED: (
        "Use smaller steps (step=, first_step=, max_step=) or an adaptive method; look for a kink in f near this "
        "time; where jac= is given, check it against f."
    ),
    Status.SINGULAR: "Use a smaller step; look at df/dy near this time, and at jac= where it is given.",
    Status.TOO_STIFF: "Use an implicit method, or look at f near this time (a NaN beside the solution?).",
    Status.ZENO: (
        "The events accumulate here (the bounces of a ball that comes to rest), or apply= does not lead away from the "
        "zero of g: end the integration with a second, terminal event, or give terminal= the number of occurrences."
    ),
    Status.UNSTEADY: (
        "Let t_span end later (at math.inf, if there is a steady state), or set Steady(rtol=, atol=): larger where "
        "dy/dt stays above them, smaller where the solve stopped too early; an implicit method comes to rest best."
    ),
    Status.DEGENERATE: (
        "Where a quantity is conserved, eliminate one unknown by it, or use gradient='discrete' with a finite t_span."
    ),
    Status.FIRST_NONFINITE: "Look at f's parameters: a NaN weight after an optimizer step is the usual cause.",
}


@dataclass(frozen=True)
class Solution:
    """The result of ``solve``.

    Attributes:
        t: output times, float64: (T,), or (B, T) where they differ by sample.
        y: states, time first: (T, *y0.shape), or the user's pytree of such. Rows that were not reached hold NaN.
        y1: state at the end of t_span, shaped like y0; NaN where it was not reached.
        nfev: evaluations of f; (B,) with batch="independent". With a gradient wanted, one of them looks for the
            tensors that f closes over.
        accepted, rejected: steps; (B,) with batch="independent".
        njev: Jacobian evaluations; (B,) with batch="independent"; 0 for explicit methods.
        report: what the method says of itself, by name; "auto": ``switches`` between its methods and ``stiff_steps``.
        status: a ``Status`` code; (B,) with batch="independent".
        evaluations: rows of f evaluated in total: with a batch each call counts once a sample in it.
        success: whether the end (or a terminal event) was reached by every sample.
        message: one sentence.
        t_events, y_events, event_mask: what ``events`` found, see ``solve``; None without events.
    """

    t: Tensor
    y: Any
    y1: Any
    nfev: int | Tensor
    accepted: int | Tensor
    rejected: int | Tensor
    njev: int | Tensor
    status: int | Tensor
    success: bool
    message: str
    t_events: list[Tensor] | None = None
    y_events: list[Any] | None = None
    event_mask: Tensor | None = None
    evaluations: int = 0
    report: dict[str, Any] = field(default_factory=dict)
    interpolant: Callable[[Any], Any] | None = None
    backward_count: Callable[[], int] = lambda: 0
    backward_drift: Callable[[], float | Tensor | None] = lambda: None

    @property
    def drift(self) -> float | Tensor | None:
        """How far a backward pass that walks the path again has missed what the forward pass knew, in tolerances.

        The largest entry of |y - stored| / (atol + rtol |stored|), of y0 and of every output that is compared; (B,)
        with batch="independent". None before the backward pass, and for gradients that walk nothing again.
        """
        return self.backward_drift()

    @property
    def nfev_backward(self) -> int:
        """Evaluations of f that the backward pass has made so far."""
        return self.backward_count()

    def __call__(self, t: Any) -> Any:
        """The solution at any times inside t_span, a piecewise polynomial of the method's ``dense_order``.

        Args:
            t: a number, or a tensor of any shape S; with batch="independent" (*S, B), or S to use the same
                times for every sample.

        Returns:
            (*S, *y0.shape), differentiable with respect to t and to everything that y depends on.

        Raises:
            ValueError: ``solve`` ran without dense_output=True, or t lies outside t_span.
        """
        if self.interpolant is None:
            raise ValueError("sol(t) needs dense_output=True in solve")
        return self.interpolant(t)
