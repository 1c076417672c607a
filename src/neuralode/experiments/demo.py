"""The three experiments of the paper at a laptop's scale, one after the other, and the page about them."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch

import neuralode

from ..plot import dial
from ..train import Watcher
from . import digits, flows, spirals
from .report import Section, Table, write_report

PAPER = "Chen, Rubanova, Bettencourt, Duvenaud: Neural Ordinary Differential Equations, NeurIPS 2018"
PAPER_ERRORS = {"ODE-Net": "0.42 % (0.22 M)", "RK-Net": "0.47 % (0.22 M)", "ResNet": "0.41 % (0.60 M)"}
PAPER_RMSE = {
    "latent ODE": {30: 0.1642, 50: 0.1502, 100: 0.1346},
    "RNN": {30: 0.3937, 50: 0.3202, 100: 0.1813},
}


@dataclass(frozen=True)
class Scale:
    """How long each experiment trains."""

    digits_epochs: int = 24
    flow_steps: int = 700
    flow_width: int = 32
    spirals: int = 1000
    spiral_epochs: int = 90


@dataclass(frozen=True)
class Demo:
    """What `run` made: the tables, and the page with them and the pictures."""

    tables: tuple[Table, ...]
    report: Path
    seconds: float


def run(
    out: Path,
    scale: Scale = Scale(),
    *,
    seed: int = 0,
    progress: bool | Watcher = False,
) -> Demo:
    """Run digits, flows and spirals into folders of `out`, and write `out`/report.html.

    Args:
        out: folder of the results; made where it is missing, files in it are replaced.
        scale: how long each experiment trains; the default takes a few minutes on two cores.
        seed: of data, weights and batches.
        progress: as in `neuralode.train.fit`.
    """
    start = time.perf_counter()
    depth = digits.run(out / "digits", epochs=scale.digits_epochs, seed=seed, progress=progress)
    density = flows.run(
        out / "flows", width=scale.flow_width, steps=scale.flow_steps, seed=seed, progress=progress
    )
    series = spirals.run(
        out / "spirals", n=scale.spirals, epochs=scale.spiral_epochs, seed=seed, progress=progress
    )
    sections = (
        _depth(depth, out / "digits"),
        _density(density, out / "flows"),
        _series(series, out / "spirals"),
    )
    seconds = time.perf_counter() - start
    about = (
        PAPER
        + ". The experiments below are the paper's at a scale that a laptop trains in minutes; the paper's "
        "figures stand beside them for orientation, not as a like-for-like comparison.",
        (
            f"neuralode {neuralode.__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}, "
            f"{torch.get_num_threads()} threads, seed {seed}; {seconds:.0f} s in all."
        ),
    )
    page = write_report(out / "report.html", "neuralode: three experiments", about, sections)
    return Demo(tuple(table for section in sections for table in section.tables), page, seconds)


def _depth(result: digits.DigitsResult, folder: Path) -> Section:
    columns = zip(*((p.tolerance, p.error, p.nfe, p.deviation) for p in result.dial), strict=True)
    picture = dial(folder / "dial.png", *(list(column) for column in columns))
    return Section(
        "Continuous depth",
        (
            (
                "The same stem and head around three middles: an ODE block solved by an adaptive method with the exact "
                "discrete gradient (ODE-Net), the same block with two fixed Runge-Kutta steps and backpropagation "
                "(RK-Net), and six residual layers of their own weights (ResNet)."
            ),
        ),
        (_networks(result), _dial(result)),
        (
            (
                picture,
                "The tolerance is a dial after training too: fewer evaluations for a larger numerical error.",
            ),
        ),
    )


def _networks(result: digits.DigitsResult) -> Table:
    return Table(
        f"Continuous depth: {result.train_images} digits of 8 x 8 pixels, {result.test_images} to test, "
        f"{result.epochs} epochs. Last column: the paper on MNIST (parameters).",
        (
            "network",
            "test error",
            "parameters",
            "NFE forward",
            "NFE backward",
            "peak memory",
            "seconds",
            "paper",
        ),
        tuple(
            (
                network.name,
                f"{100 * network.error:.2f} %",
                f"{network.parameters}",
                f"{network.nfe_forward:.1f}",
                f"{network.nfe_backward:.1f}",
                f"{network.memory / 2**20:.1f} MiB",
                f"{network.seconds:.0f}",
                PAPER_ERRORS[network.name],
            )
            for network in result.networks
        ),
        frozenset({0}),
    )


def _dial(result: digits.DigitsResult) -> Table:
    return Table(
        "The dial: the trained ODE-Net solved at other tolerances",
        ("tolerance", "test error", "NFE", "numerical error"),
        tuple(
            (f"{p.tolerance:.0e}", f"{100 * p.error:.2f} %", f"{p.nfe}", f"{p.deviation:.1e}")
            for p in result.dial
        ),
    )


def _density(result: flows.FlowsResult, folder: Path) -> Section:
    table = Table(
        f"Flows: negative log-likelihood of {result.held_out} held-out points in nats, lower is better; "
        f"M = K = {result.width}. The paper shows pictures only.",
        ("density", "flow", "NLL", "parameters", "steps", "NFE", "seconds"),
        tuple(
            (
                flow.density.replace("_", " "),
                flow.name,
                f"{flow.nll:.3f}",
                f"{flow.parameters}",
                f"{flow.steps}",
                f"{flow.nfe}" if flow.nfe else "-",
                f"{flow.seconds:.0f}",
            )
            for flow in result.flows
        ),
        frozenset(place for place, flow in enumerate(result.flows) if flow.name == "CNF"),
    )
    caption = "Samples and density on the way from the Gaussian to the data; beside it the planar flow and the data."
    return Section(
        "Continuous normalizing flows",
        (
            (
                "A CNF of M gated planar units, its parameters a function of time (the paper's equation 10), against a "
                "planar flow of K = M layers, both trained by maximum likelihood."
            ),
        ),
        (table,),
        tuple((folder / name, caption) for name in result.pictures),
    )


def _series(result: spirals.SpiralsResult, folder: Path) -> Section:
    rows = []
    for found in result.series:
        paper = PAPER_RMSE[found.name].get(found.observations)
        rows.append(
            (
                f"{found.observations}",
                found.name,
                f"{found.inside:.3f}",
                f"{found.later:.3f}",
                "-" if paper is None else f"{paper:.4f}",
                f"{found.parameters}",
                f"{found.nfe}" if found.nfe else "-",
                f"{found.seconds:.0f}",
            )
        )
    table = Table(
        f"Irregular series: RMSE to the noiseless curve of {result.tested_on} test spirals (observed with noise "
        f"{result.noise}), trained on {result.trained_on}. The paper's spirals have another, unknown scale: compare "
        "ratios.",
        (
            "seen of 100",
            "model",
            "inside the span",
            "100 points later",
            "paper",
            "parameters",
            "NFE",
            "seconds",
        ),
        tuple(rows),
        frozenset(place for place, found in enumerate(result.series) if found.name == "latent ODE"),
    )
    captions = [
        "Solid: inside the observed span; dashed: beyond it; thin lines: single draws of the latent ODE."
    ]
    captions = captions * (len(result.pictures) - 1) + ["RMSE over the 100 points after the observed span."]
    return Section(
        "Irregular time series",
        (
            (
                "Each spiral is seen at a random 30, 50 or 100 of its first 100 points; the models reconstruct these "
                "points and go on for 100 more, the RNN by reading its own predictions. Both have the paper's sizes, "
                "but for 50 hidden units in the latent field and a gated RNN."
            ),
        ),
        (table,),
        tuple((folder / name, caption) for name, caption in zip(result.pictures, captions, strict=True)),
    )
