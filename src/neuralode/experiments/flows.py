"""Flows: a CNF against a planar normalizing flow of the same width (the paper's section 4.1, figure 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data import DENSITIES
from ..nn import CNF, GatedPlanar, PlanarFlow
from ..plot import flow
from ..train import Batches, DensityTask, Recipe, Watcher, evaluations, fit
from ..whole import write_json

TOLERANCE = 1e-3
BATCH = 512
TRAIN = 20_480
HELD_OUT = 10_000
SHARES = (0.05, 0.2, 0.4, 0.6, 0.8, 1.0)  # of t, as in the paper's figure
EXTENT = 2.6
GRID = 90
SHOWN = 3000
RECIPE = Recipe(lr=1e-2, schedule="cosine", warmup=0.05, clip=10.0)


@dataclass(frozen=True)
class FlowResult:
    """One flow on one density.

    Attributes:
        density: name of the density.
        name: "CNF" or "planar flow".
        nll: mean negative log-likelihood of held-out points, nats.
        parameters: trained numbers.
        steps: optimiser steps.
        nfe: evaluations of the field in one solve of the held-out points; 0 for the planar flow.
        seconds: time of the training.
    """

    density: str
    name: str
    nll: float
    parameters: int
    steps: int
    nfe: int
    seconds: float


@dataclass(frozen=True)
class FlowsResult:
    """What the experiment found; for each density the CNF, then the planar flow."""

    flows: tuple[FlowResult, ...]
    pictures: tuple[str, ...]
    width: int
    held_out: int


def run(
    out: Path,
    *,
    densities: tuple[str, ...] = ("two_moons", "two_circles"),
    width: int = 32,
    steps: int = 400,
    seed: int = 0,
    progress: bool | Watcher = False,
) -> FlowsResult:
    """Fit both flows to each density; write flows.json and one picture a density into `out`.

    Args:
        out: folder of the results; made where it is missing.
        densities: names in `neuralode.data.DENSITIES`.
        width: M hidden units of the CNF and K layers of the planar flow.
        steps: optimiser steps of the CNF on batches of 512; as many for the planar flow.
        seed: of data, weights and batches.
        progress: as in `neuralode.train.fit`.
    """
    found, pictures = [], []
    for density in densities:
        x, held = DENSITIES[density](TRAIN, seed), DENSITIES[density](HELD_OUT, seed + 1)
        torch.manual_seed(seed)
        cnf = CNF(GatedPlanar(2, width=width), 2, rtol=TOLERANCE, atol=TOLERANCE)
        planar = PlanarFlow(2, width)
        trained: list[tuple[str, nn.Module, int]] = [
            ("CNF", cnf, steps),
            ("planar flow", planar, steps),
        ]
        for name, model, count in trained:
            epochs = max(1, round(count * BATCH / TRAIN))
            done = fit(
                DensityTask(model, RECIPE),
                Batches((x,), BATCH, seed=seed),
                epochs=epochs,
                seed=seed,
                progress=progress,
                title=f"{name}, {density.replace('_', ' ')}",
            )
            found.append(_score(density, name, model, held, done.steps, done.seconds))
        pictures.append(_picture(out / f"flow_{density}.png", density, cnf, planar, held).name)
    result = FlowsResult(tuple(found), tuple(pictures), width, HELD_OUT)
    write_json(out / "flows.json", asdict(result))
    return result


@torch.no_grad()
def _score(density: str, name: str, model: nn.Module, held: Tensor, steps: int, seconds: float) -> FlowResult:
    nll = -float(model.log_prob(held).mean())  # type: ignore[operator]
    nfe = evaluations([model]).forward if isinstance(model, CNF) else 0
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return FlowResult(density, name, nll, parameters, steps, int(nfe), seconds)


@torch.no_grad()
def _picture(path: Path, density: str, cnf: CNF, planar: PlanarFlow, held: Tensor) -> Path:
    t0, t1 = cnf.t_span
    times = [t0 + share * (t1 - t0) for share in SHARES]
    states = cnf.path(torch.randn(SHOWN, 2, generator=torch.Generator().manual_seed(0)), torch.tensor(times))
    maps = [_on_grid(lambda points, t=t: cnf.log_prob_at(points, t)) for t in times]  # type: ignore[misc]
    return flow(
        path,
        density.replace("_", " "),
        SHARES,
        [x.numpy() for x in states],
        [p.numpy() for p in maps],
        (planar.sample(SHOWN).numpy(), _on_grid(planar.log_prob).numpy()),
        held[:SHOWN].numpy(),
        EXTENT,
    )


def _on_grid(log_prob: Callable[[Tensor], Tensor]) -> Tensor:
    """p on a square grid, first index the second coordinate."""
    line = torch.linspace(-EXTENT, EXTENT, GRID)
    second, first = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack((first.reshape(-1), second.reshape(-1)), dim=1)
    return log_prob(points).exp().reshape(GRID, GRID)
