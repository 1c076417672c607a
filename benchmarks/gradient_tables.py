# ruff: noqa: T201
"""The tables of gradients.py, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradient_cases import Case
from markdown_table import markdown

CODES = ("neuralode", "torchdiffeq", "diffrax")


def number(value: float | None, form: str = ".1e") -> str:
    return "" if value is None else format(value, form)


def size(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:.3g}"


def print_costs(case: Case, rows: Sequence[Any]) -> None:
    print(f"\n**{case.title}**, tolerance {case.tol:g}\n")
    head = ("", "gradient", "error", "off direct", "f forward", "f after", "VJPs", "memory, MB", "time")
    markdown(
        head,
        [
            (
                row.code, named(row), number(row.error), number(row.off), number(row.forward, "d"),
                number(row.backward, "d"), number(row.vjps, "d"), size(row.memory),
                row.note.partition(".")[0] or number(row.ratio, ".2f"),
            )
            for row in rows
        ],
    )  # fmt: skip


def named(row: Any) -> str:
    return row.gradient if row.method == "dopri5" else f"{row.gradient} ({row.method})"


def print_drifts(cases: Mapping[str, Case], found: Mapping[str, Sequence[Any]]) -> None:
    """A column a problem: the gradient's error, with the drift where one is known."""
    if not found:
        return
    print("\n**Drift**: error of the gradient (drift of y0 in tolerances)\n")
    places = {name: {(row.code, row.gradient): row for row in rows} for name, rows in found.items()}
    ways = sorted(
        dict.fromkeys(way for rows in places.values() for way in rows), key=lambda way: CODES.index(way[0])
    )
    head = ("", "gradient", *(f"{cases[name].title}; {cases[name].tol:g}" for name in places))
    markdown(
        head, [(*way, *(wrong(rows[way]) if way in rows else "" for rows in places.values())) for way in ways]
    )
    for name, rows in found.items():
        for row in rows:
            if row.note:
                print(f"\n{name}, {row.code} {row.gradient}: {row.note}")


def wrong(row: Any) -> str:
    """One cell."""
    method = "" if row.method == "dopri5" else f" {row.method}"
    if row.error is None:
        return "none" + method + ("" if row.drift is None else f" ({row.drift:.0e})")
    return number(row.error) + method + ("" if row.drift is None else f" ({row.drift:.0e})")


def print_growths(found: Sequence[Any]) -> None:
    if not found:
        return
    print("\n**Memory against steps**, kB in tensors\n")
    head = ("gradient", "method", *(f"N = {n:,}" for n in found[0].steps), "N to the", "Python bytes a step")
    rows = [
        (
            row.gradient, row.method, *(f"{b / 1e3:,.0f}" for b in row.bytes), f"{row.exponent:.2f}",
            f"{row.record:.0f}",
        )
        for row in found
    ]  # fmt: skip
    markdown(head, rows)
