"""What a model of time series says about times that it has not seen."""

from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = (0.05, 0.5, 0.95)
NOISE_DRAWS = 8  # of each sample, for quantiles


@dataclass(frozen=True)
class Prediction:
    """A forecast, or a completion, at Q times of each of B series.

    Attributes:
        mean: the expected curve, (B, Q, D).
        quantiles: of a new noisy observation, (L, B, Q, D), one row for each of `levels`.
        samples: draws, (S, B, Q, D): of curves without noise for a latent ODE, of observations for a forecaster.
        levels: L levels of the quantiles.
    """

    mean: Tensor
    quantiles: Tensor
    samples: Tensor
    levels: tuple[float, ...] = LEVELS


def quantiles(observations: Tensor) -> Tensor:
    """(L, ...): the quantiles `LEVELS` over the first dimension of observations (S, ...)."""
    levels = torch.tensor(LEVELS, dtype=observations.dtype, device=observations.device)
    return torch.quantile(observations, levels, dim=0)
