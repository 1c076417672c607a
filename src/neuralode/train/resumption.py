"""What an exact resume needs beside Lightning's own checkpoint: generators and the place in the data."""

from __future__ import annotations

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch


def generator_states() -> dict[str, Any]:
    """States of the global generators of Python, NumPy and PyTorch (CPU and every CUDA device)."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 (the global generator is the one to save)
    return {
        "python": random.getstate(),
        "numpy": (name, [int(key) for key in keys], *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_generators(states: dict[str, Any]) -> None:
    """Put back what `generator_states` returned."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.device_count() == len(states["cuda"]):
        torch.cuda.set_rng_state_all(states["cuda"])


class Resumption(pl.Callback):
    """Saves the generators and the position of `loader` in every checkpoint, and puts both back on resume.

    Lightning restores a loader of its own accord, but not from a checkpoint at the end of an epoch. The
    generators wait for the first batch, because Lightning draws from them before it (validation, iterators).

    Args:
        loader: the training loader; one without `state_dict` is left alone.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader if hasattr(loader, "state_dict") else None
        self._waiting: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        position = None if self.loader is None else self.loader.state_dict()
        return {"generators": generator_states(), "position": position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._waiting = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._waiting is not None and self.loader is not None:
            self.loader.load_state_dict(self._waiting["position"])

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._waiting is not None:
            restore_generators(self._waiting["generators"])
            self._waiting = None
