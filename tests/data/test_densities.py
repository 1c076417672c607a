"""The two-dimensional densities: shapes, seeds, and what is known of each of them."""

import pytest
import torch

from neuralode.data import DENSITIES, checkerboard, two_circles, two_moons


@pytest.mark.parametrize("name", DENSITIES)
def test_samples_are_finite_and_near_the_origin(name):
    x = DENSITIES[name](2000, seed=3)
    assert x.shape == (2000, 2) and x.dtype == torch.float32
    assert x.isfinite().all()
    # 2000 samples of spread about 1: the mean is within 5 / sqrt(2000) of its expectation, which is the origin.
    assert x.mean(dim=0).abs().max() < 0.12
    assert x.abs().max() < 3.0


@pytest.mark.parametrize("name", DENSITIES)
def test_seed_decides(name):
    draw = DENSITIES[name]
    assert torch.equal(draw(50, seed=1), draw(50, seed=1))
    assert not torch.equal(draw(50, seed=1), draw(50, seed=2))
    source = torch.Generator().manual_seed(1)
    assert torch.equal(draw(50, source), draw(50, seed=1))
    assert not torch.equal(draw(50, source), draw(50, seed=1))


def test_drawing_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    for draw in DENSITIES.values():
        draw(10)
    assert torch.equal(before, torch.get_rng_state())


def test_circles_have_their_radii():
    radius = two_circles(1000, noise=0.0, factor=0.4).norm(dim=1)
    inner = radius < 0.7
    assert torch.allclose(radius[inner], torch.tensor(0.4)) and torch.allclose(
        radius[~inner], torch.tensor(1.0)
    )
    assert 400 < int(inner.sum()) < 600


def test_moons_are_arcs_of_radius_one():
    x = two_moons(1000, noise=0.0)
    upper = (x - torch.tensor([-0.5, -0.25])).norm(dim=1) - 1.0
    lower = (x - torch.tensor([0.5, 0.25])).norm(dim=1) - 1.0
    assert torch.minimum(upper.abs(), lower.abs()).max() < 1e-5


def test_checkerboard_fills_alternate_squares():
    square = checkerboard(4000).add(2.0).floor().long()
    assert square.min() == 0 and square.max() == 3
    assert (square.sum(dim=1) % 2 == 0).all()
    assert len(square.unique(dim=0)) == 8


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"n": 0}, ValueError, "n: got 0, takes 1 or more"),
        ({"n": 2.5}, TypeError, "n: got 2.5, takes an int"),
        ({"n": 5, "seed": "a"}, TypeError, "seed: got str, takes an int or a torch.Generator"),
        ({"n": 5, "noise": -1.0}, ValueError, "noise: got -1.0, takes a number >= 0"),
    ],
)
def test_bad_arguments_are_named(arguments, error, text):
    with pytest.raises(error, match=text):
        two_moons(**arguments)
