"""The image classifiers of the paper's Table 1: one stem and head, three ways to be deep between them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..nn import ConvField, ODEBlock

GROUP = 8  # channels in a group of GroupNorm


class Residual(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))) on x (B, channels, H, W): one layer of a ResNet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            _norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out


def continuous(channels: int, **solver: Any) -> ODEBlock:
    """The block of an ODE-Net: dx/dt = ConvField(t, x) over t in [0, 1], with the options of `neuralode.solve`."""
    return ODEBlock(ConvField(channels, channels // GROUP), (0.0, 1.0), **solver)


def runge_kutta(channels: int, steps: int) -> ODEBlock:
    """The block of an RK-Net: the same field through `steps` steps of RK4, plain backpropagation through them."""
    return continuous(channels, method="rk4", step=1.0 / steps, gradient="direct")


def residual(channels: int, layers: int) -> nn.Module:
    """The middle of a ResNet: `layers` layers with weights of their own."""
    return nn.Sequential(*(Residual(channels) for _ in range(layers)))


def classifier(
    middle: nn.Module, channels: int, *, size: int, halvings: int, classes: int = 10
) -> nn.Sequential:
    """Stem, `middle`, head: images (B, 1, size, size) to logits (B, classes).

    Args:
        middle: keeps the shape (B, channels, side, side), side = size / 2**halvings.
        channels: width of the network.
        size: width of the images, a multiple of 2**halvings.
        halvings: strided 4x4 convolutions behind the first 3x3 one.
        classes: columns of the logits.
    """
    stem: list[nn.Module] = [nn.Conv2d(1, channels, 3, padding=1)]
    for _ in range(halvings):
        stem += [_norm(channels), nn.ReLU(), nn.Conv2d(channels, channels, 4, stride=2, padding=1)]
    # No pooling over the image: the means of normalised maps say little, and networks learn from them slowly.
    features = channels * (size >> halvings) ** 2
    head = [_norm(channels), nn.ReLU(), nn.Flatten(), nn.Linear(features, classes)]
    return nn.Sequential(*stem, middle, *head)


def parameter_count(model: nn.Module) -> int:
    """Trained numbers in `model`."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // GROUP, channels)
