"""Why an integration ended early, with the evidence at the place where it did."""

from typing import Any

import torch
from torch import Tensor

from ..errors import SolverError
from ..field import VectorField
from ..ops import stage_times, transforming
from ..problem import Problem
from ..registry import METHODS
from ..solution import HINTS, SENTENCES, Status
from .growth import GROWN, NEAR_END, blow_up
from .roughness import roughest
from .spectrum import spectrum
from .stability import NEAR, STIFF, stability_interval


def sentence(problem: Problem, status: Status) -> str:
    """What happened."""
    if status == Status.NONFINITE and problem.grid is None:
        return "every step tried from here made the state infinite or NaN"
    return SENTENCES[status]


def explain(problem: Problem, status: Status, sample: int | None, t: Any, h: float, y: Tensor) -> SolverError:
    """The error for a solve that ended at (t, y); ``t`` a float or (B,), y the last accepted state."""
    here = float(t[sample]) if isinstance(t, Tensor) and sample is not None else float(t)
    hint = HINTS[status]
    if status == Status.NONFINITE and problem.grid is None:
        hint = (
            f"Look at f just behind t = {here:.8g}, from the last good state {_shown(problem, sample, y)}: a division "
            "by zero, or a root or logarithm of a negative number. Or end t_span before."
        )
    elif status in (Status.MAX_STEPS, Status.STEP_TOO_SMALL) and problem.grid is None:
        hint = _evidence(problem, sample, t, h, y) or hint
    return SolverError(sentence(problem, status), here, sample, abs(h), hint)


def _shown(problem: Problem, sample: int | None, y: Tensor) -> str:
    """The first few numbers of a sample's state."""
    numbers = problem.field.rows(y.detach())[sample or 0].tolist()
    return "[" + ", ".join(f"{x:.4g}" for x in numbers[:4]) + (", ...]" if len(numbers) > 4 else "]")


def _evidence(problem: Problem, sample: int | None, t: Any, h: float, y: Tensor) -> str | None:
    """The hint where some evaluations at (t, y), at most about 110, tell why steps are small there."""
    if transforming() or not isinstance(problem.field, VectorField) or not bool(torch.isfinite(y).all()):
        return None
    with torch.no_grad():
        for look in (_stiff,) if y.is_complex() else (_infinite, _stiff, _rough):
            try:
                hint = look(problem, problem.field, sample, t, h, y.detach())
            except Exception:  # noqa: BLE001 (what f raises beside its path must not hide that the solve failed)
                continue
            if hint is not None:
                return hint
    return None


def _infinite(
    problem: Problem, f: VectorField, sample: int | None, t: Any, h: float, y: Tensor
) -> str | None:
    """The hint where the solution has grown and runs to infinity just behind (t, y)."""
    row = sample or 0
    sizes = [float(torch.linalg.vector_norm(f.rows(x), dim=1)[row]) for x in (problem.y0.detach(), y)]
    time = stage_times(t, t * 0.0, (0.0,), y)[0]
    sign, here, first = (
        float(x[row]) if isinstance(x, Tensor) else float(x) for x in (problem.sign, t, problem.t0)
    )
    left = float(blow_up(f, time, y, sign)[row])
    if not (left <= NEAR_END * abs(here - first) and sizes[1] >= GROWN * sizes[0]):
        return None
    return (
        f"The solution becomes infinite at t = {here + sign * left:.8g}: |y| has grown from {sizes[0]:.3g} to "
        f"{sizes[1]:.3g}, and the time in which it grows falls to zero there. No solution goes further: shorten "
        "t_span, or look for a sign or a missing decay in f."
    )


def _rough(problem: Problem, f: VectorField, sample: int | None, t: Any, h: float, y: Tensor) -> str | None:
    """The hint where f is not Lipschitz along the path at (t, y)."""
    time = stage_times(t, t * 0.0, (0.0,), y)[0]
    rows = f.rows(f(time, y))
    sizes = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    direction = torch.where(sizes > 0, rows / sizes, 0.0).reshape(y.shape)
    alone = f.rows(y).shape[1] == 1
    times = torch.as_tensor(t, dtype=torch.float64).expand(len(rows))
    size = (
        torch.linalg.vector_norm(torch.stack((f.rows(y), f.rows(problem.y0.detach()))), dim=2)
        .amax(0)
        .clamp(min=1e-300)
    )
    _, found = roughest(f, time, y, direction, 0 if alone else None, times, size)
    if found is None or (sample is not None and found.sample != sample):
        return None
    return (
        f"f is not Lipschitz here, so that more than one solution, or none, may go on: {found}. Locate the place "
        "with events= and end or restart the integration there, or make f smooth."
    )


def _stiff(problem: Problem, f: VectorField, sample: int | None, t: Any, h: float, y: Tensor) -> str | None:
    """The hint for an explicit method on a stiff problem, where the eigenvalues at (t, y) say that it is one."""
    interval = stability_interval(problem.method)
    if interval is None or h == 0.0:
        return None
    radius, decay = spectrum(f, sample, t, y)
    product = abs(h) * radius
    if not (product >= NEAR * interval and decay <= -0.5 * radius):
        return None
    named = ", ".join(repr(name) for name in STIFF if name in METHODS)
    return (
        f"f is stiff here: the step size times the largest eigenvalue of df/dy, {radius:.3g}, is {product:.2g}, and "
        f"{problem.method.name!r} is stable only up to about {interval:.2g}: stability, not accuracy, sets its steps. "
        f"Use a method for stiff problems{': ' + named if named else ''}."
    )
