"""Adams-Bashforth-Moulton in PECE form with variable step and order: STEP of Shampine & Gordon, Computer Solution of
Ordinary Differential Equations (1975), with coefficients for the grid as it is, whatever it is.

The predictor of order k integrates the polynomial through the last k slopes; the corrector, through one point more, makes
y1 of order k + 1. The history is kept as modified divided differences phi_1 = f(t, y), phi_2, ..., on which a step is a
matrix (``adams_weights``) and one vector: what the new slope adds to what was predicted of it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..control import Tolerance, clip
from ..ops import Size, stage_times
from .adams_control import Control, Errors, begin, judge, pick, take
from .adams_weights import Weights, betas, integrals, places, step_weights
from .method import Carry, Field, Method, Stages, Step, Verdict


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


# A first step of given size is taken in pieces, each from the end of the last to this part of the step, since order 1
# over the whole of it would cap the order of all that follows. There are at most so many.
PIECES = 12


def predict(f: Field, time: Tensor, h: Size, y: Tensor, carry: Carry, w: Weights) -> Prediction:
    """P, E and C: with local extrapolation, y1 = p + h g_{k+1} (f(t1, p) - slope)."""
    first, rest = carry
    rows = len(rest)
    size, gain = h, w.corrector
    if isinstance(h, Tensor):
        size = h.to(y.dtype)[:, None]
        gain = gain.to(y.dtype)
    ahead = w.matrix @ rest[:, : w.matrix.shape[2]]
    phi_1 = first.reshape(rows, -1)
    predicted = y.reshape(rows, -1) + size * (phi_1 + ahead[:, 0])
    slope = phi_1 + ahead[:, 1]
    miss = f(time, predicted.reshape(y.shape)).reshape(rows, -1) - slope
    y1 = predicted + size * gain * miss
    return Prediction(y1.reshape(y.shape), slope, miss, ahead[:, 2:])


def estimate(c: Control, h: Size, y: Tensor, p: Prediction, w: Weights) -> Errors:
    """What can be said before the second evaluation: all but the error of the order above."""
    k, size = c.order, abs(h)
    shown = (p.miss, row(p.rows, clip(k - 2, 0, k)) + p.miss, row(p.rows, clip(k - 3, 0, k)) + p.miss)
    here, below, below_2 = c.tolerance.ratios([x.reshape(y.shape) for x in shown], y, p.y1)
    own, *scales = (size * scale for scale in w.scales[:4])
    return Errors(own * here, scales[0] * here, scales[1] * below, scales[2] * below_2, math.inf)


def with_above(c: Control, h: Size, y: Tensor, y1: Tensor, carry: Carry, w: Weights) -> Control:
    """The control with the error of the order above, from the history at the end of the step."""
    assert c.errors is not None
    (above,) = c.tolerance.ratios([row(carry[1], c.order).reshape(y.shape)], y, y1)
    return c._replace(errors=c.errors._replace(above=abs(h) * w.scales[4] * above))


def row(rows: Tensor, index: Any) -> Tensor:
    """One row of each system's, (R, n); index an int, or (R,)."""
    return rows[:, index] if isinstance(index, int) else rows[torch.arange(len(rows), device=rows.device), index]


