"""Batches of irregular time series: checked, cleaned of what is masked, and put on one grid of times."""

from typing import NamedTuple

import torch
from torch import Tensor


class Series(NamedTuple):
    """A batch without anything that may not be seen.

    Attributes:
        times: (B, T); where a row of the mask is empty, the origin of time.
        values: (B, T, D); 0 where masked.
        mask: (B, T, D) bool.
        seen: (B, T) bool: something was observed at this time.
    """

    times: Tensor
    values: Tensor
    mask: Tensor
    seen: Tensor


def as_series(times: Tensor, values: Tensor, mask: Tensor, dim: int, origin: float) -> Series:
    """A checked `Series`; entries that are masked may hold anything, NaN and unsorted times included.

    Args:
        times: (B, T), or (T,) for all samples; not decreasing where observed, nor before `origin`.
        values: (B, T, dim).
        mask: bool, True where observed: (B, T) or (B, T, dim).
        dim: D.
        origin: the time at which the latent state starts.

    Raises:
        TypeError: mask is not bool.
        ValueError: shapes that do not fit, or times out of order or before `origin`.
    """
    if values.dim() != 3 or values.shape[2] != dim:
        raise ValueError(f"values: got shape {tuple(values.shape)}, takes (B, T, {dim})")
    batch, count, _ = values.shape
    times = times.expand(batch, count) if times.shape == (count,) else times
    if times.shape != (batch, count):
        raise ValueError(f"times: got shape {tuple(times.shape)}, takes ({batch}, {count}) or ({count},)")
    if mask.dtype != torch.bool:
        raise TypeError(f"mask: got {mask.dtype}, takes torch.bool, True where there is a value")
    if mask.shape not in ((batch, count), (batch, count, dim)):
        raise ValueError(
            f"mask: got shape {tuple(mask.shape)}, takes {(batch, count)} or {(batch, count, dim)}"
        )
    mask = mask[..., None].expand_as(values) if mask.dim() == 2 else mask
    seen = mask.any(-1)
    times = torch.where(seen, times, origin).to(values.dtype)
    values = torch.where(mask, values, 0.0)
    if not values.isfinite().all():
        raise ValueError("values: NaN or infinite where the mask says that there is a value")
    check_order(times, seen, origin)
    return Series(times, values, mask, seen)


def check_order(times: Tensor, seen: Tensor, origin: float) -> None:
    """Raise for an observed time that is not finite, lies before `origin`, or before an earlier one of its row."""
    latest = times.cummax(1).values
    late = seen & ~(times >= torch.cat((torch.full_like(times[:, :1], origin), latest[:, :-1]), dim=1))
    if (late | (seen & ~times.isfinite())).any():
        row, column = (late | (seen & ~times.isfinite())).nonzero()[0].tolist()
        raise ValueError(
            f"times: {times[row, column].item():g} at [{row}, {column}] is out of order or before {origin:g}; observed "
            "times must not decrease along a row"
        )


def as_queries(times: Tensor, like: Series, origin: float) -> Tensor:
    """Query times (B, Q) from (Q,) or (B, Q).

    Raises:
        ValueError: another shape, or a time before `origin`.
    """
    batch = len(like.values)
    if times.dim() not in (1, 2) or (times.dim() == 2 and len(times) != batch):
        raise ValueError(f"times: got shape {tuple(times.shape)}, takes (Q,) or ({batch}, Q)")
    if not (times >= origin).all():
        raise ValueError(
            f"times: {times.min().item():g} lies before {origin:g}, where the latent state starts"
        )
    return times.to(like.values.dtype).expand(batch, times.shape[-1])


def backward_order(seen: Tensor) -> Tensor:
    """Indices (B, T) that put the observed columns of each row first, the latest of them in front."""
    position = torch.arange(seen.shape[1], device=seen.device).expand_as(seen)
    return torch.where(seen, -position, seen.shape[1]).argsort(dim=1, stable=True)


def take(x: Tensor, index: Tensor) -> Tensor:
    """The columns `index` (B, K) of x (B, T) or (B, T, D), row by row."""
    if x.dim() == 2:
        return x.gather(1, index)
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))
