"""Two-dimensional densities to fit a flow to: each function draws n samples (n, 2), float32, around the origin.

`two_circles` and `two_moons` are the two of the paper's maximum likelihood experiment (section 4.1, figure 5).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .seeds import Seed, at_least, generator, not_negative


def two_moons(n: int, seed: Seed = 0, *, noise: float = 0.1) -> Tensor:
    """Two half circles of radius 1 that interlock, in about [-1.8, 1.8] x [-1, 1], with Gaussian noise.

    Args:
        n: samples.
        seed: an int, or a generator to continue.
        noise: standard deviation of the noise.

    Example:
        >>> two_moons(500, seed=1).shape
        torch.Size([500, 2])
    """
    source = _start(n, seed, noise)
    angle = math.pi * torch.rand(n, generator=source)
    sign = 1.0 - 2.0 * torch.randint(2, (n,), generator=source)
    arcs = sign[:, None] * torch.stack((angle.cos() - 0.5, angle.sin() - 0.25), dim=1)
    return arcs + noise * torch.randn(n, 2, generator=source)


def two_circles(n: int, seed: Seed = 0, *, noise: float = 0.06, factor: float = 0.5) -> Tensor:
    """Two circles around the origin, of radius 1 and `factor`, half of the samples each, with Gaussian noise.

    Args:
        n: samples.
        seed: an int, or a generator to continue.
        noise: standard deviation of the noise.
        factor: radius of the inner circle.
    """
    source = _start(n, seed, noise)
    angle = 2.0 * math.pi * torch.rand(n, generator=source)
    inner = torch.randint(2, (n,), generator=source).bool()
    radius = torch.where(inner, factor, 1.0)
    circles = radius[:, None] * torch.stack((angle.cos(), angle.sin()), dim=1)
    return circles + noise * torch.randn(n, 2, generator=source)


def checkerboard(n: int, seed: Seed = 0) -> Tensor:
    """Uniform on the eight dark squares of a 4 x 4 board over [-2, 2] x [-2, 2].

    Args:
        n: samples.
        seed: an int, or a generator to continue.
    """
    source = _start(n, seed, 0.0)
    column = torch.randint(4, (n,), generator=source)
    row = 2 * torch.randint(2, (n,), generator=source) + column % 2
    corner = torch.stack((column, row), dim=1) - 2.0
    return corner + torch.rand(n, 2, generator=source)


def pinwheel(n: int, seed: Seed = 0, *, arms: int = 5, noise: float = 0.1) -> Tensor:
    """Gaussian blades, drawn out along the radius and bent around the origin, inside a radius of about 2.

    Args:
        n: samples.
        seed: an int, or a generator to continue.
        arms: blades.
        noise: standard deviation across a blade.
    """
    at_least("arms", arms, 1)
    source = _start(n, seed, noise)
    arm = torch.randint(arms, (n,), generator=source)
    radius = 1.0 + 0.3 * torch.randn(n, generator=source)
    across = noise * torch.randn(n, generator=source)
    angle = 2.0 * math.pi * arm / arms + 0.25 * radius.exp()
    along = torch.stack((angle.cos(), angle.sin()), dim=1)
    aside = torch.stack((-angle.sin(), angle.cos()), dim=1)
    return radius[:, None] * along + across[:, None] * aside


def _start(n: int, seed: Seed, noise: float) -> torch.Generator:
    at_least("n", n, 1)
    not_negative("noise", noise)
    return generator(seed)


DENSITIES: dict[str, Callable[..., Tensor]] = {
    "two_moons": two_moons,
    "two_circles": two_circles,
    "checkerboard": checkerboard,
    "pinwheel": pinwheel,
}
