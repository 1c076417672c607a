"""Irregular time series to a model that fills and forecasts them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .recipe import Recipe
from .task import Task, Values


class SeriesTask(Task):
    """Trains a latent ODE by its ELBO, or a forecaster by its likelihood.

    A training batch is (times (B, T), values (B, T, D), mask (B, T) or (B, T, D)). A validation batch may add
    (query (B, Q), truth (B, Q, D)): then "rmse" compares `model.predict(...)` with the truth.

    Args:
        model: has `elbo(times, values, mask, kl_weight)` or `nll(times, values, mask)`, and `predict`.
        recipe: optimiser and learning rate.
        kl_rate: the weight of the ELBO's KL term at step n is 1 - kl_rate**n; 0 gives the full term from the
            start.
    """

    metric = "rmse"

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe = Recipe(lr=1e-2),  # noqa: B008 (frozen)
        *,
        kl_rate: float = 0.99,
    ) -> None:
        super().__init__(model, recipe)
        self.kl_rate = kl_rate

    def objective(self, observed: tuple[Tensor, ...], kl_weight: float) -> Tensor:
        """Negative ELBO, or negative log-likelihood of a model without one; a 0-d tensor."""
        model: Any = self.model
        loss: Tensor = (
            -model.elbo(*observed, kl_weight=kl_weight) if hasattr(model, "elbo") else model.nll(*observed)
        )
        return loss

    def measure(self, batch: tuple[Tensor, ...]) -> Values:
        return {"loss": self.objective(batch[:3], kl_weight=1.0 - self.kl_rate**self.global_step)}

    def assess(self, batch: tuple[Tensor, ...]) -> Values:
        values = {"loss": self.objective(batch[:3], kl_weight=1.0)}
        if len(batch) > 3:
            query, truth = batch[3:]
            model: Any = self.model
            mean = model.predict(*batch[:3], query).mean
            values["rmse"] = (mean - truth).square().mean().sqrt()
        return values
