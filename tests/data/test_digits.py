"""scikit-learn's digits."""

import pytest
import torch

from neuralode.data import digits

pytest.importorskip("sklearn")


def test_shapes_range_and_classes():
    train_x, train_y, test_x, test_y = digits()
    assert train_x.shape == (1438, 1, 8, 8) and test_x.shape == (359, 1, 8, 8)
    assert train_x.dtype == torch.float32 and train_y.dtype == torch.int64
    assert train_x.min() == 0.0 and train_x.max() == 1.0
    assert sorted(train_y.unique().tolist()) == sorted(test_y.unique().tolist()) == list(range(10))


def test_split_has_every_image_once_and_follows_the_seed():
    first, again, other = digits(seed=1), digits(seed=1), digits(seed=2)
    assert torch.equal(first.test_x, again.test_x) and not torch.equal(first.test_x, other.test_x)
    whole = [torch.cat((d.train_x, d.test_x)).flatten(1).sum(1).sort().values for d in (first, other)]
    assert torch.equal(*whole)


def test_share_is_checked():
    with pytest.raises(ValueError, match=r"test: got 1\.5, takes a share between 0 and 1"):
        digits(test=1.5)
