"""The vector field of the paper's image classifier: two convolutions that know the time."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class TimeConv(nn.Module):
    """A 3x3 convolution over x and a further channel that holds t everywhere.

    The kernel of that channel sees only t and the zeros around the image, so its map is made for t = 1 and
    scaled: the same numbers as with the channel appended, without a copy of x.

    Args:
        channels: channels of x and of the result.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        joint = nn.Conv2d(channels + 1, channels, 3, padding=1)
        assert joint.bias is not None
        self.weight = nn.Parameter(joint.weight.detach()[:, 1:].clone())
        self.time = nn.Parameter(joint.weight.detach()[:, :1].clone())
        self.bias = nn.Parameter(joint.bias.detach())

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """(B, channels, H, W), for x of that shape and t 0-d or (B, 1, 1, 1)."""
        unit = conv2d(torch.ones_like(x[:1, :1]), self.time, padding=1)
        return conv2d(x, self.weight, self.bias, padding=1) + t * unit


class ConvField(nn.Module):
    """norm, ReLU, convolution, norm, ReLU, convolution, norm; t is a further channel of both convolutions.

    Args:
        channels: channels of x.
        groups: groups of the three `GroupNorm`; divides `channels`.

    x is (B, channels, H, W); t is 0-d or (B, 1, 1, 1). Batch normalisation would make the field depend on the
    other samples; group normalisation does not.

    Raises:
        ValueError: `groups` does not divide `channels`.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        if channels < 1 or groups < 1 or channels % groups:
            raise ValueError(f"groups: got {groups}, takes a divisor of channels = {channels}")
        self.norms = nn.ModuleList(nn.GroupNorm(groups, channels) for _ in range(3))
        self.convs = nn.ModuleList(TimeConv(channels) for _ in range(2))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """dx/dt, shaped like x."""
        for norm, conv in zip(self.norms, self.convs, strict=False):
            x = conv(t, torch.relu(norm(x)))
        out: Tensor = self.norms[2](x)
        return out
