"""Latent ODE: a generative model of irregular time series (the paper's section 5, equations 11 to 13)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from .likelihood import Gaussian, PoissonProcess
from .mlp_field import MLPField
from .prediction import NOISE_DRAWS, Prediction, quantiles
from .recognition import Recognition
from .series import Series, as_queries, as_series
from .solving import Solving

SHARED = 4  # one grid for all samples, while it is at most this many times longer than a sample's own


class LatentODE(Solving):
    """z0 ~ N(0, I), dz/dt = field(t, z), values ~ N(decoder(z(t)), noise^2) at any times.

    A GRU reads the observations backward in time and gives q(z0 | series); training maximises the ELBO. Every
    sample may have times of its own, and masked values: what is masked never enters a number that comes out.

    Args:
        dim: D, size of a value.
        latent: size of z.
        hidden: width of the hidden layer of dz/dt = MLP(z).
        rec_hidden: units of the recognition GRU.
        dec_hidden: width of the decoder's hidden layer.
        noise: standard deviation of the observations; None: learned, one for each of the D.
        origin: the time of z0; no observation may lie before it.
        field: dz/dt, in place of the default MLP.
        events: a `PoissonProcess` on z, when the times of the observations tell something too.
        **solver: options of `neuralode.solve`; each is an attribute too. rtol is 1e-3 and atol 1e-4 by default.

    Choose the unit of time so that a series lasts about 1 to 10: the field starts with slopes of about 0.1.

    Attributes:
        nfev, nfev_backward: evaluations of the field in the last solve and in its backward pass.

    Example:
        >>> model = LatentODE(dim=2)
        >>> times, values = torch.rand(3, 10).sort().values, torch.randn(3, 10, 2)
        >>> mask = torch.ones(3, 10, dtype=torch.bool)
        >>> model.elbo(times, values, mask).shape
        torch.Size([])
        >>> model.predict(times, values, mask, torch.linspace(0, 2, 20)).mean.shape
        torch.Size([3, 20, 2])
    """

    def __init__(
        self,
        dim: int,
        latent: int = 4,
        hidden: int = 20,
        rec_hidden: int = 25,
        dec_hidden: int = 20,
        noise: float | None = None,
        *,
        origin: float = 0.0,
        field: Callable[[Tensor, Tensor], Tensor] | None = None,
        events: PoissonProcess | None = None,
        **solver: Any,
    ) -> None:
        super().__init__(**{"rtol": 1e-3, "atol": 1e-4, **solver})
        self.dim, self.latent, self.origin = dim, latent, origin
        self.recognition = Recognition(dim, latent, rec_hidden, origin)
        self.field = MLPField(latent, hidden) if field is None else field
        self.decoder = nn.Sequential(nn.Linear(latent, dec_hidden), nn.Tanh(), nn.Linear(dec_hidden, dim))
        self.likelihood = Gaussian(dim, noise)
        self.events = events

    def encode(self, times: Tensor, values: Tensor, mask: Tensor) -> Normal:
        """q(z0 | series), mean and scale (B, latent).

        Args:
            times: (B, T), or (T,) for all; not decreasing where observed.
            values: (B, T, D).
            mask: True where observed, bool (B, T) or (B, T, D).
        """
        posterior: Normal = self.recognition(as_series(times, values, mask, self.dim, self.origin))
        return posterior

    def elbo(
        self,
        times: Tensor,
        values: Tensor,
        mask: Tensor,
        kl_weight: float = 1.0,
        *,
        until: Tensor | None = None,
    ) -> Tensor:
        """The mean over samples of E_q[log p(series | z0)] - kl_weight KL(q || p), in nats; 0-d.

        One draw of z0 for each sample, reparametrised. With `events`, log p of the observation times is added.

        Args:
            times, values, mask: as in `encode`.
            kl_weight: weight of the KL term, for annealing.
            until: (B,), up to when each series was watched, for `events`; None: its last observation.
        """
        series = as_series(times, values, mask, self.dim, self.origin)
        posterior = self.recognition(series)
        prior = Normal(torch.zeros_like(posterior.mean), torch.ones_like(posterior.stddev))
        divergence = torch.distributions.kl_divergence(posterior, prior).sum(-1)
        z0 = posterior.rsample()
        if self.events is None:
            z = self.states(z0, series.times)
            evidence = z0.new_zeros(len(z0))
        else:
            z, evidence = self._watched(self.events, z0, series, until)
        evidence = evidence + self.likelihood.log_prob(series.values, self.decoder(z), series.mask)
        return (evidence - kl_weight * divergence).mean()

    def states(self, z0: Tensor, times: Tensor) -> Tensor:
        """z (B, T, latent) at each sample's own times (B, T), in any order, from z0 (B, latent) at the origin."""
        z: Tensor = solve_at(self, self.field, z0, times, self.origin)
        return z

    def decode(self, z0: Tensor, times: Tensor) -> Tensor:
        """The curves (B, T, D) at times (B, T) or (T,) that start in z0 (B, latent)."""
        curve: Tensor = self.decoder(self.states(z0, times.expand(len(z0), times.shape[-1])))
        return curve

    @torch.no_grad()
    def predict(
        self, times_obs: Tensor, values: Tensor, mask: Tensor, times: Tensor, n_samples: int = 20
    ) -> Prediction:
        """What the series do at `times` (Q,) or (B, Q), seen or not; without gradient.

        Args:
            times_obs, values, mask: the observations, as in `encode`.
            times: from the origin on, in any order.
            n_samples: S, draws of z0.

        Returns:
            mean over the draws, quantiles of new observations, and the curves drawn.
        """
        series = as_series(times_obs, values, mask, self.dim, self.origin)
        queries = as_queries(times, series, self.origin)
        z0 = self.recognition(series).sample((n_samples,))
        curves = self.decode(z0.flatten(0, 1), queries.repeat(n_samples, 1)).unflatten(0, z0.shape[:2])
        noisy = self.likelihood.sample(curves.repeat(NOISE_DRAWS, 1, 1, 1))
        return Prediction(curves.mean(0), quantiles(noisy), curves)

    def _watched(
        self, events: PoissonProcess, z0: Tensor, series: Series, until: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The states at the observations, and log p of the times of these (B,)."""
        end = series.times.amax(1) if until is None else until.to(series.times)
        times = torch.cat((series.times, end[:, None]), dim=1)
        start = (z0, z0.new_zeros(len(z0)))
        z, integral = solve_at(self, events.augment(self.field), start, times, self.origin)
        z = z[:, :-1]
        return z, events.log_prob(z, series.seen, integral[:, -1])


def solve_at(solver: Solving, f: Callable[..., Any], start: Any, times: Tensor, origin: float) -> Any:
    """The state (B, T, ...) at times (B, T) of each sample's own, from `start` (B, ...) at `origin`.

    All times of the batch are one grid for a lockstep solve, of which each sample keeps its own; where the grid
    would be much longer than a row, every sample is solved at its own times instead.
    """
    grid, place = times.detach().unique(return_inverse=True)
    count = times.shape[1]
    if solver.batch == "lockstep" and len(grid) <= SHARED * count:
        found = solver.integrate(f, (origin, float(grid[-1])), start, grid.double()).y
        rows = torch.arange(len(times), device=times.device)[:, None]
        return per_leaf(found, lambda y: y[place, rows])
    ordered, order = times.detach().double().sort(dim=1)
    with solver.using(batch="independent"):
        found = solver.integrate(f, (origin, ordered[:, -1]), start, ordered).y
    back = order.argsort(dim=1)
    return per_leaf(found, lambda y: y.transpose(0, 1).gather(1, spread(back, y.transpose(0, 1))))


def per_leaf(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`change` applied to a tensor, or to each of a tuple."""
    return tuple(change(leaf) for leaf in tree) if isinstance(tree, tuple) else change(tree)


def spread(index: Tensor, like: Tensor) -> Tensor:
    """index (B, T) in the shape of `like` (B, T, ...), for `gather`."""
    return index.reshape(*index.shape, *(1,) * (like.dim() - 2)).expand_as(like)
