"""How much memory one piece of work needs at its worst moment."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Ledger(TorchDispatchMode):
    """Adds the bytes of every storage an operation makes, and takes them off when the storage is released."""

    def __init__(self) -> None:
        super().__init__()
        self.open: set[int] = set()
        self.held = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_key(value) for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, torch.Tensor) and not (_key(value) in self.open or _key(value) in given):
                self._add(value.untyped_storage(), _key(value))
        return out

    def _add(self, storage: torch.UntypedStorage, key: int) -> None:
        size = storage.nbytes()
        self.open.add(key)
        self.held += size
        self.most = max(self.most, self.held)
        weakref.finalize(storage, self._release, key, size).atexit = False

    def _release(self, key: int, size: int) -> None:
        self.open.discard(key)
        self.held -= size


def peak_memory(work: Callable[[], object]) -> int:
    """Largest number of bytes that `work` holds at one time in tensors of its own making, on any device.

    What was there before (weights, batch) does not count, nor does what an operation needs only inside
    itself. The work is run once before, so that buffers made at first use do not count either.
    """
    work()
    with _Ledger() as ledger:
        work()
    return ledger.most


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
