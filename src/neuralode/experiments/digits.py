"""Continuous depth on scikit-learn's digits: the paper's Table 1 and Figure 3 in two minutes on one core."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data import digits
from ..nn import ODEBlock
from ..train import Batches, Classifier, Recipe, Watcher, fit, save_weights
from ..train.classify import wrong
from ..train.nfe import counting, evaluations
from ..whole import write_json
from .augment import jitter
from .memory import peak_memory
from .networks import classifier, continuous, parameter_count, residual, runge_kutta

TEST = 0.5  # share of the images: enough of them that one is little
CHANNELS = 32
BATCH = 32
TOLERANCE = 1e-3
RESIDUAL_LAYERS = 6
RK_STEPS = 2
DIAL = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
RECIPE = Recipe("sgd", lr=0.05, weight_decay=5e-4, schedule="cosine", warmup=0.1)


@dataclass(frozen=True)
class NetworkResult:
    """One network after training.

    Attributes:
        name: "ODE-Net", "RK-Net" or "ResNet".
        error: share of the test images classified wrongly.
        parameters: trained numbers.
        nfe_forward: evaluations of the vector field in a training step, mean of the last ten; the ResNet's
            layers.
        nfe_backward: the same in the reverse sweep: 0 where backpropagation reads what the forward pass kept.
        memory: largest number of bytes held in tensors during one training step, over weights and batch.
        seconds: time of the training.
    """

    name: str
    error: float
    parameters: int
    nfe_forward: float
    nfe_backward: float
    memory: int
    seconds: float


@dataclass(frozen=True)
class DialPoint:
    """The trained ODE-Net solved at another tolerance.

    Attributes:
        tolerance: rtol and atol of the solve.
        error: share of the test images classified wrongly.
        nfe: evaluations of the vector field for the whole test set as one batch.
        deviation: root mean square of what the block's final states differ by from those of a solve at a
            tenth of the dial's tightest tolerance, relative to the root mean square of these.
    """

    tolerance: float
    error: float
    nfe: int
    deviation: float


@dataclass(frozen=True)
class DigitsResult:
    """What the experiment found; `networks` in the order ODE-Net, RK-Net, ResNet."""

    networks: tuple[NetworkResult, ...]
    dial: tuple[DialPoint, ...]
    train_images: int
    test_images: int
    epochs: int
    batch: int


def run(out: Path, *, epochs: int = 12, seed: int = 0, progress: bool | Watcher = False) -> DigitsResult:
    """Train the three networks, turn the tolerance of the first, and write digits.json and the weights into `out`.

    Args:
        out: folder of the results; made where it is missing.
        epochs: passes over the training images, the same for each network.
        seed: of the initial weights, the order of the images and their augmentation. The split is always the
            same.
        progress: as in `neuralode.train.fit`.
    """
    data = digits(test=TEST)
    middles: dict[str, Callable[[], nn.Module]] = {
        "ODE-Net": lambda: continuous(CHANNELS, rtol=TOLERANCE, atol=TOLERANCE, controller="i"),
        "RK-Net": lambda: runge_kutta(CHANNELS, RK_STEPS),
        "ResNet": lambda: residual(CHANNELS, RESIDUAL_LAYERS),
    }
    networks, models = [], {}
    for name, middle in middles.items():
        torch.manual_seed(seed)
        models[name] = classifier(middle(), CHANNELS, size=8, halvings=1)
        loaders = (
            Batches((data.train_x, data.train_y), BATCH, seed=seed),
            Batches((data.test_x, data.test_y), len(data.test_x), shuffle=False),
        )
        networks.append(_train(name, models[name], loaders, epochs, seed, progress))
        save_weights(models[name], out / f"{name.lower()}.safetensors")
    points = dial(models["ODE-Net"], data.test_x, data.test_y)
    result = DigitsResult(tuple(networks), points, len(data.train_x), len(data.test_x), epochs, BATCH)
    write_json(out / "digits.json", asdict(result))
    return result


def _train(
    name: str,
    model: nn.Module,
    loaders: tuple[Batches, Batches],
    epochs: int,
    seed: int,
    progress: bool | Watcher,
) -> NetworkResult:
    augment = partial(jitter, shift=1.0, rotate=10.0, scale=0.1, shear=5.0)
    task = Classifier(model, RECIPE, augment=augment, label_smoothing=0.05)
    done = fit(
        task, loaders, epochs=epochs, seed=seed, progress=progress, title=name, check_val_every_n_epoch=epochs
    )
    x, y = next(iter(loaders[0]))
    return NetworkResult(
        name=name,
        error=done.last("val_error"),
        parameters=parameter_count(model),
        nfe_forward=done.last("nfe_forward") if counting(model) else RESIDUAL_LAYERS,
        nfe_backward=done.last("nfe_backward"),
        memory=peak_memory(lambda: task.measure((x, y))["loss"].backward()),
        seconds=done.seconds,
    )


@torch.no_grad()
def dial(
    model: nn.Sequential, x: Tensor, y: Tensor, tolerances: tuple[float, ...] = DIAL
) -> tuple[DialPoint, ...]:
    """Solve the block of a trained ODE-Net at each of `tolerances`, in float64 so that rounding plays no part.

    Args:
        model: a network from `classifier` with an `ODEBlock` in it.
        x: images (B, 1, H, W).
        y: their classes (B,).
        tolerances: values of rtol and atol.
    """
    network = deepcopy(model).double().eval()
    place, block = next((index, layer) for index, layer in enumerate(network) if isinstance(layer, ODEBlock))
    head = network[place + 1 :]
    start = network[:place](x.double())
    tightest = 0.1 * min(tolerances)
    with block.using(rtol=tightest, atol=tightest):
        exact = block(start)
    points = []
    for tolerance in tolerances:
        with block.using(rtol=tolerance, atol=tolerance):
            state = block(start)
        deviation = float((state - exact).square().mean().sqrt() / exact.square().mean().sqrt())
        points.append(
            DialPoint(tolerance, float(wrong(head(state), y)), evaluations([block]).forward, deviation)
        )
    return tuple(points)
