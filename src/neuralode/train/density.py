"""Samples to a density."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .recipe import Recipe
from .task import Task, Values


class DensityTask(Task):
    """Maximum likelihood: loss -mean log p(x) in nats plus the model's penalty; metric "nll".

    A batch is x (B, dim), or a tuple that begins with it.

    Args:
        model: has `log_prob(x) -> (B,)`; `penalty`, where it has one, is added to the loss after each call.
        recipe: optimiser and learning rate.
    """

    metric = "nll"

    def __init__(self, model: nn.Module, recipe: Recipe = Recipe()) -> None:  # noqa: B008 (frozen)
        super().__init__(model, recipe)

    def measure(self, batch: Tensor | tuple[Tensor, ...]) -> Values:
        x = batch if isinstance(batch, Tensor) else batch[0]
        model: Any = self.model
        nll = -model.log_prob(x).mean()
        penalty = getattr(model, "penalty", None)
        loss = nll if penalty is None else nll + penalty
        return {"loss": loss, "nll": nll.detach()}
