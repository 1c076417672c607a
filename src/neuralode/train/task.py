"""What a training task is: a model, a recipe, and the numbers of one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn
from torch.optim import Optimizer

from .recipe import Recipe

Values = dict[str, Tensor]


class Task(pl.LightningModule, ABC):
    """A Lightning module around `model`; the tasks say what the loss and the metric of a batch are.

    `training_step` returns the values of the batch instead of logging each: `self.log` costs 0.2 ms a value,
    more than a small network's step. The callback `Metrics` collects what is returned; validation values are
    logged the usual way under "val_<name>", so `EarlyStopping` and loggers of one's own find them.

    Args:
        model: the network; its counters `nfev`, where it has them, become the NFE columns.
        recipe: optimiser and learning rate.
    """

    metric: str

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.steps = 1

    @abstractmethod
    def measure(self, batch: Any) -> Values:
        """The values of a training batch: "loss" (with gradient) and `metric` (without)."""

    def assess(self, batch: Any) -> Values:
        """The values of a validation batch; those of a training batch unless the task says otherwise."""
        return self.measure(batch)

    def training_step(self, batch: Any, index: int) -> Values:
        return self.measure(batch)

    def validation_step(self, batch: Any, index: int) -> None:
        first = batch if isinstance(batch, Tensor) else batch[0]
        values = {f"val_{name}": value for name, value in self.assess(batch).items()}
        self.log_dict(values, batch_size=len(first), on_step=False, on_epoch=True, logger=True)

    def configure_optimizers(self) -> Optimizer:
        return self.recipe.make_optimizer(p for p in self.parameters() if p.requires_grad)

    def on_train_start(self) -> None:
        # Not in configure_optimizers: asked there, Lightning opens the loader before its state is loaded.
        self.steps = int(self.trainer.estimated_stepping_batches)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.lr * self.recipe.factor(self.global_step, self.steps)

    def configure_gradient_clipping(self, optimizer: Optimizer, *_: Any, **__: Any) -> None:
        if self.recipe.clip is not None:
            self.clip_gradients(optimizer, gradient_clip_val=self.recipe.clip, gradient_clip_algorithm="norm")
