"""Checkpoints: no pickle, whole or not at all, and damage is seen."""

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from neuralode.train import CheckpointError, SafeCheckpoints, load_weights, save_weights
from neuralode.train.checkpoint import read_tensors
from neuralode.train.plain import decode, encode
from neuralode.whole import write_text

CONTENT = {
    "epoch": 3,
    "state": {"weight": torch.arange(6.0).reshape(2, 3), "flag": torch.tensor(True)},
    "optimiser": [{"state": {0: {"step": torch.tensor(4)}, 1: {}}, "betas": (0.9, None)}],
    "half": torch.ones(3, dtype=torch.bfloat16),
    "empty": torch.empty(0, 2),
}


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.sampled_from(["tensor", "tuple", "pairs", "a", "", 0, 1, True]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(plain)
def test_plain_values_come_back_as_they_were(value):
    assert same(decode(encode(value, {}), {}), value)


@pytest.mark.parametrize(
    "value", [{1, 2}, Path("x"), len, nn.ReLU(), b"bytes"], ids=lambda v: type(v).__name__
)
def test_other_types_are_refused_with_their_place(value):
    with pytest.raises(TypeError, match="a/0 is a"):
        encode({"a": [value]}, {})


def test_round_trip(tmp_path):
    SafeCheckpoints().save_checkpoint(CONTENT, tmp_path / "c")
    assert same(SafeCheckpoints().load_checkpoint(tmp_path / "c"), CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_shared_and_strided_tensors_are_stored(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    SafeCheckpoints().save_checkpoint({"a": weight, "b": weight, "c": weight.T}, tmp_path / "c")
    assert same(SafeCheckpoints().load_checkpoint(tmp_path / "c"), {"a": weight, "b": weight, "c": weight.T})


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.99])
def test_a_cut_file_is_an_error(tmp_path, part):
    path = tmp_path / "c"
    SafeCheckpoints().save_checkpoint(CONTENT, path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=str(path)):
        SafeCheckpoints().load_checkpoint(path)


@pytest.mark.parametrize("place", [-1, -20, -30])
def test_a_flipped_bit_is_an_error(tmp_path, place):
    path = tmp_path / "c"
    SafeCheckpoints().save_checkpoint(CONTENT, path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_tensors(path)


class Marker:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_pickle_is_refused_and_not_executed(tmp_path):
    path = tmp_path / "c"
    path.write_bytes(pickle.dumps(Marker(tmp_path / "mark")))
    with pytest.raises(CheckpointError):
        SafeCheckpoints().load_checkpoint(path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "f"
    write_text(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_weights_come_back_and_mismatches_are_named(tmp_path):
    save_weights(nn.Linear(2, 3), tmp_path / "w")
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        load_weights(nn.Linear(2, 4), tmp_path / "w")
    with pytest.raises(CheckpointError, match="weights only"):
        SafeCheckpoints().load_checkpoint(tmp_path / "w")


def test_files_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "new").touch()
    save_weights(nn.Linear(2, 3), tmp_path / "w")
    assert (tmp_path / "w").stat().st_mode == (tmp_path / "new").stat().st_mode
