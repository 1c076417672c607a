"""Checkpoints and weights as safetensors files that carry their own hash; nothing in them is executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..whole import write_whole
from .plain import decode, encode


class CheckpointError(RuntimeError):
    """A file that is not, or no longer, what was written: `path` and why."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class SafeCheckpoints(CheckpointIO):
    """Lightning plugin: tensors of a checkpoint in safetensors, the rest as JSON in that file's header.

    Use it in a trainer of one's own with `Trainer(plugins=[SafeCheckpoints()])`. A file is written aside,
    flushed and renamed, so a checkpoint is the old one or the new one, never a part.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        tensors: dict[str, Tensor] = {}
        state = json.dumps(encode(checkpoint, tensors))
        write_tensors(Path(path), tensors, {"state": state})

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        tensors, notes = read_tensors(Path(path))
        if "state" not in notes:
            raise CheckpointError(Path(path), "holds weights only, no state to resume from")
        if map_location is not None:
            tensors = {name: tensor.to(map_location) for name, tensor in tensors.items()}
        content: dict[str, Any] = decode(json.loads(notes["state"]), tensors)
        return content

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def save_weights(model: nn.Module, path: Path | str) -> None:
    """Write the state dictionary of `model` to a safetensors file."""
    write_tensors(Path(path), model.state_dict(), {})


def load_weights(model: nn.Module, path: Path | str) -> None:
    """Read what `save_weights` wrote into `model`.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: a damaged file.
        RuntimeError: names or shapes differ from the model's; all of them are listed.
    """
    model.load_state_dict(read_tensors(Path(path))[0])


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
    """Write named tensors and `notes`, whole or not at all, with a SHA-256 over both."""
    own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    header = {**notes, "sha256": _digest(own, notes)}
    write_whole(path, lambda aside: save_file(own, aside, metadata=header))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and notes of a file that `write_tensors` wrote.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: not a safetensors file, cut short, or its content does not match its hash.
    """
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    except SafetensorError as error:
        raise CheckpointError(path, f"not a whole safetensors file ({error})") from error
    wanted = notes.pop("sha256", None)
    got = _digest(tensors, notes)
    if wanted != got:
        raise CheckpointError(path, f"damaged: its SHA-256 is {got}, it was written with {wanted}")
    return tensors, notes


def _digest(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    total = hashlib.sha256(json.dumps(sorted(notes.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
