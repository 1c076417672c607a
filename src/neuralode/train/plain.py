"""Nested Python values as JSON beside a dictionary of tensors, and back: a fixed list of types, no code.

JSON has no tuples, no keys but strings and no tensors. Each of these becomes an object with the one key
"tuple", "pairs" or "tensor"; a dictionary that could be mistaken for such an object becomes "pairs" too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

_TAGS = ({"tuple"}, {"pairs"}, {"tensor"})


def encode(value: Any, tensors: dict[str, Tensor], place: str = "") -> Any:
    """`value` as what `json` can write; its tensors are added to `tensors` under their place, like "a/b/0".

    Raises:
        TypeError: a value of another type, with its place.
    """
    if isinstance(value, Tensor):
        name = place or "value"
        tensors[name] = value.detach()
        return {"tensor": name}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        inner = {key: encode(part, tensors, f"{place}/{key}".lstrip("/")) for key, part in value.items()}
        if all(type(key) is str for key in inner) and set(inner) not in _TAGS:
            return inner
        return {"pairs": [[encode(key, tensors, place), part] for key, part in inner.items()]}
    if isinstance(value, (list, tuple)):
        parts = [encode(part, tensors, f"{place}/{index}".lstrip("/")) for index, part in enumerate(value)]
        return parts if isinstance(value, list) else {"tuple": parts}
    raise TypeError(
        f"a checkpoint holds tensors, numbers, strings, None, lists, tuples and dictionaries; "
        f"{place or 'the value'} is a {type(value).__module__}.{type(value).__qualname__}"
    )


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `encode`."""
    if isinstance(value, list):
        return [decode(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"tensor"}:
        return tensors[value["tensor"]]
    if set(value) == {"tuple"}:
        return tuple(decode(part, tensors) for part in value["tuple"])
    if set(value) == {"pairs"}:
        return {decode(key, tensors): decode(part, tensors) for key, part in value["pairs"]}
    return {key: decode(part, tensors) for key, part in value.items()}
