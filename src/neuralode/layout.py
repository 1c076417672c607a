"""Pytrees of tensors as one tensor: raveled once at the edge of a solve."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, leaf) of tuples, named tuples, lists, dicts and dataclasses, depth first."""
    for key, child in _children(tree):
        yield from leaves(child, f"{path}{key}")
    if not _is_node(tree):
        yield path, tree


def rebuild(tree: Any, values: Iterator[Any]) -> Any:
    """The structure of ``tree`` with its leaves replaced, in order, by ``values``."""
    if not _is_node(tree):
        return next(values)
    children = [rebuild(child, values) for _, child in _children(tree)]
    if isinstance(tree, dict):
        return type(tree)(zip(tree, children, strict=True))
    if dataclasses.is_dataclass(tree):
        names = [field.name for field in dataclasses.fields(tree)]
        return dataclasses.replace(tree, **dict(zip(names, children, strict=True)))  # type: ignore[type-var]
    return type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)


def take_rows(tree: Any, keep: Tensor, samples: int) -> Any:
    """The structure with every tensor that has one row for each of ``samples`` samples cut to the rows ``keep``.

    What knows how to be cut itself (a vector field, whose arguments are) has a method ``of_samples(keep, samples)``.
    """

    def cut(leaf: Any) -> Any:
        if hasattr(leaf, "of_samples"):
            return leaf.of_samples(keep, samples)
        per_sample = isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == samples
        return leaf.index_select(0, keep) if per_sample else leaf

    return rebuild(tree, iter([cut(leaf) for _, leaf in leaves(tree, "")]))


def _is_node(tree: Any) -> bool:
    record = dataclasses.is_dataclass(tree) and not isinstance(tree, type) and not hasattr(tree, "of_samples")
    return record or isinstance(tree, (tuple, list, dict))


def _children(tree: Any) -> list[tuple[str, Any]]:
    if isinstance(tree, dict):
        return [(f"[{key!r}]", child) for key, child in tree.items()]
    if isinstance(tree, (tuple, list)):
        return [(f"[{i}]", child) for i, child in enumerate(tree)]
    if _is_node(tree):
        return [(f".{field.name}", getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    return []


class Layout:
    """How the leaves of one pytree lie in a tensor (D,), or (B, D) when dimension 0 is the batch.

    Raises:
        ValueError: the leaves differ in batch size, dtype or device.
    """

    def __init__(self, tree: Any, batched: bool) -> None:
        found = list(leaves(tree, ""))
        tensors = [leaf for _, leaf in found]
        first = tensors[0]
        for path, leaf in found:
            if (leaf.dtype, leaf.device) != (first.dtype, first.device):
                raise ValueError(
                    f"y0{path} is {leaf.dtype} on {leaf.device} but y0{found[0][0]} is {first.dtype} on "
                    f"{first.device}: give all leaves one dtype and one device"
                )
            if batched and (leaf.dim() == 0 or leaf.shape[0] != first.shape[0]):
                raise ValueError(
                    f"y0{path} has shape {tuple(leaf.shape)}: with batch= dimension 0 of every leaf is the batch, "
                    f"here {first.shape[0] if first.dim() else 'missing'}"
                )
        self.tree = rebuild(tree, iter([None] * len(found)))
        self.paths = [path for path, _ in found]
        self.lead = 1 if batched else 0
        self.shapes = [leaf.shape[self.lead :] for leaf in tensors]
        self.sizes = [shape.numel() for shape in self.shapes]

    def ravel(self, tree: Any, giver: str = "f") -> Tensor:
        """One tensor from a pytree of this structure; ``giver`` is who errors are about."""
        found = list(leaves(tree, ""))
        if [path for path, _ in found] != self.paths:
            raise ValueError(
                f"{giver} must return y's structure with leaves {self.paths}, got {[path for path, _ in found]}"
            )
        for (path, leaf), shape in zip(found, self.shapes, strict=True):
            if not isinstance(leaf, Tensor):
                raise TypeError(
                    f"{giver} must return tensors, leaf {path or 'itself'} is {type(leaf).__name__}"
                )
            if leaf.shape[self.lead :] != shape:
                raise ValueError(
                    f"{giver} returned shape {tuple(leaf.shape)} for leaf {path}, expected {tuple(shape)} "
                    + ("behind the batch" if self.lead else "")
                )
        parts = [
            leaf.reshape(*leaf.shape[: self.lead], size)
            for (_, leaf), size in zip(found, self.sizes, strict=True)
        ]
        return torch.cat(parts, dim=-1)

    def unravel(self, flat: Tensor) -> Any:
        """The pytree of a raveled tensor (..., D); further leading dimensions (time) stay in front."""
        parts = flat.split(self.sizes, dim=-1)
        shaped = [
            part.reshape(*flat.shape[:-1], *shape) for part, shape in zip(parts, self.shapes, strict=True)
        ]
        return rebuild(self.tree, iter(shaped))


class RealPairs:
    """A complex state, or a pytree of complex leaves, as a real tensor (2 D,), or (B, 2 D): real, imaginary, real, ...

    For methods that linearise f, which need not be differentiable as a function of a complex variable.
    """

    def __init__(self, state: Tensor, inner: Layout | None, batched: bool) -> None:
        self.inner, self.dtype, self.whole = inner, state.dtype, state.shape
        self.shape = state.shape[1:] if batched else state.shape
        self.lead = 1 if batched else 0

    def ravel(self, tree: Any, giver: str = "f") -> Tensor:
        """The real tensor of a pytree of this structure; ``giver`` is who errors are about."""
        state = tree if self.inner is None else self.inner.ravel(tree, giver)
        if not isinstance(state, Tensor):
            raise TypeError(f"{giver} must return a tensor like y, got {type(state).__name__}")
        if state.shape[self.lead :] != self.shape:
            raise ValueError(
                f"{giver} returned shape {tuple(state.shape)}, expected that of y, {tuple(self.whole)}"
            )
        return torch.view_as_real(state.to(self.dtype).resolve_conj()).flatten(self.lead)

    def unravel(self, flat: Tensor) -> Any:
        """The pytree of a real tensor (..., 2 D); further leading dimensions (time) stay in front."""
        pairs = flat.reshape(*flat.shape[:-1], *self.shape, 2)
        state = torch.view_as_complex(pairs.contiguous())
        return state if self.inner is None else self.inner.unravel(state)
