"""The paper's baseline for time series: a recurrent network that is told the gaps (section 5.1)."""

import torch
from torch import Tensor, nn

from .likelihood import gaussian_log_prob
from .mlp_field import widths
from .prediction import Prediction, quantiles
from .series import Series, as_queries, as_series, backward_order, take


class RNNForecaster(nn.Module):
    """A GRU that says, from what it has seen and the gap to the next time, a Gaussian over the next value.

    Input at one time: the value (0 where masked), its mask, and the gap to the next time. To forecast, it reads its
    own predictions.

    Args:
        dim: D, size of a value.
        hidden: units of the GRU.
        origin: where the first gap is counted from.

    Example:
        >>> model = RNNForecaster(dim=2)
        >>> times, values = torch.rand(3, 10).sort().values, torch.randn(3, 10, 2)
        >>> model.nll(times, values, torch.ones(3, 10, dtype=torch.bool)).shape
        torch.Size([])
    """

    def __init__(self, dim: int, hidden: int = 25, *, origin: float = 0.0) -> None:
        super().__init__()
        (self.dim,), (hidden,) = widths("dim", dim), widths("hidden", hidden)
        self.origin = origin
        self.cell = nn.GRU(2 * dim + 1, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 2 * dim)

    def nll(self, times: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """The mean over samples of -log p(values), each value given those before it, in nats; 0-d.

        Args:
            times: (B, T), or (T,) for all; not decreasing where observed.
            values: (B, T, D).
            mask: True where observed, bool (B, T) or (B, T, D).
        """
        series = compact(as_series(times, values, mask, self.dim, self.origin), self.origin)
        shown = series.mask.to(series.values.dtype)
        seen = torch.cat((series.values, shown), dim=-1)
        seen = torch.cat((torch.zeros_like(seen[:, :1]), seen[:, :-1]), dim=1)
        start = torch.full_like(series.times[:, :1], self.origin)
        gaps = torch.diff(series.times, dim=1, prepend=start)
        states, _ = self.cell(torch.cat((seen, gaps[..., None]), dim=-1))
        mean, log_noise = self._read(states)
        return -gaussian_log_prob(series.values, mean, log_noise, series.mask).mean()

    @torch.no_grad()
    def predict(
        self, times_obs: Tensor, values: Tensor, mask: Tensor, times: Tensor, n_samples: int = 20
    ) -> Prediction:
        """Forecasts at `times` (Q,) or (B, Q), in any order; without gradient.

        Observations and queries are read in the order of their times, a query before an observation at the same
        time; what is observed later than a query does not change its forecast.

        Args:
            times_obs, values, mask: the observations, as in `nll`.
            times: from the origin on.
            n_samples: S, forecasts that read their own noisy draws.

        Returns:
            mean, from a network that reads its own means; quantiles and samples from those that read draws.
        """
        series = as_series(times_obs, values, mask, self.dim, self.origin)
        queries = as_queries(times, series, self.origin)
        mean = self._roll(series, queries, noise=0.0)
        many = Series(*(part.repeat(n_samples, *(1,) * (part.dim() - 1)) for part in series))
        samples = self._roll(many, queries.repeat(n_samples, 1), noise=1.0).unflatten(0, (n_samples, -1))
        return Prediction(mean, quantiles(samples), samples)

    def _read(self, states: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_noise = self.head(states).chunk(2, dim=-1)
        return mean, log_noise.clamp(-7.0, 7.0)

    def _roll(self, series: Series, queries: Tensor, noise: float) -> Tensor:
        """Forecasts (B, Q, D), feeding back mean + noise * spread."""
        asked = queries.shape[1]
        times = torch.cat((queries, torch.where(series.seen, series.times, torch.inf)), dim=1)
        times, order = times.sort(dim=1, stable=True)
        times = torch.where(times.isfinite(), times, queries.amax(1, keepdim=True))
        blank = series.values.new_zeros(len(queries), asked, self.dim)
        given = take(torch.cat((blank, series.values), dim=1), order)
        shown = take(torch.cat((blank.bool(), series.mask), dim=1), order)
        awake = take(torch.cat((torch.ones_like(queries, dtype=torch.bool), series.seen), dim=1), order)
        query = order < asked
        gaps = torch.diff(times, dim=1, prepend=torch.full_like(times[:, :1], self.origin))
        state = given.new_zeros(1, len(given), self.cell.hidden_size)
        value, known = torch.zeros_like(given[:, 0]), torch.zeros_like(given[:, 0])
        found = []
        for k in range(times.shape[1]):
            _, after = self.cell(torch.cat((value, known, gaps[:, k, None]), dim=-1)[:, None], state)
            state = torch.where(awake[:, k, None], after, state)
            mean, log_noise = self._read(state[0])
            said = mean + noise * log_noise.exp() * torch.randn_like(mean) if noise else mean
            found.append(said)
            own = query[:, k, None]
            value = torch.where(own, said, given[:, k])
            known = (own | shown[:, k]).to(value.dtype)
        back = order.argsort(dim=1)[:, :asked]
        return take(torch.stack(found, dim=1), back)


def compact(series: Series, origin: float) -> Series:
    """The same series with the observed columns of each row in front, in the order of time."""
    order = backward_order(series.seen.flip(1))
    order = series.seen.shape[1] - 1 - order
    times, values, mask, seen = (take(part, order) for part in series)
    last = torch.where(seen, times, origin).amax(1, keepdim=True)
    return Series(torch.where(seen, times, last), values, mask, seen)
