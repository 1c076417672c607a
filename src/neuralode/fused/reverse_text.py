"""The VJP of f, and the reverse sweep of one step, as C++."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..tableaus import Tableau
from .effort import effort
from .elementwise import ARITHMETIC
from .emit import Emitter, literal
from .functions import entering, function, lying
from .graph import Buffer, Elementwise, Instruction, Program, View
from .sums import Adder, Sums
from .tableau_text import evaluate, places, stage_inputs

if TYPE_CHECKING:
    from .source import Shape


CHEAP = frozenset(("{0}", *(text for text in ARITHMETIC.values() if "/" not in text and "(" not in text)))
WORTH = 32  # operations that take as long as to write a number to memory and to read it
MOST_REMADE = 4  # operations that take no longer than to keep their result


def vjp_text(program: Program, shape: Shape, wanted: Sequence[int]) -> tuple[list[str], tuple[int, ...]]:
    """(``field_kept``, ``field_vjp`` and ``field_sums``; the sizes of the gradients of shared tensors)."""
    first = 2 + len(shape.lanes)
    split = 2 + sum(place < first for place in wanted)
    value, own, shared = program.outputs[0], program.outputs[1:split], program.outputs[split:]
    sums = Sums(program, shared)
    program.outputs = [*own, *sums.views]
    primal, pullback, kept = parted(program, value)
    adder = Adder(sums, program.inputs, len(shape.lanes), kept)
    lines = [*_values(primal, kept, shape.state), *_primal(primal, shape, kept)]
    emitter = Emitter(pullback, frozenset(adder.left))
    emitter.body()
    emitter.write(own[0], "pulled")
    starts = np.cumsum([0, *shape.lanes])
    for view, place in zip(own[1:], (p for p in wanted if p < first), strict=True):
        emitter.write(view, f"(a_bar + {starts[place - 2]})", "+=")
    for copy, view in adder.copies:
        emitter.write(view, copy.name)
    head = (
        "static void field_vjp(V t, const V* __restrict y, const V* a, const T* const* shared, "
        "const V* __restrict seed, V* __restrict pulled, V* a_bar, const V* kept, V* __restrict bars)"
    )
    entries = (
        entering(program.inputs, shape, ["seed"]) + lying(kept, "kept", "const ") + lying(adder.left, "bars")
    )
    lines += function(head, [*entries, *emitter.lines])
    head = (
        "static void field_sums(int count, const V* __restrict y, const V* a, const V* seed, const V* __restrict bars, "
        "T* const* g)"
    )
    lines += [f"constexpr int BARS = {sum(buffer.size for buffer in adder.left)};", *sums.constants()]
    return [*lines, *function(head, adder.lines)], sums.sizes


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


def _values(primal: Program, kept: Sequence[Buffer], state: int) -> list[str]:
    """How many numbers f's VJP needs of an evaluation, and whether they are worth holding until the reverse sweep."""
    size = sum(buffer.size for buffer in kept)
    holding = str(effort(primal) >= WORTH * (size + state)).lower()
    return [
        f"constexpr int KEPT = {size}, WIDTH = N + KEPT;",
        f"constexpr bool HOLDING = {holding};",
    ]


def _primal(program: Program, shape: Shape, kept: Sequence[Buffer]) -> list[str]:
    """``field_kept``: f of a block of samples, which leaves in ``kept`` what its VJP needs."""
    emitter = Emitter(program, frozenset(kept))
    emitter.body()
    emitter.write(program.outputs[0], "out")
    head = (
        "static void field_kept(V t, const V* __restrict y, const V* a, const T* const* shared, V* __restrict out, "
        "V* __restrict kept)"
    )
    return function(head, [*entering(program.inputs, shape, ()), *lying(kept, "kept"), *emitter.lines])


def sweep(tableau: Tableau) -> list[str]:
    """``extra_values``, and ``step_vjp``: from the cotangents of a step's end and stages to those of its start."""
    inputs = stage_inputs(tableau)
    kept = places(tableau)
    rows = [tableau.stage_terms[i] for i in range(tableau.stages)]
    rows += [tuple((kept[i], w) for i, w in terms) for terms in tableau.extra_terms]
    first = int(tableau.fsal)
    lines = [
        "// The stages that dense output alone has, behind the others' values.",
        "static void extra_values(const Times& t, const Times& h, V step, const V* y, const V* a,",
        "                         const T* const* shared, V* k, Values values) {",
        "    V* at;",
    ]
    for i in range(tableau.stages, len(inputs)):
        lines += evaluate(i, *inputs[i], "at", i - first)
    lines += [
        "}",
        "// y_bar holds the cotangents of y so far, k_bar those of the stages; end_bar that of y1. bars: room.",
        "static void step_vjp(const Times& t, const Times& h, V step, const V* a, const T* const* shared,",
        "                     const V* end_bar, V* k_bar, V* y_bar, V* a_bar, T* const* g, bool inside,",
        "                     Values values, V* bars) {",
        "    V pulled[N];",
        "    for (int n = 0; n < N; n++) {",
        "        const V rise = step * end_bar[n];",
        "        y_bar[n] += end_bar[n];",
        *(f"        k_bar[{i} * N + n] += {literal(w)} * rise;" for i, w in tableau.weight_terms),
        "    }",
    ]
    for i in range(len(inputs) - 1, first - 1, -1):
        backs = "".join(f" k_bar[{j} * N + n] += {literal(w)} * rise;" for j, w in rows[i])
        rise = " const V rise = step * pulled[n];" if backs else ""
        time, at = f"stage_time(t, h, {inputs[i][0]!r})", f"values.stage({i - first})"
        block = [
            f"field_vjp({time}, {at}, a, shared, k_bar + {i} * N, pulled, a_bar, {at} + N, bars + {i - first} * BARS);",
            f"for (int n = 0; n < N; n++) {{ y_bar[n] += pulled[n];{rise}{backs} }}",
        ]
        lines += _guarded(block, i >= tableau.stages)
    lines.append("    const int count = inside ? EVALUATIONS + EXTRA : EVALUATIONS;")
    return [*lines, f"    field_sums(count, values.at, a, k_bar + {first} * N, bars, g);", "}"]


def _guarded(block: Sequence[str], extra: bool) -> list[str]:
    """Lines of a stage; those of the dense output's own are only for steps with an output inside."""
    return ["    if (inside) {"] * extra + [f"    {line}" for line in block] + ["    }"] * extra
