"""``solve`` and ``Solver``: the way in."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from torch import Tensor

from . import backends, fused
from . import gradient as gradients
from .backends import BACKENDS
from .control import CONTROLLERS, NORMS, Norm, StepControl
from .engine import LOOPS
from .errors import unknown
from .events import as_events, solve_in_legs
from .fused import Fused
from .gradient import GRADIENTS, Gradient, Steady
from .problem import prepare
from .progress import reporting
from .registry import METHODS
from .results import build
from .solution import Solution
from .stepper import Stepper, start
from .times import check_stops

OBJECTS: dict[str, Any] = {
    "gradient": Gradient,
    "controller": StepControl,
    "norm": Callable,
    "backend": Fused,
}


@dataclass(frozen=True)
class Solver:
    """The options of a solve, checked once and held for many calls. Arguments as in ``solve``.

    Example:
        >>> import torch
        >>> solver = Solver(rtol=1e-8, atol=1e-10)
        >>> y0 = torch.ones(2, dtype=torch.float64)
        >>> round(solver.solve(lambda t, y: -y, (0.0, 1.0), y0).y1[0].item(), 6)
        0.367879
    """

    method: str = "dopri5"
    rtol: Any = 1e-4
    atol: Any = 1e-6
    batch: str | None = None
    gradient: Any = "discrete"
    backend: Any = "eager"
    dense_output: bool = False
    step: float | Tensor | None = None
    first_step: float | None = None
    min_step: float = 0.0
    max_step: float = math.inf
    max_steps: int = 100_000
    controller: str | StepControl | None = None
    norm: str | Norm = "rms"
    jac: Callable[..., Tensor] | None = None
    throw: bool = True
    compact: bool = False
    progress: bool | Callable[[float, int, int], None] = False

    def __post_init__(self) -> None:
        names = (
            ("method", self.method, METHODS),
            ("batch", self.batch, LOOPS),
            ("gradient", self.gradient, GRADIENTS),
            ("backend", self.backend, BACKENDS),
            ("controller", self.controller or "pi", CONTROLLERS),
            ("norm", self.norm, NORMS),
        )
        for kind, name, table in names:
            known_object = kind in OBJECTS and isinstance(name, OBJECTS[kind])
            if not known_object and name not in table:
                raise unknown(kind, name, map(str, table))
        for kind in ("first_step", "max_step"):
            value = getattr(self, kind)
            if value is not None and not value > 0:
                raise ValueError(f"{kind} must be positive, got {value}")
        if not 0 <= self.min_step <= self.max_step:
            raise ValueError(f"min_step must lie in [0, max_step = {self.max_step}], got {self.min_step}")
        if not (isinstance(self.max_steps, int) and self.max_steps >= 1):
            raise ValueError(f"max_steps must be a whole number >= 1, got {self.max_steps}")
        limits = (self.first_step, self.min_step, self.max_step)
        if self.step is not None and limits != (None, 0.0, math.inf):
            raise ValueError(
                "step= fixes the steps: first_step, min_step and max_step only go with step=None"
            )
        if self.compact and self.batch != "independent":
            raise ValueError(
                f"compact=True drops samples that have ended: it needs batch='independent', got batch={self.batch!r}"
            )
        if not (isinstance(self.progress, bool) or callable(self.progress)):
            raise TypeError(
                f"progress must be True, False or a function of (fraction, steps, nfev), got {self.progress!r}"
            )
        self._check_method()

    def _check_method(self) -> None:
        method = METHODS[self.method]
        name = self.gradient if isinstance(self.gradient, str) else type(self.gradient).__name__.lower()
        if name not in method.gradients:
            raise ValueError(
                f"method {self.method!r} has no gradient={name!r}: use one of {', '.join(method.gradients)}"
            )
        if method.decide is not None and self.controller is not None:
            raise ValueError(
                f"method {self.method!r} chooses order and step together: controller= does not go with it"
            )
        if self.jac is not None and not callable(self.jac):
            raise TypeError(f"jac must be callable as jac(t, y, *args), got {type(self.jac).__name__}")
        if self.step is None and not METHODS[self.method].adaptive:
            raise ValueError(
                f"method {self.method!r} has no error estimate: give step= (a number or a tensor of times), or use an "
                "adaptive method such as 'dopri5'"
            )

    def using(self, **changes: Any) -> "Solver":
        """The same options but for ``changes``."""
        return replace(self, **changes)

    def solve(
        self,
        f: Callable[..., Any],
        t_span: Any,
        y0: Any,
        *,
        t_eval: Any = None,
        args: Any = (),
        events: Any = None,
        t_stops: Any = None,
    ) -> Solution:
        """Integrate dy/dt = f(t, y, *args) with these options; see ``neuralode.solve``."""
        simple = self.backend != "eager" and events is None and t_stops is None and self.progress is False
        if simple and (known := fused.again(self, f, t_span, y0, t_eval, args)) is not None:
            return known
        gradient = GRADIENTS.get(self.gradient, self.gradient)
        steady = isinstance(gradient, Steady)
        if steady:
            gradient.check(t_eval=t_eval, events=events, t_stops=t_stops, dense_output=self.dense_output)
        problem, layout = prepare(f, t_span, y0, t_eval, args, self, endless=steady)
        if problem.y0.numel() == 0:
            problem = replace(problem, t1=problem.t0)
        stops = None if t_stops is None else check_stops(t_stops, *problem.span, problem.samples)
        with reporting(self.progress, problem.t0, problem.t1) as progress:
            told = problem if progress is None else replace(problem, progress=progress)
            if events is None and stops is None:
                run, found = backends.run(told, gradient, self.backend), None
            else:
                listed = () if events is None else as_events(events)
                run, found = solve_in_legs(
                    told, stops, listed, lambda leg: backends.run(leg, gradient, self.backend)
                )
                run = gradients.at_outputs(problem, run)
        solution = build(problem, run, layout, t_eval, found, self.throw)
        if simple and run.again is not None:
            fused.learn(run.again, self, f, t_span, y0, t_eval, args, solution.t)
        return solution

    def start(self, f: Callable[..., Any], t_span: Any, y0: Any, *, args: Any = ()) -> Stepper:
        """The same integration driven by hand, without gradients: see ``Stepper``.

        Raises:
            ValueError: ``dense_output=True`` or ``compact=True``, which need the whole integration.
        """
        for name in ("dense_output", "compact"):
            if getattr(self, name):
                raise ValueError(f"{name}=True needs the whole integration: a stepper has no use for it")
        problem, layout = prepare(f, t_span, y0, None, args, self)
        if problem.y0.numel() == 0:
            problem = replace(problem, t1=problem.t0)
        return start(problem, layout, self.throw)


PLAIN = frozenset((bool, int, float, str, type(None), Fused))


@lru_cache(maxsize=64, typed=True)
def _plain_solver(*options: Any) -> Solver:
    """One solver for all calls with the same options, which are checked once."""
    return Solver(*options)


def solve(
    f: Callable[..., Any],
    t_span: Any,
    y0: Any,
    *,
    t_eval: Any = None,
    args: Any = (),
    method: str = "dopri5",
    rtol: Any = 1e-4,
    atol: Any = 1e-6,
    batch: str | None = None,
    gradient: Any = "discrete",
    backend: Any = "eager",
    events: Any = None,
    t_stops: Any = None,
    dense_output: bool = False,
    step: float | Tensor | None = None,
    first_step: float | None = None,
    min_step: float = 0.0,
    max_step: float = math.inf,
    max_steps: int = 100_000,
    controller: str | StepControl | None = None,
    norm: str | Norm = "rms",
    jac: Callable[..., Tensor] | None = None,
    throw: bool = True,
    compact: bool = False,
    progress: bool | Callable[[float, int, int], None] = False,
) -> Solution:
    """Solve dy/dt = f(t, y, *args) from y(t0) = y0, differentiably.

    Args:
        f: the vector field; returns dy/dt with y's structure, shape and dtype. Differentiable operations only. For
            implicit-explicit methods a pair (f_explicit, f_implicit) whose sum is dy/dt.
        t_span: (t0, t1), either direction; numbers or tensors; (B,) tensors with batch="independent". Finite, but for
            t1 with gradient="steady".
        y0: a tensor of any shape, or a pytree (tuple, list, dict, dataclass) of tensors of one dtype; float32,
            float64, complex64 or complex128. For symplectic methods two tensors (q, p).
        t_eval: output times inside t_span in its direction, (T,), or (B, T) with batch="independent"; None: the
            two ends; ``"steps"``: every step of the solver.
        args: further arguments of f, a tuple (anything else counts as one argument).
        method: a name from ``neuralode.methods()``.
        rtol, atol: an error estimate e is accepted when the norm of e / (atol + rtol max(|y|, |y1|)) is at most 1;
            numbers, tensors that broadcast to y0, or a pytree of either like y0. rtol is raised to 4 eps of y0's
            dtype, with a warning.
        batch: None: y0 is one system, t is 0-d. ``"lockstep"``: dimension 0 is the batch, one step size for all,
            every sample within tolerance. ``"independent"``: every sample has its own steps, and f gets t as
            (B, 1, ..., 1).
        gradient: ``"discrete"`` (exact for the steps taken), ``"direct"`` (autograd through the loop),
            ``"checkpointed"`` (the same in the memory of sqrt(N) of N steps), ``"interpolated"`` (the adjoint along the
            solution's dense output; no f is taped), ``"backsolve"`` (the paper's adjoint), ``"steady"`` (of the state
            that the solution comes to rest in; t1 may then be infinite), or an object with options such as
            ``Checkpointed(slots=8)`` or ``Backsolve(rtol=1e-6)``.
        backend: ``"eager"``; ``"fused"``, or ``Fused(...)``: the whole solve as C++ compiled for f, an explicit
            Runge-Kutta method and this CPU, one SIMD lane a sample; f is traced, so that it must be pure and must not
            decide on values. The first call builds for seconds. ``"auto"``: fused where it can be, else eager;
            ``solution.report`` says which, and why.
        events: a function g(t, y, *args), an ``Event(g, direction, terminal, apply)``, or a list of them: zeros of g
            are located on the dense output, sample by sample with batch="independent" (g then returns (B,)). Found
            in ``t_events`` and ``y_events``, differentiable (once). A terminal event ends the integration there; one
            with ``apply(t, y, *args) -> y`` changes the state, and the integration restarts. g is evaluated at
            five places a step, so that two zeros closer than h / 5 can be missed (``max_step=`` bounds h); a zero
            that is touched but not crossed, and one at t0, is no event.
        t_stops: times at which f is discontinuous, in any order, (S,), or (B, S) with batch="independent" (pad with
            inf); those outside t_span are ignored. A step ends at each and the integration starts afresh; f is
            called next to them, never at them. As a tensor with a gradient they get that of the discontinuity's
            time.
        dense_output: keep every step, so that ``sol(t)`` gives the solution at any time.
        step: None: adaptive; a number: constant steps, the last shortened to land on t1; a 1-D tensor: the times
            of the steps. Methods without an error estimate need it.
        first_step, min_step, max_step: magnitudes, in units of t; None: chosen from y0 and f.
        max_steps: limit on accepted plus rejected steps (of every sample).
        controller: ``"pi"``, ``"i"``, ``"pid"``, ``"predictive"`` or ``"predictive_pi"`` (for implicit methods), or a
            ``Controller``, ``PIDController`` or ``PredictiveController`` with coefficients of its own; None: the
            method's, which is ``"predictive"`` for collocation and Rosenbrock methods, ``"predictive_pi"`` for
            diagonally implicit ones and ``"pi"`` for others.
        norm: ``"rms"``, ``"max"`` or a function of scaled errors (..., n) -> (...), one system per row.
        jac: df/dy for implicit methods, called like f; (n, n), or (B, n, n) where dimension 0 of y0 is the batch, for
            a state of n numbers; None: by automatic differentiation of f.
        throw: raise ``SolverError`` when the end is not reached; False: say so in the solution's status.
        compact: with batch="independent", drop samples that have ended from the calls of f, so that the work is the
            sum over the samples and not batch times slowest. f must be row-wise, and gets those rows of every tensor
            in args (a pytree) whose dimension 0 is as long as the batch; a tensor with a row for each sample must
            be in args, not closed over.
        progress: True: a line on stderr says how far the integration is, a few times a second; or a function
            ``progress(fraction, steps, nfev)`` that is called instead.

    Returns:
        A ``Solution``. Gradients flow to y0, args, t_span, t_eval, the parameters of f and every tensor it closes
        over.

    Raises:
        ValueError, TypeError: a bad argument, named.
        SolverError: the integration failed; holds the sample, time, reason and what to try.

    Example:
        >>> import torch
        >>> sol = solve(lambda t, y: -y, (0.0, 1.0), torch.ones(3, dtype=torch.float64))
        >>> sol.y.shape
        torch.Size([2, 3])
    """
    options = (
        method, rtol, atol, batch, gradient, backend, dense_output, step, first_step, min_step, max_step, max_steps,
        controller, norm, jac, throw, compact, progress,
    )  # fmt: skip
    solver = _plain_solver(*options) if PLAIN.issuperset(map(type, options)) else Solver(*options)
    return solver.solve(f, t_span, y0, t_eval=t_eval, args=args, events=events, t_stops=t_stops)
