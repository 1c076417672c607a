"""The program of one sample: instructions on buffers, and views of them by index maps."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]


class UnsupportedError(NotImplementedError):
    """An f that cannot be fused: names the operation and, where known, the line of f."""


@dataclass(frozen=True, eq=False)
class Buffer:
    """Numbers of one sample.

    Attributes:
        kind: ``"lane"``: differ from sample to sample; ``"mask"``: the same, true or false; ``"uniform"``: shared by
            all samples, read through a pointer; ``"constant"``: known, ``values``.
    """

    name: str
    size: int
    kind: str
    values: Any = None


@dataclass(frozen=True, eq=False)
class View:
    """A tensor: entry i is ``buffer[index[i]]``. Reshapes, slices and transposes move no data."""

    buffer: Buffer
    index: Index

    @property
    def shape(self) -> tuple[int, ...]:
        return self.index.shape

    def with_index(self, index: Index) -> "View":
        """Another view of the same buffer."""
        return View(self.buffer, index)

    @property
    def lanes(self) -> bool:
        """Whether it differs between samples."""
        return self.buffer.kind in ("lane", "mask")


Operand = View | float


@dataclass(frozen=True, eq=False)
class Elementwise:
    """out[i] = text with {0}, {1}, ... the operands' entries i."""

    out: Buffer
    text: str
    operands: tuple[Operand, ...]


@dataclass(frozen=True, eq=False)
class Gather:
    """out[i] = the i-th (buffer, place)."""

    out: Buffer
    sources: tuple[tuple[Buffer, int], ...]

    @property
    def operands(self) -> tuple[View, ...]:
        return tuple(View(buffer, np.array([place])) for buffer, place in self.sources)


@dataclass(frozen=True, eq=False)
class Reduce:
    """out[i] = the sum, or largest or smallest, of row i of a view (rows, n); ``text`` joins {0} and {1}."""

    out: Buffer
    text: str
    operands: tuple[View]


@dataclass(frozen=True, eq=False)
class MatMul:
    """out (M, N) = a (M, K) b (K, N) + bias."""

    out: Buffer
    operands: tuple[View, ...]


Instruction = Elementwise | Gather | Reduce | MatMul


@dataclass
class Program:
    """Instructions in order, the buffers that enter, and the views that leave."""

    instructions: list[Instruction] = field(default_factory=list)
    inputs: list[Buffer] = field(default_factory=list)
    outputs: list[View] = field(default_factory=list)

    def needed(self) -> list[Instruction]:
        """The instructions that an output depends on."""
        wanted = {view.buffer for view in self.outputs}
        kept = []
        for each in reversed(self.instructions):
            if each.out in wanted:
                kept.append(each)
                wanted.update(o.buffer for o in each.operands if isinstance(o, View))
        return kept[::-1]


def flat(shape: tuple[int, ...]) -> Index:
    """The index map of a whole buffer."""
    return np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(shape)


def is_boolean(view: View) -> bool:
    """Whether its entries are true or false."""
    constant = view.buffer.kind == "constant" and view.buffer.values.dtype == np.bool_
    return view.buffer.kind == "mask" or constant
