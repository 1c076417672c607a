"""Operations that only move entries: index maps in, index maps out. A NumPy array stands for the tensor."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .graph import Index


def _reshape(x: Index, shape: Sequence[int], *_: Any) -> Index:
    return x.reshape([int(n) for n in shape])


def _squeeze(x: Index, dims: int | Sequence[int] | None = None) -> Index:
    dims = range(x.ndim) if dims is None else [dims] if isinstance(dims, int) else dims
    ones = tuple(d for d in dims if x.ndim and x.shape[d] == 1)
    return x.squeeze(ones)


def _expand(x: Index, shape: Sequence[int], **_: Any) -> Index:
    lead = len(shape) - x.ndim
    whole = [x.shape[i - lead] if n == -1 else int(n) for i, n in enumerate(shape)]
    return np.broadcast_to(x, whole)


def _slice(x: Index, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Index:
    places: list[Any] = [slice(None)] * x.ndim
    places[dim] = slice(start, end, step)
    return x[tuple(places)]


def _as_strided(x: Index, size: Sequence[int], stride: Sequence[int], offset: int | None = None) -> Index:
    places = np.full(tuple(size), offset or 0, dtype=np.int64)
    for axis, (n, s) in enumerate(zip(size, stride, strict=True)):
        places += (np.arange(n) * s).reshape([-1 if i == axis else 1 for i in range(len(size))])
    return x.reshape(-1)[places]


VIEWS: dict[str, Callable[..., Index]] = {
    "view.default": _reshape,
    "_unsafe_view.default": _reshape,
    "reshape.default": _reshape,
    "unsqueeze.default": lambda x, dim: np.expand_dims(x, dim),
    "squeeze.default": _squeeze,
    "squeeze.dim": _squeeze,
    "squeeze.dims": _squeeze,
    "squeeze_.dim": _squeeze,
    "squeeze_.dims": _squeeze,
    "expand.default": _expand,
    "permute.default": lambda x, dims: x.transpose(dims),
    "t.default": lambda x: x.T,
    "transpose.int": lambda x, a, b: x.swapaxes(a, b),
    "select.int": lambda x, dim, i: x.take(i, dim),
    "slice.Tensor": _slice,
    "flip.default": lambda x, dims: np.flip(x, tuple(dims)),
    "diagonal.default": lambda x, offset=0, dim1=0, dim2=1: x.diagonal(offset, dim1, dim2),
    "as_strided.default": _as_strided,
    "repeat.default": lambda x, reps: np.tile(x, tuple(reps)),
    "alias.default": lambda x: x,
    "detach.default": lambda x: x,
    "clone.default": lambda x, **_: x,
    "contiguous.default": lambda x, **_: x,
    "lift_fresh_copy.default": lambda x: x,
}


def slot(shape: tuple[int, ...], name: str, args: Sequence[Any]) -> Index:
    """Where in a tensor of this shape a ``*_scatter`` operation writes: flat places, shaped like the source."""
    places = np.arange(int(np.prod(shape, dtype=np.int64))).reshape(shape)
    return VIEWS[name](places, *args)
