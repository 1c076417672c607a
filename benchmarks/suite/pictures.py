"""The pictures of speed.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuralode.plot.style import BLUE, GREEN, GREY, RED, figure, save

from .measure import Row
from .scaling import Growth, Scale

PINK, SKY = "#CC79A7", "#56B4E9"
# Colour says whose, line and marker which way.
LOOKS: dict[str, dict[str, Any]] = {
    "fused": {"color": BLUE, "marker": "o"},
    "fused, lockstep": {"color": BLUE, "marker": "s", "linestyle": "--"},
    "eager": {"color": SKY, "marker": "o"},
    "eager, lockstep": {"color": SKY, "marker": "s", "linestyle": "--"},
    "eager bdf": {"color": BLUE, "marker": "^"},
    "eager radau5": {"color": SKY, "marker": "v"},
    "eager kvaerno5": {"color": SKY, "marker": "P", "linestyle": ":"},
    "torchdiffeq": {"color": RED, "marker": "s", "linestyle": "--"},
    "torchdiffeq, adjoint": {"color": RED, "marker": "D", "linestyle": ":"},
    "torchode": {"color": PINK, "marker": "o"},
    "diffrax vmap": {"color": GREEN, "marker": "o"},
    "diffrax": {"color": GREEN, "marker": "s", "linestyle": "--"},
    "diffrax, backsolve": {"color": GREEN, "marker": "D", "linestyle": ":"},
    "SciPy": {"color": GREY, "marker": "x"},
}


def legend(made: Any, axes: Any, columns: int) -> None:
    """One for all panels, in the order of LOOKS."""
    found: dict[str, Any] = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    names = [name for name in LOOKS if name in found]
    made.legend([found[name] for name in names], names, loc="outside lower center", ncols=columns)


def draw_times(path: Path, rows: Sequence[Row]) -> Path:
    """A line a problem: every contender's time, forward and with the gradient."""
    modes = [mode for mode in ("forward", "gradient") if any(row.mode == mode for row in rows)]
    counts = [len({row.problem for row in rows if row.mode == mode}) for mode in modes]
    with figure(1, len(modes), (6.2 * len(modes), 1.6 + 0.36 * max(counts))) as (made, axes):
        for ax, mode in zip(axes[0], modes, strict=True):
            own = [row for row in rows if row.mode == mode and row.seconds is not None]
            names = list(dict.fromkeys(row.problem for row in own))
            for contender, look in LOOKS.items():
                points = [
                    (1e3 * row.seconds, names.index(row.problem)) for row in own if row.contender == contender
                ]
                if points:
                    x, y = zip(*points, strict=True)
                    ax.plot(x, y, **{**look, "linestyle": ""}, label=contender, markersize=5.5, alpha=0.9)
            ax.set_xscale("log")
            ax.set_yticks(range(len(names)), names)
            ax.set_ylim(len(names) - 0.5, -0.5)
            ax.set_xlabel("processor time, ms")
            ax.set_title({"forward": "Forward", "gradient": "Forward and gradient"}[mode], loc="left")
        legend(made, axes, 5)
        return save(made, path)


def draw_errors(path: Path, rows: Sequence[Row]) -> Path | None:
    """A panel a problem and mode: time over error through the tolerances, the problem's own marked."""
    timed = [row for row in rows if row.seconds is not None]
    cells = list(dict.fromkeys((row.problem, row.mode) for row in timed if len(row.ladder) > 1))
    if not cells:
        return None
    columns = min(4, len(cells))
    lines = -(-len(cells) // columns)
    with figure(lines, columns, (3.3 * columns, 2.7 * lines + 0.9)) as (made, axes):
        for ax, cell in zip(axes.flat, cells, strict=False):
            for row in timed:
                if (row.problem, row.mode) != cell:
                    continue
                points = sorted((point.tolerance, point.error, 1e3 * point.seconds) for point in row.ladder)
                look = LOOKS[row.contender]
                ax.loglog(
                    [e for _, e, _ in points], [s for *_, s in points], **{**look, "marker": ""}, label=""
                )
                ax.loglog(row.error, 1e3 * row.seconds, **look, markersize=6, label=row.contender)
            ax.set_title(f"{cell[0]}, {cell[1]}", loc="left")
            ax.set_xlabel("error")
            ax.set_ylabel("ms")
        for ax in axes.flat[len(cells) :]:
            ax.set_visible(False)
        legend(made, axes, 5)
        return save(made, path)


def draw_widths(path: Path, rows: Sequence[Row]) -> Path | None:
    """Time over the width of P8's field: where matrix products outweigh what is between them."""
    own = [row for row in rows if row.problem.startswith("P8-") and row.seconds is not None]
    if len({row.problem for row in own}) < 2:
        return None
    with figure(1, 1, (6.4, 4.4)) as (made, axes):
        ax = axes[0, 0]
        for contender, look in LOOKS.items():
            points = [(int(row.problem[3:]), 1e3 * row.seconds) for row in own if row.contender == contender]
            if points:
                ax.loglog(*zip(*sorted(points), strict=True), **look, markersize=5, label=contender)
        ax.set_xlabel("width W of the field 16-W-W-16")
        ax.set_ylabel("processor time, ms")
        legend(made, axes, 4)
        return save(made, path)


def draw_scaling(path: Path, scales: Sequence[Scale], found: Sequence[Growth]) -> Path:
    """A column a scale: time above, memory below."""
    with figure(2, len(scales), (4.4 * len(scales), 7.0), sharex="col") as (made, axes):
        for column, scale in enumerate(scales):
            for growth in found:
                if growth.scale != scale.name or not growth.sizes:
                    continue
                kept = [(s, b / 1e6) for s, b in zip(growth.sizes, growth.bytes, strict=True) if b]
                look = {**LOOKS[growth.contender], "markersize": 4, "label": growth.contender}
                axes[0, column].loglog(growth.sizes, [1e3 * s for s in growth.seconds], **look)
                axes[1, column].loglog([s for s, _ in kept], [b for _, b in kept], **look)
            axes[0, column].set_title(f"{scale.name}: {scale.title}", loc="left", fontsize=8)
            axes[0, column].set_ylabel("processor time, ms")
            axes[1, column].set_ylabel("memory, MB")
            axes[1, column].set_xlabel(scale.name)
        legend(made, axes, 5)
        return save(made, path)
