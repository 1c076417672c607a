"""The paper's toy time series (section 5.1): 2-D spirals, half of them clockwise, each from its own start."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .seeds import Seed, at_least, generator, not_negative

GROWTH = 0.3  # radius gained per radian
TURN = 6.0 * math.pi  # largest angle of a curve
STEP = TURN / 500  # radians, and units of time, between two points


@dataclass(frozen=True)
class Spirals:
    """n spirals over one common grid of times, and how they go on after it.

    Attributes:
        times: (points,), from 0.
        truth: the curves without noise, (n, points, 2).
        observed: the curves with noise, (n, points, 2).
        clockwise: (n,) bool.
        later_times: (later,), the times that follow `times`.
        later_truth: the curves there, without noise, (n, later, 2).
    """

    times: Tensor
    truth: Tensor
    observed: Tensor
    clockwise: Tensor
    later_times: Tensor
    later_truth: Tensor


@dataclass(frozen=True)
class Observations:
    """Some points of each series, at times of its own.

    Attributes:
        times: (n, count), increasing along a row.
        values: (n, count, 2).
        mask: (n, count) bool, True where there is a value: everywhere, in a fresh sub-sample.
    """

    times: Tensor
    values: Tensor
    mask: Tensor


def spirals(
    n: int = 1000, points: int = 100, noise: float = 0.1, seed: Seed = 0, *, later: int = 100
) -> Spirals:
    """Pieces of the Archimedean spiral r = 0.3 theta, theta up to 6 pi, walked inward; half are mirror images.

    A piece starts at an angle of its own, drawn uniformly so that its `points + later` points, 6 pi / 500 apart,
    fit; one unit of time is one radian. The paper gives neither its formula nor its noise. Inward, because the
    later points of the outermost pieces of an outward walk would lie where no training window ever was.

    Args:
        n: spirals; `n // 2` of them are clockwise.
        points: points of the observed part, at most 500 with `later`.
        noise: standard deviation of the Gaussian noise in `observed`.
        seed: an int, or a generator to continue.
        later: points that follow, to test a forecast with.

    Example:
        >>> spirals(n=4, points=50).observed.shape
        torch.Size([4, 50, 2])
    """
    at_least("n", n, 1)
    at_least("points", points, 1)
    at_least("later", later, 0)
    not_negative("noise", noise)
    total = points + later
    if total > 500:
        raise ValueError(f"points + later: got {total}, takes at most 500")
    source = generator(seed)
    grid = STEP * torch.arange(total)
    length = STEP * total
    start = length + (TURN - length) * torch.rand(n, generator=source)
    clockwise = torch.randperm(n, generator=source) < n // 2
    angle = start[:, None] - grid
    turn = torch.where(clockwise, 1.0, -1.0)[:, None]
    curves = GROWTH * angle[..., None] * torch.stack((angle.cos(), turn * angle.sin()), dim=-1)
    observed = curves[:, :points] + noise * torch.randn(n, points, 2, generator=source)
    return Spirals(grid[:points], curves[:, :points], observed, clockwise, grid[points:], curves[:, points:])


def observe(series: Spirals, count: int, seed: Seed = 0) -> Observations:
    """`count` of the noisy points of every spiral, drawn without replacement, each spiral by itself.

    Args:
        series: what `spirals` returned.
        count: points kept, 1 to `points`.
        seed: an int, or a generator to continue.
    """
    n, points, _ = series.observed.shape
    at_least("count", count, 1)
    if count > points:
        raise ValueError(f"count: got {count}, takes at most the {points} points of a spiral")
    order = torch.rand(n, points, generator=generator(seed)).argsort(dim=1)
    kept = order[:, :count].sort(dim=1).values
    values = series.observed.gather(1, kept[..., None].expand(-1, -1, 2))
    return Observations(series.times[kept], values, torch.ones(n, count, dtype=torch.bool))
