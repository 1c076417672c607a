"""f as a graph of one sample: what depends on the sample, and what is computed once a solve from f's tensors."""

import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx

from .graph import UnsupportedError
from .shapes import VIEWS

Samples = Callable[..., Tensor]  # (t, y, *lane tensors, *shared tensors) -> dy/dt of one sample


@dataclass(frozen=True, eq=False)
class Traced:
    """f of one sample as ``body(t, y, *lanes, *uniforms)``.

    Attributes:
        prologue: (*captured, *shared arguments) -> the tensors ``uniforms`` that all samples share.
        captured: the tensors that f closes over, read anew at every solve.
        lanes: how many lane tensors there are.
        plain: which of the prologue's inputs its results are, where it computes nothing.
        baked: closed-over whole numbers (indices), whose values are part of the program, with their versions.
        forms: shapes and dtypes of ``captured``, which the program holds to.
    """

    body: fx.GraphModule
    prologue: fx.GraphModule
    captured: tuple[Tensor, ...]
    lanes: int
    baked: tuple[tuple[Tensor, int], ...]
    plain: tuple[int, ...] | None
    forms: tuple[tuple[torch.Size, torch.dtype], ...]

    def uniforms(self, shared: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What all samples share, now; differentiable."""
        if self.plain is None:
            return self.prologue(*self.captured, *shared)
        tensors = (*self.captured, *shared)
        return tuple(tensors[i] for i in self.plain)

    @property
    def stale(self) -> bool:
        """Whether a number that is part of the program has changed, or a tensor has another shape or dtype."""
        for tensor, (shape, dtype) in zip(self.captured, self.forms, strict=True):
            if tensor.shape != shape or tensor.dtype is not dtype:
                return True
        return any(tensor._version != version for tensor, version in self.baked)


@lru_cache(maxsize=1)
def decompositions() -> dict[Any, Any]:
    """Composite operations as simpler ones."""
    from torch._decomp import core_aten_decompositions

    table = dict(core_aten_decompositions())
    aten = torch.ops.aten
    for kept in (aten.mv, aten.dot, aten.addmv, aten.squeeze, aten.addcmul, aten.rsub, aten.t):
        for overload in kept.overloads():
            table.pop(getattr(kept, overload), None)
    return table


def graph_of(f: Callable[..., Any], *inputs: Tensor) -> fx.GraphModule:
    """The functional graph of f at these inputs."""
    from torch.fx.experimental.proxy_tensor import make_fx  # slow to import

    functional = torch.func.functionalize(f, remove="mutations_and_views")
    try:
        return make_fx(functional, decomposition_table=decompositions(), record_stack_traces=True)(*inputs)
    except UnsupportedError:
        raise
    except Exception as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise UnsupportedError(
            f"f could not be traced ({reason}): a decision in Python on a tensor's value, .item() and "
            "autograd.grad inside f have no graph"
        ) from error


def trace(f: Samples, t: Tensor, y: Tensor, lanes: Sequence[Tensor], shared: Sequence[Tensor]) -> Traced:
    """Trace f at one sample, and part what depends on it from what does not."""
    with torch.no_grad():
        module = graph_of(f, t, y, *lanes, *shared)
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    return _Split(module, inputs[: 2 + len(lanes)], inputs[2 + len(lanes) :]).traced()


class _Split:
    """Sorts the nodes of a graph into varying, uniform and constant, and makes two graphs of them."""

    def __init__(self, module: fx.GraphModule, lanes: list[fx.Node], shared: list[fx.Node]) -> None:
        self.module, self.lanes, self.shared = module, lanes, shared
        self.kinds: dict[fx.Node, str] = dict.fromkeys(lanes, "varying") | dict.fromkeys(shared, "uniform")
        self.leaves: dict[int, Tensor] = {}
        self.baked: list[tuple[Tensor, int]] = []
        for node in module.graph.nodes:
            if node not in self.kinds:
                self.kinds[node] = self._kind(node)

    def _kind(self, node: fx.Node) -> str:
        if node.op == "get_attr":
            return self._leaf_kind(node)
        kinds = {self.kinds[other] for other in node.all_input_nodes}
        return "varying" if "varying" in kinds else "uniform" if "uniform" in kinds else "constant"

    def _leaf_kind(self, node: fx.Node) -> str:
        tensor = getattr(self.module, str(node.target))
        if all("lift_fresh" in str(user.target) for user in node.users):
            return "constant"  # a literal that f makes anew at every call
        if not tensor.is_floating_point():
            self.baked.append((tensor, tensor._version))
            return "constant"
        self.leaves[id(tensor)] = tensor
        return "uniform"

    def _root(self, node: fx.Node) -> fx.Node:
        """Behind views that the body can make by itself."""
        while name_of(node) in VIEWS and node.op == "call_function":
            node = node.all_input_nodes[0]
        return node

    def traced(self) -> Traced:
        """The two graphs."""
        output = next(node for node in self.module.graph.nodes if node.op == "output")
        self.kinds[output] = "varying"
        roots: dict[fx.Node, None] = {}
        for node in self.module.graph.nodes:
            if self.kinds[node] == "varying":
                uniform = (other for other in node.all_input_nodes if self.kinds[other] == "uniform")
                roots.update(dict.fromkeys(map(self._root, uniform)))
        captured = tuple(self.leaves.values())
        return Traced(
            self._body(list(roots), output),
            self._prologue(list(roots)),
            captured,
            len(self.lanes) - 2,
            tuple(self.baked),
            self._plain(list(roots)),
            tuple((tensor.shape, tensor.dtype) for tensor in captured),
        )

    def _plain(self, roots: list[fx.Node]) -> tuple[int, ...] | None:
        keys = list(self.leaves)
        places: list[int] = []
        for root in roots:
            if root.op == "get_attr":
                places.append(keys.index(id(getattr(self.module, str(root.target)))))
            elif root in self.shared:
                places.append(len(keys) + self.shared.index(root))
            else:
                return None
        return tuple(places)

    def _body(self, roots: list[fx.Node], output: fx.Node) -> fx.GraphModule:
        graph = fx.Graph()
        env: dict[fx.Node, fx.Node] = {}
        for node in (*self.lanes, *roots):
            env[node] = graph.placeholder(f"in_{len(env)}")
            env[node].meta["shape"] = _shape(self.module, node)
        _copy_into(graph, [output], env)
        return fx.GraphModule(self.module, graph)

    def _prologue(self, roots: list[fx.Node]) -> fx.GraphModule:
        graph = fx.Graph()
        places = {key: graph.placeholder(f"captured_{i}") for i, key in enumerate(self.leaves)}
        env: dict[fx.Node, fx.Node] = {node: graph.placeholder(node.name) for node in self.shared}
        for node in self.module.graph.nodes:
            if node.op == "get_attr" and self.kinds[node] == "uniform":
                env[node] = places[id(getattr(self.module, str(node.target)))]
        _copy_into(graph, roots, env)
        graph.output(tuple(env[root] for root in roots))
        return fx.GraphModule(self.module, graph)


def _shape(module: fx.GraphModule, node: fx.Node) -> torch.Size:
    if node.op == "get_attr":
        return getattr(module, str(node.target)).shape
    return node.meta["val"].shape


def _copy_into(graph: fx.Graph, wanted: list[fx.Node], env: dict[fx.Node, fx.Node]) -> None:
    """Copy what ``wanted`` needs and ``env`` does not have yet."""
    needed: set[fx.Node] = set()
    pending = [node for node in wanted if node not in env]
    while pending:
        node = pending.pop()
        if node not in needed and node not in env:
            needed.add(node)
            pending += node.all_input_nodes
    if wanted:
        for node in wanted[0].graph.nodes:
            if node in needed:
                env[node] = graph.node_copy(node, lambda other: env[other])


def vjp_of(
    traced: Traced, inputs: Sequence[Tensor], wanted: Sequence[int], cotangent: Tensor
) -> fx.GraphModule:
    """The graph of (*inputs, cotangent) -> f, and the cotangents of y and of the inputs ``wanted``."""
    places = [1, *wanted]

    def pull(*tensors: Tensor) -> tuple[Tensor, ...]:
        values, seed = tensors[:-1], tensors[-1]

        def g(*some: Tensor) -> Tensor:
            whole = list(values)
            for place, value in zip(places, some, strict=True):
                whole[place] = value
            return traced.body(*whole)

        value, back = torch.func.vjp(g, *(values[place] for place in places))  # type: ignore[misc]
        return value, *back(seed)

    return graph_of(pull, *inputs, cotangent)


def name_of(node: fx.Node) -> str:
    """The name of an operation in the tables."""
    if node.target is operator.getitem:
        return "getitem"
    name = str(node.target).removeprefix("aten.")
    return name if name.startswith(("_to_copy", "lift_fresh")) else name.replace("_copy.", ".", 1)


def where_in_f(node: fx.Node) -> str:
    """The line of the user's code that made a node, as far as known."""
    lines = (node.meta.get("stack_trace") or "").strip().split("\n")
    own = [i for i, line in enumerate(lines) if "File " in line and "site-packages" not in line]
    own = [i for i in own if not any(part in lines[i] for part in ("/neuralode/", sys.prefix))]
    if not own:
        return ""
    return " (" + " ".join(line.strip() for line in lines[own[-1] : own[-1] + 2]) + ")"
