"""From a program to the text of a C++ function: loops where there are many entries, single statements where few."""

import math
from collections.abc import Iterable, Iterator
from functools import reduce

import numpy as np

from .graph import Buffer, Elementwise, Gather, Index, Instruction, MatMul, Operand, Program, Reduce, View
from .products import folds, unfolded, vector_and_matrix

UNROLLED = 16  # entries up to which an instruction is written out one by one


def literal(x: float) -> str:
    """A number in C++."""
    if math.isnan(x):
        return "std::numeric_limits<T>::quiet_NaN()"
    if math.isinf(x):
        return ("-" if x < 0 else "") + "std::numeric_limits<T>::infinity()"
    return f"T({float(x)!r})"


def stride(index: Index) -> tuple[int, int] | None:
    """(base, step) where the entries are evenly spaced."""
    if len(index) == 1:
        return int(index[0]), 0
    steps = np.diff(index)
    return (int(index[0]), int(steps[0])) if (steps == steps[0]).all() else None


def _in_order(view: View) -> bool:
    """Whether it is a whole buffer, entry by entry."""
    return stride(view.index.reshape(-1)) == (0, 1)


class Emitter:
    """Writes one program; ``placed``: the buffers that the caller declares."""

    def __init__(self, program: Program, placed: frozenset[Buffer] = frozenset()) -> None:
        self.program, self.placed = program, placed
        self.code = [unfolded(each) for each in program.needed()]
        self.lines: list[str] = []
        self.tables = 0

    def body(self) -> list[str]:
        """Every instruction; the outputs are left in their buffers."""
        for group in self._groups():
            first = group[0]
            if isinstance(first, Elementwise) and first.out.size > UNROLLED:
                self._loop(group)
            else:
                for each in group:
                    self._single(each)
        return self.lines

    def _groups(self) -> Iterator[list[Instruction]]:
        """Runs of elementwise instructions over as many entries, each entry using only its own of those before.

        Products of what they make with a matrix of few columns belong to them.
        """
        group: list[Instruction] = []
        for each in self.code:
            if not (group and self._joins(each, group)):
                if group:
                    yield group
                group = []
            group.append(each)
        if group:
            yield group

    @staticmethod
    def _joins(each: Instruction, group: list[Instruction]) -> bool:
        size = group[0].out.size
        if not isinstance(group[0], Elementwise) or size <= UNROLLED:
            return False
        made = {other.out for other in group if isinstance(other, Elementwise)}
        summed = {other.out for other in group} - made
        views = [o for o in each.operands if isinstance(o, View)]
        if any(view.buffer in summed for view in views):
            return False
        if not isinstance(each, Elementwise):
            parts = folds(each, size)
            return parts is not None and parts[0].buffer in made and _in_order(parts[0])
        return each.out.size == size and all(_in_order(view) for view in views if view.buffer in made)

    def declare(self, buffer: Buffer) -> None:
        """An array for a buffer."""
        if buffer in self.placed:
            return
        self.lines.append(f"{'M' if buffer.kind == 'mask' else 'V'} {buffer.name}[{buffer.size}];")

    def table(self, kind: str, values: Index | np.ndarray) -> str:
        """A constant array; returns its name."""
        self.tables += 1
        name = f"table{self.tables}"
        numbers = ", ".join(str(int(v)) if kind == "int" else literal(float(v)) for v in values)
        self.lines.append(f"static const {kind} {name}[] = {{{numbers}}};")
        return name

    def entry(self, buffer: Buffer, place: int | str) -> str:
        """One entry of a buffer, as a vector of lanes."""
        if buffer.kind == "uniform":
            return f"B({buffer.name}[{place}])"
        return f"{buffer.name}[{place}]"

    def at(self, operand: Operand, i: int) -> str:
        """Entry i of an operand."""
        if isinstance(operand, bool):
            return "~M{}" if operand else "M{}"
        if not isinstance(operand, View):
            return f"B({literal(operand)})"
        place = int(operand.index.reshape(-1)[i])
        if operand.buffer.kind == "constant":
            value = operand.buffer.values[place]
            return (
                self.at(bool(value), 0)
                if operand.buffer.values.dtype == np.bool_
                else self.at(float(value), 0)
            )
        return self.entry(operand.buffer, place)

    def running(self, operand: Operand, variable: str = "i") -> str:
        """Entry ``variable`` of an operand, inside a loop."""
        if not isinstance(operand, View):
            return self.at(operand, 0)
        index = operand.index.reshape(-1)
        if operand.buffer.kind == "constant":
            values = operand.buffer.values[index]
            if (values == values[0]).all():
                return self.at(operand, 0)
            text = f"B({self.table('T', values)}[{variable}])"
            return f"({text} != V{{}})" if values.dtype == np.bool_ else text
        return self.entry(operand.buffer, self.place(index, variable))

    def place(self, index: Index, variable: str = "i") -> str:
        """Number ``variable`` of an index."""
        spaced = stride(index)
        if spaced is None:
            return f"{self.table('int', index)}[{variable}]"
        base, step = spaced
        return f"{base} + {step} * {variable}" if step else str(base)

    def _loop(self, group: list[Instruction]) -> None:
        used: set[Buffer] = {view.buffer for view in self.program.outputs}
        for each in self.code:
            if each not in group:
                used.update(o.buffer for o in each.operands if isinstance(o, View))
        inner = []
        made: set[Buffer] = set()
        after: list[str] = []
        for each in group:
            if not isinstance(each, Elementwise):
                inner += self._sums(each, after)
                continue
            texts = [
                f"{o.buffer.name}_i" if isinstance(o, View) and o.buffer in made else self.running(o)
                for o in each.operands
            ]
            kind = "M" if each.out.kind == "mask" else "V"
            inner.append(f"const {kind} {each.out.name}_i = {each.text.format(*texts)};")
            made.add(each.out)
            if each.out in used:
                self.declare(each.out)
                inner.append(f"{each.out.name}[i] = {each.out.name}_i;")
        self.lines.append(f"for (int i = 0; i < {group[0].out.size}; i++) {{ {' '.join(inner)} }}")
        self.lines += after

    def _sums(self, each: Instruction, after: list[str]) -> list[str]:
        """What a loop adds up of a product as it goes; the sums are stored after it."""
        parts = vector_and_matrix(each)
        assert parts is not None
        x, w = parts
        self.declare(each.out)
        inner = []
        for n in range(w.shape[1]):
            name = f"{each.out.name}_{n}"
            self.lines.append(f"V {name} = {{}};")
            inner.append(f"{name} += {x.buffer.name}_i * {self.running(w.with_index(w.index[:, n]))};")
            after.append(f"{each.out.name}[{n}] = {name};")
        return inner

    def _single(self, each: Instruction) -> None:
        self.declare(each.out)
        if isinstance(each, Elementwise):
            for i in range(each.out.size):
                text = each.text.format(*(self.at(o, i) for o in each.operands))
                self.lines.append(f"{each.out.name}[{i}] = {text};")
        elif isinstance(each, Gather):
            self._gather(each)
        elif isinstance(each, Reduce):
            self._reduce(each)
        else:
            self._matmul(each)

    def _gather(self, each: Gather) -> None:
        """Short ones entry by entry; of long ones, a loop for what comes from one buffer."""
        sources = [(buffer, place, i) for i, (buffer, place) in enumerate(each.sources)]
        if len(sources) <= UNROLLED:
            for buffer, place, i in sources:
                self.lines.append(f"{each.out.name}[{i}] = {self.at(View(buffer, np.array([place])), 0)};")
            return
        for buffer in dict.fromkeys(buffer for buffer, _ in each.sources):
            own = np.array([(place, i) for other, place, i in sources if other is buffer])
            text = self.running(View(buffer, own[:, 0]))
            target = f"{each.out.name}[{self.place(own[:, 1])}]"
            self.lines.append(f"for (int i = 0; i < {len(own)}; i++) {target} = {text};")

    def _reduce(self, each: Reduce) -> None:
        (view,) = each.operands
        rows, n = view.shape

        def joined(entries: Iterable[str]) -> str:
            return reduce(lambda total, entry: each.text.format(f"({total})", entry), entries)

        if n <= UNROLLED < rows:
            total = joined(self.running(view.with_index(column)) for column in view.index.T)
            self.lines.append(f"for (int i = 0; i < {rows}; i++) {each.out.name}[i] = {total};")
            return
        for row in range(rows):
            entries = view.with_index(view.index[row])
            if n <= UNROLLED:
                total = joined(self.at(entries, i) for i in range(n))
                self.lines.append(f"{each.out.name}[{row}] = {total};")
                continue
            name = f"{each.out.name}[{row}]"
            step = each.text.format(name, self.running(entries))
            self.lines.append(f"{name} = {self.at(entries, 0)};")
            self.lines.append(f"for (int i = 1; i < {n}; i++) {name} = {step};")

    def pointer(self, view: View) -> str:
        """Where the entries of a view lie one after the other, if need be in a copy."""
        index = view.index.reshape(-1)
        together = len(index) == 1 or stride(index) == (int(index[0]), 1)
        if together and view.buffer.kind != "constant":
            return f"{view.buffer.name} + {int(index[0])}"
        self.tables += 1
        name = f"copy{self.tables}"
        if view.lanes:
            self.lines.append(f"V {name}[{len(index)}];")
            self.lines.append(f"for (int i = 0; i < {len(index)}; i++) {name}[i] = {self.running(view)};")
        else:
            self.lines.append(f"T {name}[{len(index)}];")
            places = self.table("int", index)
            self.lines.append(
                f"for (int i = 0; i < {len(index)}; i++) {name}[i] = {view.buffer.name}[{places}[i]];"
            )
        return name

    def _matmul(self, each: MatMul) -> None:
        a, b = each.operands
        if a.lanes and b.lanes:
            return self._both(each, a, b)
        if (parts := vector_and_matrix(each)) is not None:
            return self._row(each.out.name, *parts)
        if a.lanes:
            for m in range(a.shape[0]):
                self._row(f"{each.out.name} + {m * b.shape[1]}", a.with_index(a.index[m]), b)
            return None
        for n in range(b.shape[1]):
            self.tables += 1
            column = f"column{self.tables}"
            self.lines.append(f"V {column}[{a.shape[0]}];")
            self._row(column, b.with_index(b.index[:, n]), a.with_index(a.index.T))
            target = f"{each.out.name}[{b.shape[1]} * i + {n}]"
            self.lines.append(f"for (int i = 0; i < {a.shape[0]}; i++) {target} = {column}[i];")
        return None

    def _row(self, out: str, x: View, w: View) -> None:
        """out (N) = x (K) of the sample times w (K, N) of all."""
        K, N = w.shape
        down = stride(w.index[:, 0])
        across = stride(w.index[0])
        even = (
            down
            and across
            and (w.index == down[0] + down[1] * np.arange(K)[:, None] + across[1] * np.arange(N)).all()
        )
        left = self.pointer(x)
        if even and down and across:
            right, strides = f"{w.buffer.name} + {down[0]}", f"{down[1]}, {across[1]}"
        else:
            right, strides = self.pointer(w), f"{N}, 1"
        self.lines.append(f"product<{K}, {N}, {strides}>({left}, {right}, {out});")

    def _both(self, each: MatMul, a: View, b: View) -> None:
        (rows, K), N = a.shape, b.shape[1]
        left, right = self.pointer(a), self.pointer(b)
        self.lines.append(
            f"for (int m = 0; m < {rows}; m++) for (int n = 0; n < {N}; n++) {{ V sum = {{}}; for (int k = 0; k < {K}; "
            f"k++) sum += ({left})[{K} * m + k] * ({right})[{N} * k + n]; {each.out.name}[{N} * m + n] = sum; }}"
        )

    def write(self, view: View, target: str, sign: str = "=") -> None:
        """Copy a view into an array of the caller, or add it there."""
        n = view.index.size
        if n <= UNROLLED:
            self.lines += [f"{target}[{i}] {sign} {self.at(view, i)};" for i in range(n)]
        elif n:
            self.lines.append(f"for (int i = 0; i < {n}; i++) {target}[i] {sign} {self.running(view)};")
