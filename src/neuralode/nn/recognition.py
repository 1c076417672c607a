"""From an irregular series to a Gaussian over its latent start: a GRU that reads backward in time."""

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn.functional import softplus

from .series import Series, backward_order, take


class Recognition(nn.Module):
    """q(z0 | series): observations from the last to the first, each with the time to the one before it.

    Masked entries enter as 0 beside their mask; times at which nothing was seen are left out altogether, so that
    padding cannot matter. The last time that is read is the gap from the first observation to `origin`.

    Args:
        dim: D of the values.
        latent: size of z0.
        hidden: units of the GRU.
        origin: the time of z0.
    """

    def __init__(self, dim: int, latent: int, hidden: int, origin: float) -> None:
        super().__init__()
        self.origin = origin
        self.gru = nn.GRU(2 * dim + 1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2 * latent)

    def forward(self, series: Series) -> Normal:
        """The Gaussian over z0, with mean and scale (B, latent); of an empty series the one that zeros give."""
        order = backward_order(series.seen)
        seen = take(series.seen, order)
        times = torch.where(seen, take(series.times, order), self.origin)
        before = torch.cat((times[:, 1:], torch.full_like(times[:, :1], self.origin)), dim=1)
        inputs = torch.cat(
            (
                take(series.values, order),
                take(series.mask, order).to(times.dtype),
                (times - before).unsqueeze(-1),
            ),
            dim=-1,
        )
        states, _ = self.gru(inputs)
        count = seen.sum(1)
        last = take(states, (count - 1).clamp_min(0)[:, None]).squeeze(1)
        mean, scale = self.head(torch.where(count[:, None] > 0, last, 0.0)).chunk(2, dim=-1)
        return Normal(mean, softplus(scale) + 1e-4)
