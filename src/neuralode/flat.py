"""Structures as flat dictionaries of tensors and plain values, to be saved; and back.

A leaf's name is its way through tuples, dicts and records, joined by points: ``state.carry.0``. What is neither a
tensor nor a number, string or None (functions, a vector field) is not saved: it comes from the structure that the
values are put back into. Complex tensors are saved as pairs of reals (..., 2), which every file format knows.
"""

from typing import Any

import torch
from torch import Tensor

from .layout import leaves, rebuild

PLAIN = (bool, int, float, str, type(None))


def flatten(tree: Any) -> dict[str, Any]:
    """Name -> a copy of the tensor, or the plain value."""
    return {name: _copy(leaf) for name, leaf in _named(tree) if isinstance(leaf, (Tensor, *PLAIN))}


def unflatten(template: Any, values: dict[str, Any]) -> Any:
    """The structure of ``template`` with the values that ``flatten`` gave, each tensor on the device of its own there.

    Raises:
        KeyError: a value is missing, or one is too much.
    """
    wanted = flatten(template).keys()
    if wanted != values.keys():
        raise KeyError(f"missing {sorted(wanted - values.keys())}, unknown {sorted(values.keys() - wanted)}")
    return rebuild(template, iter([_put(values.get(name, leaf), leaf) for name, leaf in _named(template)]))


def _named(tree: Any) -> list[tuple[str, Any]]:
    cleaned = str.maketrans({"[": ".", "]": None, "'": None, '"': None})
    return [(path.translate(cleaned).lstrip("."), leaf) for path, leaf in leaves(tree, "")]


def _copy(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    leaf = leaf.detach().resolve_conj()
    return (torch.view_as_real(leaf) if leaf.is_complex() else leaf).clone(
        memory_format=torch.contiguous_format
    )


def _put(value: Any, leaf: Any) -> Any:
    if not (isinstance(value, Tensor) and isinstance(leaf, Tensor)):
        return value
    value = value.to(leaf.device)
    return torch.view_as_complex(value.contiguous()) if leaf.is_complex() else value
