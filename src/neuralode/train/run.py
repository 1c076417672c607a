"""`fit`: one training run in one folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .checkpoint import save_weights
from .driver import Loader, drive, make_trainer, training_loader
from .folder import METRICS, WEIGHTS, prepare
from .keeper import Budget, Keeper
from .metrics import Metrics, Row
from .progress import Bar, Watcher
from .quiet import quiet_lightning
from .resumption import Resumption
from .task import Task


@dataclass(frozen=True)
class Run:
    """What a run came to.

    Attributes:
        path: its folder; None when nothing was written.
        steps: optimiser steps in all.
        seconds: wall-clock time, of earlier parts of a resumed run too.
        history: one row of numbers each `log_every` steps and each validation, oldest first.
        complete: False when it was stopped by `seconds`.
    """

    path: Path | None
    steps: int
    seconds: float
    history: list[Row]
    complete: bool

    def last(self, name: str) -> float:
        """The newest value of a column; KeyError where there is none."""
        for row in reversed(self.history):
            if name in row:
                return row[name]
        raise KeyError(name)


def fit(
    task: Task,
    loaders: Loader | tuple[Loader, Loader],
    run: Path | str | None = None,
    *,
    epochs: int = 1,
    seed: int = 0,
    resume: bool = False,
    progress: bool | Watcher = False,
    title: str | None = None,
    log_every: int = 10,
    save_every: float = 10.0,
    seconds: float | None = None,
    config: Mapping[str, Any] | None = None,
    **trainer: Any,
) -> Run:
    """Train `task` on `loaders` and keep the run in the folder `run`.

    The folder gets config.json, metrics.csv, checkpoint.safetensors (all that is needed to go on: weights,
    optimiser, random number generators, position in the data) and at the end model.safetensors, the weights
    of `task.model`. A run that was interrupted and resumed gives the same losses, bit for bit, as one that
    was not.

    Args:
        task: what is trained; in place.
        loaders: training batches, or a pair (training, validation). Sized iterables: `Batches`, `Draws`, or
            any `DataLoader`. The validation loader is run after each epoch.
        run: the folder; None writes nothing.
        epochs: passes over the training batches.
        seed: given to PyTorch's generators at the start (augmentation, noise), and to the order of a
            `DataLoader`.
        resume: go on from the checkpoint in `run`, where there is one.
        progress: True draws a bar with loss, metric and NFE; a function is called with `Progress` a few times
            a second.
        title: what the bar calls the run; by default the kind of task.
        log_every: steps in a row of the history.
        save_every: seconds between two checkpoints.
        seconds: stop cleanly after this wall-clock time.
        config: settings of one's own for config.json; anything JSON can hold.
        trainer: further options of `lightning.pytorch.Trainer`, like `accelerator`, `devices`, `precision`,
            `logger`.

    Returns:
        The `Run`, with its history.

    Raises:
        FileExistsError: `run` holds a run already and `resume` is False.
        ValueError: the run in the folder was made with other settings; they are named.
        KeyboardInterrupt: the user stopped it; it was saved behind the batch under way. A second Ctrl-C does not
            wait for that.
    """
    folder = None if run is None else Path(run)
    checkpoint = None if folder is None else prepare(folder, _settings(task, epochs, seed, config), resume)
    training, validation = loaders if isinstance(loaders, tuple) else (loaders, None)
    training = training_loader(training, seed, trainer.get("devices", 1))
    with _shown(progress) as watcher, quiet_lightning():
        metrics = Metrics(log_every, watcher, title or type(task).__name__)
        budget = Budget(seconds, metrics)
        keeper = None if folder is None else Keeper(folder, save_every, metrics, budget)
        callbacks = [*trainer.pop("callbacks", []), Resumption(training), budget, metrics]
        callbacks += [] if keeper is None else [keeper]
        torch.manual_seed(seed)
        driver = make_trainer(callbacks, epochs, **trainer)
        drive(driver, task, (training, validation), checkpoint, keeper)
    if folder is not None and driver.is_global_zero:
        metrics.write(folder / METRICS)
        save_weights(task.model, folder / WEIGHTS)
    return Run(folder, driver.global_step, metrics.seconds, metrics.rows, not budget.spent)


def _shown(progress: bool | Watcher) -> AbstractContextManager[Watcher | None]:
    if callable(progress):
        return nullcontext(progress)
    return Bar() if progress else nullcontext()


def _settings(task: Task, epochs: int, seed: int, config: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "task": type(task).__name__,
        "model": type(task.model).__name__,
        "parameters": sum(parameter.numel() for parameter in task.model.parameters()),
        "recipe": asdict(task.recipe),
        "epochs": epochs,
        "seed": seed,
        "config": dict(config or {}),
    }
