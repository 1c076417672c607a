"""The tensors that f closes over: module parameters, leaves, and computed tensors such as a hypernetwork's output.

f is called twice with gradients on. A node of the autograd graph that both results reach existed before the
calls; the edges that lead from a call's own nodes into such nodes are what f closes over.
"""

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from ..errors import SolverWarning
from ..ops import stage_times
from ..problem import Problem

Edge = tuple[Node, int]
# The node at which the gradient of a leaf arrives.
LEAF = torch._C._functions.AccumulateGrad  # type: ignore[attr-defined]


class Watch(TorchFunctionMode):
    """Lists the tensors with a gradient history that enter any operation."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[tuple[Node, int], Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        for tensor in _tensors((args, kwargs or {})):
            if tensor.grad_fn is not None:
                self.seen.setdefault((tensor.grad_fn, tensor.output_nr), tensor)
        return func(*args, **(kwargs or {}))


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (tuple, list)):
        for child in tree:
            yield from _tensors(child)
    elif isinstance(tree, dict):
        yield from _tensors(tuple(tree.values()))


def with_captures(problem: Problem) -> tuple[Problem, list[Tensor], bool]:
    """The problem with its first slope known, what f closes over, and whether anything wants a gradient."""
    tensors, slope = captured(problem)
    return replace(problem, start=lambda t, y: slope), tensors, problem.y0.requires_grad or bool(tensors)


def captured(problem: Problem) -> tuple[list[Tensor], Tensor]:
    """(tensors that f closes over and that want a gradient, f(t0, y0)).

    Raises:
        ValueError: f gives different results for the same input, so that no exact gradient exists.
        RuntimeError: a closed-over tensor cannot be identified; the message says how to pass it.
    """
    t = stage_times(problem.t0, problem.t0 * 0.0, (0.0,), problem.y0)[0]
    y = problem.y0.detach()
    field = problem.field
    _warn_of_moving_statistics(field.f)
    with torch.enable_grad():
        first = field(t, _fresh(y))
        if not first.requires_grad:
            return parameters_of(field.f), first.detach()
        with Watch() as watch:
            second = field(t, _fresh(y))
    if not torch.allclose(first.detach(), second.detach(), rtol=1e-3, atol=1e-6, equal_nan=True):
        raise ValueError(
            "f is random: two evaluations at (t0, y0) differ. Draw dropout masks and noise once per solve and pass "
            "them in args, or call .eval()"
        )
    parameters = {node_of(parameter): parameter for parameter in parameters_of(field.f)}
    edges = _frontier(first.grad_fn, second.grad_fn, parameters)
    return [
        parameters[node] if node in parameters else _tensor_of(node, n, watch) for node, n in edges
    ], first.detach()


def _fresh(y: Tensor) -> Tensor:
    """A copy of y with a history of its own; no leaf, so that a change in place reaches the check for that."""
    return y.clone().requires_grad_().clone()


def _frontier(first: Node | None, second: Node | None, parameters: Iterable[Node | None]) -> list[Edge]:
    """The edges from the second call's own nodes into nodes that both calls reach, and those of the parameters.

    No edge lies behind another one: where a captured tensor was computed from another, it gives way to what it was
    computed from, or its part of the gradient would count twice.
    """
    old = set(_reached(first))
    found: dict[Edge, None] = {(node, 0): None for node in parameters if node is not None}
    found.update(dict.fromkeys(_edges_into(second, old)))
    nodes = {node for node, _ in found}
    for edge in list(found):
        behind = _reached(edge[0])[1:]
        if nodes.intersection(behind):
            del found[edge]
            leaves = {node for node in behind if hasattr(node, "variable")}
            found.update(dict.fromkeys(_edges_into(edge[0], nodes | leaves)))
    return list(found)


def _edges_into(root: Node | None, stops: set[Node]) -> Iterator[Edge]:
    """The edges by which a walk of the graph from ``root`` first enters ``stops``."""
    pending, visited = [root], {root}
    while pending:
        for node, number in pending.pop().next_functions:  # type: ignore[union-attr]
            if node in stops:
                yield node, number
            elif node is not None and node not in visited:
                visited.add(node)
                pending.append(node)


def _reached(root: Node | None) -> list[Node]:
    """Every node of a graph, the root first."""
    found = {root: None} if root is not None else {}
    pending = list(found)
    while pending:
        for node, _ in pending.pop().next_functions:
            if node is not None and node not in found:
                found[node] = None
                pending.append(node)
    return list(found)


def _tensor_of(node: Node, number: int, watch: Watch) -> Tensor:
    leaf = getattr(node, "variable", None)
    if leaf is not None:
        return leaf
    if (node, number) in watch.seen:
        return watch.seen[node, number]
    raise RuntimeError(
        f"f closes over a tensor computed by {node.name()} that could not be identified, so its gradient would be "
        "lost: pass it in args, or use gradient='direct'"
    )


def parameters_of(f: Any) -> list[Tensor]:
    """Parameters of the modules that f is, belongs to, or closes over directly."""
    return [p for module in modules_of(f) for p in module.parameters() if p.requires_grad]


def modules_of(f: Any) -> list[nn.Module]:
    if isinstance(f, (tuple, list)):
        return [module for part in f for module in modules_of(part)]
    while isinstance(f, functools.partial):
        f = f.func
    cells = [cell.cell_contents for cell in getattr(f, "__closure__", None) or () if _filled(cell)]
    return [thing for thing in (f, getattr(f, "__self__", None), *cells) if isinstance(thing, nn.Module)]


def _warn_of_moving_statistics(f: Any) -> None:
    for module in modules_of(f):
        for name, part in module.named_modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training:
                warnings.warn(
                    f"f contains a {type(part).__name__} in training mode ({name or 'itself'}): it mixes the samples, "
                    "and its running statistics move at every evaluation, as many as the tolerance takes. Use "
                    "GroupNorm or LayerNorm, or put it in .eval()",
                    SolverWarning,
                    stacklevel=2,
                )
                return


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def verify(roots: Sequence[Tensor], known: set[Node], inputs: Sequence[Tensor]) -> None:
    """Check that a re-run step reaches no tensor with a gradient but ``inputs``, leaves, and what has nodes ``known``.

    Raises:
        RuntimeError: f used, on a branch that (t0, y0) did not take, a tensor that was not found before.
    """
    pending = [root.grad_fn for root in roots if root.grad_fn is not None]
    visited = {*known, *pending}
    while pending:
        for node, _ in pending.pop().next_functions:
            if node is None or node in visited:
                continue
            visited.add(node)
            leaf = node.variable if isinstance(node, LEAF) else None
            if leaf is not None and all(leaf is not own for own in inputs):
                raise RuntimeError(
                    f"f uses a tensor of shape {tuple(leaf.shape)} at a later time but not at t0, so its gradient "
                    "would be lost: pass it in args and use it there, register it as a parameter of f, or use "
                    "gradient='direct'"
                )
            pending.append(node)


def node_of(tensor: Tensor) -> Node | None:
    """The autograd node that a tensor's gradient arrives at."""
    if not tensor.requires_grad:
        return None
    return torch.autograd.graph.get_gradient_edge(tensor).node
