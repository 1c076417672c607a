"""Which engine integrates: eager, or fused where it can."""

from dataclasses import replace
from typing import Any

import torch

from . import gradient as gradients
from .engine import Run
from .events.sided import Sided
from .fused import Fused, UnsupportedError
from .fused import solve as solve_fused
from .gradient import Discrete, Gradient, Steady, endpoints
from .problem import Problem

BACKENDS: dict[str, Fused | None] = {
    "eager": None,
    "fused": Fused(),
    "auto": Fused(fallback=True, by_width=True),
}


def run(problem: Problem, gradient: Gradient, backend: str | Fused) -> Run:
    """Integrate by the chosen engine, differentiably.

    Raises:
        UnsupportedError: the fused engine cannot take this problem, and may not leave it to the eager one.
    """
    options = BACKENDS[backend] if isinstance(backend, str) else backend
    if options is None:
        return gradients.run(problem, gradient)
    try:
        return _fused(problem, gradient, options)
    except UnsupportedError as error:
        if not options.fallback:
            raise
        found = gradients.run(problem, gradient)
        return replace(found, report={**found.report, "backend": "eager", "not fused": str(error)})


def _fused(problem: Problem, gradient: Gradient, options: Fused) -> Run:
    discrete = isinstance(gradient, Discrete) and gradient.keep == "states"
    if isinstance(gradient, Steady) or (torch.is_grad_enabled() and not discrete):
        name = type(gradient).__name__.lower()
        raise UnsupportedError(
            f"backend='fused' has gradient='discrete' alone, which keeps states, not {name!r}"
        )
    field: Any = problem.field
    if isinstance(field, Sided):
        problem = replace(problem, field=field.plain())
    if problem.inputs == (None, None, None):
        return solve_fused(problem, options)
    return endpoints.with_outputs(problem, solve_fused(endpoints.with_start(problem), options))
