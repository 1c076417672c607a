"""Samples to a density."""

from __future__ import annotations

from torch import Tensor, nn

from .recipe import Recipe
from .task import Task, Values


class DensityTask(Task):
    """Maximum likelihood: batches x (B, dim), loss -mean log p(x) in nats plus the model's penalty; metric "nll".

    Args:
        model: has `log_prob(x) -> (B,)`; `penalty`, where it has one, is added to the loss after each call.
        recipe: optimiser and learning rate.
    """

    metric = "nll"

    def __init__(self, model: nn.Module, recipe: Recipe = Recipe()) -> None:  # noqa: B008 (frozen)
        super().__init__(model, recipe)

    def measure(self, batch: Tensor | tuple[Tensor, ...]) -> Values:
        x = batch if isinstance(batch, Tensor) else batch[0]
        nll = -self.model.log_prob(x).mean()
        penalty = getattr(self.model, "penalty", None)
        loss = nll if penalty is None else nll + penalty
        return {"loss": loss, "nll": nll.detach()}
