"""One problem, fused: what is refused, what is compiled, whether gradients are wanted."""

import torch

from ..engine import Run
from ..field import VectorField
from ..problem import Problem
from .field import compiled
from .options import Fused
from .reverse import differentiable, wanted_inputs
from .run import forward, refuse


def solve(problem: Problem, options: Fused) -> Run:
    """Integrate by the compiled solver, differentiably where gradients are on.

    Raises:
        UnsupportedError: f, or a setting, cannot be fused; says which.
    """
    refuse(problem)
    found = compiled(problem, options.check)
    f = problem.field
    assert isinstance(f, VectorField)
    uniforms = found.uniforms(f)
    if torch.is_grad_enabled():
        wanted = wanted_inputs(found, f, uniforms)
        if wanted or problem.y0.requires_grad:
            return differentiable(problem, found, uniforms, wanted, options.memory)
    shared = [u.detach().contiguous() for u in uniforms]
    _, built = found.build(problem, shared, None)
    return forward(problem, found, built, shared, memory=None)[0]
