"""A state, its adjoint and the gradients of captured tensors, side by side in one flat tensor."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Pieces:
    """[y, a, g_1, ..., g_P] as one flat real or complex tensor."""

    def __init__(self, y: Tensor, tensors: Sequence[Tensor]) -> None:
        self.shape, self.size = y.shape, y.numel()
        self.tensors = [(t.shape, t.numel(), t.dtype) for t in tensors]
        self.dtype = y.dtype
        for t in tensors:
            self.dtype = torch.promote_types(self.dtype, t.dtype)

    def join(self, y: Tensor, a: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """The flat tensor."""
        return torch.cat([part.reshape(-1).to(self.dtype) for part in (y, a, *gradients)])

    def split(self, flat: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """(y, a, [g])."""
        sizes = [self.size, self.size, *(size for _, size, _ in self.tensors)]
        y, a, *rest = flat.split(sizes)
        shaped = [part.reshape(s) for part, (s, _, _) in zip(rest, self.tensors, strict=True)]
        gradients = [
            part.real if part.is_complex() and not dtype.is_complex else part
            for part, (_, _, dtype) in zip(shaped, self.tensors, strict=True)
        ]
        return y.reshape(self.shape), a.reshape(self.shape), gradients
