# ruff: noqa: T201
"""The tables of gradients.py, in Markdown."""

from collections.abc import Sequence
from typing import Any

from gradient_cases import Case


def number(value: float | None, form: str = ".1e") -> str:
    return "" if value is None else format(value, form)


def size(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:.3g}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |")


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


def print_drifts(case: Case, rows: Sequence[Any]) -> None:
    print(f"\n**{case.title}**, tolerance {case.tol:g}\n")
    markdown(
        ("", "gradient", "error", "drift, tolerances", ""),
        [
            (row.code, named(row), number(row.error), number(row.drift), row.note.partition(". ")[0])
            for row in rows
        ],
    )


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
