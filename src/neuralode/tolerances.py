"""Checks of rtol and atol: what comes out is a float, or a tensor with y0's number of dimensions."""

import math
import warnings
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from .errors import SolverWarning
from .layout import Layout, leaves
from .ops import REAL


def check_tolerance(name: str, value: Any, y0: Tensor, layout: Layout | None) -> float | Tensor:
    """A tolerance for the state ``y0``, which ``layout`` raveled (None: it was one tensor already).

    Raises:
        TypeError: it is neither a number, nor a tensor, nor a structure of such like that of y0.
        ValueError: it has another structure or shape than y0, or is negative or not finite.
    """
    if layout is not None and [path for path, _ in leaves(value, "")] != [""]:
        value = _joined(name, value, y0, layout)
    elif not isinstance(value, (Real, Tensor)):
        raise TypeError(f"{name} must be a number or a tensor, got {type(value).__name__}")
    if isinstance(value, Tensor) and value.numel() > 1:
        value = _fitted(name, value, y0.shape, y0)
        value = value.reshape(*(1,) * (y0.dim() - value.dim()), *value.shape)
        smallest = float(value.min())
        bad = not bool(torch.isfinite(value).all())
    else:
        value = smallest = float(value)
        bad = not math.isfinite(value)
    if bad or not smallest >= 0.0:
        raise ValueError(f"{name} must be >= 0 and finite, got {smallest if smallest < 0.0 else value}")
    floor = 4 * torch.finfo(y0.dtype).eps
    if name != "rtol" or smallest >= floor:
        return value
    warnings.warn(
        f"rtol = {smallest:.3g} is below what {y0.dtype} resolves; using {floor:.3g}",
        SolverWarning,
        stacklevel=6,
    )
    return value.clamp(min=floor) if isinstance(value, Tensor) else floor


def _fitted(name: str, value: Tensor, shape: torch.Size, y0: Tensor) -> Tensor:
    """A tolerance on y0's device, in its real dtype, that broadcasts to a shape."""
    lead = (1,) * (len(shape) - value.dim())
    fits = value.dim() <= len(shape) and all(
        own in (1, size) for own, size in zip((*lead, *value.shape), shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, which does not broadcast to y0's {tuple(shape)}"
        )
    return value.detach().to(y0.device, REAL.get(y0.dtype, y0.dtype))


def _joined(name: str, tree: Any, y0: Tensor, layout: Layout) -> Tensor:
    """A structure of numbers and tensors like y0's as one tensor, (D,) or (1 or B, D)."""
    found = list(leaves(tree, ""))
    if [path for path, _ in found] != layout.paths:
        raise ValueError(
            f"{name} must be a number, a tensor, or have y0's structure with leaves {layout.paths}, "
            f"got {[path for path, _ in found]}"
        )
    parts = []
    for (path, leaf), shape in zip(found, layout.shapes, strict=True):
        if not isinstance(leaf, (Real, Tensor)):
            raise TypeError(f"{name}{path} must be a number or a tensor, got {type(leaf).__name__}")
        whole = torch.Size((*y0.shape[: layout.lead], *shape))
        part = _fitted(f"{name}{path}", torch.as_tensor(leaf, dtype=torch.float64), whole, y0)
        rows = part.shape[:1] if layout.lead and part.dim() == len(whole) else (1,) * layout.lead
        parts.append(part.expand(*rows, *shape).reshape(*rows, -1))
    rows = max(part.shape[:-1] for part in parts)
    return torch.cat([part.expand(*rows, -1) for part in parts], dim=-1)
