"""The curve of a calibration: gradient error against work, for every method."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import ScalarFormatter

from .style import BLUE, GREEN, GREY, ORANGE, RED, figure, save

COLOURS = (BLUE, ORANGE, GREEN, RED)


def calibration(
    path: Path,
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    target: float,
    chosen: tuple[int, float],
    title: str,
) -> Path:
    """Work (evaluations) against relative gradient error, a curve a method; the target, and the setting chosen."""
    with figure(1, 1, (4.6, 3.2)) as (made, axes):
        ax = axes[0, 0]
        for number, (name, (work, errors)) in enumerate(curves.items()):
            ax.plot(work, errors, "o-", color=COLOURS[number % len(COLOURS)], markersize=3, label=name)
        ax.axhline(target, color=GREY, linewidth=1.0, linestyle="--", label="target")
        ax.plot(*chosen, "o", markersize=10, markerfacecolor="none", markeredgecolor="black", label="chosen")
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.set_yscale("log")
        ax.set_xlabel("evaluations of f, forward and backward")
        ax.set_ylabel("relative error of the gradient")
        ax.set_title(title, loc="left")
        ax.legend()
        return save(made, path)
