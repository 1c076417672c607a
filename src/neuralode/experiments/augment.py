"""Random changes of training images that keep their class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def jitter(
    images: Tensor, *, shift: float = 0.0, rotate: float = 0.0, scale: float = 0.0, shear: float = 0.0
) -> Tensor:
    """An affine map of its own for every image, bilinear, zeros outside.

    Draws from PyTorch's global generator, each quantity uniformly between minus and plus its limit.

    Args:
        images: (B, C, H, W), square.
        shift: largest shift, in pixels, in each direction.
        rotate: largest rotation, in degrees.
        scale: largest relative change of size.
        shear: largest shear, in degrees.

    Returns:
        Images of the same shape and dtype.
    """
    count, _, _, width = images.shape
    draw = (2.0 * torch.rand(5, count) - 1.0).to(images)
    limits = torch.tensor([2.0 * shift / width, 2.0 * shift / width, rotate, scale, shear]).to(images)
    dx, dy, turn, zoom, slant = draw * limits[:, None]
    turn, slant, zoom = torch.deg2rad(turn), torch.tan(torch.deg2rad(slant)), 1.0 + zoom
    cos, sin = zoom * turn.cos(), zoom * turn.sin()
    rows = torch.stack((cos, cos * slant - sin, dx, sin, sin * slant + cos, dy), dim=1)
    grid = affine_grid(rows.view(count, 2, 3), list(images.shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)
