"""Stabilised explicit methods: as many stages as the spectral radius of df/dy asks for.

For problems whose stiff eigenvalues lie near the negative real axis: s stages hold h rho to a multiple of s^2, where s
stages spent on steps of an ordinary explicit method hold it to less than s.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size, spread, stage_times
from ..solution import Status
from ..tableaus import RKC2, ROCK4, STANDING, Chain, Stabilised
from .hermite import cubic
from .method import Carry, Field, Method, Stages, Step
from .spectral_radius import Radius, spectral_radius

KEPT = 25  # accepted steps for which a radius serves
Number = float | Tensor


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


class Weights(NamedTuple):
    """A chain's numbers with the step size in them: floats, or tensors (B, 1, ..., 1) where samples have their own."""

    rows: Sequence[Sequence[Number]]
    times: Sequence[Tensor]
    after: Sequence[Tensor]
    finish: Sequence[Number]
    h: Number


# (y1 - y, f(t + h, y1), error) from f, y, f(t, y), the end of the chain and its weights.
Finish = Callable[[Field, Tensor, Tensor, Tensor, Weights], tuple[Tensor, Tensor, Tensor]]


def rkc2() -> Method:
    """RKC, of second order."""
    return _stabilised(RKC2, _as_it_is)


def rock4() -> Method:
    """ROCK4, of fourth order."""
    return _stabilised(ROCK4, _composed)


