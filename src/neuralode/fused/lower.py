"""From a traced graph to a program: every operation by its row of a table, or an error that names it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from .elementwise import CHOICE, COMPARISONS, LOGIC, TEXTS
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
    is_boolean,
)
from .operations import SPECIAL
from .shapes import VIEWS
from .trace import name_of, where_in_f

LIKE: dict[str, float] = {"empty": 0.0, "empty_permuted": 0.0, "empty_strided": 0.0}
RANDOM = (
    "rand",
    "randn",
    "randint",
    "bernoulli",
    "normal",
    "uniform",
    "rand_like",
    "randn_like",
    "native_dropout",
)


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
            stem = name.split(".")[0]
            if stem in LIKE or (_all_constant(args) and stem not in RANDOM):
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
        boolean = isinstance(value, bool) or (isinstance(value, View) and is_boolean(value))
        return value if boolean else self.elementwise("{0} != {1}", value, 0.0, mask=True)

    def lane(self, value: Operand) -> View:
        """A value as numbers of the sample."""
        view = self.as_view(value)
        if view.buffer.kind == "lane":
            return view
        if is_boolean(view):
            return self.elementwise(CHOICE, view, 1.0, 0.0)
        return self.elementwise("{0}", view)

    def _scaled(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> list[Operand]:
        """The operands, with ``alpha`` and ``value`` multiplied in, and truth values as numbers."""
        operands = [self.lane(a) if isinstance(a, View) and is_boolean(a) else a for a in args]
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
        """A value whose entries come from several others: a view, where from one."""
        buffer = sources[0][0] if sources else None
        if buffer is not None and buffer.kind == kind and all(b is buffer for b, _ in sources):
            return View(buffer, np.array([place for _, place in sources]).reshape(shape))
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
        whole = tuple(1 if d in axes else n for d, n in enumerate(view.shape)) if keepdim else shape
        if index.shape[1] == 1:
            return view.with_index(index.reshape(whole))
        out = self.new("lane", len(index))
        self.program.instructions.append(Reduce(out, text, (view.with_index(index),)))
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


def _all_constant(args: Sequence[Any]) -> bool:
    flattened = [x for a in args for x in (a if isinstance(a, (list, tuple)) else [a])]
    return not any(isinstance(x, View) and x.buffer.kind != "constant" for x in flattened)