def adams(name: str = "adams", highest: int = 12) -> Method:
    """The method of predictors up to order ``highest``."""
    count = min(PIECES, 2 * highest)
    pieces = [(2.0 ** (i + 1 - count), 2.0 ** (max(i, 1) - count)) for i in range(count)]

    def init(f: Field, t: Size, y: Tensor) -> Carry:
        slope = f(stage_times(t, t * 0.0, (0.0,), y)[0], y)
        if isinstance(t, Tensor):
            return slope, slope.new_zeros(len(y), highest + 1, slope[0].numel())
        return slope, slope.new_zeros(1, 1, y.numel())

    def evaluated(f: Field, time: Tensor, h: Size, p: Prediction, w: Weights) -> Carry:
        """The second E, and the history at the end of the step; one shape for samples with orders of their own."""
        slope = f(time, p.y1)
        news = slope.reshape(p.slope.shape) - p.slope
        rest = torch.addcmul(p.rows, w.reach, news[:, None])
        missing = highest + 1 - rest.shape[1] if isinstance(h, Tensor) else 0
        return slope, pad(rest, (0, 0, 0, missing)) if missing else rest

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Any) -> Step:
        c = work.before(h, highest)
        if not c.tolerance.given:
            return given(f, t, h, y, carry, c, pieces if work.first else [(1.0, 1.0)])
        time, ratios = stage_times(t, h, (1.0,), y)[0], c.ratios(h)
        w = step_weights(ratios, c.order, y)
        p = predict(f, time, h, y, carry, w)
        c = c._replace(errors=estimate(c, h, y, p, w))
        stages = (*carry, p.miss, *recorded(ratios, [c.order], count))
        fine = c.errors.step <= 1
        if fine is False:  # a single system spares the second evaluation
            return Step(p.y1, None, carry, stages, c, 1)
        after = evaluated(f, time, h, p, w)
        return Step(p.y1, None, after, stages, with_above(c, h, y, p.y1, after, w), 1 + pick(fine, 1, 0))

    def given(
        f: Field, t: Size, h: Size, y: Tensor, carry: Carry, c: Control, parts: list[tuple[float, float]]
    ) -> Step:
        """A step of given size: order chosen as ever, and every trial taken."""
        orders = []
        for end, part in parts:
            time, size, before = stage_times(t, h, (end,), y)[0], part * h, carry
            ratios = c.ratios(size)
            w = step_weights(ratios, c.order, y)
            p = predict(f, time, size, y, before, w)
            carry = evaluated(f, time, size, p, w)
            c = c._replace(errors=estimate(c, size, y, p, w))
            orders.append(c.order)
            c, _ = take(with_above(c, size, y, p.y1, carry, w), size, highest)
            y = p.y1
        stages = (*before, p.miss, *recorded(ratios, orders, count))
        return Step(y, None, carry, stages, c, 2 * len(parts))

    def decide(step: Step, tolerance: Tolerance, y: Tensor, h: Size) -> Verdict:
        accept, factor, after = judge(step.work, h, highest)
        return Verdict(accept, factor, step._replace(work=after))

    def retake(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, stages: Stages) -> Step:
        ratios, orders = unrecorded(*stages[-2:], h)
        c = Control(None).before(h, highest)
        for (end, part), order in zip(pieces if len(orders) > 1 else [(1.0, 1.0)], orders, strict=True):
            time, size, before = stage_times(t, h, (end,), y)[0], part * h, carry
            w = step_weights(ratios if len(orders) == 1 else c.ratios(size), order, y)
            p = predict(f, time, size, y, before, w)
            carry = evaluated(f, time, size, p, w)
            c, y = c.moved(size), p.y1
        return Step(y, None, carry, (*before, p.miss, *stages[-2:]))

    def extend(f: Field, t: Size, h: Size, y: Tensor, stages: Stages) -> Stages:
        slope, rest, miss, ratios, orders = stages
        rest = pad(rest, (0, 0, 0, highest + 1 - rest.shape[1]))
        return slope, rest, miss, ratios.to(y.device), orders.to(y.device)

    return Method(
        name=name,
        order=highest + 1,
        stages=2,
        kind="Adams",
        adaptive=True,
        error_order=1,
        dense_order=highest + 1,
        evaluations=2,
        init=init,
        step=step,
        dense=dense,
        source="Shampine & Gordon, Computer Solution of Ordinary Differential Equations, 1975, STEP and INTRP",
        begin=begin,
        extend=extend,
        retake=retake,
        decide=decide,
    )


def recorded(ratios: Any, orders: list[Any], count: int) -> Stages:
    """The past in units of the (last) piece, (K,) or (B, K), and the orders of ``count`` pieces, 0 where there are
    fewer, the last one last."""
    if isinstance(ratios, Tensor):
        return ratios, pad(torch.stack(orders, 1), (count - len(orders), 0))
    return torch.tensor(ratios, dtype=torch.float64), torch.tensor([0] * (count - len(orders)) + orders)


def unrecorded(ratios: Tensor, orders: Tensor, h: Size) -> tuple[Any, list[Any]]:
    """The past and the orders as a step takes them. Samples that stand still repeat their first step's."""
    if isinstance(h, float):
        return tuple(ratios.tolist()), [k for k in orders.tolist() if k]
    starts = bool(((orders[:, 0] > 0) & (h != 0)).any())
    return ratios, list(orders.unbind(1)) if starts else [orders[:, -1]]


def dense(theta: Size, h: Size, y: Tensor, stages: Sequence[Tensor]) -> Tensor:
    """y + h (sum_i G_i(theta) phi*_i + G_{k+1}(theta) miss): continuous, and y1 at its end.

    Where a step was taken in pieces this is the last one's polynomial, whose points spread over the whole step.
    """
    first, rest, miss, ratios, orders = stages
    theta, h = (torch.as_tensor(x, dtype=torch.float64, device=y.device).reshape(-1, 1) for x in (theta, h))
    ratios, k = ratios.reshape(-1, ratios.shape[-1]), orders.reshape(-1, orders.shape[-1])[:, -1:]
    before = (orders.reshape(-1, orders.shape[-1])[:, :1] > 0).double()  # the last piece is one half
    rows, m = len(k), int(k.max())
    p = places(ratios, m + 1)
    ends = torch.cat((theta * (1 + before) - before, -before))
    to_end, to_start = integrals(ends, p[:, :m].repeat(2, 1)).chunk(2)
    G = to_end - to_start
    on_rest = (G[:, 1:] * betas(p) * (torch.arange(1, m + 1, device=y.device) < k)).to(y.dtype)
    slope = on_rest[:, None] @ rest.reshape(rows, *rest.shape[-2:])[:, :m]
    slope = slope[:, 0] + G[:, :1].to(y.dtype) * first.reshape(rows, -1)
    slope = slope + G.gather(1, k).to(y.dtype) * miss.reshape(rows, -1)
    return y + ((h / (1 + before)).to(y.dtype) * slope).reshape(y.shape)
