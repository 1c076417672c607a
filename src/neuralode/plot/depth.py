"""The dial of a trained ODE-Net: error and work against tolerance (the paper's figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .style import BLUE, GREEN, ORANGE, figure, save


def dial(
    path: Path,
    tolerances: Sequence[float],
    errors: Sequence[float],
    evaluations: Sequence[int],
    deviations: Sequence[float],
) -> Path:
    """Three panels over the tolerance of the solve: test error, evaluations, and how far the states are off."""
    panels = (
        ("test error (%)", [100 * error for error in errors], ORANGE, "linear"),
        ("evaluations of f", evaluations, BLUE, "linear"),
        ("numerical error of the block", deviations, GREEN, "log"),
    )
    with figure(1, 3, (9.0, 2.7)) as (made, axes):
        for ax, (label, values, colour, scale) in zip(axes[0], panels, strict=True):
            ax.plot(tolerances, values, "o-", color=colour, markersize=4)
            ax.set_xscale("log")
            ax.set_yscale(scale)
            ax.invert_xaxis()
            ax.set_xlabel("tolerance")
            ax.set_title(label, loc="left")
            if scale == "linear":
                ax.set_ylim(bottom=0)
                ax.margins(y=0.15)
        return save(made, path)
