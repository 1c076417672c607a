"""A solve like one before, with another state and other values of tensors: nothing is checked or compiled twice.

``learn`` keeps what a fused solve has found out (a ``Recipe``) with the f that it is of; ``again`` looks whether a call
of ``solve`` is that one again, and f still the same, and goes to the compiled code at once. Where anything is otherwise
(another setting, a state that is not finite, a sample that fails) it returns None, and the call goes the long way, with
its checks and its errors.
"""

import ctypes
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..field import Tally
from ..ops import transforming
from ..solution import SENTENCES, Solution, Status
from .known import Known, Table, function_of, known_table, owner_of
from .reverse import differentiable
from .run import Outcome, Plan, launch
from .things import PLAIN
from .wanted import wanted_gradients

MOST = 8  # recipes for one f
TENSOR = frozenset((Tensor, nn.Parameter))
NUMBERS = frozenset((int, float))


@dataclass(eq=False)
class Recipe:
    """What solves of one f have in common.

    Attributes:
        check: as in ``Fused``; report: of the solution.
        solver, function, span, outputs, state, arguments: the call of ``solve`` that it is for.
        times: of the outputs; shape: theirs.
    """

    known: Known
    table: Table
    plan: Plan
    check: bool | str
    report: dict[str, str]
    solver: Any = None
    function: Any = None
    span: tuple[float, float] = (0.0, 0.0)
    outputs: Any = None
    state: tuple[torch.Size, torch.dtype] | None = None
    arguments: tuple[Any, ...] = ()
    times: Tensor | None = None
    shape: tuple[int, ...] = ()
    standard: torch.dtype = field(default_factory=torch.get_default_dtype)
    threads: int = field(default_factory=torch.get_num_threads)


def learn(
    recipe: Recipe, solver: Any, f: Any, t_span: Any, y0: Any, t_eval: Any, args: Any, times: Tensor
) -> None:
    """Keep a recipe for calls of ``solve`` with these arguments, if they are of the simple kinds."""
    args = args if isinstance(args, tuple) else (args,)
    settings = (solver.rtol, solver.atol, 0 if solver.step is None else solver.step)
    if type(t_span) is not tuple or not NUMBERS.issuperset(map(type, (*t_span, *settings))):
        return
    if type(y0) not in TENSOR or not all(map(_simple, args)):
        return
    if isinstance(t_eval, Tensor):
        if type(t_eval) is not Tensor or t_eval.requires_grad:
            return
        outputs: Any = t_eval.clone()
    elif t_eval is None or (type(t_eval) in (list, tuple) and NUMBERS.issuperset(map(type, t_eval))):
        outputs = None if t_eval is None else tuple(t_eval)
    else:
        return
    recipe.solver, recipe.function = solver, function_of(f)
    recipe.span, recipe.outputs, recipe.times = t_span, outputs, times.clone()
    recipe.state, recipe.arguments = (y0.shape, y0.dtype), tuple(map(_form, args))
    recipe.shape = (recipe.plan.template.outputs, *y0.shape)
    other = [old for old in recipe.table.recipes if not _alike(old, recipe)]
    recipe.table.recipes = [recipe, *other[: MOST - 1]]


def _alike(a: Recipe, b: Recipe) -> bool:
    """Whether two recipes are for the same calls."""
    names = ("solver", "function", "span", "state", "arguments")
    alike = a.plan.wanted == b.plan.wanted and all(getattr(a, name) == getattr(b, name) for name in names)
    return alike and _same_times(a.outputs, b.outputs)


def _simple(value: Any) -> bool:
    return type(value) in PLAIN or (type(value) in TENSOR and value.is_floating_point())


def _form(value: Any) -> Any:
    """What an argument must be like: shape and dtype of a tensor, type and value of others."""
    return (value.shape, value.dtype) if isinstance(value, Tensor) else (type(value), repr(value))


