"""``diagnose``: walk a path once, and say what is hard about it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .checkup import Facts, walked
from .diagnosis import Diagnosis, kinked_modules
from .diagnosis.advice import TRIED
from .gradient.capture import modules_of
from .layout import leaves
from .solve import Solver
from .stepper import Stepper
from .untouched import untouched


def diagnose(
    f: Callable[..., Any],
    t_span: Any,
    y0: Any,
    *,
    args: Any = (),
    method: str = "auto",
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    batch: str | None = None,
    max_steps: int = 2000,
) -> Diagnosis:
    """What is hard about dy/dt = f(t, y): stiffness, growth, places where f is not Lipschitz; and what suits it.

    The path is solved once, without gradient, in at most ``max_steps`` steps; f's buffers and PyTorch's generators are
    put back. At up to 32 places df/dy is decomposed (rows of up to 64 numbers; larger ones by power iteration, from
    below). At up to 7, where steps were short or f is steep, difference quotients are followed to small distances:
    they grow without bound where f is not Lipschitz, so that the theorem of Picard and Lindelof does not hold (the
    paper's section 6). Nothing here is a proof: what lies between the places is not seen.

    Args:
        f, t_span, y0, args: as in ``neuralode.solve``.
        method, rtol, atol: of the walk; one that can be stiff, and tight enough for steps to follow the path.
        batch: None: y0 is one system; "lockstep" or "independent": dimension 0 is the batch, and the worst sample is
            named.
        max_steps: limit on the steps of the walk.

    Returns:
        A ``Diagnosis``: plain numbers, and a report when printed.

    Raises:
        ValueError, TypeError: as ``solve`` does, for a bad argument; a complex y0 with an explicit method.

    Example:
        >>> import torch
        >>> found = diagnose(lambda t, y: y * y, (0.0, 2.0), torch.ones(1, dtype=torch.float64))
        >>> round(found.blow_up.t, 4), found.stiff
        (1.0, False)
        >>> diagnose(lambda t, y: y.abs().sqrt(), (0.0, 1.0), torch.zeros(1)).non_lipschitz.power
        0.5
    """
    solver = Solver(method=method, rtol=rtol, atol=atol, batch=batch, max_steps=max_steps, throw=False)
    modules = modules_of(f)
    tensors = [leaf for _, leaf in leaves((y0, args), "") if isinstance(leaf, Tensor)]
    with torch.no_grad(), untouched(modules, tensors):
        stepper = solver.start(f, t_span, y0, args=args)
        if stepper.problem.y0.is_complex():
            raise ValueError(
                f"method {method!r} steps complex states as such: walk with one that takes pairs of reals, "
                "such as 'auto'"
            )
        places = walked(stepper)
        facts = Facts(stepper, places, [*kinked_modules(modules)])
        return facts.diagnosis(lambda name: _error(stepper, solver.using(method=name), f, t_span, y0, args))


def _error(
    walk: Stepper, solver: Solver, f: Callable[..., Any], t_span: Any, y0: Any, args: Any
) -> float | None:
    """How far from the walk's end, relatively, the same method ends at the tolerance TRIED; None where one fails."""
    if bool((torch.as_tensor(walk.status) < 0).any()):
        return None
    trial = solver.using(rtol=TRIED, atol=0.01 * TRIED).start(f, t_span, y0, args=args)
    for _ in trial:
        pass
    if bool((torch.as_tensor(trial.status) < 0).any()):
        return None
    ends = [[leaf for _, leaf in leaves(one.y, "")] for one in (walk, trial)]
    miss = sum(float((a - b).abs().square().sum()) for a, b in zip(*ends, strict=True))
    size = float(max(torch.linalg.vector_norm(y) for y in (walk.problem.y0, walk.raveled))) ** 2
    return (miss / size) ** 0.5 if size > 0 else None
