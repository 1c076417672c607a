"""The VJP of f, and the reverse sweep of one step, as C++."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..tableaus import Tableau
from .elementwise import ARITHMETIC
from .emit import Emitter, literal
from .graph import Buffer, Elementwise, Gather, Index, Instruction, MatMul, Program, View
from .tableau_text import places, stage_inputs

if TYPE_CHECKING:
    from .source import Shape


Term = tuple[View, Index]
CHEAP = frozenset(text for text in ARITHMETIC.values() if "/" not in text and "(" not in text)
MOST_REMADE = 4  # operations that take no longer than to keep their result


class Sums:
    """How the gradients of shared tensors are summed over samples and steps.

    A term that is an outer product of two vectors of the sample is summed over lanes as it is made; others lane by
    lane, to be joined at the end, unless the same tensor has a term of the first kind. A tensor of few numbers has all
    its terms summed lane by lane. Zeros that pad a term (the gradient of a slice) are left out.

    Attributes:
        terms: of every tensor, (entries, their places in the gradient).
    """

    FEW = 256  # of such sums the first-level cache holds a few tensors' worth

    def __init__(self, program: Program, outputs: Sequence[View]) -> None:
        self.makers: dict[object, Instruction] = {each.out: each for each in program.instructions}
        self.terms = [[part for term in self._terms(view) for part in self._parts(term)] for view in outputs]
        self.by_lane = tuple(
            view.index.size <= self.FEW or not any(self.outer_of(*term) for term in terms)
            for view, terms in zip(outputs, self.terms, strict=True)
        )

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
            return [(view, np.arange(len(index)))]
        found: dict[Buffer, list[tuple[int, int]]] = {}
        for place, (buffer, source) in enumerate(maker.sources[i] for i in index):
            if buffer.kind != "constant" or buffer.values[source] != 0:
                found.setdefault(buffer, []).append((source, place))
        return [(View(buffer, np.array(ij)[:, 0]), np.array(ij)[:, 1]) for buffer, ij in found.items()]

    def outer_of(self, view: View, target: Index) -> tuple[View, View, int, int] | None:
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


def vjp_text(
    program: Program, shape: Shape, wanted: Sequence[int]
) -> tuple[list[str], tuple[int, ...], tuple[bool, ...]]:
    """(``field_kept`` and ``field_vjp``, sizes of the gradients of shared tensors, which are summed lane by lane)."""
    from .source import entering, function

    first = 2 + len(shape.lanes)
    split = 2 + sum(place < first for place in wanted)
    value, own, shared = program.outputs[0], program.outputs[1:split], program.outputs[split:]
    sums = Sums(program, shared)
    outers = [[sums.outer_of(*term) for term in terms] for terms in sums.terms]
    program.outputs = list(own)
    for terms, found in zip(sums.terms, outers, strict=True):
        for term, outer in zip(terms, found, strict=True):
            program.outputs += [term[0]] if outer is None else list(outer[:2])
    primal, pullback, kept = parted(program, value)
    lines = [f"constexpr int KEPT = {sum(buffer.size for buffer in kept)};", *_primal(primal, shape, kept)]
    emitter = Emitter(pullback)
    emitter.body()
    emitter.write(own[0], "pulled")
    starts = np.cumsum([0, *shape.lanes])
    for view, place in zip(own[1:], (p for p in wanted if p < first), strict=True):
        emitter.write(view, f"(a_bar + {starts[place - 2]})", "+=")
    for j, (terms, found) in enumerate(zip(sums.terms, outers, strict=True)):
        for term, outer in zip(terms, found, strict=True):
            if outer is None:
                _lanewise(emitter, *term, j, sums.by_lane[j])
            else:
                _outer(emitter, outer, j, sums.by_lane[j])
    head = (
        "static void field_vjp(V t, const V* __restrict y, const V* a, const T* const* shared, "
        "const V* __restrict seed, V* __restrict pulled, V* a_bar, T* const* g, const V* kept)"
    )
    entries = [*entering(program.inputs, shape, ["seed"]), *_keeping(kept, "const ")]
    sizes = tuple(view.index.size for view in shared)
    return [*lines, *function(head, [*entries, *emitter.lines])], sizes, sums.by_lane


def parted(program: Program, value: View) -> tuple[Program, Program, list[Buffer]]:
    """(what does not depend on the cotangent and is evaluated first, the rest, what the first keeps for the rest).

    What follows from other kept numbers by sums and products is made again: it takes less time than room in the cache.
    """
    after = {program.inputs[-1]}
    for each in program.instructions:
        if any(isinstance(o, View) and o.buffer in after for o in each.operands):
            after.add(each.out)
    needed = program.needed()
    makers = {each.out: each for each in needed if each.out not in after}
    views = [o for each in needed if each.out in after for o in each.operands if isinstance(o, View)]
    wanted = list(dict.fromkeys(v.buffer for v in (*views, *program.outputs) if v.buffer in makers))
    kept, again = list(wanted), set[Buffer]()
    for buffer in wanted:
        fewer = [other for other in kept if other is not buffer]
        made = [_remade(other, set(fewer), makers) for other in wanted]
        if None not in made:
            kept, again = fewer, set[Buffer]().union(*(found for found in made if found))
    rest = [each for each in needed if each.out in after or each.out in again]
    primal = [each for each in program.instructions if each.out not in after]
    outputs = [value, *(View(buffer, np.arange(buffer.size)) for buffer in kept)]
    return (
        Program(primal, program.inputs[:-1], outputs),
        Program(rest, program.inputs, program.outputs),
        kept,
    )


def _remade(buffer: Buffer, kept: set[Buffer], makers: dict[Buffer, Instruction]) -> set[Buffer] | None:
    """What is to be made, by sums and products alone, to have a buffer; None where that does not lead to it."""
    maker = makers.get(buffer)
    if maker is None or buffer in kept:  # an input, a constant
        return set()
    if not (isinstance(maker, Elementwise) and maker.text in CHEAP):
        return None
    found = {buffer}
    for operand in maker.operands:
        more = _remade(operand.buffer, kept, makers) if isinstance(operand, View) else set()
        if more is None or len(found := found | more) > MOST_REMADE:
            return None
    return found


def _keeping(kept: Sequence[Buffer], const: str = "") -> list[str]:
    lines, offset = [], 0
    for buffer in kept:
        kind = f"{const}{'M' if buffer.kind == 'mask' else 'V'}*"
        lines.append(f"{kind} {buffer.name} = ({kind})(kept + {offset});")
        offset += buffer.size
    return lines


def _primal(program: Program, shape: Shape, kept: Sequence[Buffer]) -> list[str]:
    """``field_kept``: f of a block of samples, which leaves in ``kept`` what its VJP needs."""
    from .source import entering, function

    emitter = Emitter(program, frozenset(kept))
    emitter.body()
    emitter.write(program.outputs[0], "out")
    head = (
        "static void field_kept(V t, const V* __restrict y, const V* a, const T* const* shared, V* __restrict out, "
        "V* __restrict kept)"
    )
    return function(head, [*entering(program.inputs, shape, ()), *_keeping(kept), *emitter.lines])


def _lanewise(emitter: Emitter, view: View, target: Index, j: int, by_lane: bool) -> None:
    source, place = emitter.running(view), emitter.place(target)
    text = f"((V*)g[{j}])[{place}] += {source};" if by_lane else f"g[{j}][{place}] += lane_sum({source});"
    emitter.lines.append(f"for (int i = 0; i < {len(target)}; i++) {text}")


def _outer(emitter: Emitter, outer: tuple[View, View, int, int], j: int, by_lane: bool) -> None:
    x, y, base, step = outer
    name, target = ("outer_by_lane", f"(V*)g[{j}]") if by_lane else ("outer", f"g[{j}]")
    for k in range(len(x.index)):
        left, right = (emitter.pointer(v.with_index(v.index[k])) for v in (x, y))
        sizes = f"{x.shape[1]}, {y.shape[1]}, {step}"
        emitter.lines.append(f"{name}<{sizes}>({left}, {right}, {target} + {base});")


def sweep(tableau: Tableau) -> list[str]:
    """``step_vjp``: from the cotangents of a step's end and stages to those of its start."""
    inputs = stage_inputs(tableau)
    kept = places(tableau)
    rows = [tableau.stage_terms[i] for i in range(tableau.stages)]
    rows += [tuple((kept[i], w) for i, w in terms) for terms in tableau.extra_terms]
    first = 1 if tableau.fsal else 0
    lines = [
        "// y_bar holds the cotangents of y so far, k_bar those of the stages; end_bar that of y1. at, kept: room.",
        "static void step_vjp(const Times& t, const Times& h, V step, const V* y, const V* a, const T* const* shared,",
        "                     V* k, const V* end_bar, V* k_bar, V* y_bar, V* a_bar, T* const* g, bool inside,",
        "                     V* at, V* kept) {",
        "    V pulled[N];",
    ]
    for i in range(first, len(inputs)):
        node, slopes = inputs[i]
        rise = f" + step * ({slopes})" if i else ""
        block = [
            f"for (int n = 0; n < N; n++) at[{i} * N + n] = y[n]{rise};",
            f"field_kept(stage_time(t, h, {node!r}), at + {i} * N, a, shared, k + {i} * N, kept + {i} * KEPT);",
        ]
        lines += _guarded(block, i >= tableau.stages)
    lines += [
        "    for (int n = 0; n < N; n++) {",
        "        const V rise = step * end_bar[n];",
        "        y_bar[n] += end_bar[n];",
        *(f"        k_bar[{i} * N + n] += {literal(w)} * rise;" for i, w in tableau.weight_terms),
        "    }",
    ]
    for i in range(len(inputs) - 1, first - 1, -1):
        backs = "".join(f" k_bar[{j} * N + n] += {literal(w)} * rise;" for j, w in rows[i])
        rise = " const V rise = step * pulled[n];" if backs else ""
        at = f"stage_time(t, h, {inputs[i][0]!r}), at + {i} * N"
        block = [
            f"field_vjp({at}, a, shared, k_bar + {i} * N, pulled, a_bar, g, kept + {i} * KEPT);",
            f"for (int n = 0; n < N; n++) {{ y_bar[n] += pulled[n];{rise}{backs} }}",
        ]
        lines += _guarded(block, i >= tableau.stages)
    return [*lines, "}"]


def _guarded(block: Sequence[str], extra: bool) -> list[str]:
    """Lines of a stage; those of the dense output's own are only for steps with an output inside."""
    return ["    if (inside) {"] * extra + [f"    {line}" for line in block] + ["    }"] * extra
