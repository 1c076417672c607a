"""One look for every picture: figure factory, colours, and saving whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..whole import write_whole

# Okabe & Ito's palette, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#767676"
DENSITY = "viridis"

_LOOK: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
}


@contextmanager
def figure(rows: int, columns: int, size: tuple[float, float], **layout: Any) -> Iterator[tuple[Figure, Any]]:
    """(figure, axes (rows, columns)) in the common look; `size` in inches, `layout` goes to `Figure.subplots`."""
    with mpl.rc_context(_LOOK):
        made = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(made)
        yield made, made.subplots(rows, columns, squeeze=False, **layout)


def save(made: Figure, path: Path) -> Path:
    """Write a PNG at 144 dots an inch: the file is there whole or not at all."""
    write_whole(path, lambda aside: made.savefig(aside, format="png", dpi=144))
    return path


def bare(axes: Axes) -> None:
    """An axes for a picture rather than a curve: square, no ticks, no grid."""
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color("#cccccc")
