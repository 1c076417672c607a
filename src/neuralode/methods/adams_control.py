"""Order and step of an Adams method, chosen together after every trial (Shampine & Gordon 1975, STEP, blocks 2 to 4).

Everything here works on Python numbers (one system, or a batch in lockstep) and on tensors (B,) alike.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..control import Tolerance, clip
from ..ops import Size

# Of the tolerance: what the next step is meant to err by. STEP takes .5; on van der Pol equations this errs less and
# evaluates f as often.
AIM = 0.4


class Errors(NamedTuple):
    """Estimates of a trial step in units of the tolerance: of its own error, and of what steps of its order k and of
    those near it err by at equal steps."""

    step: Any
    here: Any
    below: Any
    below_2: Any
    above: Any


class Control(NamedTuple):
    """What a trial step decides on, handed from each to the next.

    Attributes:
        past: sizes of the last steps, newest first, 0 where there were none: floats, or (B, K); () before the first
            trial.
        order: of the predictor, k.
        since: equal steps taken, the last of them included; where steps are given, steps of one order.
        fails: trials rejected since the last step that was taken.
        rising: whether the order has only risen so far, by one a step (while the step doubles).
        errors: of the trial that was just made.
    """

    tolerance: Tolerance
    past: Any = ()
    order: Any = 1
    since: Any = 0
    fails: Any = 0
    rising: Any = True
    errors: Errors | None = None

    @property
    def first(self) -> bool:
        """Whether nothing has been tried."""
        return isinstance(self.past, tuple) and not self.past

    def ready(self, h: Size, highest: int) -> "Control":
        """The same; before the first trial with a past, and numbers of each sample's own where sizes are (B,)."""
        if not self.first:
            return self
        past = nothing(h, highest)
        if isinstance(past, tuple):
            return self._replace(past=past)
        zero = torch.zeros_like(past[:, 0], dtype=torch.long)
        return self._replace(past=past, order=zero + 1, since=zero, fails=zero, rising=zero == 0)


def nothing(h: Size, count: int) -> Any:
    """The past of ``count`` steps before the first one."""
    return h.new_zeros(len(h), count) if isinstance(h, Tensor) else (0.0,) * count


def moved(past: Any, h: Size) -> Any:
    """The past after a step of size h."""
    return torch.cat((h[:, None], past[:, :-1]), 1) if isinstance(h, Tensor) else (h, *past[:-1])


def in_units(past: Any, h: Size) -> Any:
    """The past in units of h; 1 where there was none, and for samples that stand still."""
    if not isinstance(h, Tensor):
        return tuple(size / h or 1.0 for size in past)
    ratios = past / torch.where(h == 0, 1.0, h)[:, None]
    return torch.where((ratios == 0) | (h == 0)[:, None], 1.0, ratios)


def pick(condition: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, else b."""
    if isinstance(condition, Tensor):
        return torch.where(condition, a, b)
    return a if condition else b


def negate(condition: Any) -> Any:
    return condition.logical_not() if isinstance(condition, Tensor) else not condition


def root(x: Any, n: Any) -> Any:
    """x^(1/n) for whole n."""
    return x ** (1 / (n.double() if isinstance(n, Tensor) else n))


def lowered(order: Any, e: Errors) -> Any:
    """Whether lower orders would err less."""
    return pick(
        order > 2,
        (e.below <= e.here) & (e.below_2 <= e.here),
        (order == 2) & (e.below <= 0.5 * e.here),
    )


def choose(c: Control, e: Errors, since: Any, highest: int) -> tuple[Any, Any, Any]:
    """(order, what it errs by at this step, whether the order still only rises) after a step that was taken."""
    k, down = c.order, lowered(c.order, e)
    rising = c.rising & negate(down) & (k < highest)
    steady = negate(rising | down) & (since > k)  # k + 1 equal steps make e.above true
    down = down | (steady & (k > 1) & (e.below <= e.here) & (e.below <= e.above))
    up = steady & negate(down) & (k < highest) & (e.above < pick(k > 1, 1.0, 0.5) * e.here)
    # Rising steps double, whatever they err by.
    error = pick(rising, 0.0, pick(up, e.above, pick(down, e.below, e.here)))
    return k + (up | rising) + -1 * down, error, rising


def take(c: Control, h: Size, highest: int) -> tuple[Control, Any]:
    """What the next trial decides on when this step is taken, and what its order errs by at this step."""
    assert c.errors is not None
    if c.tolerance.given:  # only equal steps tell what the order above would err by
        newest = c.past[:, 0] if isinstance(h, Tensor) else c.past[0]
        since = (newest == h) * c.since + 1
        order, error, rising = choose(c, c.errors, since, highest)
    else:  # given steps need not be equal: those since the last change of order must do
        since = c.since + 1
        order, error, rising = choose(c, c.errors, since, highest)
        since = (order == c.order) * since
    past = moved(c.past, h)
    return c._replace(past=past, order=order, since=since, fails=0 * c.fails, rising=rising), error


def judge(c: Control, h: Size, highest: int) -> tuple[Any, Any, Control]:
    """(whether the trial step is taken, factor for the next one's size, what that decides on)."""
    assert c.errors is not None
    e = c.errors
    accept = (e.step <= 1) & (e.above < math.inf)
    taken, error = take(c, h, highest)
    ideal = root(AIM / clip(error, 1e-300, 1e300), taken.order + 1)
    grown = pick(ideal >= 2, 2.0, pick(ideal >= 1, 1.0, clip(ideal, 0.5, 0.9)))
    refused = c._replace(
        order=pick(c.fails >= 2, 1, c.order + -1 * lowered(c.order, e)),
        since=0 * c.since,
        fails=c.fails + 1,
        rising=accept,  # that is, False
    )
    hopeless = (c.fails >= 3) & (e.here > 4 * AIM)
    shrunk = pick(hopeless, root(AIM / clip(e.here, 1e-300, 1e300), 2), 0.5)
    return accept, pick(accept, grown, shrunk), either(accept, taken, refused)


def either(accept: Any, taken: Control, refused: Control) -> Control:
    """What the next trial decides on."""
    if not isinstance(accept, Tensor):
        return taken if accept else refused
    return taken._replace(
        past=torch.where(accept[:, None], taken.past, refused.past),
        order=torch.where(accept, taken.order, refused.order),
        since=torch.where(accept, taken.since, refused.since),
        fails=torch.where(accept, taken.fails, refused.fails),
        rising=taken.rising & accept,
    )
