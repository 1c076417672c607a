"""Images to classes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .recipe import Recipe
from .task import Task, Values


class Classifier(Task):
    """Trains `model(x) -> logits (B, classes)` on batches (x, y) by cross-entropy; the metric is "error".

    Args:
        model: maps x (B, ...) to logits (B, classes).
        recipe: optimiser and learning rate.
        augment: applied to x (B, ...) of every training batch; draws from PyTorch's global generator.
        label_smoothing: share of the target spread over all classes, in training only.
    """

    metric = "error"

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
        *,
        augment: Callable[[Tensor], Tensor] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(model, recipe)
        self.augment = augment
        self.label_smoothing = label_smoothing

    def measure(self, batch: tuple[Tensor, Tensor]) -> Values:
        x, y = batch
        logits = self.model(x if self.augment is None else self.augment(x))
        loss = cross_entropy(logits, y, label_smoothing=self.label_smoothing)
        return {"loss": loss, "error": wrong(logits.detach(), y)}

    def assess(self, batch: tuple[Tensor, Tensor]) -> Values:
        x, y = batch
        logits = self.model(x)
        return {"loss": cross_entropy(logits, y), "error": wrong(logits, y)}


def wrong(logits: Tensor, y: Tensor) -> Tensor:
    """Share of rows of `logits` (B, classes) whose largest entry is not `y` (B,); a 0-d float tensor."""
    return (logits.argmax(dim=-1) != y).to(torch.float32).mean()
