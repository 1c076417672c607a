"""The gradients of what all samples share, as C++: sums over the stages of a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .emit import Emitter, stride
from .graph import Buffer, Elementwise, Gather, Index, Instruction, MatMul, Program, View

Term = tuple[View, Index]
Outer = tuple[View, View, int, int]


class Sums:
    """How the gradients of shared tensors are summed over samples and steps.

    A term that is an outer product of two vectors of the sample is summed over lanes as it is made; others lane by
    lane, to be joined at the end, unless the same tensor has a term of the first kind. A tensor of few numbers has all
    its terms summed lane by lane. Zeros that pad a term (the gradient of a slice) are left out.

    Attributes:
        terms: of every tensor, (entries, their places in the gradient), and what ``outer_of`` says of them.
        by_lane: of every tensor, whether its terms are summed lane by lane; sizes: how many entries it has.
    """

    FEW = 256  # of such sums the first-level cache holds a few tensors' worth

    def __init__(self, program: Program, outputs: Sequence[View]) -> None:
        self.makers: dict[object, Instruction] = {each.out: each for each in program.instructions}
        self.terms = [
            [(part, self.outer_of(*part)) for term in self._terms(view) for part in self._parts(term)]
            for view in outputs
        ]
        self.sizes = tuple(view.index.size for view in outputs)
        self.by_lane = tuple(
            view.index.size <= self.FEW or not any(outer for _, outer in terms)
            for view, terms in zip(outputs, self.terms, strict=True)
        )

    def constants(self) -> list[str]:
        """``sizes`` and ``by_lane`` in C++; a last one keeps the arrays from being empty."""
        by_lane = (str(each).lower() for each in self.by_lane)
        return [
            f"constexpr int TENSORS = {len(self.sizes)};",
            f"constexpr int64_t SIZES[] = {{{', '.join(map(str, (*self.sizes, 0)))}}};",
            f"constexpr bool BY_LANE[] = {{{', '.join((*by_lane, 'false'))}}};",
        ]

    @property
    def views(self) -> list[View]:
        """What the terms are made of."""
        terms = [term for terms in self.terms for term in terms]
        return [view for (entries, _), outer in terms for view in (outer[:2] if outer else (entries,))]

    def _terms(self, view: View) -> list[View]:
        """The summands of a view."""
        maker = self.makers.get(view.buffer)
        if not (isinstance(maker, Elementwise) and maker.text == "{0} + {1}"):
            return [view]
        index, found = view.index.reshape(-1), []
        for operand in maker.operands:
            if not isinstance(operand, View):
                return [view]
            found += self._terms(operand.with_index(operand.index.reshape(-1)[index]))
        return found

    def _parts(self, view: View) -> list[Term]:
        """A summand by the buffers that it is gathered from."""
        maker, index = self.makers.get(view.buffer), view.index.reshape(-1)
        if not isinstance(maker, Gather):
            return [] if self._is_zero(view.buffer, index) else [(view, np.arange(len(index)))]
        found: dict[Buffer, list[tuple[int, int]]] = {}
        for place, (buffer, source) in enumerate(maker.sources[i] for i in index):
            if not self._is_zero(buffer, np.array([source])):
                found.setdefault(buffer, []).append((source, place))
        return [(View(buffer, np.array(ij)[:, 0]), np.array(ij)[:, 1]) for buffer, ij in found.items()]

    def _is_zero(self, buffer: Buffer, index: Index) -> bool:
        """Whether entries are zero, whatever the sample."""
        maker = self.makers.get(buffer)
        if isinstance(maker, Elementwise) and maker.text == "{0}":
            (operand,) = maker.operands
            if not isinstance(operand, View):
                return operand == 0
            buffer, index = operand.buffer, operand.index.reshape(-1)[index]
        return buffer.kind == "constant" and not buffer.values[index].any()

    def outer_of(self, view: View, target: Index) -> Outer | None:
        """(x, y, base, step): entry base + m step + n of the gradient is sum_k x[k, m] y[k, n]."""
        maker = self.makers.get(view.buffer)
        if not isinstance(maker, MatMul) or view.index.size != maker.out.size:
            return None
        a, b = maker.operands
        places = np.full(maker.out.size, -1)
        places[view.index.reshape(-1)] = target
        if not (a.lanes and b.lanes) or (places < 0).any():
            return None
        grid = places.reshape(a.shape[0], b.shape[1])
        left, right = a.with_index(a.index.T), b
        for x, y, at in ((left, right, grid), (right, left, grid.T)):
            step = _rows(at)
            if step is not None:
                return x, y, int(at[0, 0]), step
        return None


def _rows(grid: Index) -> int | None:
    """The step between rows that each hold consecutive places."""
    step = int(grid[1, 0] - grid[0, 0]) if len(grid) > 1 else grid.shape[1]
    want = grid[0, 0] + step * np.arange(len(grid))[:, None] + np.arange(grid.shape[1])
    return step if (grid == want).all() else None


class Adder(Emitter):
    """Writes the sums over the stages of a step. The vectors of each stage lie in arrays of all stages.

    Attributes:
        left: the buffers that f's VJP leaves for the sums, in the array ``bars``.
        copies: of them, those that are copies, and of what.
    """

    def __init__(self, sums: Sums, inputs: Sequence[Buffer], lanes: int, kept: Sequence[Buffer]) -> None:
        super().__init__(Program())
        self.clock, self.by_lane = inputs[0], sums.by_lane
        self.roots = {inputs[1]: ("y", "0", "WIDTH"), inputs[-1]: ("seed", "0", "N")}
        self._line_up(inputs[2 : 2 + lanes], "a", "", "0")
        self._line_up(kept, "y", "N + ", "WIDTH")
        self.left: list[Buffer] = []
        self.copies: list[tuple[Buffer, View]] = []
        single: list[tuple[int, View, Index]] = []
        pairs: list[tuple[int, View, View, int, int]] = []
        for j, terms in enumerate(sums.terms):
            for (view, target), outer in terms:
                if outer is None:
                    single.append((j, self._lying(view), target))
                    continue
                x, y, base, step = outer
                for m, n in zip(x.index, y.index, strict=True):
                    pair = self._together(x.with_index(m)), self._together(y.with_index(n))
                    pairs.append((j, *pair, base, step))
        self._line_up(self.left, "bars", "", "BARS")
        for term in single:
            self.lines.append(self._lanewise(*term))
        self.lines += [self._outer(*pair) for pair in pairs]

    def _line_up(self, buffers: Sequence[Buffer], array: str, start: str, step: str) -> None:
        """Buffers that lie in an array one after the other, from ``start`` on; a stage takes ``step``."""
        offset = 0
        for buffer in buffers:
            self.roots[buffer] = (array, f"{start}{offset}", step)
            offset += buffer.size

    def _lying(self, view: View) -> View:
        """A view of what lies in an array."""
        if view.buffer is self.clock:
            return self._copy(view)
        if view.buffer.kind == "lane" and view.buffer not in self.roots and view.buffer not in self.left:
            self.left.append(view.buffer)
        return view

    def _together(self, view: View) -> View:
        """The same, entry by entry one after the other."""
        index = view.index
        together = len(index) == 1 or stride(index) == (int(index[0]), 1)
        return self._lying(view) if together and view.buffer.kind == "lane" else self._copy(view)

    def _copy(self, view: View) -> View:
        copy = Buffer(f"copy_{len(self.copies)}", view.index.size, "lane")
        self.left.append(copy)
        self.copies.append((copy, view))
        return View(copy, np.arange(copy.size))

    def entry(self, buffer: Buffer, place: int | str) -> str:
        """One entry of a stage's vector."""
        array, start, step = self.roots[buffer]
        return f"{array}[{start} + {place} + s * {step}]"

    def vector(self, view: View) -> str:
        """A vector of the first stage, and how far the next stage's is."""
        array, start, step = self.roots[view.buffer]
        return f"{array} + {start} + {int(view.index[0])}, {step}"

    def _lanewise(self, j: int, view: View, target: Index) -> str:
        source, place = self.running(view), self.place(target)
        total = f"V sum = {{}}; for (int s = 0; s < count; s++) sum += {source};"
        add = f"((V*)g[{j}])[{place}] += sum;" if self.by_lane[j] else f"g[{j}][{place}] += lane_sum(sum);"
        return f"for (int i = 0; i < {len(target)}; i++) {{ {total} {add} }}"

    def _outer(self, j: int, x: View, y: View, base: int, step: int) -> str:
        name, target = ("outer_by_lane", f"(V*)g[{j}]") if self.by_lane[j] else ("outer", f"g[{j}]")
        sizes, vectors = f"{len(x.index)}, {len(y.index)}, {step}", f"{self.vector(x)}, {self.vector(y)}"
        return f"{name}<{sizes}>({vectors}, count, {target} + {base});"
