"""Irregular series: a latent ODE against an RNN on the paper's spirals (section 5.1, table 2, figure 8)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data import Observations, Spirals, observe, spirals
from ..nn import LatentODE, RNNForecaster
from ..plot import Curve, reconstructions, scores
from ..train import Batches, Recipe, SeriesTask, Watcher, evaluations, fit
from ..whole import write_json

NOISE = 0.1
STEP = 0.25
HIDDEN = 50  # of the field; the paper has 20
BATCH = 100
RECIPE = Recipe(lr=1e-2, schedule="cosine", warmup=0.05, clip=10.0)


@dataclass(frozen=True)
class SeriesResult:
    """One model after training on one number of observations.

    Attributes:
        name: "latent ODE" or "RNN".
        observations: points seen of each series, of 100.
        inside: RMSE to the noiseless curve at the 100 points of the observed span.
        later: the same at the 100 points after it.
        parameters: trained numbers.
        nfe: evaluations of the field in a training step, forward; 0 for the RNN.
        seconds: time of the training.
    """

    name: str
    observations: int
    inside: float
    later: float
    parameters: int
    nfe: int
    seconds: float


@dataclass(frozen=True)
class SpiralsResult:
    """What the experiment found; `series` in the order of `counts`, the latent ODE before the RNN."""

    series: tuple[SeriesResult, ...]
    pictures: tuple[str, ...]
    trained_on: int
    tested_on: int
    noise: float
    epochs: int


def run(
    out: Path,
    *,
    counts: tuple[int, ...] = (30, 50, 100),
    n: int = 1000,
    epochs: int = 30,
    seed: int = 0,
    progress: bool | Watcher = False,
) -> SpiralsResult:
    """Train both models at each number of observations; write spirals.json and pictures into `out`.

    Args:
        out: folder of the results; made where it is missing.
        counts: observations kept of each spiral's 100 points.
        n: spirals to train on; a fifth as many others are tested on.
        epochs: passes over them.
        seed: of data, weights and batches.
        progress: as in `neuralode.train.fit`.
    """
    train, test = spirals(n, noise=NOISE, seed=seed), spirals(max(n // 5, 4), noise=NOISE, seed=seed + 1)
    found, pictures = [], []
    for count in counts:
        seen, held = observe(train, count, seed), observe(test, count, seed + 1)
        torch.manual_seed(seed)
        latent = LatentODE(2, hidden=HIDDEN, method="rk4", step=STEP)
        rnn = RNNForecaster(2)
        for name, model in (("latent ODE", latent), ("RNN", rnn)):
            task = SeriesTask(model, RECIPE)
            batches = Batches((seen.times, seen.values, seen.mask), min(BATCH, n), seed=seed)
            title = f"{name}, {count} points"
            done = fit(task, batches, epochs=epochs, seed=seed, progress=progress, title=title)
            found.append(_score(name, count, model, test, held, done.seconds))
        pictures.append(_picture(out / f"spirals_{count}.png", count, latent, rnn, test, held).name)
    pictures.append(_scores(out / "spirals_rmse.png", found, counts).name)
    result = SpiralsResult(tuple(found), tuple(pictures), n, len(test.truth), NOISE, epochs)
    write_json(out / "spirals.json", asdict(result))
    return result


def _score(
    name: str, count: int, model: nn.Module, test: Spirals, held: Observations, seconds: float
) -> SeriesResult:
    nfe = evaluations([model]).forward if isinstance(model, LatentODE) else 0
    return SeriesResult(
        name=name,
        observations=count,
        inside=rmse(model, held, test.times, test.truth),
        later=rmse(model, held, test.later_times, test.later_truth),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        nfe=int(nfe),
        seconds=seconds,
    )


def rmse(model: nn.Module, held: Observations, times: Tensor, truth: Tensor) -> float:
    """Root mean square distance per coordinate of the model's mean to noiseless curves at `times`."""
    mean = model.predict(held.times, held.values, held.mask, times).mean  # type: ignore[operator]
    return float((mean - truth).square().mean().sqrt())


def _picture(
    path: Path, count: int, latent: LatentODE, rnn: RNNForecaster, test: Spirals, held: Observations
) -> Path:
    first = torch.cat((test.clockwise.nonzero()[:2, 0], (~test.clockwise).nonzero()[:2, 0]))
    times = torch.cat((test.times, test.later_times))
    observed = (held.times[first], held.values[first], held.mask[first])
    drawn, plain = latent.predict(*observed, times), rnn.predict(*observed, times)
    samples = drawn.samples
    curves = [
        Curve(
            observed=held.values[series].numpy(),
            truth=torch.cat((test.truth[series], test.later_truth[series])).numpy(),
            seen=len(test.times),
            latent=drawn.mean[place].numpy(),
            fan=samples[:10, place].numpy() if samples is not None else drawn.mean[:0].numpy(),
            rnn=plain.mean[place].numpy(),
        )
        for place, series in enumerate(first.tolist())
    ]
    return reconstructions(path, f"{count} observations of each spiral, noise {NOISE}", curves)


def _scores(path: Path, found: list[SeriesResult], counts: tuple[int, ...]) -> Path:
    latent, rnn = ([r.later for r in found if r.name == name] for name in ("latent ODE", "RNN"))
    return scores(path, counts, latent, rnn)
