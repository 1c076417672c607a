"""auto: an explicit method while it pays, a stiff one while that pays, sample by sample.

The test is that of OrdinaryDiffEq.jl's AutoSwitch: where |h| times the spectral radius of df/dy has been near the
explicit method's limit of stability for ten steps running, the step size is the stability's and not the accuracy's;
where it has been well inside for three steps of the stiff method, that one's linear algebra is not needed. The radius
comes from the explicit method's last two stages, both at t1 (Hairer & Wanner, Solving ODEs II, 2nd ed., eq. IV.2.19),
and from the stiff method's own Jacobian.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance
from ..ops import Size, combine, merge
from .implicit import flags
from .method import Carry, Field, Method, Stages, Step

# Extent of tsit5's region of stability along the negative real axis.
STABLE = 3.5068
NEAR = 0.9
PATIENCE_EXPLICIT = 10
PATIENCE_STIFF = 3


class Work(NamedTuple):
    """What is known of stiffness; masks and counts are (1,), or (B,) per sample.

    Attributes:
        linear: the stiff method's work.
        stiff: who is with the stiff method.
        at: time of the last trial.
        signal: who, by that trial, should change.
        count: accepted steps running that said so.
        switches: changes so far.
        stiff_steps: accepted steps of the stiff method so far.
    """

    tolerance: Tolerance
    linear: Any
    stiff: Any = None
    at: Any = None
    signal: Any = None
    count: Any = None
    switches: Any = None
    stiff_steps: Any = None


def auto(explicit: Method, stiff: Method) -> Method:
    """The method that switches between two, whose carry is the slope at the step's start and whose orders agree."""
    assert explicit.tableau is not None
    before_last = explicit.tableau.stage_terms[-2]
    counts = len(explicit.tableau.kept), stiff.stages

    def begin(tolerance: Tolerance) -> Work:
        return Work(tolerance, stiff.begin(tolerance))

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        w = _decided(work, t, h, y)
        calm, rough = torch.stack(((~w.stiff).any(), w.stiff.any())).tolist()
        trials = []
        if calm:
            trials.append(explicit.step(f, t, _only(h, ~w.stiff), y, carry, w.tolerance))
            trials[0] = trials[0]._replace(calls=explicit.evaluations, work=w.linear)
        if rough:
            trials.append(stiff.step(f, t, _only(h, w.stiff), y, carry, w.linear))
        empty = torch.zeros_like(y)
        explicit_stages = trials[0].stages if calm else (empty,) * counts[0]
        stiff_stages = trials[-1].stages if rough else (empty,) * counts[1]
        found = trials[0] if len(trials) == 1 else _merged(w.stiff, trials[1], trials[0])
        signal = torch.zeros_like(w.stiff)
        if calm:
            signal = signal | (~w.stiff & (_seen(f, h, y, trials[0], w.tolerance) > NEAR * STABLE))
        if rough:
            radius = trials[-1].work.linear.radius().double()
            radius = radius if isinstance(h, Tensor) else radius.amax().reshape(1)
            signal = signal | (w.stiff & (abs(h) * radius <= NEAR * STABLE))
        mode = w.stiff if isinstance(h, Tensor) else w.stiff.reshape(())
        work = w._replace(linear=trials[-1].work if rough else w.linear, at=t, signal=signal)
        return found._replace(stages=(mode, *explicit_stages, *stiff_stages), work=work)

    def _seen(f: Field, h: Size, y: Tensor, tried: Step, tolerance: Tolerance) -> Tensor:
        """|h| times the spectral radius, from the last two stages, measured in units of the tolerance.

        In others the small components of a state, which are often the stiff ones, would not be seen.
        """
        k, weights = tried.stages, tolerance.weights(y)
        earlier = f.rows((tried.y1 - combine(y, h, before_last, k)) / weights)
        change = f.rows((k[-1] - k[-2]) / weights)
        ratio = torch.linalg.vector_norm(change, dim=1) / torch.linalg.vector_norm(earlier, dim=1)
        ratio = ratio.double().nan_to_num(nan=0.0, posinf=0.0) * abs(h)
        return ratio if isinstance(h, Tensor) else ratio.amax().reshape(1)

    def retake(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        mode, (calm, rough) = stages[0], _parted(stages)
        if mode.dim() == 0:
            one, k = (stiff, rough) if bool(mode) else (explicit, calm)
            found = one.again(f, t, h, y, carry, k)
            return found._replace(stages=_filled(mode, stages, found.stages))
        taken = stiff.again(f, t, _only(h, mode), y, carry, rough)
        other = explicit.again(f, t, _only(h, ~mode), y, carry, calm)
        merged = _merged(mode, taken, other)
        return merged._replace(stages=(mode, *other.stages, *taken.stages))

    def _parted(stages: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return tuple(stages[1 : 1 + counts[0]]), tuple(stages[1 + counts[0] :])

    def _filled(mode: Tensor, stages: Stages, found: Stages) -> Stages:
        calm, rough = _parted(stages)
        return (mode, *calm, *found) if bool(mode) else (mode, *found, *rough)

    def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
        mode, (calm, rough) = stages[0], _parted(stages)
        if mode.dim() == 0:
            return stiff.dense(theta, h, y, rough) if bool(mode) else explicit.dense(theta, h, y, calm)
        return merge(mode, stiff.dense(theta, h, y, rough), explicit.dense(theta, h, y, calm))

    return Method(
        name="auto",
        order=min(explicit.order, stiff.order),
        stages=explicit.stages,
        kind="automatic",
        adaptive=True,
        error_order=min(explicit.error_order, stiff.error_order),
        dense_order=min(explicit.dense_order, stiff.dense_order),
        evaluations=explicit.evaluations,
        init=explicit.init,
        step=step,
        dense=dense,
        source=f"{explicit.name} and {stiff.name}, switched as in OrdinaryDiffEq.jl's AutoSwitch",
        begin=begin,
        retake=retake,
        report=report,
        real=True,
        gradients=("direct", "discrete"),
    )


def report(work: Work) -> dict[str, Any]:
    """What became of the switching: changes of method, and steps taken with the stiff one."""
    if work.switches is None:
        return {"switches": 0, "stiff_steps": 0}
    # The last step was one more, and nobody came back to count it.
    return {"switches": work.switches, "stiff_steps": work.stiff_steps + work.stiff}


def _decided(work: Work, t: Size, h: Size, y: Tensor) -> Work:
    """The work with every sample's method for this trial, from what the last accepted steps have said."""
    if work.stiff is None:
        none = flags(h, y, False)
        count = torch.zeros_like(none, dtype=torch.long)
        return work._replace(stiff=none, at=t, signal=none, count=count, switches=count, stiff_steps=count)
    moved = torch.as_tensor((work.at != t) & (h != 0.0), device=y.device)
    count = torch.where(moved, torch.where(work.signal, work.count + 1, 0), work.count)
    change = count >= torch.where(work.stiff, PATIENCE_STIFF, PATIENCE_EXPLICIT)
    return work._replace(
        stiff=work.stiff ^ change,
        count=torch.where(change, 0, count),
        switches=work.switches + change,
        stiff_steps=work.stiff_steps + (moved & work.stiff),
    )


def _only(h: Size, mask: Tensor) -> Size:
    """The step of those in the mask; the others stand still. One step for all is taken by one method."""
    return torch.where(mask, h, 0.0) if isinstance(h, Tensor) else h


def _merged(mask: Tensor, new: Step, old: Step) -> Step:
    """One step for those in the mask (B,), another for the rest; both give an error or neither does."""
    error = None if new.error is None or old.error is None else merge(mask, new.error, old.error)

    def choose(a: Any, b: Any) -> Any:
        return torch.where(
            mask, torch.as_tensor(a, device=mask.device), torch.as_tensor(b, device=mask.device)
        )

    return Step(
        merge(mask, new.y1, old.y1),
        error,
        tuple(merge(mask, a, b) for a, b in zip(new.carry, old.carry, strict=True)),
        (),
        None,
        choose(new.calls or 0, old.calls or 0),
        choose(new.jacobians, old.jacobians),
        choose(new.trouble, old.trouble),
    )
