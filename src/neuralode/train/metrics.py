"""The numbers of a run: collected from its batches, kept in its checkpoints, told to whoever watches."""

from __future__ import annotations

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from ..whole import write_text
from .nfe import counting, evaluations
from .progress import Progress, Watcher

Row = dict[str, float]
TELL_EVERY = 0.2  # seconds between two calls of the watcher


class Metrics(pl.Callback):
    """Means of what `training_step` returned, a row each `every` steps and at the last, and one for each validation.

    Columns: step, epoch, seconds, the names that the task returned, nfe_forward, nfe_backward; in validation
        rows the
    names that the task logged ("val_...") and val_nfe. The rows are part of the checkpoint.
    """

    def __init__(self, every: int, watcher: Watcher | None = None, title: str = "") -> None:
        self.title = title
        self.every = every
        self.watcher = watcher
        self.rows: list[Row] = []
        self.before = 0.0
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._latest: Row = {}
        self._modules: list[nn.Module] = []
        self._validation_nfe: list[int] = []
        self._started = self._told = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run so far."""
        return self.before + time.perf_counter() - self._started

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._modules = counting(pl_module.model)
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        nfe = evaluations(self._modules)
        values = {**outputs, "nfe_forward": nfe.forward, "nfe_backward": nfe.backward}
        for name, value in values.items():
            tensor = torch.as_tensor(value, dtype=torch.float64).detach()
            self._sums[name] = self._sums[name] + tensor if name in self._sums else tensor
        self._count += 1
        last = trainer.should_stop or trainer.global_step == pl_module.steps
        if last or trainer.global_step % self.every == 0:
            self._latest.update(self._means())
            self._add(trainer, self._means())
            self._sums, self._count = {}, 0
        self._tell(trainer)

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        self._validation_nfe.append(evaluations(self._modules).forward)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self._modules and self._validation_nfe:
            row["val_nfe"] = sum(self._validation_nfe) / len(self._validation_nfe)
        self._validation_nfe = []
        self._latest.update(row)
        self._add(trainer, row)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._told = -math.inf
        self._tell(trainer)

    def note(self, trainer: pl.Trainer, values: Row) -> None:
        """A row of its own for values that another callback has."""
        self._latest.update(values)
        self._add(trainer, values)

    def _means(self) -> Row:
        return {name: float(total) / self._count for name, total in self._sums.items()}

    def _add(self, trainer: pl.Trainer, values: Row) -> None:
        self.rows.append(
            {"step": trainer.global_step, "epoch": trainer.current_epoch, "seconds": self.seconds, **values}
        )

    def _tell(self, trainer: pl.Trainer) -> None:
        now = time.perf_counter()
        if self.watcher is None or now - self._told < TELL_EVERY:
            return
        self._told = now
        steps, epochs = int(trainer.estimated_stepping_batches), int(trainer.max_epochs or 1)
        epoch = min(trainer.current_epoch + 1, epochs)
        values = {**self._latest, **(self._means() if not self.rows else {})}
        self.watcher(Progress(self.title, trainer.global_step, steps, epoch, epochs, self.seconds, values))

    def state_dict(self) -> dict[str, Any]:
        columns = self.columns()
        table = [[row.get(name, math.nan) for name in columns] for row in self.rows]
        return {
            "columns": columns,
            "table": torch.tensor(table, dtype=torch.float64).reshape(len(table), len(columns)),
            "seconds": self.seconds,
            "sums": self._sums,
            "count": self._count,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        columns = state_dict["columns"]
        self.rows = [
            {
                name: int(value) if name in ("step", "epoch") else value
                for name, value in zip(columns, row, strict=True)
                if not math.isnan(value)
            }
            for row in state_dict["table"].tolist()
        ]
        self._latest = {name: value for row in self.rows for name, value in row.items()}
        for name in ("step", "epoch", "seconds"):
            self._latest.pop(name, None)
        self._sums, self._count = state_dict["sums"], state_dict["count"]
        self.before = state_dict["seconds"]

    def columns(self) -> list[str]:
        """The names in the rows, in the order they came first."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def write(self, path: Path) -> None:
        """Write the rows as CSV; a cell without a value is empty."""
        text = io.StringIO()
        table = csv.DictWriter(text, self.columns(), restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        write_text(path, text.getvalue())
