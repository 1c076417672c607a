"""Coefficients of Adams formulas on any grid (Shampine & Gordon, Computer Solution of Ordinary Differential Equations,
1975, chapter 5): all of them follow from where the last points lie.

With the step h as the unit and its start as the origin, let the point j steps back lie at -p_j (p_0 = 0). The slope
of the predictor is the polynomial sum_i c_i(s) phi*_i at t + s h, with c_1 = 1 and
c_{i+1}(s) = c_i(s) (s + p_{i-1}) / (1 + p_{i-1}); phi*_i = beta_i phi_i are modified divided differences of the slopes
computed so far.
"""

from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ops import REAL, transforming


class Weights(NamedTuple):
    """What one step is made with, for R systems of orders k <= m.

    Attributes:
        kept, gains, last: (R, m, 1), factors of phi_2 ... phi_{m+1}: beta_j up to j = k; beta_j g_j likewise;
            -beta_{k+1} at j = k + 1.
        reach: (R, m + 1, 1), 1 for those of phi_2 ... phi_{m+2} that there are after the step, up to phi_{k+2}.
        corrector: g_{k+1}, a float or (R,).
        scales: of the norms that estimate the errors of the step and of orders k, k - 1, k - 2 and k + 1; five floats
            or (R,) tensors.
    """

    kept: Tensor
    gains: Tensor
    last: Tensor
    reach: Tensor
    corrector: Any
    scales: Any


@cache
def moulton(count: int) -> tuple[float, ...]:
    """|gamma*_0|, |gamma*_1|, ...: Adams-Moulton's error constants at equal steps.

    From sum_j gamma*_j / (m + 1 - j) = 0 for m > 0 (Hairer, Norsett, Wanner I, eq. III.1.9).
    """
    found = [Fraction(1)]
    for m in range(1, count):
        found.append(-sum((found[j] / (m + 1 - j) for j in range(m)), Fraction(0)))
    return tuple(abs(float(gamma)) for gamma in found)


def places(ratios: Tensor, count: int) -> Tensor:
    """p_0 ... p_{count-1}, (R, count), from the sizes of the last steps in units of this one, newest first."""
    return torch.nn.functional.pad(ratios[:, : count - 1].cumsum(1), (1, 0))


def integrals(theta: Tensor, p: Tensor) -> Tensor:
    """G_i = the integral of c_i from 0 to theta, i = 1 ... m + 1, (R, m + 1); theta (R, 1), p (R, m).

    With w_{i,q} = (q - 1)! times c_i integrated q times, integration by parts gives
    w_{i+1,q} = ((theta + p_{i-1}) w_{i,q} - w_{i,q+1}) / (1 + p_{i-1}); at theta = 1 this is eq. 5.6 of the book.
    """
    q = torch.arange(1, p.shape[1] + 2, dtype=p.dtype, device=p.device)
    w = theta**q / q
    factor, alpha = (theta + p) / (1 + p), -1 / (1 + p)
    found = [w[:, :1]]
    for c, a in zip(factor[..., None].unbind(1), alpha[..., None].unbind(1), strict=True):
        w = torch.addcmul(w[:, :-1] * c, w[:, 1:], a)
        found.append(w[:, :1])
    return torch.cat(found, 1)


def betas(p: Tensor) -> Tensor:
    """beta_2 ... beta_{m+1}, (R, m); p (R, m + 1)."""
    return ((1 + p[:, :-1]) / p[:, 1:]).cumprod(1)


def weights(ratios: Tensor, order: Tensor, like: Tensor) -> Weights:
    """The weights of a step whose predictors have orders ``order`` (R,); ratios (R, at least the highest order)."""
    m = int(order.max())
    p = places(ratios, m + 1)
    k = order[:, None]
    column = torch.arange(1, m + 1, device=p.device)
    beta, g = betas(p), integrals(torch.ones_like(p[:, :1]), p[:, :m])
    kept = beta * (column < k)
    # sigma_{i+1} = i alpha_i sigma_i
    sigma = torch.nn.functional.pad((column / (1 + p[:, :m])).cumprod(1), (1, 0), value=1.0)
    gamma = torch.tensor(moulton(m + 2), dtype=p.dtype, device=p.device)
    below = torch.stack([(order - i).clamp(min=0) for i in range(3)], 1)
    scales = sigma.gather(1, below) * gamma[below]
    g_k, g_next = g.gather(1, torch.cat((k - 1, k), 1)).unbind(1)
    reach = torch.arange(m + 1, device=p.device) <= k
    dtype = REAL.get(like.dtype, like.dtype)
    kept, gains, last, reach = (
        factor[..., None].to(dtype)
        for factor in (kept, g[:, 1:] * kept, beta * -(column == k).double(), reach)
    )
    return Weights(kept, gains, last, reach, g_next, (g_k - g_next, *scales.unbind(1), gamma[order + 1]))


def step_weights(ratios: Any, order: Any, like: Tensor) -> Weights:
    """``weights`` of samples with steps of their own, or of one system whose ratios and order are Python numbers."""
    if isinstance(ratios, Tensor):
        return weights(ratios, order, like)
    build = _alone.__wrapped__ if transforming() else _alone  # what a transform made must not outlive it
    return build(ratios[:order], order, like.dtype, like.device)


@lru_cache(maxsize=256)
def _alone(ratios: tuple[float, ...], order: int, dtype: torch.dtype, device: torch.device) -> Weights:
    """Steps often keep their size, and their weights with it."""
    with torch.inference_mode(False):
        like = torch.empty(0, dtype=dtype)
        found = weights(torch.tensor([ratios], dtype=torch.float64), torch.tensor([order]), like)
        return Weights(
            found.kept.to(device),
            found.gains.to(device),
            found.last.to(device),
            found.reach.to(device),
            float(found.corrector),
            tuple(map(float, found.scales)),
        )
