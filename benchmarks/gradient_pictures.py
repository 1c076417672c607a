"""The pictures of gradients.py."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from neuralode.plot.style import BLUE, GREEN, GREY, ORANGE, RED, figure, save

COLOURS = (BLUE, ORANGE, GREEN, RED)
MARKERS = "osD^v<>p"


def label(row: Any) -> str:
    name = f"{row.gradient} ({row.method})" if row.method not in ("dopri5", "kvaerno5") else row.gradient
    return name if row.code == "neuralode" else f"{row.code} {name}"


def work(row: Any) -> float | None:
    return None if row.forward is None else (row.forward + row.backward) / row.forward


def dots(ax: Axes, rows: Mapping[str, Sequence[Any]], value: Any, names: Sequence[str]) -> None:
    """A line a gradient, a marker a problem; what has no value has no marker."""
    for place, (problem, of) in enumerate(rows.items()):
        shift = 0.13 * (place - (len(rows) - 1) / 2)
        found = [(value(row), names.index(label(row)) + shift) for row in of]
        kept = [(x, y) for x, y in found if x]
        ax.plot(
            [x for x, _ in kept], [y for _, y in kept], MARKERS[place], color=COLOURS[place], markersize=5,
            label=problem,
        )  # fmt: skip


def lines(axes: Sequence[Axes], names: Sequence[str]) -> None:
    first = axes[0]
    first.set_yticks(range(len(names)), names)
    first.set_ylim(len(names) - 0.4, -0.6)
    ours = sum(not name.startswith(("torchdiffeq", "diffrax")) for name in names)
    for ax in axes:
        ax.grid(visible=False, axis="y")
        for place in range(1, len(names)):
            colour = GREY if place == ours else "#e4e4e4"
            ax.axhline(place - 0.5, color=colour, linewidth=0.8)


def listed(rows: Mapping[str, Sequence[Any]]) -> list[str]:
    return list(dict.fromkeys(label(row) for of in rows.values() for row in of))


def draw_costs(path: Path, costs: Mapping[str, Sequence[Any]], titles: Mapping[str, str]) -> Path:
    names = listed(costs)
    columns = (
        ("error of the gradient", lambda row: row.error),
        ("evaluations of f / forward's", work),
        ("peak memory, MB", lambda row: row.memory and row.memory / 1e6),
        ("time / torchdiffeq's better way", lambda row: row.ratio),
    )
    with figure(1, len(columns), (13.0, 1.2 + 0.36 * len(names)), sharey=True) as (made, axes):
        for ax, (title, value) in zip(axes[0], columns, strict=True):
            dots(ax, costs, value, names)
            ax.set_xscale("linear" if value is work else "log")
            ax.set_title(title, loc="left")
        axes[0, 1].set_xlim(left=0.8)
        lines(axes[0], names)
        handles, _ = axes[0, 0].get_legend_handles_labels()
        made.legend(handles, [titles[name] for name in costs], loc="outside lower center", ncols=4)
        return save(made, path)


def draw_drift(path: Path, drifts: Mapping[str, Sequence[Any]], titles: Mapping[str, str]) -> Path:
    """A panel a problem: the gradient's error, or that none came back."""
    rows = sorted((row for of in drifts.values() for row in of), key=lambda row: row.code != "neuralode")
    names = list(dict.fromkeys(map(plain, rows)))
    with figure(1, len(drifts), (13.0, 1.0 + 0.32 * len(names)), sharey=True) as (made, axes):
        for ax, (problem, rows) in zip(axes[0], drifts.items(), strict=True):
            for row in rows:
                place = names.index(plain(row))
                if row.error is None:
                    ax.text(
                        0.03, place, "no gradient", color=RED, va="center", fontsize=8,
                        transform=ax.get_yaxis_transform(), bbox={"color": "white", "pad": 1},
                    )  # fmt: skip
                else:
                    wrong = row.error > 0.1
                    ax.plot(row.error, place, "o", color=RED if wrong else BLUE, markersize=6)
            ax.set_xscale("log")
            ax.axvline(0.1, color=GREY, linewidth=0.8, linestyle="--")
            ax.set_title(titles[problem], loc="left")
            ax.set_xlabel("error of the gradient")
        lines(axes[0], names)
        return save(made, path)


def plain(row: Any) -> str:
    return row.gradient if row.code == "neuralode" else f"{row.code} {row.gradient}"


def draw_memory(path: Path, growths: Sequence[Any]) -> Path:
    """Peak memory over steps, both logarithmic."""
    with figure(1, 1, (6.4, 4.4)) as (made, axes):
        ax = axes[0, 0]
        for place, growth in enumerate(growths):
            colour = (*COLOURS, GREY, "#CC79A7", "#56B4E9")[place % 7]
            ax.loglog(
                growth.steps, [held / 1e3 for held in growth.bytes], MARKERS[place % 8] + "-", color=colour,
                markersize=5, label=f"{growth.gradient}, N to the {growth.exponent:.2f}",
            )  # fmt: skip
        ax.set_xlabel("steps N")
        ax.set_ylabel("peak memory in tensors, kB")
        ax.legend()
        return save(made, path)
