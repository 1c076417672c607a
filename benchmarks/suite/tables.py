# ruff: noqa: T201
"""The tables, in Markdown."""

from collections.abc import Mapping, Sequence

from markdown_table import markdown

from .first_call import FirstCall
from .measure import Row, ratio, ratio_at_equal_error
from .problem import Problem
from .scaling import Growth, Scale
from .targets import COLUMNS, Bound, Kept
from .threads import Walls

NOTHING = "—"
CAPTION = """
Times are of the processor, all threads, milliseconds: the median of interleaved rounds, and the least and the most.
"error" is the largest of all outputs and samples, absolute, against neuralode, eager, in float64, by dop853 (stiff:
radau5) at tolerance 1e-11 (P5: 1e-5); of a gradient it is |g - reference| / |reference| over y0 and all parameters, the
reference's tolerance 1e-9. "x fused" is a contender's time over fused's (where fused has none, over our first) at the
same tolerance; "at equal error" is that ratio at the error that ours has, or at what both reach that is nearest to it:
by a straight line of log time over log error through tolerances from 100 to 1/30 of the problem's. torchdiffeq and
diffrax take 2/3 of dopri5's error estimate (Shampine's weights) and do not shrink the next step after one that was
accepted; ours and SciPy's take the whole of it, so that at the same tolerance their steps are longer and their errors
larger. SciPy computes in float64.
"""


def number(value: float | None, form: str = ".1e") -> str:
    return NOTHING if value is None else format(value, form)


def times(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.3g} x" if value < 100 else f"{value:,.0f} x"


def milliseconds(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{1e3 * seconds:,.3g}" if seconds < 1 else f"{1e3 * seconds:,.0f}"


def base_of(rows: Sequence[Row]) -> Row:
    """What ratios are to: fused where it has a figure, or our first."""
    timed = [row for row in rows if row.seconds is not None]
    return next((row for row in timed if row.contender == "fused"), timed[0])


def print_rows(problem: Problem, mode: str, rows: Sequence[Row]) -> None:
    """One problem, one mode."""
    print(f"\n**{problem.name}: {problem.title}**, {mode}, tolerance {problem.tol:g}\n")
    if not any(row.seconds for row in rows):
        print("nobody has a figure")
        return
    base = base_of(rows)
    markdown(
        ("", "steps", "error", "time, ms", "least … most", f"x {base.contender}", "at equal error"),
        [
            (
                row.contender, "per sample" if row.per_sample and problem.batched else "one for all",
                number(row.error), milliseconds(row.seconds),
                f"{milliseconds(row.least)} … {milliseconds(row.most)}" if row.seconds else NOTHING,
                times(ratio(row, base)), times(ratio_at_equal_error(row, base)),
            )
            for row in rows
        ],
    )  # fmt: skip
    for row in rows:
        if row.note:
            print(f"\n{row.contender}: {row.note}")


def print_kept(found: Sequence[Kept], bounds: Sequence[Bound]) -> None:
    """The promises: the peer's time over ours at equal error, which counts, and at equal tolerance in brackets."""
    if found:
        print(
            "\n**Targets**: the peer's time over ours, at equal error [at equal tolerance], and what was promised\n"
        )
        titles = list(dict.fromkeys(one.title for one in found))
        cells = {(one.title, one.problem): cell(one) for one in found}
        columns = [name for name in COLUMNS if any(one.problem == name for one in found)]
        markdown(
            ("", *columns), [(title, *(cells.get((title, name), "") for name in columns)) for title in titles]
        )
    for bound in bounds:
        verdict = "met" if bound.met else f"missed, {bound.seconds / bound.most:.1f} times as long"
        print(f"\n{bound.title}: {bound.seconds:.3g} s, at most {bound.most:g} s: {verdict}")


def cell(one: Kept) -> str:
    measured = f"{times(one.value)} [{times(one.equal_tolerance)}]"
    if one.wanted is None:
        return measured
    return f"{measured}, ≥ {one.wanted:,g}: " + (
        "met" if one.met else f"**{one.value / one.wanted:.2f} of it**"
    )


def print_first_calls(found: Sequence[FirstCall]) -> None:
    if not found:
        return
    print(
        "\n**First call** in a fresh process, seconds on the wall: nothing cached, and from the disk's cache\n"
    )
    markdown(
        ("", "mode", "", "cold", "from the disk's cache", "the next f, from the disk's cache"),
        [
            (
                call.problem,
                call.mode,
                call.contender,
                *(f"{s:.2f}" for s in (call.cold, call.warm, call.again)),
            )
            for call in found
        ],
    )


def print_growths(scale: Scale, found: Sequence[Growth]) -> None:
    """One scale."""
    print(f"\n**Scaling over {scale.name}**: {scale.title}; milliseconds (megabytes)\n")
    head = ("", *(f"{size:,}" for size in scale.sizes), "time, N to the", "memory, N to the")
    markdown(head, [grown(scale, growth) for growth in found])
    for growth in found:
        if growth.note:
            print(f"\n{growth.contender}: {growth.note}")


def grown(scale: Scale, growth: Growth) -> tuple[str, ...]:
    reached: Mapping[int, tuple[float, int | None]] = dict(
        zip(growth.sizes, zip(growth.seconds, growth.bytes, strict=True), strict=True)
    )
    cells = (
        f"{milliseconds(reached[size][0])} ({megabytes(reached[size][1])})" if size in reached else NOTHING
        for size in scale.sizes
    )
    return (
        growth.contender, *cells, number(growth.time_exponent, ".2f"), number(growth.memory_exponent, ".2f")
    )  # fmt: skip


def megabytes(size: int | None) -> str:
    return NOTHING if size is None else f"{size / 1e6:.3g}"


def print_walls(found: Sequence[Walls]) -> None:
    """Threads."""
    if not found:
        return
    print("\n**Threads**: milliseconds on the wall, medians\n")
    markdown(
        ("", "mode", "", "1 thread", "2 threads", "gain"),
        [
            (
                one.problem, one.mode, one.contender, milliseconds(one.alone), milliseconds(one.together),
                times(one.alone / one.together),
            )
            for one in found
        ],
    )  # fmt: skip
