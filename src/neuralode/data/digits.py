"""The 8 x 8 handwritten digits that scikit-learn ships: images without a download."""

from typing import NamedTuple

import torch
from torch import Tensor

from .seeds import Seed, generator


class Digits(NamedTuple):
    """Images (N, 1, 8, 8) float32 in [0, 1] and labels (N,) int64, in two parts."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


def digits(seed: Seed = 0, *, test: float = 0.2) -> Digits:
    """All 1797 digits that scikit-learn ships, split at random: 1438 to train with and 359 to test on.

    Args:
        seed: seed of the split, an int or a generator.
        test: share of the images that is kept for the test, in (0, 1).

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: `test` is not inside (0, 1).
    """
    if not 0.0 < test < 1.0:
        raise ValueError(f"test: got {test}, takes a share between 0 and 1")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("digits() reads images from scikit-learn: pip install scikit-learn") from error
    pixels, names = load_digits(return_X_y=True)
    images = torch.as_tensor(pixels, dtype=torch.float32).div(16.0).reshape(-1, 1, 8, 8)
    labels = torch.as_tensor(names, dtype=torch.int64)
    order = torch.randperm(len(labels), generator=generator(seed))
    kept = len(labels) - round(test * len(labels))
    return Digits(images[order[:kept]], labels[order[:kept]], images[order[kept:]], labels[order[kept:]])