def _stabilised(family: Stabilised, finish: Finish) -> Method:
    """The method of a family; a radius is found anew after a rejection, and after 25 steps."""

    def init(f: Field, t: Size, y: Tensor) -> Carry:
        return (f(stage_times(t, t * 0.0, (0.0,), y)[0], y),)

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        work, looks = _with_radius(f, t, h, y, carry[0], work)
        counts, troubles = _stages_of(family, h, y, work)
        taken = retake(f, t, h, y, carry, (torch.tensor(counts, device=y.device),))
        if isinstance(h, float):
            return taken._replace(work=work, calls=counts[0] + int(looks.max()), trouble=min(troubles))
        trouble = torch.tensor(troubles, device=y.device)
        return taken._replace(work=work, calls=taken.stages[0] + looks, trouble=trouble)

    def retake(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        chains = [family.chain(count) for count in stages[0].tolist()]
        weights = (_shared if isinstance(h, float) else _own)(chains, t, h, y)
        rise, f1, error = finish(f, y, carry[0], _climbed(f, y, carry[0], weights), weights)
        return Step(y + rise, error, (f1,), (stages[0], y + rise, carry[0], f1))

    def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
        return cubic(theta, h, y, stages[1:])

    return Method(
        name=family.name,
        order=family.order,
        stages=family.fewest,
        kind="stabilised explicit",
        adaptive=True,
        error_order=family.error_order,
        dense_order=min(family.order, 3),
        evaluations=family.fewest,
        init=init,
        step=step,
        dense=dense,
        source=family.source,
        begin=Work,
        retake=retake,
        gradients=("direct", "discrete", "checkpointed", "interpolated", "steady"),
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


def _stages_of(family: Stabilised, h: Size, y: Tensor, work: Work) -> tuple[list[int], list[int]]:
    """How many stages each row's step takes, one for all where they share h; and the troubles, a ``Status`` each."""
    assert work.radius is not None
    most, rho = _most(family, work.tolerance, y), work.radius.rho.double()
    reaches = (rho * h.abs() if isinstance(h, Tensor) else rho.amax(0, keepdim=True) * abs(h)).tolist()
    wanted = [family.stages_for(reach) if math.isfinite(reach) else most + 1 for reach in reaches]
    counts = [family.fewest if count > most else max(count, family.fewest) for count in wanted]
    return counts, [int(Status.TOO_STIFF) if count > most else 0 for count in wanted]


def _most(family: Stabilised, tolerance: Tolerance, y: Tensor) -> int:
    """Stages whose rounding leaves the error estimate in peace: h f(y1) carries some two or three s^2 eps of it."""
    if not tolerance.given:
        return family.most
    rtol = float(tolerance.rtol.min()) if isinstance(tolerance.rtol, Tensor) else tolerance.rtol
    allowed = int((rtol / (5 * torch.finfo(y.dtype).eps)) ** 0.5)
    return min(family.most, max(allowed, family.fewest + 2))


def _shared(chains: Sequence[Chain], t: Size, h: Size, y: Tensor) -> Weights:
    """One chain for the whole state."""
    assert isinstance(h, float)
    (chain,) = chains
    times = stage_times(t, h, chain.nodes + chain.after, y)
    rows = [(own, before, slope * h, start * h) for own, before, slope, start in chain.rows]
    count = len(chain.nodes)
    return Weights(rows, times[:count], times[count:], [number * h for number in chain.finish], h)


def _own(chains: Sequence[Chain], t: Size, h: Size, y: Tensor) -> Weights:
    """A chain for each sample: one that has climbed its own stands still until all have."""
    assert isinstance(t, Tensor) and isinstance(h, Tensor)
    most = max(len(chain.rows) for chain in chains)
    distinct = {id(chain): chain for chain in chains}
    places = {key: place for place, key in enumerate(distinct)}
    order = [places[id(chain)] for chain in chains]

    def table(numbers: Callable[[Chain], Sequence[Any]]) -> Tensor:
        found = [numbers(chain) for chain in distinct.values()]
        return torch.tensor(found, dtype=torch.float64, device=y.device)[order].movedim(0, -1)

    def columns(numbers: Tensor) -> Tensor:
        return numbers.to(y.dtype).reshape(*numbers.shape, *(1,) * (y.dim() - 1))

    rows = table(lambda chain: (*chain.rows, *[STANDING] * (most - len(chain.rows))))
    nodes = table(lambda chain: (*chain.nodes, *[chain.after[0]] * (most - len(chain.rows)), *chain.after))
    times = columns(t + nodes * h).real.unbind()
    sized = columns(torch.cat((rows[:, :2], rows[:, 2:] * h), 1))
    return Weights(
        [row.unbind() for row in sized.unbind()],
        times[: most - 1],
        times[most - 1 :],
        columns(table(lambda chain: chain.finish) * h).unbind(),
        spread(h, y),
    )


def _mixed(weights: Sequence[Number], parts: Sequence[Tensor]) -> Tensor:
    """sum_i w_i x_i."""
    total = parts[0] * weights[0]
    for weight, part in zip(weights[1:], parts[1:], strict=True):
        if isinstance(weight, Tensor):
            total = torch.addcmul(total, part, weight)
        else:
            total = torch.add(total, part, alpha=weight)
    return total


def _climbed(f: Field, y: Tensor, f0: Tensor, weights: Weights) -> Tensor:
    """D at the end of the chain."""
    before, rise = torch.zeros_like(y), f0 * weights.rows[0][2]
    for row, time in zip(weights.rows[1:], weights.times, strict=True):
        before, rise = rise, _mixed(row, (rise, before, f(time, y + rise), f0))
    return rise


def _as_it_is(
    f: Field, y: Tensor, f0: Tensor, rise: Tensor, weights: Weights
) -> tuple[Tensor, Tensor, Tensor]:
    """The chain's end is y1; error: Sommeijer, Shampine & Verwer, eq. 3.1."""
    f1 = f(weights.after[0], y + rise)
    return rise, f1, 0.4 * weights.h * (f0 + f1) - 0.8 * rise


def _composed(
    f: Field, y: Tensor, f0: Tensor, rise: Tensor, weights: Weights
) -> tuple[Tensor, Tensor, Tensor]:
    """Four stages more, and the difference from an embedded solution that uses f(t + h, y1) too (Abdulle 2002)."""
    a, b, e = weights.finish[:6], weights.finish[6:10], weights.finish[10:]
    slopes: list[Tensor] = []
    for i, time in enumerate(weights.after[:-1]):
        numbers = a[i * (i - 1) // 2 : i * (i + 1) // 2]
        slopes.append(f(time, y + (rise + _mixed(numbers, slopes) if i else rise)))
    rise = rise + _mixed(b, slopes)
    slopes.append(f(weights.after[-1], y + rise))
    return rise, slopes[-1], _mixed(e, slopes)