def again(solver: Any, f: Any, t_span: Any, y0: Any, t_eval: Any, args: Any) -> Solution | None:
    """The solution, if there is a recipe for it; None where the call must go the long way."""
    table = known_table(owner_of(f))
    if table is None or not table.recipes or type(y0) not in TENSOR:
        return None
    args = args if type(args) is tuple else (args,)
    for recipe in table.recipes:
        if recipe.solver is solver and _fits(recipe, f, t_span, y0, t_eval, args):
            return _solved(recipe, y0, t_eval, args)
    return None


def _fits(recipe: Recipe, f: Any, t_span: Any, y0: Tensor, t_eval: Any, args: tuple[Any, ...]) -> bool:
    """Whether the call is the one that the recipe is for."""
    shape, dtype = recipe.state  # type: ignore[misc]
    if y0.dtype is not dtype or y0.shape != shape or y0.layout is not torch.strided or not y0.is_cpu:
        return False
    if type(t_span) is not tuple or t_span != recipe.span or not NUMBERS.issuperset(map(type, t_span)):
        return False
    if function_of(f) is not recipe.function:
        return False
    if tuple(map(_form, args)) != recipe.arguments or not _same_times(recipe.outputs, t_eval):
        return False
    return recipe.threads == torch.get_num_threads() and recipe.standard is torch.get_default_dtype()


def _same_times(known: Any, given: Any) -> bool:
    if known is None:
        return given is None
    if not isinstance(known, Tensor):
        return type(given) in (list, tuple) and tuple(given) == known and NUMBERS.issuperset(map(type, given))
    same = type(given) is Tensor and given.dtype is known.dtype and given.shape == known.shape
    return same and given.is_cpu and not given.requires_grad and torch.equal(given, known)


def _solved(recipe: Recipe, y0: Tensor, t_eval: Any, args: tuple[Any, ...]) -> Solution | None:
    """The solution; None where f is not surely the same, or anything is out of the common."""
    if transforming() or torch.is_autocast_enabled("cpu") or y0.is_neg():
        return None
    start = y0.detach() if y0.requires_grad else y0
    start = start.contiguous()
    finite = recipe.plan.built.all_finite(ctypes.c_void_p(start.data_ptr()), ctypes.c_int64(start.numel()))
    if not finite or not recipe.known.quick(recipe.check):
        return None
    found = recipe.known.compiled
    assert found is not None
    tensors = (*(args[i] for i in found.lane), *found.traced.uniforms([args[i] for i in found.shared]))
    wanted = wanted_gradients(y0, tensors)
    if wanted != recipe.plan.wanted:
        return None
    ys, tally = torch.empty(recipe.shape, dtype=start.dtype), Tally()
    if wanted is None:
        outcome = launch(recipe.plan, start, tensors, ys, record=False)
        y1 = outcome.last
    else:
        outcome, (ys, y1) = differentiable(recipe.plan, y0, tensors, ys, tally)
    return _solution(recipe, y0, t_eval, ys, y1, outcome, tally)


def _solution(
    recipe: Recipe, y0: Tensor, t_eval: Any, ys: Tensor, y1: Tensor, outcome: Outcome, tally: Tally
) -> Solution | None:
    if outcome.failed:
        return None
    numbers, samples = outcome.numbers, outcome.call.samples
    status: Any
    njev: Any
    if recipe.plan.single:
        status, accepted, rejected, nfev = numbers[: 4 * samples : samples]
        njev = 0
    else:
        status, accepted, rejected, nfev, *_, njev = outcome.counts.unbind()
    assert recipe.times is not None
    return Solution(
        t=t_eval if isinstance(t_eval, Tensor) else recipe.times.clone(),
        y=torch.stack((y0, y1)) if t_eval is None else ys,
        y1=y1,
        nfev=nfev,
        accepted=accepted,
        rejected=rejected,
        njev=njev,
        status=status,
        success=True,
        message=SENTENCES[Status.SUCCESS],
        evaluations=outcome.evaluations,
        report=dict(recipe.report),
        backward_count=lambda: tally.count,
    )
