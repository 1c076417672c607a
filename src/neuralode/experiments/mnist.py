"""An ODE-Net on MNIST, from the user's own files, in a run folder that can be resumed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..data import mnist
from ..train import Batches, Classifier, Recipe, Watcher, fit, read_config
from .augment import jitter
from .networks import classifier, continuous, parameter_count

EVALUATION_BATCH = 250


@dataclass(frozen=True)
class MnistSettings:
    """What is trained.

    Attributes:
        epochs: passes over the training images.
        limit: the first so many training images only; None takes all 60,000.
        batch: images in a training step.
        channels: width of the network, a multiple of 8.
        tolerance: rtol and atol of the solve, in training and test.
        lr: highest learning rate.
        seed: of weights, order and augmentation.
    """

    epochs: int = 1
    limit: int | None = None
    batch: int = 16
    channels: int = 32
    tolerance: float = 1e-3
    lr: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, takes 1 or more")
        if self.limit is not None and not 1 <= self.limit <= 60_000:
            raise ValueError(f"limit: got {self.limit}, takes 1 to 60000")
        for name in ("tolerance", "lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, takes a number > 0")
        if self.channels < 8 or self.channels % 8:
            raise ValueError(f"channels: got {self.channels}, takes a multiple of 8")


@dataclass(frozen=True)
class MnistResult:
    """What came of it.

    Attributes:
        error: share of the test images classified wrongly.
        train_images, test_images: how many there were.
        parameters: trained numbers.
        nfe_forward, nfe_backward: evaluations of the vector field in a training step, mean of the last ten.
        seconds: time of the run, the test after each epoch included.
    """

    error: float
    train_images: int
    test_images: int
    parameters: int
    nfe_forward: float
    nfe_backward: float
    seconds: float


def run(
    data: Path,
    settings: MnistSettings,
    run: Path | None = None,
    *,
    resume: bool = False,
    progress: bool | Watcher = False,
) -> MnistResult:
    """Train an ODE-Net on the images in `data` and test it on all 10,000 test images after each epoch.

    Args:
        data: folder with the four IDX files of MNIST; they are verified by their SHA-256.
        settings: what is trained.
        run: run folder, see `neuralode.train.fit`; None keeps nothing.
        resume: go on from the checkpoint in `run`.
        progress: as in `neuralode.train.fit`.

    Raises:
        neuralode.data.DataError: a file is missing or not the one it should be.
        FileExistsError, ValueError: as `neuralode.train.fit`.
    """
    x, y = _pixels(*mnist(data, "train"))
    test = _pixels(*mnist(data, "test"))
    train = (x[: settings.limit], y[: settings.limit])
    torch.manual_seed(settings.seed)
    block = continuous(settings.channels, rtol=settings.tolerance, atol=settings.tolerance, controller="i")
    task = Classifier(
        classifier(block, settings.channels, size=28, halvings=2),
        Recipe("sgd", lr=settings.lr, weight_decay=5e-4, schedule="cosine", warmup=0.2),
        augment=partial(jitter, shift=1.0, rotate=5.0, scale=0.05, shear=2.5),
        label_smoothing=0.05,
    )
    done = fit(
        task,
        (Batches(train, settings.batch, seed=settings.seed), Batches(test, EVALUATION_BATCH, shuffle=False)),
        run,
        epochs=settings.epochs,
        seed=settings.seed,
        resume=resume,
        progress=progress,
        title="ODE-Net on MNIST",
        config=asdict(settings),
    )
    return MnistResult(
        error=done.last("val_error"),
        train_images=len(train[0]),
        test_images=len(test[0]),
        parameters=parameter_count(task.model),
        nfe_forward=done.last("nfe_forward"),
        nfe_backward=done.last("nfe_backward"),
        seconds=done.seconds,
    )


def stored_settings(run: Path) -> MnistSettings:
    """The settings that the run in folder `run` was begun with.

    Raises:
        FileNotFoundError: there is no run in it.
        ValueError: the run is of another kind.
    """
    config = read_config(run).get("config", {})
    try:
        return MnistSettings(**config)
    except TypeError as error:
        raise ValueError(f"{run} holds another kind of run, not one of `train mnist`") from error


def _pixels(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images.unsqueeze(1).to(torch.float32).div_(255.0), labels
