"""Irregular series: what was seen, what the models make of it, and where it goes on (the paper's figure 8)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .style import BLUE, ORANGE, bare, figure, save

Array = np.ndarray


class Curve(NamedTuple):
    """One series and two models' views of it; all (points, 2), `fan` (draws, points, 2).

    Attributes:
        observed: the noisy points that the models saw.
        truth: the noiseless curve over the observed span and beyond.
        seen: how many points of `truth` belong to the observed span.
        latent: the latent ODE's mean on the points of `truth`; fan: single draws of it.
        rnn: the RNN's prediction there.
    """

    observed: Array
    truth: Array
    seen: int
    latent: Array
    fan: Array
    rnn: Array


def reconstructions(path: Path, title: str, curves: Sequence[Curve]) -> Path:
    """A row for each model, a column for each series; solid inside the observed span, dashed beyond it."""
    with figure(2, len(curves), (2.3 * len(curves), 5.1)) as (made, axes):
        made.suptitle(title, x=0.01, ha="left", fontsize=11)
        for column, curve in enumerate(curves):
            reach = 1.15 * np.abs(np.concatenate((curve.truth, curve.observed))).max()
            rows = (("latent ODE", curve.latent, BLUE), ("RNN", curve.rnn, ORANGE))
            for ax, (name, line, colour) in zip(axes[:, column], rows, strict=True):
                ax.plot(*curve.truth.T, color="#bdbdbd", linewidth=3, label="truth")
                if name == "latent ODE":
                    for draw in curve.fan:
                        ax.plot(*draw.T, color=colour, linewidth=0.5, alpha=0.25)
                ax.plot(*line[: curve.seen].T, color=colour, label=name)
                ax.plot(
                    *line[curve.seen - 1 :].T, color=colour, linestyle=(0, (2, 1.2)), label="beyond the data"
                )
                ax.plot(*curve.observed.T, ".", color="black", markersize=3.5, label="observed")
                ax.set_xlim(-reach, reach)
                ax.set_ylim(-reach, reach)
                bare(ax)
                if column == 0:
                    ax.set_ylabel(name)
        handles, _ = axes[0, 0].get_legend_handles_labels()
        names = ("truth", "model", "model, beyond the data", "observed")
        made.legend(handles, names, loc="outside lower center", ncols=4)
        return save(made, path)


def scores(path: Path, counts: Sequence[int], latent: Sequence[float], rnn: Sequence[float]) -> Path:
    """RMSE of both models against the number of observations."""
    with figure(1, 1, (4.2, 2.8)) as (made, axes):
        ax = axes[0, 0]
        ax.plot(counts, rnn, "s-", color=ORANGE, label="RNN", markersize=5)
        ax.plot(counts, latent, "o-", color=BLUE, label="latent ODE", markersize=5)
        ax.set_xticks(list(counts))
        ax.set_ylim(bottom=0)
        ax.set_xlabel("observations of a series")
        ax.set_title("RMSE to the noiseless curve", loc="left")
        ax.legend()
        return save(made, path)
