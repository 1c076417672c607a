"""Symplectic splitting of pairs (q, p): one step function over any alternation of kicks and drifts.

f is called on the whole pair and gives both halves, of which a kick takes dp/dt and a drift dq/dt: each needs the
state that the other has just made, so that no call serves both.
"""

from typing import Any

import torch
from torch import Tensor

from ..ops import Size, combine, stage_times
from ..tableaus import Splitting
from .hermite import cubic, with_slopes
from .method import Carry, Field, Method, Step


def symplectic(splitting: Splitting) -> Method:
    """The method of a splitting. The state is (..., 2 n), q first."""
    kicks, drifts = ([float(weight) for weight in row] for row in (splitting.kicks, splitting.drifts))
    fsal, linear = splitting.fsal, splitting.order == 1

    def force(f: Field, t: Tensor, q: Tensor, p: Tensor) -> Tensor:
        return f(t, torch.cat((q, p), -1)).chunk(2, -1)[1]

    def velocity(f: Field, t: Tensor, q: Tensor, p: Tensor) -> Tensor:
        return f(t, torch.cat((q, p), -1)).chunk(2, -1)[0]

    def init(f: Field, t: Size, y: Tensor) -> Carry:
        return (force(f, stage_times(t, t * 0.0, (0.0,), y)[0], *y.chunk(2, -1)),) if fsal else ()

    def step(f: Field, t: Size, h: Size, y: Tensor, carry: Carry, work: Any) -> Step:
        at_kicks = stage_times(t, h, splitting.kick_nodes, y)
        at_drifts = stage_times(t, h, splitting.drift_nodes, y)
        q, p = y.chunk(2, -1)
        pull = carry[0] if fsal else force(f, at_kicks[0], q, p)
        for i, drift in enumerate(drifts):
            p = combine(p, h, ((0, kicks[i]),), (pull,))
            q = combine(q, h, ((0, drift),), (velocity(f, at_drifts[i], q, p),))
            if i + 1 < len(kicks):
                pull = force(f, at_kicks[i + 1], q, p)
        if fsal:
            p = combine(p, h, ((0, kicks[-1]),), (pull,))
        y1 = torch.cat((q, p), -1)
        return Step(y1, None, (pull,) if fsal else (), (y1,), work)

    calls = len(kicks) + len(drifts)
    return Method(
        name=splitting.name,
        order=splitting.order,
        stages=calls,
        kind="symplectic",
        adaptive=False,
        error_order=0,
        dense_order=min(splitting.order, 3),
        evaluations=calls - fsal,
        init=init,
        step=step,
        dense=cubic,
        source=splitting.source,
        extend=None if linear else with_slopes,
        extra=0 if linear else 2,
        state="pair",
        gradients=("direct", "discrete", "checkpointed", *(("reversible",) if splitting.symmetric else ())),
    )
