"""Runge-Kutta-Chebyshev: explicit steps with as many stages as the spectral radius of df/dy asks for.

Sommeijer, Shampine & Verwer, RKC: an explicit solver for parabolic PDEs, J. Comp. Appl. Math. 88 (1998) 315-326. For
problems whose stiff eigenvalues lie near the negative real axis: s stages hold h rho to 0.65 s^2, where s stages spent
on steps of an ordinary explicit method hold it to less than s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size, combine, spread, stage_times
from ..solution import Status
from ..tableaus import chebyshev, stages_for
from .hermite import cubic
from .method import Carry, Field, Method, Stages, Step
from .spectral_radius import Radius, spectral_radius

KEPT = 25  # accepted steps for which a radius serves
MOST = 20_000  # stages of a step whose size is given


@dataclass(frozen=True, eq=False)
class Work:
    """What a trial step hands to the next.

    Attributes:
        radius: of every row; None before the first step.
        t: where the last trial began.
        age: how many accepted steps before that the radius was found, int or (B,).
    """

    tolerance: Tolerance
    radius: Radius | None = None
    t: Size = 0.0
    age: Any = 0


def rkc2() -> Method:
    """RKC, of second order; the radius is found anew after a rejection, and after 25 steps."""

    def init(f: Field, t: Size, y: Tensor) -> Carry:
        return (f(stage_times(t, t * 0.0, (0.0,), y)[0], y),)

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        work, looks = _with_radius(f, t, h, y, carry[0], work)
        counts, troubles = _stages_of(h, y, work)
        taken = _taken(f, t, h, y, carry[0], counts)
        if isinstance(h, float):
            return taken._replace(work=work, calls=counts[0] + int(looks.max()), trouble=min(troubles))
        trouble = torch.tensor(troubles, device=y.device)
        return taken._replace(work=work, calls=taken.stages[0] + looks, trouble=trouble)

    def retake(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        return _taken(f, t, h, y, carry[0], stages[0].reshape(-1).tolist())

    def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
        return cubic(theta, h, y, stages[1:])

    return Method(
        name="rkc2",
        order=2,
        stages=2,
        kind="stabilised explicit",
        adaptive=True,
        error_order=2,
        dense_order=2,
        evaluations=2,
        init=init,
        step=step,
        dense=dense,
        source="Sommeijer, Shampine & Verwer, J. Comp. Appl. Math. 88 (1998) 315-326; 2 stages or more",
        begin=Work,
        retake=retake,
        gradients=("direct", "discrete"),
    )


def _with_radius(f: Field, t: Size, h: Size, y: Tensor, f0: Tensor, work: Work) -> tuple[Work, Tensor]:
    """The work with a radius fit for a step from t, and the evaluations that it took by row."""
    rows = len(f.rows(y))
    age = work.age + (work.t != t)
    stale = (age >= KEPT) | ((work.t == t) & (age > 0))
    if work.radius is None:
        age, stale = 0 * age, True
    wanted = torch.as_tensor(stale, device=y.device).expand(rows)
    if isinstance(h, Tensor):
        wanted = wanted & (h != 0)
    if not bool(wanted.any()):
        return replace(work, t=t, age=age), torch.zeros_like(wanted, dtype=torch.long)
    radius, looks = spectral_radius(f, t, y, f0, wanted, work.radius)
    age = torch.where(wanted, 0, age) if isinstance(age, Tensor) else 0
    return replace(work, radius=radius, t=t, age=age), looks


def _stages_of(h: Size, y: Tensor, work: Work) -> tuple[list[int], list[int]]:
    """How many stages each row's step takes, one for all where they share h; and the troubles, a ``Status`` each."""
    assert work.radius is not None
    most = _most(work.tolerance, y)
    rho = work.radius.rho.double()
    reaches = (rho * h.abs() if isinstance(h, Tensor) else rho.amax(0, keepdim=True) * abs(h)).tolist()
    counts = [stages_for(reach) if math.isfinite(reach) else most + 1 for reach in reaches]
    troubles = [int(Status.TOO_STIFF) if count > most else 0 for count in counts]
    return [2 if count > most else count for count in counts], troubles


def _most(tolerance: Tolerance, y: Tensor) -> int:
    """Stages whose rounding leaves the error estimate in peace: h f(y1) carries some two or three s^2 eps of it."""
    if not tolerance.given:
        return MOST
    rtol = float(tolerance.rtol.min()) if isinstance(tolerance.rtol, Tensor) else tolerance.rtol
    return max(4, int((rtol / (5 * torch.finfo(y.dtype).eps)) ** 0.5))


def _taken(f: Field, t: Size, h: Size, y: Tensor, f0: Tensor, counts: list[int]) -> Step:
    """A step of the stages given; error: eq. 3.1."""
    rise, end = (_shared if isinstance(h, float) else _own)(f, t, h, y, f0, counts)
    y1 = y + rise
    f1 = f(end, y1)
    size = spread(h, y) if isinstance(h, Tensor) else h
    error = 0.4 * size * (f0 + f1) - 0.8 * rise
    number = torch.tensor(counts if isinstance(h, Tensor) else counts[0], device=y.device)
    return Step(y1, error, (f1,), (number, y1, f0, f1))


def _shared(f: Field, t: Size, h: Size, y: Tensor, f0: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
    """(y1 - y, t + h) with one number of stages for the whole state."""
    assert isinstance(h, float)
    scheme = chebyshev(counts[0])
    times = stage_times(t, h, scheme.nodes, y)
    before, rise = torch.zeros_like(y), scheme.first * h * f0
    for (own, earlier, slope, start), time in zip(scheme.rows, times, strict=False):
        weights = ((0, own), (1, earlier), (2, slope * h), (3, start * h))
        before, rise = rise, combine(None, 1.0, weights, (rise, before, f(time, y + rise), f0))
    return rise, times[-1]


def _own(f: Field, t: Size, h: Size, y: Tensor, f0: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
    """The same with a number for each sample: one that has made its own stands still until all have."""
    assert isinstance(t, Tensor) and isinstance(h, Tensor)
    most, distinct = max(counts), sorted(set(counts))
    places = {count: place for place, count in enumerate(distinct)}
    table = torch.tensor([_padded(count, most) for count in distinct], dtype=torch.float64, device=h.device)
    table = table[[places[count] for count in counts]].permute(2, 1, 0)  # (5, most, B)
    times = (t + table[4] * h).to(y.real.dtype).reshape(most, -1, *(1,) * (y.dim() - 1))
    steps = torch.cat((table[:2], table[2:4] * h)).to(y.dtype).reshape(4, *times.shape)
    own, earlier, slope, start = (part.unbind() for part in steps)
    before, rise = torch.zeros_like(y), slope[0] * f0
    for j in range(1, most):
        slopes = slope[j] * f(times[j - 1], y + rise) + start[j] * f0
        before, rise = rise, own[j] * rise + earlier[j] * before + slopes
    return rise, times[-1]


def _padded(count: int, most: int) -> list[tuple[float, ...]]:
    """(own, before, slope, start, node) of ``most`` stages, those after the last standing still."""
    scheme = chebyshev(count)
    rows = ((0.0, 0.0, scheme.first, 0.0), *scheme.rows)
    still = (1.0, 0.0, 0.0, 0.0, 1.0)
    return [
        *((*numbers, node) for numbers, node in zip(rows, scheme.nodes, strict=True)),
        *[still] * (most - count),
    ]
