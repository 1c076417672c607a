"""From a traced graph to a program: every operation by its row of a table, or an error that names it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from .elementwise import CHOICE, COMPARISONS, LOGIC, TEXTS, power
from .graph import (
    Buffer,
    Elementwise,
    Gather,

    MatMul,
    Operand,
    Program,
    Reduce,
    UnsupportedError,
    View,
    flat,
)
from .shapes import VIEWS, slot
from .trace import name_of, where_in_f

BOOLEAN = torch.bool


class Lowering:
    """Builds the program of one graph; ``kinds``: of its placeholders, in order."""

    def __init__(self, module: fx.GraphModule, kinds: Sequence[str], dtype: torch.dtype) -> None:
        self.module, self.dtype = module, dtype
        self.program = Program()
        self.count = 0
        self.env: dict[fx.Node, Any] = {}
        places = iter(kinds)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                self.env[node] = self._enter(node, next(places))
            elif node.op == "get_attr":
                self.env[node] = self.constant(getattr(module, str(node.target)))
            elif node.op == "output":
                result = self.read(node.args[0])
                outputs = result if isinstance(result, (tuple, list)) else [result]
                self.program.outputs = [self.lane(view) for view in outputs]
            else:
                self.env[node] = self._call(node)

    def _enter(self, node: fx.Node, kind: str) -> View:
        shape = tuple(node.meta["shape"] if "shape" in node.meta else node.meta["val"].shape)
        buffer = Buffer(f"in{len(self.program.inputs)}", int(np.prod(shape)), kind)
        self.program.inputs.append(buffer)
        return View(buffer, flat(shape))

    def _call(self, node: fx.Node) -> Any:
        name = name_of(node)
        args = [self.read(arg) for arg in node.args]
        kwargs = {key: self.read(value) for key, value in node.kwargs.items()}
        try:
            if name == "getitem":
                return args[0][args[1]]
            if name.split(".")[0] in DEAD or _all_constant(args) and name.split(".")[0] not in RANDOM:
                return self._fold(node, args, kwargs)
            if name in VIEWS:
                view = self.as_view(args[0])
                kwargs = {k: v for k, v in kwargs.items() if k not in ("implicit", "memory_format")}
                return view.with_index(VIEWS[name](view.index, *args[1:], **kwargs))
            if name in TEXTS:
                return self.elementwise(TEXTS[name], *self._scaled(name, args, kwargs))
            if name in COMPARISONS:
                return self.elementwise(COMPARISONS[name], *args, mask=True)
            if name in LOGIC:
                return self.elementwise(LOGIC[name], *(self.mask(a) for a in args), mask=True)
            if name in SPECIAL:
                return SPECIAL[name](self, *args, **kwargs)
        except UnsupportedError as error:
            raise UnsupportedError(f"{error}{where_in_f(node)}") from None
        raise UnsupportedError(f"the operation {name} of f cannot be fused{where_in_f(node)}")

    def read(self, value: Any) -> Any:
        """An argument of a node with its nodes' values."""
        if isinstance(value, fx.Node):
            return self.env[value]
        if isinstance(value, (list, tuple)):
            return type(value)(self.read(each) for each in value)
        return value

    def _fold(self, node: fx.Node, args: list[Any], kwargs: dict[str, Any]) -> Any:
        def plain(value: Any) -> Any:
            if isinstance(value, View):
                return torch.as_tensor(np.array(value.buffer.values[value.index]))
            return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value

        if node.target in (torch.ops.aten.full_like.default,):
            shape = args[0].shape
            return self.constant(torch.full(shape, args[1], dtype=node.meta["val"].dtype))
        if name_of(node).split(".")[0] in LIKE:
            value = LIKE[name_of(node).split(".")[0]]
            return self.constant(torch.full(node.meta["val"].shape, value, dtype=node.meta["val"].dtype))
        result = node.target(*map(plain, args), **{k: plain(v) for k, v in kwargs.items()})  # type: ignore[operator]
        return self.constant(result) if isinstance(result, Tensor) else [self.constant(r) for r in result]

    def constant(self, tensor: Tensor) -> View:
        """Numbers that are part of the program."""
        values = tensor.detach().cpu().numpy()
        return View(self.new("constant", values.size, values.reshape(-1).copy()), flat(values.shape))

    def new(self, kind: str, size: int, values: Any = None) -> Buffer:
        """A fresh buffer."""
        self.count += 1
        return Buffer(f"x{self.count}", size, kind, values)

    def as_view(self, value: Operand) -> View:
        """A number as a 0-d constant."""
        return value if isinstance(value, View) else self.constant(torch.tensor(value, dtype=self.dtype))

    def mask(self, value: Operand) -> Operand:
        """A value as true or false."""
        boolean = isinstance(value, bool) or (isinstance(value, View) and _is_boolean(value))
        return value if boolean else self.elementwise("{0} != {1}", value, 0.0, mask=True)

    def lane(self, value: Operand) -> View:
        """A value as numbers of the sample."""
        view = self.as_view(value)
        if view.buffer.kind == "lane":
            return view
        if _is_boolean(view):
            return self.elementwise(CHOICE, view, 1.0, 0.0)
        return self.elementwise("{0}", view)

    def _scaled(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> list[Operand]:
        """The operands, with ``alpha`` and ``value`` multiplied in, and truth values as numbers."""
        operands = [self.lane(a) if isinstance(a, View) and _is_boolean(a) else a for a in args]
        if name.startswith(("add.Scalar", "sub.Scalar", "rsub.Scalar")) and len(operands) > 2:
            kwargs, operands = {"alpha": operands[2]}, operands[:2]
        if "rounding_mode" in kwargs and kwargs["rounding_mode"] is not None:
            raise UnsupportedError("division with a rounding mode cannot be fused")
        scale = kwargs.get("alpha", kwargs.get("value", 1))
        if scale != 1:
            place = 0 if name.startswith("rsub") else 1
            operands[place] = self.elementwise("{0} * {1}", operands[place], float(scale))
        return operands

    def elementwise(self, text: str, *operands: Operand, mask: bool = False) -> View:
        """A new value, entry by entry."""
        views = [o for o in operands if isinstance(o, View)]
        shape = np.broadcast_shapes(*(view.shape for view in views))
        out = self.new("mask" if mask else "lane", int(np.prod(shape)))
        spread = tuple(
            o.with_index(np.broadcast_to(o.index, shape)) if isinstance(o, View) else float(o) if not
            isinstance(o, bool) else o
            for o in operands
        )  # fmt: skip
        self.program.instructions.append(Elementwise(out, text, spread))
        return View(out, flat(shape))

    def gather(self, shape: tuple[int, ...], sources: Sequence[tuple[Buffer, int]], kind: str) -> View:
        """A new value whose entries come from several others."""
        out = self.new(kind, len(sources))
        self.program.instructions.append(Gather(out, tuple(sources)))
        return View(out, flat(shape))

    def reduce(self, text: str, value: Operand, dims: Sequence[int] | int | None, keepdim: bool) -> View:
        """A new value: rows of another joined two by two."""
        view = self.lane(value)
        dims = [dims] if isinstance(dims, int) else dims
        axes = sorted({d % view.index.ndim for d in dims}) if dims else list(range(view.index.ndim))
        kept = [d for d in range(view.index.ndim) if d not in axes]
        shape = tuple(view.shape[d] for d in kept)
        index = view.index.transpose([*kept, *axes]).reshape(int(np.prod(shape)), -1)
        if index.shape[1] == 0:
            raise UnsupportedError("a reduction over nothing cannot be fused")
        out = self.new("lane", len(index))
        self.program.instructions.append(Reduce(out, text, (view.with_index(index),)))
        whole = tuple(1 if d in axes else n for d, n in enumerate(view.shape)) if keepdim else shape
        return View(out, flat(whole))

    def matmul(self, a: View, b: View) -> View:
        """(M, K) (K, N)."""
        if not (a.lanes or b.lanes):
            a = self.lane(a)
        a, b = (self.lane(x) if x.buffer.kind in ("mask", "constant") else x for x in (a, b))
        shape = (a.shape[0], b.shape[1])
        out = self.new("lane", shape[0] * shape[1])
        self.program.instructions.append(MatMul(out, (a, b)))
        return View(out, flat(shape))


def _is_boolean(view: View) -> bool:
    constant = view.buffer.kind == "constant" and view.buffer.values.dtype == np.bool_
    return view.buffer.kind == "mask" or constant


def _all_constant(args: Sequence[Any]) -> bool:
    flattened = [x for a in args for x in (a if isinstance(a, (list, tuple)) else [a])]
    return not any(isinstance(x, View) and x.buffer.kind != "constant" for x in flattened)


def _where(low: Lowering, condition: View, a: Operand, b: Operand) -> View:
    a, b = (low.lane(x) if isinstance(x, View) and _is_boolean(x) else x for x in (a, b))
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
    if isinstance(sizes, int):
        cuts = list(range(sizes, x.shape[dim], sizes))
    else:
        cuts = np.cumsum(sizes)[:-1].tolist()
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


def _norm(low: Lowering, x: View, order: float = 2, dims: Any = None, keepdim: bool = False, **_: Any) -> View:
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
        return low.lane(x) if _is_boolean(x) else x
    if dtype == BOOLEAN:
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


LIKE: dict[str, float] = {"empty": 0.0, "empty_permuted": 0.0, "empty_strided": 0.0}
DEAD = tuple(LIKE)
RANDOM = ("rand", "randn", "randint", "bernoulli", "normal", "uniform", "rand_like", "randn_like", "native_dropout")
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
