"""One problem, fused: what is refused, what is compiled, whether gradients are wanted."""

from dataclasses import replace

from ..engine import Run
from ..field import VectorField
from ..problem import Problem
from .again import Recipe
from .knots import Room
from .known import compiled
from .options import Fused
from .reverse import differentiable
from .run import Plan, as_run, blank, launch, levels_of, prepared, refuse, tensors_of
from .wanted import wanted_gradients
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
    wanted = wanted_gradients(problem.y0, tensors)
    source, built = found.build(problem, uniforms, wanted)
    tableau = problem.method.tableau
    assert tableau is not None
    plan = Plan(
        template, source, built, wanted, len(found.lane), tableau.stages - tableau.fsal, int(tableau.fsal),
        problem.samples is None, levels_of(problem),
    )  # fmt: skip
    ys, room = blank(template, problem.y0.detach()), Room.wanted(problem, found.rows)
    if wanted is None:
        outcome = launch(plan, problem.y0.detach(), tensors, ys, record=False, room=room)
        results = tensors_of(outcome, plan.single)
    else:
        outcome, results = differentiable(plan, problem.y0, tensors, ys, f.tally, room)
    if outcome.room is not None:
        found.rows = outcome.room.rows
    run = as_run(problem, outcome, results)
    told = report(found, bound)
    recipe = Recipe(known, table, plan, options.check, told) if room is None else None
    return replace(run, again=recipe, report=told)
