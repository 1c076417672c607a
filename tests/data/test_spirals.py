"""The spirals and their sub-sampling."""

import math

import pytest
import torch

from neuralode.data import observe, spirals


def test_shapes_and_halves():
    s = spirals(n=11, points=60, later=20)
    assert s.times.shape == (60,) and s.later_times.shape == (20,)
    assert s.truth.shape == s.observed.shape == (11, 60, 2) and s.later_truth.shape == (11, 20, 2)
    assert int(s.clockwise.sum()) == 5


def test_every_point_lies_on_its_spiral():
    s = spirals(n=50, noise=0.0)
    x = torch.cat((s.truth, s.later_truth), dim=1)
    angle = x.norm(dim=-1) / 0.3
    turn = torch.where(s.clockwise, 1.0, -1.0)[:, None]
    again = 0.3 * angle[..., None] * torch.stack((angle.cos(), turn * angle.sin()), dim=-1)
    # float32 curves of size 6: the angle is known to 1e-6 relative, times the radius
    assert (x - again).abs().max() < 1e-4
    assert angle.max() <= 6 * math.pi * (1 + 1e-6)
    assert torch.allclose(-angle.diff(dim=1), s.times[1] - s.times[0], atol=1e-4)
    assert torch.equal(s.observed, s.truth)


def test_clockwise_means_clockwise():
    s = spirals(n=30, noise=0.0)
    x, step = s.truth[:, :-1], s.truth.diff(dim=1)
    cross = x[..., 0] * step[..., 1] - x[..., 1] * step[..., 0]
    assert ((cross < 0) == s.clockwise[:, None]).all()


def test_noise_has_its_size_and_its_seed():
    s = spirals(n=200, noise=0.3, seed=5)
    # 40,000 draws: the standard deviation is known to 1 / sqrt(80,000) = 0.4 %
    assert (s.observed - s.truth).std().item() == pytest.approx(0.3, rel=0.02)
    assert torch.equal(s.observed, spirals(n=200, noise=0.3, seed=5).observed)
    assert not torch.equal(s.observed, spirals(n=200, noise=0.3, seed=6).observed)


def test_observe_takes_different_points_of_each_spiral():
    s = spirals(n=20)
    few = observe(s, 30, seed=1)
    assert few.times.shape == few.mask.shape == (20, 30) and few.values.shape == (20, 30, 2)
    assert (few.times.diff(dim=1) > 0).all() and few.mask.all()
    assert not torch.equal(few.times[0], few.times[1])
    index = torch.searchsorted(s.times, few.times)
    assert torch.equal(few.values, torch.stack([row[i] for row, i in zip(s.observed, index, strict=True)]))


def test_observing_everything_changes_nothing():
    s = spirals(n=3)
    assert torch.equal(observe(s, 100).values, s.observed)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: spirals(n=0), "n: got 0, takes 1 or more"),
        (lambda: spirals(points=450), "points . later: got 550, takes at most 500"),
        (lambda: spirals(noise=-0.1), "noise: got -0.1, takes a number >= 0"),
        (lambda: observe(spirals(n=2), 101), "count: got 101, takes at most the 100 points"),
    ],
)
def test_bad_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()
