"""Operations that are more than a row of ``elementwise`` or ``shapes``: each by those."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .elementwise import CHOICE, TEXTS, power
from .graph import Operand, UnsupportedError, View, is_boolean
from .shapes import slot

if TYPE_CHECKING:
    from .lower import Lowering


def _where(low: Lowering, condition: View, a: Operand, b: Operand) -> View:
    a, b = (low.lane(x) if isinstance(x, View) and is_boolean(x) else x for x in (a, b))
    if condition.buffer.kind != "constant":
        return low.elementwise(CHOICE, low.mask(condition), a, b)
    first, second = low.as_view(a), low.as_view(b)
    shape = np.broadcast_shapes(condition.shape, first.shape, second.shape)
    chosen = np.broadcast_to(condition.buffer.values[condition.index], shape).reshape(-1)
    places = [np.broadcast_to(v.index, shape).reshape(-1) for v in (first, second)]
    picks = [(first.buffer, i) if c else (second.buffer, j) for c, i, j in zip(chosen, *places, strict=True)]
    return low.gather(shape, picks, "lane")


def _cat(low: Lowering, views: Sequence[View], dim: int = 0) -> View:
    views = [v for v in map(low.lane, views) if v.shape != (0,)]
    owner = np.concatenate([np.full(v.shape, i) for i, v in enumerate(views)], dim)
    place = np.concatenate([v.index for v in views], dim)
    picks = [(views[i].buffer, int(p)) for i, p in zip(owner.reshape(-1), place.reshape(-1), strict=True)]
    return low.gather(place.shape, picks, "lane")


def _stack(low: Lowering, views: Sequence[View], dim: int = 0) -> View:
    return _cat(low, [v.with_index(np.expand_dims(v.index, dim)) for v in views], dim)


def _split(low: Lowering, x: View, sizes: int | Sequence[int], dim: int = 0) -> list[View]:
    cuts = (
        list(range(sizes, x.shape[dim], sizes)) if isinstance(sizes, int) else np.cumsum(sizes)[:-1].tolist()
    )
    return [x.with_index(part) for part in np.split(x.index, cuts, dim)]


def _scatter(view_name: str) -> Callable[..., View]:
    def scatter(low: Lowering, base: View, source: View, *args: Any) -> View:
        base, source = low.lane(base), low.lane(source)
        picks = [(base.buffer, int(i)) for i in base.index.reshape(-1)]
        places = slot(base.shape, view_name, args)
        values = np.broadcast_to(source.index, places.shape).reshape(-1)
        for place, value in zip(places.reshape(-1), values, strict=True):
            picks[place] = (source.buffer, int(value))
        return low.gather(base.shape, picks, "lane")

    return scatter


def _index(low: Lowering, x: View, places: Sequence[View | None]) -> View:
    where: list[Any] = []
    for place in places:
        if place is not None and place.buffer.kind != "constant":
            raise UnsupportedError("indexing by a computed tensor cannot be fused")
        where.append(slice(None) if place is None else place.buffer.values[place.index])
    return x.with_index(x.index[tuple(where)])


def _index_put(
    low: Lowering, base: View, places: Sequence[View | None], source: View, accumulate: bool = False
) -> View:
    base, source = low.lane(base), low.lane(source)
    flat = View(base.buffer, np.arange(base.index.size).reshape(base.shape))
    where = _index(low, flat, places).index
    values = np.broadcast_to(source.index, where.shape).reshape(-1).tolist()
    pending: list[tuple[int, int]] = list(zip(where.reshape(-1).tolist(), values, strict=True))
    zero = low.constant(torch.zeros(1, dtype=low.dtype)).buffer
    while pending:  # a place may come several times: once a round
        kept = [(base.buffer, int(i)) for i in base.index.reshape(-1)]
        picks, later = [(zero, 0)] * len(kept) if accumulate else kept, []
        taken: set[int] = set()
        for place, value in pending:
            if accumulate and place in taken:
                later.append((place, value))
            else:
                picks[place] = (source.buffer, value)
            taken.add(place)
        found = low.gather(base.shape, picks, "lane")
        base, pending = low.elementwise("{0} + {1}", base, found) if accumulate else found, later
    return base


def _gelu(low: Lowering, x: View, approximate: str = "none") -> View:
    if approximate == "tanh":
        inner = low.elementwise("{0} * ({1} + {2} * {0} * {0})", x, 0.7978845608028654, 0.035677408136300125)
        return low.elementwise("T(0.5) * {0} * (1 + hyperbolic_tangent({1}))", x, inner)
    part = low.elementwise(TEXTS["erf.default"], low.elementwise("{0} * {1}", x, 0.7071067811865476))
    return low.elementwise("T(0.5) * {0} * (1 + {1})", x, part)


def _elu(low: Lowering, x: View, alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0) -> View:
    below = low.elementwise("{1} * exponential_minus_one({0} * {2})", x, float(alpha * scale), float(inner))
    above = x if scale == 1 else low.elementwise("{0} * {1}", x, float(scale))
    return low.elementwise("({0} > 0 ? {1} : {2})", x, above, below)


def _leaky_relu(low: Lowering, x: View, slope: float = 0.01) -> View:
    return low.elementwise("({0} > 0 ? {0} : {0} * {1})", x, float(slope))


def _clamp(low: Lowering, x: View, least: Operand | None = None, most: Operand | None = None) -> View:
    if least is not None:
        x = low.elementwise(TEXTS["maximum.default"], x, least)
    return x if most is None else low.elementwise(TEXTS["minimum.default"], x, most)


def _pow(low: Lowering, x: View, exponent: float) -> View:
    text = power(float(exponent))
    return low.elementwise(text, x, float(exponent)) if "{1}" in text else low.elementwise(text, x)


def _sum(low: Lowering, x: View, dims: Any = None, keepdim: bool = False, **_: Any) -> View:
    return low.reduce("{0} + {1}", x, dims, keepdim)


def _mean(low: Lowering, x: View, dims: Any = None, keepdim: bool = False, **_: Any) -> View:
    total = _sum(low, x, dims, keepdim)
    return low.elementwise("{0} / {1}", total, float(x.index.size // total.index.size))


def _extreme(kind: str) -> Callable[..., View]:
    def extreme(low: Lowering, x: View, dims: Any = None, keepdim: bool = False) -> View:
        return low.reduce(TEXTS[f"{kind}.default"], x, dims, keepdim)

    return extreme


def _norm(
    low: Lowering, x: View, order: float = 2, dims: Any = None, keepdim: bool = False, **_: Any
) -> View:
    if order != 2:
        raise UnsupportedError(f"a norm of order {order} cannot be fused")
    return low.elementwise("root({0})", _sum(low, low.elementwise("{0} * {0}", x), dims, keepdim))


def _softmax(low: Lowering, x: View, dim: int, _half: bool = False) -> View:
    rise = low.elementwise("exponential({0} - {1})", x, low.reduce("greater({0}, {1})", x, dim, True))
    return low.elementwise("{0} / {1}", rise, _sum(low, rise, dim, True))


def _log_softmax(low: Lowering, x: View, dim: int, _half: bool = False) -> View:
    below = low.elementwise("{0} - {1}", x, low.reduce("greater({0}, {1})", x, dim, True))
    total = _sum(low, low.elementwise("exponential({0})", below), dim, True)
    return low.elementwise("{0} - logarithm({1})", below, total)


def _layer_norm(
    low: Lowering, x: View, shape: Sequence[int], weight: Operand | None, bias: Operand | None, eps: float
) -> tuple[View, View, View]:
    dims = list(range(x.index.ndim - len(shape), x.index.ndim))
    mean = _mean(low, x, dims, True)
    centred = low.elementwise("{0} - {1}", x, mean)
    variance = _mean(low, low.elementwise("{0} * {0}", centred), dims, True)
    scale = low.elementwise("T(1) / root({0} + {1})", variance, float(eps))
    out = low.elementwise("{0} * {1}", centred, scale)
    out = out if weight is None else low.elementwise("{0} * {1}", out, weight)
    return (out if bias is None else low.elementwise("{0} + {1}", out, bias)), mean, scale


def _mm(low: Lowering, a: View, b: View) -> View:
    return low.matmul(a, b)


def _addmm(low: Lowering, c: View, a: View, b: View, beta: float = 1, alpha: float = 1) -> View:
    product = low.matmul(a, b)
    product = product if alpha == 1 else low.elementwise("{0} * {1}", product, float(alpha))
    c = c if beta == 1 else low.elementwise("{0} * {1}", c, float(beta))
    return low.elementwise("{0} + {1}", product, c)


def _bmm(low: Lowering, a: View, b: View) -> View:
    parts = [low.matmul(a.with_index(i), b.with_index(j)) for i, j in zip(a.index, b.index, strict=True)]
    return _stack(low, parts)


def _mv(low: Lowering, a: View, x: View) -> View:
    product = low.matmul(a, x.with_index(x.index[:, None]))
    return product.with_index(product.index[:, 0])


def _addmv(low: Lowering, c: View, a: View, x: View, beta: float = 1, alpha: float = 1) -> View:
    column = _addmm(low, c.with_index(c.index[:, None]), a, x.with_index(x.index[:, None]), beta, alpha)
    return column.with_index(column.index[:, 0])


def _dot(low: Lowering, x: View, y: View) -> View:
    return _sum(low, low.elementwise("{0} * {1}", x, y))


def _cumsum(low: Lowering, x: View, dim: int, **_: Any) -> View:
    parts = [x.with_index(x.index.take([i], dim)) for i in range(x.shape[dim])]
    sums = parts[:1]
    for part in parts[1:]:
        sums.append(low.elementwise("{0} + {1}", sums[-1], part))
    return _cat(low, sums, dim)


def _convert(low: Lowering, x: View, dtype: torch.dtype | None = None, **_: Any) -> View:
    if dtype in (None, low.dtype):
        return low.lane(x) if is_boolean(x) else x
    if dtype == torch.bool:
        return low.mask(x)  # type: ignore[return-value]
    raise UnsupportedError(f"a conversion to {dtype} cannot be fused: y is {low.dtype}")


def _copy(low: Lowering, into: View, x: View, *_: Any) -> View:
    return x.with_index(np.broadcast_to(x.index, into.shape))


def _like(value: float) -> Callable[..., View]:
    def like(low: Lowering, x: View, *_: Any, **__: Any) -> View:
        return low.constant(torch.full(x.shape, value, dtype=low.dtype))

    return like


def _full_like(low: Lowering, x: View, value: float, **_: Any) -> View:
    return low.constant(torch.full(x.shape, value, dtype=low.dtype))


def _new(low: Lowering, x: View, size: Sequence[int], value: Any = 0.0, *_: Any, **__: Any) -> View:
    number = value if isinstance(value, (int, float)) else 0.0
    return low.constant(torch.full(tuple(size), number, dtype=low.dtype))


SPECIAL: dict[str, Callable[..., Any]] = {
    "where.self": _where,
    "where.ScalarSelf": _where,
    "where.ScalarOther": _where,
    "cat.default": _cat,
    "stack.default": _stack,
    "split.Tensor": _split,
    "split_with_sizes.default": _split,
    "split_with_sizes_copy.default": _split,
    "split_copy.Tensor": _split,
    "unbind.int": lambda low, x, dim=0: [x.with_index(x.index.take(i, dim)) for i in range(x.shape[dim])],
    "select_scatter.default": _scatter("select.int"),
    "slice_scatter.default": _scatter("slice.Tensor"),
    "as_strided_scatter.default": _scatter("as_strided.default"),
    "diagonal_scatter.default": _scatter("diagonal.default"),
    "index.Tensor": _index,
    "index_select.default": lambda low, x, dim, i: _index(low, x, [None] * (dim % x.index.ndim) + [i]),
    "index_put.default": _index_put,
    "_unsafe_index_put.default": _index_put,
    "gelu.default": _gelu,
    "elu.default": _elu,
    "leaky_relu.default": _leaky_relu,
    "clamp.default": _clamp,
    "clamp.Tensor": _clamp,
    "hardtanh.default": lambda low, x, a=-1.0, b=1.0: _clamp(low, x, a, b),
    "pow.Tensor_Scalar": _pow,
    "sum.dim_IntList": _sum,
    "sum.default": _sum,
    "mean.dim": _mean,
    "mean.default": _mean,
    "amax.default": _extreme("maximum"),
    "amin.default": _extreme("minimum"),
    "linalg_vector_norm.default": _norm,
    "_softmax.default": _softmax,
    "_log_softmax.default": _log_softmax,
    "native_layer_norm.default": _layer_norm,
    "mm.default": _mm,
    "addmm.default": _addmm,
    "bmm.default": _bmm,
    "mv.default": _mv,
    "addmv.default": _addmv,
    "dot.default": _dot,
    "cumsum.default": _cumsum,
    "_to_copy.default": _convert,
    "copy.default": _copy,
    "fill.Scalar": _full_like,
    "full_like.default": _full_like,
    "zeros_like.default": _like(0.0),
    "ones_like.default": _like(1.0),
    "empty_like.default": _like(0.0),
    "new_zeros.default": _new,
    "new_empty_strided.default": _new,
    "new_empty.default": _new,
    "new_full.default": _new,
}
