"""Why an integration ended early, with the evidence at the place where it did."""

from typing import Any

import torch
from torch import Tensor

from .errors import SolverError
from .field import UNSUPPORTED
from .methods import Method
from .ops import stage_times, transforming
from .problem import Problem
from .registry import METHODS
from .solution import HINTS, SENTENCES, Status
from .tableaus import Tableau

# For stiff problems, the best-known first; those that are registered are named.
STIFF = ("auto", "bdf", "radau5", "rodas5p", "kvaerno5", "trbdf2")
# Where no tableau gives it: the Adams predictor-corrector pairs of moderate order are stable up to about this.
ADAMS_INTERVAL = 1.0
# Of the stability interval: an explicit method that stability holds back works close to its end.
NEAR = 0.6
POWERS = 20
LAST = 4  # of the power iterations, which are averaged


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
        hint = _stiff(problem, sample, t, h, y) or hint
    return SolverError(sentence(problem, status), here, sample, abs(h), hint)


def _shown(problem: Problem, sample: int | None, y: Tensor) -> str:
    """The first few numbers of a sample's state."""
    numbers = problem.field.rows(y.detach())[sample or 0].tolist()
    return "[" + ", ".join(f"{x:.4g}" for x in numbers[:4]) + (", ...]" if len(numbers) > 4 else "]")


def _stiff(problem: Problem, sample: int | None, t: Any, h: float, y: Tensor) -> str | None:
    """The hint for an explicit method on a stiff problem, where the eigenvalues at (t, y) say that it is one."""
    interval = stability_interval(problem.method)
    if interval is None or h == 0.0 or transforming() or not bool(torch.isfinite(y).all()):
        return None
    try:
        radius, decay = spectrum(problem, sample, t, y)
    except UNSUPPORTED:
        return None
    product = abs(h) * radius
    if not (product >= NEAR * interval and decay <= -0.5 * radius):
        return None
    named = ", ".join(repr(name) for name in STIFF if name in METHODS)
    return (
        f"f is stiff here: the step size times the largest eigenvalue of df/dy, {radius:.3g}, is {product:.2g}, and "
        f"{problem.method.name!r} is stable only up to about {interval:.2g}: stability, not accuracy, sets its steps. "
        f"Use a method for stiff problems{': ' + named if named else ''}."
    )


def spectrum(problem: Problem, sample: int | None, t: Any, y: Tensor) -> tuple[float, float]:
    """(spectral radius of df/dy, Rayleigh quotient of its vector) of one sample, by power iteration."""
    f: Any = problem.field
    with torch.no_grad():
        y = y.detach()
        time = stage_times(t, t * 0.0, (0.0,), y)[0]
        v = torch.cos(torch.arange(1, y.numel() + 1, dtype=torch.float64)).to(y).reshape(y.shape)
        found = []
        for _ in range(POWERS):
            rows = f.rows(v)
            rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=1e-300)
            v = f.push(time, y, rows.reshape(y.shape))
            moved = f.rows(v)
            quotient = (rows.conj() * moved).real.sum(1)
            found.append(torch.stack((torch.linalg.vector_norm(moved, dim=1), quotient))[:, sample or 0])
        radius, decay = torch.stack(found[-LAST:]).mean(0).tolist()
    return radius, decay


def stability_interval(method: Method) -> float | None:
    """How far along the negative real axis an explicit method is stable; None for other methods."""
    if method.tableau is not None:
        return real_interval(method.tableau)
    return ADAMS_INTERVAL if method.kind == "Adams" else None


def real_interval(tableau: Tableau) -> float:
    """The largest x with |R(-z)| <= 1 for all z up to x (R: Hairer & Wanner II, eq. IV.2.9)."""
    moments, stages = [], [1.0] * tableau.stages
    for _ in range(tableau.stages):
        moments.append(sum(weight * stages[i] for i, weight in tableau.weight_terms))
        stages = [sum(number * stages[i] for i, number in row) for row in tableau.stage_terms]
    x, step = 0.0, 0.01
    while x < 2.0 * tableau.stages**2:  # no explicit method of so many stages is stable further
        x += step
        value = 1.0 + sum(moment * (-x) ** (j + 1) for j, moment in enumerate(moments))
        if abs(value) > 1.0 + 1e-9:
            return x - step
    return x
