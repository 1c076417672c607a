"""One problem, fused: what is refused, what is compiled, whether gradients are wanted."""

from dataclasses import replace

import torch

from ..engine import Run
from ..field import VectorField
from ..problem import Problem
from .again import Recipe
from .knots import Room
from .known import compiled
from .options import Fused
from .reverse import differentiable, wanted_inputs
from .run import as_run, blank, launch, levels_of, prepared, refuse, tensors_of
from .width import limit, report


def solve(problem: Problem, options: Fused) -> Run:
    """Integrate by the compiled solver, differentiably where gradients are on.

    Raises:
        UnsupportedError: f, or a setting, cannot be fused; says which.
    """
    refuse(problem)
    bound = limit(problem) if options.by_width else None
    known, found, table = compiled(problem, options.check, bound)
    f = problem.field
    assert isinstance(f, VectorField)
    uniforms = found.uniforms(f.args)
    tensors = (*found.lane_tensors(f.args), *uniforms)
    template = prepared(problem)
    template.memory = options.memory
    wanted = wanted_inputs(tensors)
    graded = torch.is_grad_enabled() and (wanted or problem.y0.requires_grad)
    source, built = found.build(problem, uniforms, wanted if graded else None)
    tableau = problem.method.tableau
    assert tableau is not None
    recipe = Recipe(
        known, table, template, wanted if graded else None, source, built, len(found.lane),
        tableau.stages - tableau.fsal, int(tableau.fsal), problem.samples is None, options.check,
        report(found.traced.body, bound), levels_of(problem),
    )  # fmt: skip
    ys = blank(template, problem.y0.detach())
    room = Room.wanted(problem, found.rows)
    if graded:
        job = replace(recipe.job(ys, problem.field.tally), room=room)
        results = differentiable(job, problem.y0, tensors)
        assert job.outcome is not None
        outcome = job.outcome
    else:
        lanes = (*tensors[: recipe.lanes], *recipe.levels)
        shared = [u.detach().contiguous() for u in uniforms]
        outcome = launch(template, built, problem.y0.detach(), lanes, shared, ys, record=False, room=room)
        results = tensors_of(outcome, recipe.single)
    if outcome.room is not None:
        found.rows = outcome.room.rows
    run = as_run(problem, outcome, results)
    return replace(run, again=recipe if room is None else None, report=recipe.report)
