"""The Lightning trainer of a run, set up for exact resume and little overhead."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from .batches import Replay, Resumable
from .checkpoint import SafeCheckpoints
from .keeper import Keeper
from .task import Task

Loader = Iterable[Any]


def make_trainer(callbacks: list[pl.Callback], epochs: int, **options: Any) -> pl.Trainer:
    """A trainer that stores checkpoints without pickle and leaves the rest to `callbacks`."""
    defaults: dict[str, Any] = {
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }
    plugins = [SafeCheckpoints(), *options.pop("plugins", [])]
    return pl.Trainer(max_epochs=epochs, callbacks=callbacks, plugins=plugins, **{**defaults, **options})


def training_loader(loader: Loader, seed: int, devices: Any) -> Loader:
    """`loader` itself where it can say and restore its position, else wrapped in `Replay`.

    On several devices Lightning has to see a `DataLoader` itself, to share it out.

    Raises:
        ValueError: on several devices, for a loader of this package: each device would see every batch.
    """
    if devices != 1 and isinstance(loader, Resumable):
        raise ValueError(
            f"loaders: {type(loader).__name__} is for one device; give a DataLoader for devices={devices}"
        )
    return loader if hasattr(loader, "state_dict") or devices != 1 else Replay(loader, seed=seed)


def drive(
    trainer: pl.Trainer,
    task: Task,
    loaders: tuple[Loader, Loader | None],
    checkpoint: Path | None,
    keeper: Keeper | None,
) -> None:
    """Run `trainer` on (training, validation), from `checkpoint` where given.

    Raises:
        KeyboardInterrupt: Ctrl-C, as everywhere else; `keeper` has saved before.
    """
    training, validation = loaders
    with _interruptible(trainer, keeper):
        trainer.fit(task, training, validation, ckpt_path=checkpoint, weights_only=True)


@contextmanager
def _interruptible(trainer: pl.Trainer, keeper: Keeper | None) -> Iterator[None]:
    """Let the keeper save before Ctrl-C ends the run; turn Lightning's exit back into KeyboardInterrupt."""
    main = threading.current_thread() is threading.main_thread()  # others may not set signals
    before = signal.getsignal(signal.SIGINT)
    if main and keeper is not None:
        signal.signal(signal.SIGINT, lambda number, frame: keeper.interrupt())
    try:
        yield
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        if main:
            signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored
