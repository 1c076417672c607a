"""Vector fields that are small tanh networks: with time as an input, and FFJORD's concat-squash."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .linearization import Pushforward, along


def widths(name: str, hidden: int | Sequence[int]) -> tuple[int, ...]:
    """One width, or several, as a tuple of positive ints."""
    found = (hidden,) if isinstance(hidden, int) else tuple(hidden)
    if any(isinstance(width, bool) or not isinstance(width, int) or width < 1 for width in found):
        raise ValueError(f"{name}: got {hidden!r}, takes a positive int or a sequence of them")
    return found


class MLPField(Pushforward):
    """dz/dt = MLP(z) with tanh between its layers, or MLP(z, t).

    Args:
        dim: d, size of the last dimension of z.
        hidden: width of the hidden layer, or of each of several.
        time: feed t to the first layer too.

    z is (..., d); t is 0-d or broadcasts against z.
    """

    def __init__(self, dim: int, hidden: int | Sequence[int] = 32, *, time: bool = False) -> None:
        super().__init__()
        sizes = (*widths("dim", dim), *widths("hidden", hidden), dim)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.time = nn.Parameter(torch.empty(sizes[1]).uniform_(-1.0, 1.0)) if time else None

    def _layers(self) -> list[Any]:
        return list(self.layers)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        """dz/dt, shaped like z."""
        first, *rest = self._layers()
        z = self._shifted(t, first(z))
        for layer in rest:
            z = layer(torch.tanh(z))
        out: Tensor = z
        return out

    def pushforward(self, t: Tensor, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, z) (B, d) and J v (B, K, d) for directions v (B, K, d)."""
        first, *rest = self._layers()
        z, v = self._shifted(t, first(z)), linear(v, first.weight)
        for layer in rest:
            z = torch.tanh(z)
            z, v = layer(z), linear(v * along(1.0 - z * z), layer.weight)
        return z, v

    def _shifted(self, t: Tensor, z: Tensor) -> Tensor:
        return z if self.time is None else z + t * self.time


class ConcatSquash(nn.Module):
    """y = (W x + b) sigmoid(a t + c) + e t: a linear layer that t gates and shifts (Grathwohl et al. 2019).

    Args:
        inputs, outputs: sizes of the last dimension of x and y.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        nn.init.normal_(self.linear.weight, std=2.0 * inputs**-0.5)  # twice: the gate starts near a half
        self.gate = nn.Parameter(torch.empty(2, outputs).uniform_(-1.0, 1.0))
        self.shift = nn.Parameter(torch.empty(outputs).uniform_(-1.0, 1.0))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """(..., outputs), for x (..., inputs) and t 0-d or broadcasting against x."""
        return torch.addcmul(t * self.shift, self.linear(x), self.opening(t))

    def opening(self, t: Tensor) -> Tensor:
        """The gate, (outputs,) or (B, outputs)."""
        return torch.sigmoid(t * self.gate[0] + self.gate[1])

    def pushforward(self, t: Tensor, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's output, and what becomes of directions v (B, K, inputs)."""
        gate = self.opening(t)
        y = torch.addcmul(t * self.shift, self.linear(x), gate)
        return y, linear(v, self.linear.weight) * along(gate)


class ConcatSquashMLP(Pushforward):
    """dz/dt = a stack of `ConcatSquash` layers with tanh between them: FFJORD's field for vectors.

    Args:
        dim: d, size of the last dimension of z.
        hidden: width of each hidden layer.

    z is (B, d); t is 0-d or (B, 1).
    """

    def __init__(self, dim: int, hidden: int | Sequence[int] = (64, 64)) -> None:
        super().__init__()
        sizes = (*widths("dim", dim), *widths("hidden", hidden), dim)
        self.layers = nn.ModuleList(ConcatSquash(a, b) for a, b in pairwise(sizes))

    def _layers(self) -> list[Any]:
        return list(self.layers)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        """dz/dt, shaped like z."""
        first, *rest = self._layers()
        z = first(t, z)
        for layer in rest:
            z = layer(t, torch.tanh(z))
        out: Tensor = z
        return out

    def pushforward(self, t: Tensor, z: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, z) (B, d) and J v (B, K, d) for directions v (B, K, d)."""
        first, *rest = self._layers()
        z, v = first.pushforward(t, z, v)
        for layer in rest:
            z = torch.tanh(z)
            z, v = layer.pushforward(t, z, v * along(1.0 - z * z))
        return z, v
