"""C++ functions, and the declarations that they begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .graph import Buffer

if TYPE_CHECKING:
    from .source import Shape


def lying(buffers: Sequence[Buffer], array: str, const: str = "") -> list[str]:
    """Declarations of buffers that lie in an array one after the other."""
    lines, offset = [], 0
    for buffer in buffers:
        kind = f"{const}{'M' if buffer.kind == 'mask' else 'V'}*"
        lines.append(f"{kind} {buffer.name} = ({kind})({array} + {offset});")
        offset += buffer.size
    return lines


def entering(inputs: Sequence[Buffer], shape: Shape, names: Sequence[str]) -> list[str]:
    """Declarations of a program's inputs from the arguments t, y, a, shared, and what follows."""
    lanes = inputs[2 : 2 + len(shape.lanes)]
    lines = [f"const V {inputs[0].name}[1] = {{t}};", f"const V* {inputs[1].name} = y;"]
    lines += lying(lanes, "a", "const ")
    shared = inputs[2 + len(lanes) : 2 + len(lanes) + len(shape.shared)]
    lines += [f"const T* {buffer.name} = shared[{i}];" for i, buffer in enumerate(shared)]
    rest = inputs[2 + len(lanes) + len(shared) :]
    return lines + [f"const V* {b.name} = {name};" for b, name in zip(rest, names, strict=True)]


def function(head: str, lines: Sequence[str]) -> list[str]:
    """A C++ function."""
    return [head + " {", *(f"    {line}" for line in lines), "}"]
