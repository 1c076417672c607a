"""auto: an explicit method while it pays, a stiff one while that pays, sample by sample.

The test is that of OrdinaryDiffEq.jl's AutoSwitch: where |h| times the spectral radius of df/dy has been near the
explicit method's limit of stability for ten steps running, the step size is the stability's and not the accuracy's;
where it has been well inside for three steps of the stiff method, that one's linear algebra is not needed. The radius
comes from the explicit method's last two stages, both at t1 (Hairer & Wanner, Solving ODEs II, 2nd ed., eq. IV.2.19),
and from the stiff method's own Jacobian.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
        plain, linear: the explicit method's work, and the stiff one's.
        stiff: who is with the stiff method.
        at: time of the last trial.
        signal: who, by that trial, should change.
        count: accepted steps running that said so.
        switches: changes so far.
        stiff_steps: accepted steps of the stiff method so far.
    """

    tolerance: Tolerance
    plain: Any
    linear: Any
    stiff: Any = None
    at: Any = None
    signal: Any = None
    count: Any = None
    switches: Any = None
    stiff_steps: Any = None


@dataclass(frozen=True)
class Switch:
    """Two methods whose carry is the slope at the step's start, and whose orders agree."""

    explicit: Method
    stiff: Method

    def begin(self, tolerance: Tolerance) -> Work:
        """Nobody's method is chosen yet."""
        return Work(tolerance, self.explicit.begin(tolerance), self.stiff.begin(tolerance))

    def step(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Work) -> Step:
        """A step of each sample's method; which of them go on with it is decided at the next."""
        w = _decided(work, t, h, y)
        calm, rough = torch.stack(((~w.stiff).any(), w.stiff.any())).tolist()
        signal, linear, trials = torch.zeros_like(w.stiff), w.linear, []
        stages = [(torch.zeros_like(y),) * count for count in self._counts]
        if calm:
            tried = self.explicit.step(f, t, _only(h, ~w.stiff), y, carry, w.plain)
            trials.append(tried._replace(calls=self.explicit.evaluations))
            signal, stages[0] = (
                ~w.stiff & (self._seen(f, h, y, tried, w.tolerance) > NEAR * STABLE),
                tried.stages,
            )
        if rough:
            tried = self.stiff.step(f, t, _only(h, w.stiff), y, carry, linear)
            trials.append(tried)
            linear, stages[1] = tried.work, tried.stages
            signal = signal | (w.stiff & (_size(h, linear.linear.radius()) <= NEAR * STABLE))
        found = trials[0] if len(trials) == 1 else _merged(w.stiff, trials[1], trials[0])
        mode = w.stiff if isinstance(h, Tensor) else w.stiff.reshape(())
        work = w._replace(linear=linear, at=t, signal=signal)
        return found._replace(stages=(mode, *stages[0], *stages[1]), work=work)

    def retake(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        """The step of the method that took it."""
        mode, calm, rough = self._parted(stages)
        if mode.dim() == 0 and bool(mode):
            found = self.stiff.again(f, t, h, y, carry, rough)
            return found._replace(stages=(mode, *calm, *found.stages))
        if mode.dim() == 0:
            found = self.explicit.again(f, t, h, y, carry, calm)
            return found._replace(stages=(mode, *found.stages, *rough))
        taken = self.stiff.again(f, t, _only(h, mode), y, carry, rough)
        other = self.explicit.again(f, t, _only(h, ~mode), y, carry, calm)
        return _merged(mode, taken, other)._replace(stages=(mode, *other.stages, *taken.stages))

    def dense(self, theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
        """The dense output of the method that took the step."""
        mode, calm, rough = self._parted(stages)
        if mode.dim() == 0:
            return (
                self.stiff.dense(theta, h, y, rough) if bool(mode) else self.explicit.dense(theta, h, y, calm)
            )
        return merge(mode, self.stiff.dense(theta, h, y, rough), self.explicit.dense(theta, h, y, calm))

    @property
    def _counts(self) -> tuple[int, int]:
        assert self.explicit.tableau is not None
        return len(self.explicit.tableau.kept), self.stiff.stages

    def _parted(self, stages: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        count = 1 + self._counts[0]
        return stages[0], tuple(stages[1:count]), tuple(stages[count:])

    def _seen(self, f: Field, h: Size, y: Tensor, tried: Step, tolerance: Tolerance) -> Tensor:
        """|h| times the spectral radius, from the last two stages, measured in units of the tolerance.

        In others the small components of a state, which are often the stiff ones, would not be seen.
        """
        assert self.explicit.tableau is not None
        k, weights = tried.stages, tolerance.weights(y)
        earlier = combine(y, h, self.explicit.tableau.stage_terms[-2], k)
        apart, change = f.rows((tried.y1 - earlier) / weights), f.rows((k[-1] - k[-2]) / weights)
        ratio = torch.linalg.vector_norm(change, dim=1) / torch.linalg.vector_norm(apart, dim=1)
        return _size(h, ratio.nan_to_num(nan=0.0, posinf=0.0))


def auto(explicit: Method, stiff: Method) -> Method:
    """The method that switches between two."""
    switch = Switch(explicit, stiff)
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
        step=switch.step,
        dense=switch.dense,
        source=f"{explicit.name} and {stiff.name}, switched as in OrdinaryDiffEq.jl's AutoSwitch",
        begin=switch.begin,
        retake=switch.retake,
        report=report,
        real=True,
        gradients=("direct", "discrete", "interpolated", "steady"),
    )


def _size(h: Size, radius: Tensor) -> Tensor:
    """|h| times the radius of every row; the largest where one step serves all."""
    if isinstance(h, Tensor):
        return h.abs() * radius.double()
    return (abs(h) * radius.double()).amax().reshape(1)


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
