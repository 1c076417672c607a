"""An explicit tableau as C++: the lines of one step, forward and in reverse, from the numbers that eager uses."""

from ..tableaus import Tableau
from ..tableaus.tableau import Terms
from .emit import literal


def constants(tableau: Tableau, sup: bool) -> list[str]:
    """What ``cpp/forward.hpp`` wants to know of a method, and of the norm."""
    return [
        f"constexpr int STAGES = {tableau.stages}, EXTRA = {tableau.extra};",
        f"constexpr int EVALUATIONS = {tableau.stages - tableau.fsal};",
        f"constexpr bool FSAL = {str(tableau.fsal).lower()}, SUP = {str(sup).lower()};",
    ]


def total(terms: Terms, places: tuple[int, ...] | None = None) -> str:
    """sum_i w_i k_i at entry n."""
    stages = [(i if places is None else places[i], weight) for i, weight in terms]
    return " + ".join(f"{literal(w)} * k[{i} * N + n]" for i, w in stages) or "V{}"


def places(tableau: Tableau) -> tuple[int, ...]:
    """Where the stages of the dense output stand among all."""
    return (*tableau.kept, *range(tableau.stages, tableau.stages + tableau.extra))


def stage_inputs(tableau: Tableau) -> list[tuple[float, str]]:
    """(node, sum of slopes) of every stage, the extra ones included."""
    own = [(c, total(terms)) for c, terms in zip(tableau.nodes, tableau.stage_terms, strict=True)]
    after = zip(tableau.extra_nodes, tableau.extra_terms, strict=True)
    return own + [(c, total(terms, places(tableau))) for c, terms in after]


def evaluate(i: int, c: float, slopes: str, target: str, place: int | None = None) -> list[str]:
    """Stage i into k, its input into ``target``; with what f's VJP needs of it into ``place``, if that is given."""
    time, rise = f"stage_time(t, h, {c!r})", f" + step * ({slopes})" if i else ""
    move = f"    for (int n = 0; n < N; n++) {target}[n] = y[n]{rise};"
    if place is None:
        return [move, f"    field({time}, {target}, a, shared, k + {i} * N);"]
    copy = ["    for (int n = 0; n < N; n++) at[n] = y1[n];"] if target != "at" else []
    evaluation = f"    field_kept({time}, at, a, shared, k + {i} * N, at + N);"
    return [f"    at = values.stage({place});", move, *copy, evaluation]


def forward(tableau: Tableau, keeping: bool) -> list[str]:
    """The functions ``stage``, ``stages``, ``extra_stages``, ``error_ratio`` and ``dense``.

    With ``keeping``, of a build with gradients, ``stage`` and ``stages`` are templates that may also leave the values.
    """
    inputs = stage_inputs(tableau)
    arguments = "const Times& t, const Times& h, V step, const V* y, const V* a, const T* const* shared, V* k"
    first, last = int(tableau.fsal), tableau.stages - 1
    lines = [
        "template <int I, bool KEEP>",
        f"STAGE stage({arguments}, V* y1, Values values) {{",
        "    V room[N];",
    ]
    for i in range(first, tableau.stages):
        target = "y1" if first and i == last else "at"
        lines.append(f"    if constexpr (I == {i} && !KEEP) {{ V* at = room;")
        lines += [f"    {line}" for line in evaluate(i, *inputs[i], target)] + ["    }"]
        if keeping:
            lines.append(f"    if constexpr (I == {i} && KEEP) {{ V* at;")
            lines += [f"    {line}" for line in evaluate(i, *inputs[i], target, i - first)] + ["    }"]
    if not first:
        end = f"y1[n] = y[n] + step * ({total(tableau.weight_terms)});"
        lines.append(f"    if constexpr (I == {last}) for (int n = 0; n < N; n++) {end}")
    numbers = range(first, tableau.stages)
    lines += [
        "}",
        # The reverse sweep may call them again, for the same bits: so they are no copies made for one caller.
        "template <bool KEEP> static __attribute__((noinline, noclone)) void",
        f"stages({arguments}, V* y1, Values values) {{",
        *(f"    stage<{i}, KEEP>(t, h, step, y, a, shared, k, y1, values);" for i in numbers),
        "}",
        "template <class F> static inline void every_stage(F f) {",
        *(f"    f(std::integral_constant<int, {i}>());" for i in numbers),
        "}",
        f"static void extra_stages({arguments}) {{",
        "    V at[N];",
    ]
    for i in range(tableau.stages, tableau.stages + tableau.extra):
        lines += evaluate(i, *inputs[i], "at")
    return [*lines, "}", *_error(tableau), *_dense(tableau)]


def _error(tableau: Tableau) -> list[str]:
    lines = [
        "static V error_ratio(V step, const V* y, const V* y1, const V* k, const V* a, T rtol, T atol) {",
        "    V first = {}, second = {};",
        "    for (int n = 0; n < N; n++) {",
        "        const V scale = allowed(greater(magnitude(y[n]), magnitude(y1[n])), n, a, rtol, atol);",
        f"        first = gathered(first, step * ({total(tableau.error_terms)}) / scale);",
    ]
    if tableau.damping_terms:
        lines.append(f"        second = gathered(second, step * ({total(tableau.damping_terms)}) / scale);")
    lines += ["    }", "    first = measured(first), second = measured(second);"]
    if tableau.damping_terms:
        lines.append("    const V whole = root(first * first + T(0.01) * second * second);")
        lines.append("    first = first == 0 ? V{} : first * (first / whole);")
    return [*lines, "    return first;", "}"]


def _dense(tableau: Tableau) -> list[str]:
    rows = tableau.dense_bernstein
    n = len(rows[0])
    numbers = ", ".join("{" + ", ".join(map(repr, row)) + "}" for row in rows)
    return [
        f"static constexpr int DENSE = {len(rows)};",
        f"static constexpr int DENSE_STAGE[] = {{{', '.join(map(str, places(tableau)))}}};",
        f"static constexpr double DENSE_ROW[][{n}] = {{{numbers}}};",
        "// Weights of the stages, from coefficients of up^k down^(n - k), k = 1 ... n; up = theta, down = 1 - theta.",
        "static void dense_weights(V up, V down, V* weight) {",
        f"    V rise[{n} + 1] = {{B(1), up}}, fall[{n} + 1] = {{B(1), down}}, basis[{n}];",
        f"    for (int j = 2; j <= {n}; j++)",
        "        rise[j] = rise[j / 2] * rise[j - j / 2], fall[j] = fall[j / 2] * fall[j - j / 2];",
        f"    for (int j = 0; j < {n}; j++) basis[j] = rise[j + 1] * fall[{n} - 1 - j];",
        "    for (int i = 0; i < DENSE; i++) {",
        "        weight[i] = V{};",
        f"        for (int j = 0; j < {n}; j++) weight[i] += T(DENSE_ROW[i][j]) * basis[j];",
        "    }",
        "}",
        "static void dense(V up, V down, V step, const V* y, const V* k, V* out) {",
        "    V weight[DENSE];",
        "    dense_weights(up, down, weight);",
        "    for (int n = 0; n < N; n++) {",
        "        V slope[2] = {};",
        "        for (int i = 0; i < DENSE; i++) slope[i % 2] += weight[i] * k[DENSE_STAGE[i] * N + n];",
        "        out[n] = y[n] + step * (slope[0] + slope[1]);",
        "    }",
        "}",
    ]
