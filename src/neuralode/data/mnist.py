"""MNIST from the user's own folder, in the IDX format, each file verified before a byte of it is used."""

import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import unknown
from .errors import DataError

CHECKSUMS: Mapping[str, str] = {
    "train-images-idx3-ubyte.gz": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    "train-labels-idx1-ubyte.gz": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    "t10k-images-idx3-ubyte.gz": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    "t10k-labels-idx1-ubyte.gz": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}
SPLITS: Mapping[str, str] = {"train": "train", "test": "t10k"}
BYTES = 0x08  # the IDX code of unsigned bytes


def mnist(
    folder: str | os.PathLike[str], split: str = "train", *, checksums: Mapping[str, str] = CHECKSUMS
) -> tuple[Tensor, Tensor]:
    """Images and labels of one split.

    Args:
        folder: where the four `.gz` files lie, under their usual names.
        split: "train" (60,000 images) or "test" (10,000).
        checksums: SHA256 of each file by its name; the default is that of the published files.

    Returns:
        Images (N, 28, 28) uint8 and labels (N,) int64.

    Raises:
        DataError: a file is missing, or is not the one that the checksum names.
        ValueError: no such split.

    Example:
        >>> images, labels = mnist("data/mnist", "test")  # doctest: +SKIP
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    images = read_idx(Path(folder) / f"{SPLITS[split]}-images-idx3-ubyte.gz", 3, checksums)
    labels = read_idx(Path(folder) / f"{SPLITS[split]}-labels-idx1-ubyte.gz", 1, checksums)
    if len(images) != len(labels):
        raise DataError(Path(folder), f"{len(images)} images but {len(labels)} labels in the split {split!r}")
    return images, labels.long()


def read_idx(path: Path, dims: int, checksums: Mapping[str, str]) -> Tensor:
    """The array of a gzip-compressed IDX file of unsigned bytes with `dims` dimensions, as uint8."""
    expected = checksums.get(path.name)
    if expected is None:
        raise ValueError(f"checksums: has no entry for {path.name}, got {sorted(checksums)}")
    if not path.is_file():
        raise DataError(path, f"no such file; the folder must hold {', '.join(checksums)}")
    packed = path.read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != expected:
        raise DataError(path, f"SHA256 is {found}, expected {expected}; the file is damaged or another one")
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(path, f"is not a whole gzip file ({error})") from error
    return _parse(content, dims, path)


def _parse(content: bytes, dims: int, path: Path) -> Tensor:
    header = 4 + 4 * dims
    if content[:4] != bytes((0, 0, BYTES, dims)) or len(content) < header:
        raise DataError(path, f"is not an IDX file of unsigned bytes with {dims} dimensions")
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4)]
    if len(content) - header != math.prod(shape):
        raise DataError(path, f"holds {len(content) - header} values, its header says {shape}")
    return torch.frombuffer(bytearray(content[header:]), dtype=torch.uint8).reshape(shape)
