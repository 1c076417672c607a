"""Irregular series for the tests of what reads them."""

import torch


def batch(samples=4, count=7, dim=2, seed=0):
    """times (B, T), values (B, T, D), and a mask (B, T, D) with holes; every row has something observed."""
    source = torch.Generator().manual_seed(seed)
    times = torch.rand(samples, count, generator=source).mul(3.0).sort(dim=1).values
    values = torch.randn(samples, count, dim, generator=source)
    mask = torch.rand(samples, count, dim, generator=source) > 0.3
    mask[:, 2] = True
    return times, values, mask


def spoiled(times, values, mask, filler):
    """The same series with something else wherever the mask is False."""
    gone = ~mask.any(-1)
    return torch.where(gone, torch.full_like(times, filler), times), torch.where(mask, values, filler), mask


def padded(times, values, mask, extra=3):
    """The same series with `extra` more columns of padding."""
    rows = len(times)
    return (
        torch.cat((times, torch.full((rows, extra), -5.0)), dim=1),
        torch.cat((values, torch.full((rows, extra, values.shape[2]), torch.nan)), dim=1),
        torch.cat((mask, torch.zeros(rows, extra, values.shape[2], dtype=torch.bool)), dim=1),
    )
