"""A flow at work: samples and density at several times (the paper's figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .style import DENSITY, bare, figure, save

Array = np.ndarray


def flow(
    path: Path,
    title: str,
    times: Sequence[float],
    samples: Sequence[Array],
    densities: Sequence[Array],
    planar: tuple[Array, Array],
    data: Array,
    extent: float,
) -> Path:
    """Samples above, density below; columns: the CNF at each time, then the planar flow, then the data.

    Args:
        samples: per time, (n, 2).
        densities: per time, p on a grid (g, g) over [-extent, extent]^2, first index the second coordinate.
        planar: samples and density of the planar flow.
        data: samples (n, 2) of the target.
    """
    columns = [
        (f"CNF, {100 * t:.0f} % of t", x, p) for t, x, p in zip(times, samples, densities, strict=True)
    ]
    columns.append(("planar flow", *planar))
    with figure(2, len(columns) + 1, (1.45 * (len(columns) + 1), 3.35)) as (made, axes):
        made.suptitle(title, x=0.01, ha="left", fontsize=11)
        for column, (name, x, p) in enumerate(columns):
            _cloud(axes[0, column], x, extent)
            axes[0, column].set_title(name, fontsize=8.5)
            axes[1, column].imshow(
                p,
                origin="lower",
                extent=(-extent, extent, -extent, extent),
                cmap=DENSITY,
                vmin=0,
                vmax=p.max(),
            )
            bare(axes[1, column])
        _cloud(axes[0, -1], data, extent)
        axes[0, -1].set_title("data", fontsize=8.5)
        counts, _, _ = np.histogram2d(
            data[:, 1], data[:, 0], bins=60, range=[[-extent, extent], [-extent, extent]]
        )
        axes[1, -1].imshow(counts, origin="lower", extent=(-extent, extent, -extent, extent), cmap=DENSITY)
        bare(axes[1, -1])
        axes[0, 0].set_ylabel("samples")
        axes[1, 0].set_ylabel("density")
        return save(made, path)


def _cloud(ax: object, x: Array, extent: float) -> None:
    ax.scatter(x[:, 0], x[:, 1], s=1.2, color="#333333", alpha=0.5, linewidths=0)  # type: ignore[attr-defined]
    ax.set_xlim(-extent, extent)  # type: ignore[attr-defined]
    ax.set_ylim(-extent, extent)  # type: ignore[attr-defined]
    bare(ax)  # type: ignore[arg-type]
