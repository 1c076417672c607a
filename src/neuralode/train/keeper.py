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
    """Writes the checkpoint and the metrics of a run: every so many seconds, when it is stopped, and at its end.

    There is one checkpoint, replaced whole, so an interrupt at any moment leaves a good one. A run that is stopped
    inside an epoch, by its budget or by `interrupt`, is saved right behind the batch and goes on exactly there.
    """

    def __init__(self, folder: Path, every: float, metrics: Metrics, budget: Budget) -> None:
        self.folder, self.every, self.metrics, self.budget = folder, every, metrics, budget
        self._saved = time.perf_counter()
        self._interrupted = self._stopped = False

    def interrupt(self) -> None:
        """Save behind the batch under way and stop there; called a second time, stop at once.

        Raises:
            KeyboardInterrupt: the second time.
        """
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._saved = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        # Behind the last batch the validation is still to come: that save is the epoch's.
        if not trainer.is_last_batch:
            self._stopped = self.budget.spent
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self._stopped:
            self._save_if_due(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self._stopped:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write both files now."""
        trainer.save_checkpoint(self.folder / CHECKPOINT)
        if trainer.is_global_zero:
            self.metrics.write(self.folder / METRICS)
        self._saved = time.perf_counter()

    def _save_if_due(self, trainer: pl.Trainer) -> None:
        due = time.perf_counter() - self._saved >= self.every
        if due or self._interrupted or self.budget.spent:
            self.save(trainer)
        if self._interrupted:
            raise KeyboardInterrupt
