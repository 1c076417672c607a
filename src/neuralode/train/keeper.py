"""When a run is saved, and when it has had its time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from .folder import CHECKPOINT, METRICS
from .metrics import Metrics


class Budget(pl.Callback):
    """Stops the run cleanly behind the batch at which its time exceeds `seconds`; None never does."""

    def __init__(self, seconds: float | None, metrics: Metrics) -> None:
        self.seconds, self.metrics = seconds, metrics
        self.spent = False

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self.seconds is not None and self.metrics.seconds >= self.seconds:
            self.spent = trainer.should_stop = True


class Keeper(pl.Callback):
    """Writes the checkpoint and the metrics of a run: every so many seconds, and at its end.

    There is one checkpoint, replaced whole, so an interrupt at any moment leaves a good one. A run that
    spends its budget inside an epoch is saved right behind the batch, so that it can go on exactly there.
    """

    def __init__(self, folder: Path, every: float, metrics: Metrics, budget: Budget) -> None:
        self.folder, self.every, self.metrics, self.budget = folder, every, metrics, budget
        self._saved = time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._saved = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        # Behind the last batch the validation is still to come: that save is the epoch's.
        if self.budget.spent or (self._due() and not trainer.is_last_batch):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self.budget.spent and self._due():
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self.budget.spent:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write both files now."""
        trainer.save_checkpoint(self.folder / CHECKPOINT)
        if trainer.is_global_zero:
            self.metrics.write(self.folder / METRICS)
        self._saved = time.perf_counter()

    def _due(self) -> bool:
        return time.perf_counter() - self._saved >= self.every
