"""Adams-Bashforth-Moulton in PECE form with variable step and order: STEP of Shampine & Gordon, Computer Solution of
Ordinary Differential Equations (1975), with coefficients for the grid as it is, whatever it is.

The predictor of order k integrates the polynomial through the last k slopes; the corrector, through one point more,
makes y1 of order k + 1. The history is kept as modified divided differences phi_1 = f(t, y), phi_2, ..., which a step
carries to its end by sums, and then adds to them what the new slope differs by from what they say of it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..control import Tolerance, clip
from ..ops import Size, spread, stage_times
from .adams_control import Control, Errors, in_units, judge, moved, nothing, take
from .adams_weights import Weights, betas, integrals, places, step_weights
from .method import Carry, Field, Method, Stages, Step, Verdict

# A first step of given size is taken in at most so many pieces, each but the first as long as all before it: one step
# of order 1 would cap the order of all that follows.
PIECES = 12
Parts = Sequence[tuple[float, float]]  # (end, size) as parts of the step
WHOLE = ((1.0, 1.0),)


class Prediction(NamedTuple):
    """A step up to its second evaluation.

    Attributes:
        y1: the corrected state.
        slope: what the history says of the slope at the end, (R, n).
        miss: what f says there beyond that, (R, n).
        rows: the predicted phi_2 ... phi_{m+2}, (R, m + 1, n).
    """

    y1: Tensor
    slope: Tensor
    miss: Tensor
    rows: Tensor


def predict(f: Field, time: Tensor, h: Size, y: Tensor, carry: Carry, w: Weights) -> Prediction:
    """P, E and C: with local extrapolation, y1 = p + h g_{k+1} (f(t1, p) - slope)."""
    first, rest = carry
    size, gain = h, w.corrector
    if isinstance(h, Tensor):
        size, gain = spread(h, rest[:, 0].real), spread(gain, rest[:, 0].real)
    phi_1, past = first.reshape(len(rest), -1), rest[:, : w.kept.shape[1]]
    predicted = y.reshape(phi_1.shape) + size * (phi_1 + (w.gains * past).sum(1))
    ahead = (w.kept * past).flip(1).cumsum(1).flip(1)
    slope = phi_1 + ahead[:, 0]
    miss = f(time, predicted.reshape(y.shape)).reshape(phi_1.shape) - slope
    y1 = predicted + size * gain * miss
    rows = pad(ahead, (0, 0, 0, 1)) + pad(w.last * past, (0, 0, 1, 0))
    return Prediction(y1.reshape(y.shape), slope, miss, rows)


def row(rows: Tensor, index: Any) -> Tensor:
    """One row of each system's, (R, n); index an int, or (R,)."""
    return (
        rows[:, index] if isinstance(index, int) else rows[torch.arange(len(rows), device=rows.device), index]
    )


def estimate(c: Control, h: Size, y: Tensor, p: Prediction, w: Weights) -> Control:
    """The control with what can be said before the second evaluation: all but the error of the order above."""
    k, size = c.order, abs(h)
    shown = (p.miss, row(p.rows, clip(k - 2, 0, k)) + p.miss, row(p.rows, clip(k - 3, 0, k)) + p.miss)
    here, below, below_2 = c.tolerance.ratios([x.reshape(y.shape) for x in shown], y, p.y1)
    own, *scales = (size * scale for scale in w.scales[:4])
    return c._replace(
        errors=Errors(own * here, scales[0] * here, scales[1] * below, scales[2] * below_2, math.inf)
    )


def with_above(c: Control, h: Size, y: Tensor, y1: Tensor, carry: Carry, w: Weights) -> Control:
    """The control with the error of the order above, from the history at the end of the step."""
    assert c.errors is not None
    (above,) = c.tolerance.ratios([row(carry[1], c.order).reshape(y.shape)], y, y1)
    return c._replace(errors=c.errors._replace(above=abs(h) * w.scales[4] * above))


@dataclass(frozen=True)
class Formula:
    """The functions of a method whose predictors have orders up to ``highest``."""

    highest: int

    @property
    def pieces(self) -> Parts:
        """Those that a first given step is taken in."""
        count = min(PIECES, 2 * self.highest)
        return [(2.0 ** (i + 1 - count), 2.0 ** (max(i, 1) - count)) for i in range(count)]

    def init(self, f: Field, t: Size, y: Tensor) -> Carry:
        """(phi_1, the rest (R, rows, n)): R = 1, or B with rows enough for every order."""
        slope = f(stage_times(t, t * 0.0, (0.0,), y)[0], y)
        if isinstance(t, Tensor):
            return slope, slope.new_zeros(len(y), self.highest + 1, slope[0].numel())
        return slope, slope.new_zeros(1, 1, y.numel())

    def evaluate(self, f: Field, time: Tensor, h: Size, p: Prediction, w: Weights) -> Carry:
        """The second E, and the history at the end of the step."""
        slope = f(time, p.y1)
        news = slope.reshape(p.slope.shape) - p.slope
        rest = torch.addcmul(p.rows, w.reach, news[:, None])
        missing = self.highest + 1 - rest.shape[1] if isinstance(h, Tensor) else 0
        return slope, pad(rest, (0, 0, 0, missing)) if missing else rest

    def step(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Any) -> Step:
        """One trial; where steps are given, one that is taken."""
        c = work.ready(h, self.highest)
        if not c.tolerance.given:
            return self.given(f, t, h, y, carry, c, self.pieces if work.first else WHOLE)
        time, ratios = stage_times(t, h, (1.0,), y)[0], in_units(c.past, h)
        w = step_weights(ratios, c.order, y)
        p = predict(f, time, h, y, carry, w)
        c = estimate(c, h, y, p, w)
        stages = (*carry, p.miss, *self.recorded(ratios, [c.order]))
        assert c.errors is not None
        fine = c.errors.step <= 1
        if fine is False:  # a single system spares the second evaluation
            return Step(p.y1, None, carry, stages, c, 1)
        after = self.evaluate(f, time, h, p, w)
        return Step(p.y1, None, after, stages, with_above(c, h, y, p.y1, after, w), 1 + 1 * fine)

    def given(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, c: Control, parts: Parts) -> Step:
        """A step of given size: its order is chosen as ever, and every trial taken."""
        orders = []
        for end, part in parts:
            time, size, before = stage_times(t, h, (end,), y)[0], part * h, carry
            ratios = in_units(c.past, size)
            w = step_weights(ratios, c.order, y)
            p = predict(f, time, size, y, before, w)
            carry = self.evaluate(f, time, size, p, w)
            orders.append(c.order)
            c, _ = take(with_above(estimate(c, size, y, p, w), size, y, p.y1, carry, w), size, self.highest)
            y = p.y1
        return Step(y, None, carry, (*before, p.miss, *self.recorded(ratios, orders)), c, 2 * len(parts))

    def decide(self, step: Step, tolerance: Tolerance, y: Tensor, h: Size) -> Verdict:
        """Acceptance, and the next order and step."""
        accept, factor, after = judge(step.work, h, self.highest)
        return Verdict(accept, factor, step._replace(work=after))

    def retake(self, f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        """A recorded step with its orders and sizes as they were."""
        ratios, orders = unrecorded(stages[-2], stages[-1], h)
        past = nothing(h, self.highest)
        for (end, part), order in zip(WHOLE if len(orders) == 1 else self.pieces, orders, strict=True):
            time, size, before = stage_times(t, h, (end,), y)[0], part * h, carry
            w = step_weights(ratios if len(orders) == 1 else in_units(past, size), order, y)
            p = predict(f, time, size, y, before, w)
            carry = self.evaluate(f, time, size, p, w)
            past, y = moved(past, size), p.y1
        return Step(y, None, carry, (*before, p.miss, *stages[-2:]))

    def extend(self, f: Field, t: Size, h: Size, y: Tensor, stages: Stages) -> Stages:
        """The stages in one shape, whatever the order, and on y's device."""
        slope, rest, miss, ratios, orders = stages
        rest = pad(rest, (0, 0, 0, self.highest + 1 - rest.shape[1]))
        return slope, rest, miss, ratios.to(y.device), orders.to(y.device)

    def recorded(self, ratios: Any, orders: list[Any]) -> Stages:
        """The past in units of the last piece, (K,) or (B, K), and the orders of the pieces, 0 before the first."""
        none = len(self.pieces) - len(orders)
        if isinstance(ratios, Tensor):
            return ratios, pad(torch.stack(orders, 1), (none, 0))
        return torch.tensor(ratios, dtype=torch.float64), torch.tensor([0] * none + orders)


def unrecorded(ratios: Tensor, orders: Tensor, h: Size) -> tuple[Any, list[Any]]:
    """The past and the orders as a step takes them. Samples that stand still repeat their first step's."""
    if not isinstance(h, Tensor):
        return tuple(ratios.tolist()), [k for k in orders.tolist() if k]
    starts = bool(((orders[:, 0] > 0) & (h != 0)).any())
    return ratios, list(orders.unbind(1)) if starts else [orders[:, -1]]


def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
    """y + h (sum_i G_i(theta) phi*_i + G_{k+1}(theta) miss): continuous, and y1 at its end.

    Where a step was taken in pieces this is the last one's polynomial, whose points spread over the whole step.
    """
    first, rest, miss, ratios, orders = stages
    theta, h = (torch.as_tensor(x, dtype=torch.float64, device=y.device).reshape(-1, 1) for x in (theta, h))
    ratios, orders = (x.reshape(-1, x.shape[-1]) for x in (ratios, orders))
    k, before = orders[:, -1:], (orders[:, :1] > 0).double()  # a last piece has as much of the step before it
    rows, m = len(k), int(k.max())
    p = places(ratios, m + 1)
    ends = torch.cat((theta * (1 + before) - before, -before))
    to_end, to_start = integrals(ends, p[:, :m].repeat(2, 1)).chunk(2)
    G = to_end - to_start
    on_rest = G[:, 1:] * betas(p) * (torch.arange(1, m + 1, device=y.device) < k)
    size = h / (1 + before)

    def total(rows_of: Tensor, weight: Tensor) -> Tensor:
        return (rows_of * (size * weight)[..., None].to(y.real.dtype)).sum(1)

    change = total(first.reshape(rows, 1, -1), G[:, :1])
    change = change + total(rest.reshape(rows, *rest.shape[-2:])[:, :m], on_rest)
    change = change + total(miss.reshape(rows, 1, -1), G.gather(1, k))
    return y + change.reshape(y.shape)


def adams(name: str = "adams", highest: int = 12) -> Method:
    """The method whose predictors have orders up to ``highest``, and y1 one more."""
    formula = Formula(highest)
    return Method(
        name=name,
        order=highest + 1,
        stages=2,
        kind="Adams",
        adaptive=True,
        error_order=1,  # of the first step
        dense_order=highest + 1,
        evaluations=2,
        init=formula.init,
        step=formula.step,
        dense=dense,
        source="Shampine & Gordon, Computer Solution of Ordinary Differential Equations, 1975, STEP",
        begin=Control,
        extend=formula.extend,
        retake=formula.retake,
        decide=formula.decide,
    )
