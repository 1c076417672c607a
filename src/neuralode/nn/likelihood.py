"""What is seen of a curve: values with Gaussian noise, or events of a Poisson process (the paper's section 5)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .mlp_field import widths

Field = Callable[[Tensor, Tensor], Tensor]


class Gaussian(nn.Module):
    """values ~ N(curve, noise^2), independent.

    Args:
        dim: D, size of the last dimension of values.
        noise: standard deviation; None: learned, one for each of the D, from 0.5.

    Raises:
        ValueError: `noise` is not positive.
    """

    log_noise: Tensor

    def __init__(self, dim: int, noise: float | None = None) -> None:
        super().__init__()
        if noise is not None and not noise > 0.0:
            raise ValueError(f"noise: got {noise}, takes a positive number, or None to learn it")
        start = torch.full((dim,), math.log(0.5 if noise is None else noise))
        if noise is None:
            self.log_noise = nn.Parameter(start)
        else:
            self.register_buffer("log_noise", start)

    def log_prob(self, values: Tensor, curve: Tensor, mask: Tensor) -> Tensor:
        """(B,): the sum over the entries of values (B, T, D) where mask (B, T, D) is True."""
        return gaussian_log_prob(values, curve, self.log_noise, mask)

    def sample(self, curve: Tensor) -> Tensor:
        """`curve` (..., D) with noise."""
        return curve + self.log_noise.exp() * torch.randn_like(curve)


def gaussian_log_prob(values: Tensor, mean: Tensor, log_noise: Tensor, mask: Tensor) -> Tensor:
    """(B,): log density of values (B, T, D), summed where mask is True; what is masked may hold anything."""
    error = torch.where(mask, values, mean) - mean
    log_prob = -0.5 * (error * (-log_noise).exp()).square() - log_noise - 0.5 * math.log(2.0 * math.pi)
    return torch.where(mask, log_prob, 0.0).sum((1, 2))


class PoissonProcess(nn.Module):
    """Events at a rate lambda(z(t)) that the latent state decides.

    log p(t_1 ... t_N) = sum of log lambda(z(t_i)) - integral of lambda(z(t)) dt over the time watched; `augment`
    puts the integral into the same solve as z.

    Args:
        latent: size of z.
        hidden: width of the hidden layer of log lambda.
    """

    def __init__(self, latent: int, hidden: int = 20) -> None:
        super().__init__()
        (latent,), (hidden,) = widths("latent", latent), widths("hidden", hidden)
        self.network = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def log_rate(self, z: Tensor) -> Tensor:
        """log lambda (...,), for z (..., latent)."""
        out: Tensor = self.network(z).squeeze(-1)
        return out

    def augment(self, field: Field) -> Callable[[Tensor, tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]:
        """The field of the pair (z (B, latent), integral of lambda (B,))."""

        def augmented(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            z = state[0]
            return field(t, z), self.log_rate(z).exp()

        return augmented

    def log_prob(self, z: Tensor, mask: Tensor, integral: Tensor) -> Tensor:
        """(B,), for the states z (B, T, latent) at events where mask (B, T), and the integral (B,)."""
        return torch.where(mask, self.log_rate(z), 0.0).sum(1) - integral
