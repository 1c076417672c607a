"""IDX files: read when they are whole, refused with a reason when they are not."""

import gzip
import hashlib
import os
import pickle

import pytest
import torch

from neuralode.data import DataError, mnist

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
PIXELS = torch.arange(2 * 28 * 28).remainder(256).to(torch.uint8).reshape(2, 28, 28)
REAL = os.environ.get("NEURALODE_MNIST")


def idx(array, kind=8):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, kind, array.dim())) + sizes + bytes(array.flatten().tolist())


def write(folder, contents):
    """Writes the files and returns their checksums."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def test_reads_images_and_labels(tmp_path):
    labels = torch.tensor([7, 2], dtype=torch.uint8)
    sums = write(tmp_path, {IMAGES: gzip.compress(idx(PIXELS)), LABELS: gzip.compress(idx(labels))})
    x, y = mnist(tmp_path, "train", checksums=sums)
    assert torch.equal(x, PIXELS) and x.dtype == torch.uint8
    assert y.tolist() == [7, 2] and y.dtype == torch.int64


def test_checksum_is_checked_first(tmp_path):
    write(tmp_path, {IMAGES: b"anything", LABELS: b"anything"})
    with pytest.raises(DataError, match=f"{IMAGES}: SHA256 is .*, expected 0b367032"):
        mnist(tmp_path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=f"{IMAGES}: no such file; the folder must hold"):
        mnist(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"not gzip", "is not a whole gzip file"),
        (gzip.compress(idx(PIXELS))[:-20], "is not a whole gzip file"),
        (gzip.compress(b""), "is not an IDX file of unsigned bytes with 3 dimensions"),
        (gzip.compress(idx(PIXELS, kind=9)), "is not an IDX file of unsigned bytes"),
        (gzip.compress(idx(PIXELS)[:-5]), r"holds 1563 values, its header says \[2, 28, 28\]"),
    ],
    ids=["plain", "cut", "empty", "kind", "short"],
)
def test_wrong_content_is_explained(tmp_path, content, text):
    with pytest.raises(DataError, match=text):
        mnist(tmp_path, checksums=write(tmp_path, {IMAGES: content}))


def test_counts_must_agree(tmp_path):
    labels = torch.zeros(3, dtype=torch.uint8)
    sums = write(tmp_path, {IMAGES: gzip.compress(idx(PIXELS)), LABELS: gzip.compress(idx(labels))})
    with pytest.raises(DataError, match="2 images but 3 labels in the split 'train'"):
        mnist(tmp_path, checksums=sums)


def test_unknown_split_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'train'"):
        mnist(tmp_path, "tran")


def test_error_survives_a_process_border(tmp_path):
    error = DataError(tmp_path, "gone")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.skipif(REAL is None, reason="NEURALODE_MNIST does not name a folder")
def test_the_published_files():
    x, y = mnist(REAL, "test")
    assert x.shape == (10_000, 28, 28)
    assert y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
