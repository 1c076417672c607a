"""Tolerances that follow the training: set anew every few epochs, on a batch, and logged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from ..calibrate import TOLERANCES, calibrate
from ..calibration import Setting
from ..calibration.blocks import adjusted, blocks_of
from .metrics import Metrics
from .task import Task


class Recalibrate(pl.Callback):
    """Calls `neuralode.calibrate` on the first batch of every n-th epoch and sets the model's blocks by it.

    What was chosen goes to the history of the run (rows with calibrated_rtol, calibrated_error, calibrated_target,
    calibrated_nfe) and to the trainer's loggers. Checkpoints hold it, so that a resumed run goes on with the same
    settings; the calibration itself is seeded and leaves generators and buffers alone. On several devices the first
    one's choice is everyone's.

    Args:
        every_n_epochs: epochs 0, n, 2 n, ... begin with a calibration.
        target: relative error of the gradient; None: a tenth of the batch's gradient noise.
        methods: names to choose from; None: the one that the blocks have.
        tolerances: the ladder of rtol.
        loss: loss(module, batch) -> 0-d tensor of the Lightning module; None: the "loss" of `Task.measure`.

    Attributes:
        chosen: what the last calibration of this run, or since it was resumed, came to; None before it.

    Raises:
        ValueError: every_n_epochs < 1.

    Example:
        >>> import torch
        >>> from neuralode.nn import MLPField, ODEBlock
        >>> from neuralode.train import Batches, Classifier, fit
        >>> x = torch.randn(64, 2)
        >>> model = ODEBlock(MLPField(2, hidden=4), rtol=1e-6, atol=1e-8)
        >>> calls = [Recalibrate(every_n_epochs=2, target=1e-2)]
        >>> run = fit(Classifier(model), Batches((x, (x[:, 0] > 0).long()), 32), epochs=2, callbacks=calls)
        >>> run.last("calibrated_rtol") == model.rtol == calls[0].chosen.rtol
        True
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        target: float | None = None,
        *,
        methods: Sequence[str] | None = None,
        tolerances: Sequence[float] = TOLERANCES,
        loss: Callable[[Any, Any], Tensor] | None = None,
    ) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"every_n_epochs must be 1 or more, got {every_n_epochs}")
        self.every_n_epochs, self.target = every_n_epochs, target
        self.methods, self.tolerances, self.loss = methods, tolerances, loss
        self.chosen: Setting | None = None
        self._inside: tuple[str, float] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if self._inside is not None:
            self._set(pl_module, *self._inside)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0 and trainer.current_epoch % self.every_n_epochs == 0:
            self._recalibrate(trainer, pl_module, batch)

    def state_dict(self) -> dict[str, Any]:
        method, rtol = self._inside or (None, None)
        return {"method": method, "rtol": rtol}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["method"] is not None:
            self._inside = (state_dict["method"], state_dict["rtol"])

    def _recalibrate(self, trainer: pl.Trainer, pl_module: Any, batch: Any) -> None:
        with trainer.precision_plugin.train_step_context():
            found = calibrate(
                pl_module,
                batch,
                loss=self.loss or _task_loss,
                target=self.target,
                methods=self.methods,
                tolerances=self.tolerances,
            )
        self.chosen = trainer.strategy.broadcast(found.chosen)
        self._set(pl_module, self.chosen.method, self.chosen.rtol)
        values = {
            "calibrated_rtol": self.chosen.rtol,
            "calibrated_error": self.chosen.gradient_error,
            "calibrated_target": found.target,
            "calibrated_nfe": float(self.chosen.work),
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        callbacks: list[Any] = getattr(trainer, "callbacks")  # noqa: B009 (untyped in Lightning)
        for callback in callbacks:
            if isinstance(callback, Metrics):
                callback.note(trainer, values)

    def _set(self, pl_module: Any, method: str, rtol: float) -> None:
        self._inside = (method, rtol)
        for block in blocks_of(pl_module):
            block.solver = adjusted(block.solver, method, rtol)


def _task_loss(module: Any, batch: Any) -> Tensor:
    if not isinstance(module, Task):
        raise TypeError(f"loss: {type(module).__name__} is no Task: give loss(module, batch)")
    return module.measure(batch)["loss"]
