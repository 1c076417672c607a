"""Loaders that know where they are: the same (seed, epoch, position) always gives the same batch.

Lightning stores the `state_dict` of a training loader in the checkpoint and hands it back on resume; a plain
`DataLoader` has none, so a run stopped inside an epoch could not continue where it was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor


def seeded(*numbers: int) -> torch.Generator:
    """A CPU generator whose stream depends on every one of `numbers` (mixed, so that neighbours differ)."""
    state = 0
    for number in numbers:
        state = (state * 6364136223846793005 + number + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(state)


class Resumable(ABC):
    """An iterable of batches, one pass an epoch, that can be stopped and continued at any batch."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.epoch = -1
        self.position = 0
        self._continue = False

    @abstractmethod
    def __len__(self) -> int:
        """Batches in one pass."""

    @abstractmethod
    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        """The batches `start, start + 1, ...` of pass number `epoch`."""

    def __iter__(self) -> Iterator[Any]:
        if not self._continue:
            self.epoch, self.position = self.epoch + 1, 0
        self._continue = False
        for batch in self.batches(self.epoch, self.position):
            self.position += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The pass begun last and how many of its batches were handed out."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue behind the batch `state` was taken at; a finished pass is followed by the next."""
        self.epoch, self.position = state["epoch"], state["position"]
        self._continue = 0 < self.position < len(self)


class Batches(Resumable):
    """Tensors with a common first dimension, cut into batches by one index operation each.

    Args:
        tensors: one tensor, or several (N, ...) of equal N; a batch is the tensor, or the tuple of them.
        size: samples in a batch; the last batch is shorter unless `drop_last`.
        shuffle: draw a new order each epoch, from `seed` and the epoch alone.
        drop_last: leave out the last batch when it is short.
        seed: seed of the orders.

    >>> loader = Batches((torch.arange(5), torch.arange(5)), size=2, shuffle=False)
    >>> [x.tolist() for x, y in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        tensors: Tensor | tuple[Tensor, ...],
        size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        parts = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
        if len({len(part) for part in parts}) != 1:
            raise ValueError(f"tensors: first dimensions differ: {[tuple(part.shape) for part in parts]}")
        if size < 1:
            raise ValueError(f"size: got {size}, takes 1 or more")
        self.tensors, self.size, self.shuffle = tensors, size, shuffle
        self.samples = len(parts[0])
        self.count = self.samples // size if drop_last else -(-self.samples // size)

    def __len__(self) -> int:
        return self.count

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        if self.shuffle:
            order = torch.randperm(self.samples, generator=seeded(self.seed, epoch))
        else:
            order = torch.arange(self.samples)
        for rows in torch.split(order, self.size)[start : self.count]:
            yield (
                self.tensors[rows]
                if isinstance(self.tensors, Tensor)
                else tuple(t[rows] for t in self.tensors)
            )


class Draws(Resumable):
    """Fresh samples for every batch: `draw` gets a generator seeded by (seed, epoch, batch).

    Args:
        draw: makes one batch (a tensor or a tuple of tensors) from a `torch.Generator`.
        steps: batches in one pass.
        seed: seed of all draws.

    >>> len([batch for batch in Draws(lambda g: torch.randn(4, generator=g), steps=3)])
    3
    """

    def __init__(self, draw: Callable[[torch.Generator], Any], steps: int, *, seed: int = 0) -> None:
        super().__init__(seed)
        if steps < 1:
            raise ValueError(f"steps: got {steps}, takes 1 or more")
        self.draw, self.steps = draw, steps

    def __len__(self) -> int:
        return self.steps

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        for number in range(start, self.steps):
            yield self.draw(seeded(self.seed, epoch, number))


class Replay(Resumable):
    """Any sized loader made resumable: its order depends on (seed, epoch), passed batches are skipped.

    Skipping loads the skipped batches again, so a resume costs as much as loading them.
    """

    def __init__(self, loader: Iterable[Any], *, seed: int = 0) -> None:
        super().__init__(seed)
        if not hasattr(loader, "__len__"):
            raise TypeError(f"loaders: {type(loader).__name__} has no len(); give a sized loader, or Draws")
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seeded(self.seed, epoch).initial_seed()))
            rest = islice(iter(self.loader), start, None)
            first = next(rest, None)
        if first is not None:
            yield first
        yield from rest
