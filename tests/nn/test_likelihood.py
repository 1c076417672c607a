"""Likelihoods: against torch.distributions, and the Poisson process against a rate that is known."""

import pytest
import torch
from torch.distributions import Normal

from neuralode import solve
from neuralode.nn import Gaussian, MLPField, PoissonProcess


def test_gaussian_is_the_sum_of_what_is_seen():
    torch.manual_seed(0)
    values, curve, mask = torch.randn(3, 4, 2), torch.randn(3, 4, 2), torch.rand(3, 4, 2) > 0.5
    expected = (Normal(curve, 0.2).log_prob(values) * mask).sum((1, 2))
    values = torch.where(mask, values, torch.nan)
    assert torch.allclose(Gaussian(2, noise=0.2).log_prob(values, curve, mask), expected, rtol=1e-4)


def test_noise_is_fixed_or_learned():
    assert not list(Gaussian(2, noise=0.2).parameters())
    assert [p.shape for p in Gaussian(2).parameters()] == [torch.Size([2])]
    torch.manual_seed(0)
    assert Gaussian(1, noise=0.2).sample(torch.zeros(10_000, 1)).std().item() == pytest.approx(0.2, rel=0.05)
    with pytest.raises(ValueError, match="noise: got -1, takes a positive number"):
        Gaussian(1, noise=-1)


def test_poisson_of_a_constant_rate():
    process = PoissonProcess(2, hidden=3)
    with torch.no_grad():
        process.network[2].weight.zero_()
        process.network[2].bias.fill_(0.7)
    rate, watched = torch.tensor(0.7).exp(), 3.0
    still = process.augment(lambda t, z: torch.zeros_like(z))
    z, integral = solve(still, (0.0, watched), (torch.randn(4, 2), torch.zeros(4)), batch="lockstep").y1
    mask = torch.tensor([[True, True, False]]).expand(4, 3)
    found = process.log_prob(z[:, None].expand(4, 3, 2), mask, integral)
    assert torch.allclose(found, (2 * rate.log() - rate * watched).expand(4), rtol=1e-5)


def events(rate, largest, watched, series, seed):
    """Event times by thinning, padded with `watched`: (B, T), mask."""
    source = torch.Generator().manual_seed(seed)
    count = int(3 * largest * watched)
    gaps = -torch.rand(series, count, generator=source).clamp_min(1e-9).log() / largest
    times = gaps.cumsum(1)
    kept = (times < watched) & (torch.rand(series, count, generator=source) < rate(times) / largest)
    return torch.where(kept, times, watched), kept


def test_recovers_a_known_rate():
    """Relative L2 error of the rate at most 5 %; 2000 series of about 10 events tell it to about 2 %."""
    torch.manual_seed(0)
    watched = 4.0

    def rate(t):
        return 2.5 * (1.0 + 0.7 * torch.sin(1.5 * t))

    times, kept = events(rate, largest=5.0, watched=watched, series=2000, seed=1)
    seen = times[kept].sort().values  # one latent path for all series, so that their events are one process
    field, process, z0 = (
        MLPField(2, hidden=16),
        PoissonProcess(2, hidden=16),
        torch.nn.Parameter(torch.randn(1, 2)),
    )
    optimizer = torch.optim.Adam([*field.parameters(), *process.parameters(), z0], lr=2e-2)
    pair, grid = process.augment(field), torch.linspace(0.0, watched, 40)
    at = torch.bucketize(seen, grid).clamp(1, 39)
    share = (seen - grid[at - 1]) / (grid[at] - grid[at - 1])
    for _ in range(120):
        z, total = solve(
            pair, (0.0, watched), (z0, torch.zeros(1)), t_eval=grid, batch="lockstep", rtol=1e-3
        ).y
        z = z[:, 0]
        z_events = torch.lerp(z[at - 1], z[at], share[:, None])
        every = torch.ones(1, len(seen), dtype=torch.bool)
        loss = -process.log_prob(z_events[None], every, 2000.0 * total[-1]).sum() / 2000.0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = process.log_rate(z).exp().detach()
    assert (found - rate(grid)).norm() / rate(grid).norm() < 0.05
