"""The user's f as the rest of the library calls it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .layout import Layout


@dataclass(eq=False)
class VectorField:
    """f with its arguments bound, on the raveled state; counts its calls and checks what comes back."""

    f: Callable[..., Any]
    args: tuple[Any, ...]
    layout: Layout | None
    count: int = 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.count += 1
        version = None if y.is_inference() else y._version
        state = y if self.layout is None else self.layout.unravel(y)
        try:
            dy = self.f(t, state, *self.args)
        except Exception as error:
            error.add_note(f"raised by f at evaluation {self.count}, t = {t.detach().flatten().tolist()[:8]}")
            raise
        if self.layout is not None:
            dy = self.layout.ravel(dy)
        if version is not None and y._version != version:
            raise RuntimeError("f changed its argument y in place: compute dy/dt in a new tensor")
        if not isinstance(dy, Tensor):
            raise TypeError(f"f must return dy/dt as a tensor like y, got {type(dy).__name__}")
        if dy.shape != y.shape:
            raise ValueError(
                f"f returned shape {tuple(dy.shape)}, expected that of y, {tuple(y.shape)}; "
                "f is called as f(t, y, *args)"
            )
        if dy.dtype != y.dtype or dy.device != y.device:
            return self._same_kind(dy, y)
        return dy

    def _same_kind(self, dy: Tensor, y: Tensor) -> Tensor:
        if dy.device != y.device:
            raise ValueError(
                f"f returned a tensor on {dy.device}, y is on {y.device}: move f's parameters there"
            )
        if torch.is_autocast_enabled(y.device.type):
            return dy.to(y.dtype)
        raise TypeError(f"f returned {dy.dtype}, y is {y.dtype}: make f's parameters and constants {y.dtype}")
